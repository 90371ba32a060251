"""The results of `make bench`: kept as JSON, read into typed values, held against the goals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.bench.figures import Line, Spread, pairwise_differences, pairwise_ratios

SCHEMA = 1
ORIGIN = ("measured", "commit", "machine")
"""What says when, of what and where a document or one of its parts was measured."""

# Goals, as the project set them for itself.
GOAL_NCCL_LOG_S = 3
GOAL_HOST_MODULES_S = 0.4
GOAL_CAPACITY_RATIO = 1.2
GOAL_CPU_RATIO = 1.3
GOAL_TASKS_PER_HOST = 60
GOAL_TASKS_PER_ROLE = 8
GOAL_CLUSTER_RATIO = 10
GOAL_CLUSTER_PEAK_MB = 150


@dataclass(frozen=True)
class NcclLog:
    """The verdict about a large log of NCCL: its bytes, and of each process that gave one wall and CPU seconds and peak memory in MB."""

    bytes: int
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    peak_mb: tuple[float, ...]
    load: Mapping[str, float]


@dataclass(frozen=True)
class Capacity:
    """From bare to proven: seconds of the playbook and of the same steps by hand, pair by pair."""

    playbook_s: tuple[float, ...]
    floor_s: tuple[float, ...]
    load: Mapping[str, float]

    @property
    def ratio(self) -> Spread:
        return Spread.of(pairwise_ratios(self.playbook_s, self.floor_s))

    @property
    def overhead_s(self) -> Spread:
        return Spread.of(pairwise_differences(self.playbook_s, self.floor_s))


@dataclass(frozen=True)
class NoChange:
    """A run that changes nothing. `tasks` is by host; `roles` by role and host; CPU is the controller's, in seconds."""

    playbook_cpu_s: tuple[float, ...]
    ping_cpu_s: tuple[float, ...]
    playbook_wall_s: tuple[float, ...]
    ping_wall_s: tuple[float, ...]
    tasks: Mapping[str, int]
    roles: Mapping[str, Mapping[str, int]]
    load: Mapping[str, float]

    @property
    def ratio(self) -> Spread:
        return Spread.of(pairwise_ratios(self.playbook_cpu_s, self.ping_cpu_s))

    @property
    def cpu_per_host_s(self) -> Spread:
        return Spread.of([cpu / len(self.tasks) for cpu in self.playbook_cpu_s])


@dataclass(frozen=True)
class Fleet:
    """Wall seconds of a run that changes nothing, by how many idle hosts it was about."""

    wall_s: Mapping[int, tuple[float, ...]]
    cpu_s: Mapping[int, tuple[float, ...]]
    ping_cpu_s: Mapping[int, tuple[float, ...]]
    tasks_per_host: int
    boot_s: float
    load: Mapping[str, float]

    @property
    def line(self) -> Line:
        return _line(self.wall_s)

    @property
    def cpu_line(self) -> Line:
        return _line(self.cpu_s)

    @property
    def ping_cpu_line(self) -> Line:
        return _line(self.ping_cpu_s)


@dataclass(frozen=True)
class LargeCluster:
    """The verdict about every node: seconds by way, pair by pair. `alone` is the module without a playbook; `peak_mb` is its memory."""

    nodes: int
    pods: int
    bytes: int
    wall_s: Mapping[str, tuple[float, ...]]
    cpu_s: Mapping[str, tuple[float, ...]]
    peak_mb: tuple[float, ...]
    verdicts: Mapping[str, int]
    load: Mapping[str, float]

    @property
    def ratio(self) -> Spread:
        """How many times faster the module's playbook is."""
        return Spread.of(pairwise_ratios(self.wall_s["k8s_info"], self.wall_s["module"]))


def _line(samples: Mapping[int, tuple[float, ...]]) -> Line:
    return Line.fit([(float(x), y) for x, ys in samples.items() for y in ys])


@dataclass(frozen=True)
class Report:
    """The documents about one large run: CPU seconds and size in bytes of each, by its name."""

    hosts: int
    findings: int
    cpu_s: Mapping[str, tuple[float, ...]]
    size_bytes: Mapping[str, int]
    load: Mapping[str, float]


@dataclass(frozen=True)
class HostModules:
    """CPU seconds of one task by module, controller and host together, and of the driver's tool alone (``tools``)."""

    tasks: int
    cpu_s: Mapping[str, tuple[float, ...]]
    load: Mapping[str, float]

    @property
    def more_than_pings_s(self) -> Spread:
        """What gpu_info and gpu_health cost together beyond two pings and the tools that each of them calls."""
        both = zip(*(self.cpu_s[name] for name in ("gpu_info", "gpu_health", "ping", "tools")), strict=True)
        return Spread.of([info + health - 2 * ping - 2 * tools for info, health, ping, tools in both])


@dataclass(frozen=True)
class Drained:
    """Drains of one case by one way: seconds of each, and what was so each time."""

    wall_s: tuple[float, ...]
    succeeded: bool
    pods_named: int
    budget_named: bool
    cordoned: bool
    left: int


@dataclass(frozen=True)
class Drains:
    """Emptying a node: by case and way. `pods` is how many there were, by case."""

    pods: Mapping[str, int]
    cases: Mapping[str, Mapping[str, Drained]]
    start_s: tuple[float, ...]
    """Of a playbook with one ping."""
    load: Mapping[str, float]


