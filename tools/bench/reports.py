"""Measures how long the documents of a large run take to make; no host is needed for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.baremetal.gpu.plugins.plugin_utils.json_file import as_json
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_junit import junit
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_page import page
from tools.bench import parts
from tools.bench.measure import load
from tools.docs import sample_report

HOSTS, FINDINGS = 1000, 40
MAKERS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"json": as_json, "junit": junit, "page": page}


def report(repetitions: parts.Repetitions) -> dict[str, Any]:
    """CPU seconds and size of each document about one made-up run, and the machine's load meanwhile."""
    document = sample_report.fleet(HOSTS, FINDINGS)
    seconds: dict[str, list[float]] = {name: [] for name in MAKERS}
    sizes: dict[str, int] = {}

    def once(_number: int) -> None:
        for name, make in MAKERS.items():
            begun = time.process_time()
            text = make(document)
            seconds[name].append(round(time.process_time() - begun, 3))
            sizes[name] = len(text.encode())

    with load() as found:
        parts.repeat(repetitions.report, repetitions.budget_s["report"], once)
    return {"hosts": HOSTS, "findings": FINDINGS, "cpu_s": seconds, "bytes": sizes, "load": asdict(found)}
