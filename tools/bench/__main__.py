"""`python -m tools.bench`: measure, print beside the newest kept result, and keep the new one when asked.

Everything is measured on the bench's own lab hosts, which are removed again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lab import hosts, machine, network, system
from lab.progress import say
from lab.settings import REPOSITORY, STATE
from tools.bench import drains, host_modules, large_cluster, measure, page, parts, reports, results
from tools.bench.nccl_log import BUDGET_S as NCCL_BUDGET_S
from tools.bench.nccl_log import BYTES as NCCL_BYTES
from tools.bench.nccl_log import REPETITIONS as NCCL_REPETITIONS
from tools.bench.nccl_log import measure as nccl_log

KEPT = REPOSITORY / "docs" / "benchmarks"
CURRENT = REPOSITORY / ".lab" / "benchmark.json"

PARTS: Mapping[str, Callable[[parts.Repetitions], dict[str, Any]]] = {
    "nccl": nccl_log,
    "host_modules": host_modules.measure,
    "capacity": parts.capacity,
    "no_change": parts.no_change,
    "fleet": parts.fleet_scaling,
    "report": reports.report,
    "cluster": large_cluster.measure,
    "drain": drains.measure,
}
WITHOUT_HOSTS = frozenset({"cluster", "drain", "host_modules", "nccl", "report"})
"""Parts that boot no lab hosts."""
OWN_BUDGETS_S = {"host_modules": host_modules.BUDGET_S}


def plan(repetitions: parts.Repetitions, chosen: list[str]) -> str:
    """What would be run, and how often."""
    sizes = ", ".join(map(str, repetitions.fleet_sizes))
    lines = {
        "nccl": f"{NCCL_REPETITIONS} times the verdict about a log of {NCCL_BYTES / 1e6:.0f} MB",
        "host_modules": f"{host_modules.REPETITIONS} times {host_modules.TASKS} local tasks each of ping, gpu_info and gpu_health",
        "capacity": f"{repetitions.capacity} pairs of {parts.PLAYBOOK} and tests/bench/floor.sh, each from a bare host",
        "no_change": f"{repetitions.no_change} pairs of {parts.PLAYBOOK} without changes and as many pings",
        "fleet": f"{repetitions.fleet} rounds of tests/bench/fleet.yml without changes on {sizes} of "
        f"{max(repetitions.fleet_sizes)} hosts",
        "report": f"{repetitions.report} times the documents about a run over {reports.HOSTS} hosts with {reports.FINDINGS} findings each",
        "cluster": f"{repetitions.cluster} pairs of gpu_capacity and of k8s_info with filters, on {repetitions.cluster_nodes} nodes "
        f"and {4 * repetitions.cluster_nodes} pods in an API server of its own",
        "drain": f"{repetitions.drain} rounds of {len(drains.CASES)} cases by {len(drains.WAYS)} ways, in an API server of its own",
    }
    return "\n".join(
        f"{name}: {lines[name]}; no new repetition that would pass {repetitions.budget_s.get(name, OWN_BUDGETS_S.get(name, NCCL_BUDGET_S)):.0f} s"
        for name in chosen
    )


def record(document: dict[str, Any], name: str, part: dict[str, Any]) -> dict[str, Any]:
    """The document with one part measured anew; parts measured before stay, and say of when and what they are."""
    before = {key: document[key] for key in results.ORIGIN if key in document}
    now = {
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit(),
        "machine": measure.machine(),
    }
    others = {other: {"origin": before, **found} for other, found in document.get("parts", {}).items()}
    return {"schema": results.SCHEMA, **now, "parts": {**others, name: {**part, "origin": now}}}


def commit() -> str:
    """The commit that is measured, marked when files differ from it."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    described = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return described or "unknown"


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen parts; the exit status says whether that worked, not whether goals were met."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--mode", choices=sorted(parts.MODES), default="default", help="how often to repeat")
    parser.add_argument(
        "--only", action="append", choices=sorted(PARTS), help="this part only, beside what the last run measured"
    )
    parser.add_argument("--keep", metavar="LABEL", help="write the result to docs/benchmarks/LABEL.json")
    parser.add_argument("--dry-run", action="store_true", help="say what would be measured, and touch nothing")
    options = parser.parse_args(arguments)
    chosen = [name for name in PARTS if name in (options.only or PARTS)]
    repetitions = parts.MODES[options.mode]
    if options.dry_run:
        print(plan(repetitions, chosen))
        return 0
    if STATE.parent != REPOSITORY / ".lab":
        parser.error(
            "BAREMETAL_GPU_LAB_DIR must name a folder of its own below .lab, as `make bench` does: its hosts are removed"
        )
    os.umask(0o022)
    document = json.loads(CURRENT.read_text(encoding="utf-8")) if options.only and CURRENT.exists() else {}
    with _hosts() if set(chosen) - WITHOUT_HOSTS else nullcontext():
        for name in chosen:
            say(f"measure {name}")
            document = record(document, name, PARTS[name](repetitions))
            _write(CURRENT, document)
    earlier = results.kept(KEPT)
    print(page.terminal(results.parse(document, "now"), earlier[-1] if earlier else None))
    if options.keep:
        _write(KEPT / f"{options.keep}.json", document)
        print(f"kept as docs/benchmarks/{options.keep}.json; `make docs` writes docs/benchmarks.md anew")
    return 0


@contextmanager
def _hosts() -> Iterator[None]:
    """The lab to oneself; its hosts are removed at the end."""
    machine.refuse_unusable()
    system.ensure_packages()
    with network.alone():
        try:
            yield
        finally:
            hosts.down()


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