@dataclass(frozen=True)
class Result:
    """One run of the benchmark. A part that was not measured is None, never a figure."""

    label: str
    measured: str
    commit: str
    machine: Mapping[str, Any]
    capacity: Capacity | None
    no_change: NoChange | None
    fleet: Fleet | None
    report: Report | None = None
    nccl: NcclLog | None = None
    cluster: LargeCluster | None = None
    host_modules: HostModules | None = None
    drain: Drains | None = None
    origins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of parts that were measured at another time, of another commit or on another machine: when, of what and where."""


def parse(document: Mapping[str, Any], label: str) -> Result:
    """A result from its document. Raises ValueError for another schema, KeyError where something is missing."""
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema {document['schema']!r} is not {SCHEMA}")
    parts = document["parts"]
    return Result(
        label=label,
        measured=document["measured"],
        commit=document["commit"],
        machine=document["machine"],
        nccl=_nccl(parts["nccl"]) if "nccl" in parts else None,
        capacity=_capacity(parts["capacity"]) if "capacity" in parts else None,
        no_change=_no_change(parts["no_change"]) if "no_change" in parts else None,
        fleet=_fleet(parts["fleet"]) if "fleet" in parts else None,
        report=_report(parts["report"]) if "report" in parts else None,
        cluster=_cluster(parts["cluster"]) if "cluster" in parts else None,
        host_modules=_host_modules(parts["host_modules"]) if "host_modules" in parts else None,
        drain=_drains(parts["drain"]) if "drain" in parts else None,
        origins={
            name: part["origin"]
            for name, part in parts.items()
            if "origin" in part and part["origin"] != {key: document[key] for key in ORIGIN}
        },
    )


def _drains(part: Mapping[str, Any]) -> Drains:
    cases = {
        case: {way: _drained(case, way, runs) for way, runs in ways.items()} for case, ways in part["cases"].items()
    }
    return Drains(part["pods"], cases, tuple(part["start_s"]), part["load"])


def _drained(case: str, way: str, runs: Sequence[Mapping[str, Any]]) -> Drained:
    """Raises ValueError when a way did not do the same each time: then one word about it would be wrong."""
    ends = [{name: value for name, value in each.items() if name != "wall_s"} for each in runs]
    if any(end != ends[0] for end in ends):
        raise ValueError(f"{way} did not do the same each time in the case {case}: {ends}")
    return Drained(tuple(each["wall_s"] for each in runs), **ends[0])


def _report(part: Mapping[str, Any]) -> Report:
    return Report(
        hosts=part["hosts"],
        findings=part["findings"],
        cpu_s={name: tuple(seconds) for name, seconds in part["cpu_s"].items()},
        size_bytes=part["bytes"],
        load=part["load"],
    )


def _host_modules(part: Mapping[str, Any]) -> HostModules:
    return HostModules(part["tasks"], {name: tuple(seconds) for name, seconds in part["cpu_s"].items()}, part["load"])


def _nccl(part: Mapping[str, Any]) -> NcclLog:
    wall_s, cpu_s, peak_mb = (tuple(run[name] for run in part["runs"]) for name in ("wall_s", "cpu_s", "peak_mb"))
    return NcclLog(part["bytes"], wall_s, cpu_s, peak_mb, part["load"])


def _capacity(part: Mapping[str, Any]) -> Capacity:
    return Capacity(tuple(part["seconds"]["playbook"]), tuple(part["seconds"]["floor"]), part["load"])


def _no_change(part: Mapping[str, Any]) -> NoChange:
    playbook, ping = part["runs"]["playbook"], part["runs"]["ping"]
    return NoChange(
        playbook_cpu_s=tuple(run["cpu_s"] for run in playbook),
        ping_cpu_s=tuple(run["cpu_s"] for run in ping),
        playbook_wall_s=tuple(run["wall_s"] for run in playbook),
        ping_wall_s=tuple(run["wall_s"] for run in ping),
        tasks=part["tasks"],
        roles=part["roles"],
        load=part["load"],
    )


def _fleet(part: Mapping[str, Any]) -> Fleet:
    return Fleet(
        wall_s={int(hosts): tuple(run["wall_s"] for run in runs) for hosts, runs in part["runs"].items()},
        cpu_s={int(hosts): tuple(run["cpu_s"] for run in runs) for hosts, runs in part["runs"].items()},
        ping_cpu_s={int(hosts): tuple(run["cpu_s"] for run in runs) for hosts, runs in part["pings"].items()},
        tasks_per_host=part["tasks_per_host"],
        boot_s=part["boot_s"],
        load=part["load"],
    )


def _cluster(part: Mapping[str, Any]) -> LargeCluster:
    def samples(figure: str) -> dict[str, tuple[float, ...]]:
        return {way: tuple(run[figure] for run in runs) for way, runs in part["runs"].items()}

    return LargeCluster(
        nodes=part["nodes"],
        pods=part["pods"],
        bytes=part["bytes"],
        wall_s=samples("wall_s"),
        cpu_s=samples("cpu_s"),
        peak_mb=tuple(part["peak_mb"]),
        verdicts=part["verdicts"],
        load=part["load"],
    )


def kept(folder: Path) -> list[Result]:
    """The results that are kept in a folder, oldest first."""
    found = (parse(json.loads(path.read_text(encoding="utf-8")), path.stem) for path in folder.glob("*.json"))
    return sorted(found, key=lambda result: (result.measured, result.label))


def newest_two(results: Iterable[Result]) -> tuple[Result, Result | None]:
    """The newest result and the one before it. Raises ValueError without any."""
    ordered = list(results)
    if not ordered:
        raise ValueError("there is no result")
    return ordered[-1], ordered[-2] if len(ordered) > 1 else None
