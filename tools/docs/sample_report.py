"""A report of made-up runs, for the documentation, for whoever works on the page, and for `make bench`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    FAIL,
    OK,
    RESULT_KEY,
    UNKNOWN,
    WARN,
    Finding,
    judge,
    waivers_from,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.isolation import Measurement, Round, Topology, run
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report import Counts, Record
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_pictures import pairs_of

# Fixed, so that the same page comes out each time. These draws are no secrets.
SEED = 20
WAIVERS = [{"code": "BG-GPU-009", "reason": "the driver's version is told by the site's own inventory"}]


@dataclass(frozen=True)
class Ended:
    """One host of a made-up run: its findings, and what Ansible counted."""

    findings: tuple[Finding, ...]
    counts: Counts
    silent: bool = False


def onyx() -> dict[str, Any]:
    """ONYX on a bad day: a GPU lost, a slow rail, a host that is down, and something that nobody could see."""
    hosts = {"onyx-m1": Ended((_capacity("onyx-m1", 0),), Counts(ok=14))}
    for number in range(1, 17):
        name = f"onyx-g{number:02d}"
        hosts[name] = Ended((_capacity(name, 8), *_healthy(name)), Counts(ok=21))
    lost = Finding(
        "BG-GPU-001",
        "onyx-g05",
        FAIL,
        "onyx-g05 has 7 GPUs, its profile h100-sxm-8 declares 8",
        "reseat or replace GPU 0000:9b:00.0, then run verify again",
        {"what": "nvidia-smi -q -x", "where": "onyx-g05", "found": 7, "declared": 8, "missing": ["0000:9b:00.0"]},
        ("ONYX-R016",),
    )
    hosts["onyx-g05"] = Ended((_capacity("onyx-g05", 7), lost, *_healthy("onyx-g05")[1:]), Counts(ok=20, failed=1))
    unseen = Finding(
        "BG-GPU-009", "onyx-g09", UNKNOWN, "the driver's version cannot be read", "read it", {"where": "onyx-g09"}
    )
    hosts["onyx-g09"] = replace(hosts["onyx-g09"], findings=(*hosts["onyx-g09"].findings, unseen))
    hosts["onyx-g11"] = Ended((), Counts(unreachable=1), silent=True)
    first = hosts["onyx-g01"]
    hosts["onyx-g01"] = replace(first, findings=(*first.findings, *_fabric()))
    return _document("verify.yml", hosts, {"onyx": [*hosts, "onyx-g17"]})


def fleet(hosts: int, findings: int) -> dict[str, Any]:
    """Many hosts with as many findings each, one in eight of them bad in words of its own."""
    draw = random.Random(SEED)
    codes = ("BG-GPU", "BG-HOST", "BG-NCCL", "BG-K8S")
    ended = {}
    for number in range(hosts):
        name = f"gpu-{number:04d}"
        found = []
        for each in range(findings):
            status = draw.choice((FAIL, UNKNOWN, WARN)) if draw.random() < 0.125 else OK
            found.append(
                Finding(
                    f"{codes[each % 4]}-{900 + each:03d}",
                    f"{name} part {each}",
                    status,
                    f"reading {draw.randrange(10**6)} of {name}",
                    "look at it",
                    {"where": name, "value": draw.random(), "raw": "x" * 200},
                    ("ONYX-R016",),
                )
            )
        ended[name] = Ended(tuple(found), Counts(ok=findings))
    return _document("verify.yml", ended, {"onyx": list(ended)})


def _document(playbook: str, hosts: Mapping[str, Ended], clusters: Mapping[str, list[str]]) -> dict[str, Any]:
    """What the callback would have written."""
    record = Record()
    for name, host in hosts.items():
        if host.silent:
            record.unreachable(name, name, "ssh: connect to host 192.0.2.11 port 22: Connection timed out")
            continue
        judgement = judge(host.findings, waivers_from(WAIVERS))
        result = {
            RESULT_KEY: [finding.as_dict() for finding in judgement.findings],
            "passed": judgement.passed,
            "refused": sorted({finding.code for finding in judgement.refused}),
            "unused_waivers": [],
        }
        record.add(name, "Decide on the host's findings", result, changed=False)
    return record.document(
        playbook=playbook,
        started="2026-01-15T08:00:00Z",
        finished="2026-01-15T08:04:31Z",
        elapsed_s=271.4,
        check_mode=False,
        lab={},
        counts={name: host.counts for name, host in hosts.items()},
        clusters=clusters,
    )


def _capacity(name: str, gpus: int) -> Finding:
    declared = 0 if name == "onyx-m1" else 8
    short = gpus < declared
    return Finding(
        "BG-CAP-002" if short else "BG-CAP-001",
        name,
        FAIL if short else OK,
        f"{name} offers {gpus} of nvidia.com/gpu, declared are {declared}",
        "look at the device plugin and at the GPUs of the host" if short else "",
        {"what": "status.allocatable", "where": "API server", "resource": "nvidia.com/gpu", "allocatable": gpus},
        ("ONYX-R057",),
    )


def _healthy(name: str) -> tuple[Finding, ...]:
    return (
        Finding("BG-GPU-001", name, OK, f"{name} has its 8 GPUs", "", {"where": name}, ("ONYX-R016",)),
        Finding("BG-GPU-002", name, OK, f"the GPUs of {name} are those of its profile", "", {"where": name}),
        _bandwidth(f"{name} all_reduce", 481.0, 440.0),
    )


def _bandwidth(subject: str, best: float, minimum: float) -> Finding:
    rows = [[2**power, round(best / (1 + (2**24 / 2**power) ** 0.8), 2)] for power in range(10, 35, 2)]
    value = rows[-1][1]
    slow = value < minimum
    return Finding(
        "BG-NCCL-002",
        subject,
        FAIL if slow else OK,
        f"all_reduce reaches {value:g} GB/s at {rows[-1][0]} bytes, {'less than' if slow else 'at least'} {minimum:g}",
        "isolate the slow node, rail or link by pairs" if slow else "",
        {"where": "all_reduce.log", "busbw_gb_per_s": value, "minimum_gb_per_s": minimum, "rows": rows},
        ("ONYX-R017", "ONYX-R021"),
    )


def _fabric() -> Iterator[Finding]:
    yield _bandwidth("16 nodes all_reduce", 212.0, 330.0)
    nodes = tuple(f"onyx-g{number:02d}" for number in range(1, 17))
    draw = random.Random(SEED)

    def measure(wanted: Round) -> list[Measurement]:
        slow = 0.6
        return [
            Measurement(pair, round(368 * (slow if "onyx-g07" in pair.nodes else 1) * draw.gauss(1, 0.006), 1))
            for pair in wanted.pairs
        ]

    conclusion = run(Topology(nodes), measure, 330.0)
    yield Finding(
        "BG-NCCL-016",
        "fabric of onyx",
        FAIL,
        f"{', '.join(conclusion.convicted)} is slow with two different healthy nodes",
        "take it out, and look at its network adapters, cables and switch ports",
        {"where": "onyx", "rounds": conclusion.rounds, "pairs": pairs_of(conclusion.evidence)},
        ("ONYX-R021",),
    )
