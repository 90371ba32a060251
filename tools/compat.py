#!/usr/bin/env python3
"""Ask the compatibility table, or measure how long its answers take. Run by `make compat`.

Without arguments: the time for 1,000 hosts of five kinds, as a site has them, and for 1,000 hosts that all differ.
With arguments: one question, for example `gpu=gb10 driver=580 triton_vllm=25.11 features=mps_by_label`.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.filter.compatible import compatible
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.answer import Judge
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.question import FEATURES, parse_question
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.table import Table
from ansible_collections.baremetal.gpu.plugins.plugin_utils.compat_rules import load_table

HOSTS = 1000
REPEATS = 5
# What five kinds of hosts differ in.
KINDS = 5

Question = Mapping[str, Any]


def questions(table: Table, count: int) -> list[Question]:
    """So many hosts, no two alike: every known driver with every release of Triton, CUDA and cuDNN until there are enough."""
    names = ("cuda", "cudnn", "triton_vllm", "driver")
    texts = [[version.text for version in reversed(table.known[name])] for name in names]
    common = {"gpu": "gb10", "platform": "dgx-os-7", "sharing": "mps"}
    # The newest of the others, as a host has them.
    others = ("nccl", "container_toolkit", "device_plugin", "k3s")
    common |= {name: table.known[name][-1].text for name in others}
    chosen = itertools.islice(itertools.product(*texts), count)
    return [{**common, **dict(zip(names, values, strict=True))} for values in chosen]


def answer_all(table: Table, asked: Sequence[Question]) -> list[str]:
    """The status of every host, by a judge that knows no answer yet."""
    judge = Judge(table)
    return [judge.answer(parse_question(table, question)[0]).status for question in asked]


def milliseconds(table: Table, asked: Sequence[Question]) -> float:
    """Processor time of answering every host."""
    begin = time.process_time()
    answer_all(table, asked)
    return (time.process_time() - begin) * 1000


def measured() -> list[str]:
    """Lines with the times."""
    table = load_table()
    different = questions(table, HOSTS)
    alike = [different[index % KINDS] for index in range(HOSTS)]
    lines = []
    for told, asked in ((f"{HOSTS} hosts of {KINDS} kinds", alike), (f"{HOSTS} hosts, no two alike", different)):
        times = [milliseconds(table, asked) for _ in range(REPEATS)]
        lines.append(
            f"{told}: {statistics.median(times):.0f} ms (median of {REPEATS}, {min(times):.0f} to {max(times):.0f})"
        )
    return lines


def question_of(arguments: Sequence[str]) -> Question:
    """A question from `name=value`; features are separated by commas. Raises ``ValueError``."""
    asked: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals:
            raise ValueError(f"{argument!r} is not name=value")
        asked[name] = value.split(",") if name == FEATURES else value
    return asked


def main(arguments: Sequence[str]) -> int:
    """0 when allowed or measured, 1 when not allowed, 2 when the question cannot be used."""
    if not arguments:
        print("\n".join(measured()))
        return 0
    try:
        answer = compatible(question_of(arguments))
    except (ValueError, AnsibleFilterError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(answer, indent=2))
    return 0 if answer["allowed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
