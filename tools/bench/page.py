"""The results as text: for the terminal, and as docs/benchmarks.md with its graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tools.bench import graph
from tools.bench.events import OUTSIDE_ROLES, busiest
from tools.bench.figures import Spread
from tools.bench.results import (
    GOAL_CAPACITY_RATIO,
    GOAL_CLUSTER_PEAK_MB,
    GOAL_CLUSTER_RATIO,
    GOAL_CPU_RATIO,
    GOAL_HOST_MODULES_S,
    GOAL_NCCL_LOG_S,
    GOAL_TASKS_PER_HOST,
    GOAL_TASKS_PER_ROLE,
    Capacity,
    Drained,
    Drains,
    Fleet,
    HostModules,
    LargeCluster,
    NcclLog,
    NoChange,
    Report,
    Result,
    newest_two,
)
from tools.docs.markup import NOTICE

NOT_MEASURED = "not measured"

INTRODUCTION = f"""\
# Benchmarks

{NOTICE}
From `docs/benchmarks/*.json`.

How long the playbooks take, against the same steps by hand and against doing nothing. `make bench` measures anew on the lab's
hosts (planned for 25 minutes with warm caches, `BENCH=quick` for 7; longer when the machine is busy) and prints what it found beside the newest kept result;
`make bench KEEP=<label>` keeps it here. Figures are the median, with minimum and maximum, of repeated runs; what is compared is
measured in turn, and ratios are taken pair by pair, so that a machine whose speed drifts does not decide. Everything runs on one
machine, controller and hosts together: with hosts of their own the remote part of every task is faster, and the network slower.
No test asserts a time.
"""

NCCL = """\
## The verdict about a large log of NCCL

What `nccl_health` reads on a host and judges on the controller, in one process with the start of Python: a run of 128 ranks that say
everything (`NCCL_DEBUG=INFO`), made for the purpose.
"""

CAPACITY = """\
## From a bare host to proven capacity

The whole of `playbooks/spark.yml` (preflight, installation, verdict, a pod on the GPU) on a bare host, against
[tests/bench/floor.sh](../tests/bench/floor.sh): the same steps by ssh and kubectl, by somebody who has all files ready and makes no
mistake, with the same conditions to wait for, no sleeps and no checks. Both start from the same state: a host that was made anew,
and a cluster with exactly the objects it had before. Both include what neither can change: starting an agent, and the time until
the device plugin has registered (it tries every 30 s when it finds no MPS daemon). ONYX is not measured.
"""

NO_CHANGE = """\
## A run that changes nothing

`playbooks/spark.yml` on hosts that are as declared. *CPU* is the user and system time of ansible-playbook with all of its children on the
controller, where the tasks that are delegated to it count too. The yardstick is a playbook with the same number of
`ansible.builtin.ping` tasks for each host, which is what so many tasks cost when they do nothing. Most of the difference is paid once
per run, whatever the number of hosts: Ansible packs each module that a run uses anew (0.1 to 0.3 s of CPU each, and pings are one
module), and the Kubernetes client is imported. What one more host costs is measured on many hosts.
"""

ROLES = """\
Tasks are counted from events of a real run, skipped ones and the validation of arguments included, because the controller pays for
each. A role's figure is over all of its calls in the playbook (preflight and installation), on the host that got the most.
"""

FLEET = """\
## Many hosts

A run that changes nothing on 1 to 20 idle hosts: GPU machines up to their container toolkit
([tests/bench/fleet.yml](../tests/bench/fleet.yml): facts, preflight, package repository, toolkit, hardware verdict). All hosts share
this machine's processors with the controller, so this is the cost of the controller *and* of the hosts. No agents join a
cluster here: twenty kubelets would measure two processors, not the playbook. Pings, as many as the playbook has tasks, are the yardstick.
"""


REPORT = """\
## The report of a large run

What the callback does when a run ends, on a made-up run with one finding in eight that is not ok, in words of its own. JSON is the yardstick: it
writes everything. JUnit has a case per finding; the page tells alike findings once.
"""

HOST_MODULES = """\
## GPU facts and health of one host

One task of each module on this machine, against the lab's simulated driver of eight H100: CPU of controller and host together, for
Ansible's own work too, which a ping has as well. *tools* is what the modules call, by itself: `nvidia-smi -q -x`, `nvlink -s`, `nvlink -e`.
RDMA adapters are none here.
"""

CLUSTER = """\
## The verdict about a large cluster

Every node of {nodes} held against its declaration, in an API server with etcd and nothing else, which has {pods} pods too. Objects have real size
(a node's JSON is {size:.0f} kB) and were created through the API; every hundred nodes one each is short, degraded, surplus, not Ready and
missing. [One playbook](../tests/bench/cluster_capacity.yml) asks `gpu_capacity` with `summarize_ok`, [the other](../tests/bench/cluster_k8s_info.yml) `kubernetes.core.k8s_info` and
filters; both read nodes only, and a difference between their verdicts, node by node, or from what was built stops the benchmark. The
module alone is without ansible-playbook, and lists operand pods, as it does when a node is not as declared. The raw paged GET reads the same pages and throws them away: no
reader can be faster. Server and reader share this machine's processors.
"""


DRAIN = """\
## Emptying a node

What `node_drain` does beside `kubectl drain` and `kubernetes.core.k8s_drain`, against the same real API server and its disruption controller; a
stand-in for kubelets confirms the ends of pods within a tenth of a second. Times are whole calls, for the modules with the start of `ansible-playbook`
([one](../tests/bench/drain_node_drain.yml), [the other](../tests/bench/drain_k8s_drain.yml)); where something blocks each was given 5 s. By default
`k8s_drain` does not wait for pods to end. What is named is in the errors and warnings that a person reads, what is left is read from the API afterwards.
"""

_DRAIN_CASES = {
    "free": "{} pods, nothing blocks",
    "budget": "{} pods under a budget that allows none",
    "stuck": "{} pods that do not end",
}
_DRAIN_WAYS = {
    "node_drain": "`node_drain`",
    "kubectl": "`kubectl drain`",
    "k8s_drain_waits": "`k8s_drain` that waits",
    "k8s_drain": "`k8s_drain` by default",
}


def summary_rows(result: Result, previous: Result | None) -> list[list[str]]:
    """One row per goal: what, measured, goal, before."""

    def row(what: str, goal: str, read: Callable[[Result], str | None]) -> list[str]:
        return [what, read(result) or NOT_MEASURED, goal, (read(previous) if previous else None) or NOT_MEASURED]

    return [
        row("bare → capacity, ratio to the steps by hand", f"≤ {GOAL_CAPACITY_RATIO}", _capacity_ratio),
        row("bare → capacity, overhead", "", _capacity_overhead),
        row("no-change run, CPU as ratio to pings", f"≤ {GOAL_CPU_RATIO}", _cpu_ratio),
        row("no-change run, CPU per host", "", _cpu_per_host),
        row("no-change run, wall time", "", _wall),
        row("tasks on one host", f"≤ {GOAL_TASKS_PER_HOST}", _tasks),
        row("tasks of one role on one host", f"≤ {GOAL_TASKS_PER_ROLE}", _tasks_per_role),
        row("verdict about a log of NCCL, wall time", f"≤ {GOAL_NCCL_LOG_S} s for 50 MB", _nccl_log),
        row("gpu_info and gpu_health, CPU beyond two pings and the tools", f"≤ {GOAL_HOST_MODULES_S} s", _host_modules),
        row("CPU of one more host, as ratio to pings", f"≤ {GOAL_CPU_RATIO}", _marginal_ratio),
        row("wall time of one more host", "", _slope),
        row("report over 1000 hosts with 40 findings each, CPU", "", _report),
        row("verdict about a large cluster, times faster than k8s_info", f"≥ {GOAL_CLUSTER_RATIO}", _cluster_ratio),
        row("verdict about a large cluster, peak memory", f"≤ {GOAL_CLUSTER_PEAK_MB} MB", _cluster_peak),
    ]


def _host_modules(result: Result) -> str | None:
    return f"{result.host_modules.more_than_pings_s.text(2)} s" if result.host_modules else None


def _nccl_log(result: Result) -> str | None:
    if result.nccl is None:
        return None
    return f"{Spread.of(result.nccl.wall_s).text()} s for {result.nccl.bytes / 1e6:.0f} MB"


def _capacity_ratio(result: Result) -> str | None:
    return result.capacity.ratio.text(2) if result.capacity else None


def _capacity_overhead(result: Result) -> str | None:
    return f"{result.capacity.overhead_s.text()} s" if result.capacity else None


def _cpu_ratio(result: Result) -> str | None:
    return result.no_change.ratio.text(2) if result.no_change else None


def _cpu_per_host(result: Result) -> str | None:
    return f"{result.no_change.cpu_per_host_s.text(2)} s" if result.no_change else None


def _wall(result: Result) -> str | None:
    return f"{Spread.of(result.no_change.playbook_wall_s).text()} s" if result.no_change else None


def _tasks(result: Result) -> str | None:
    return str(busiest(result.no_change.tasks)) if result.no_change else None


def _tasks_per_role(result: Result) -> str | None:
    if not result.no_change:
        return None
    counts = role_counts(result.no_change)
    most = max(counts.values(), default=0)
    return f"{most} ({', '.join(role for role, count in counts.items() if count == most)})"


def _marginal_ratio(result: Result) -> str | None:
    return f"{result.fleet.cpu_line.slope / result.fleet.ping_cpu_line.slope:.2f}" if result.fleet else None


def _slope(result: Result) -> str | None:
    return f"{result.fleet.line.slope:.2f} s" if result.fleet else None


def _report(result: Result) -> str | None:
    return f"{Spread.of(_sums(result.report)).text(2)} s" if result.report else None


def _sums(part: Report) -> list[float]:
    """CPU of all documents together, time by time."""
    return [sum(each) for each in zip(*part.cpu_s.values(), strict=True)]


def _cluster_ratio(result: Result) -> str | None:
    return result.cluster.ratio.text() if result.cluster else None


def _cluster_peak(result: Result) -> str | None:
    return f"{Spread.of(result.cluster.peak_mb).text(0)} MB" if result.cluster else None


def role_counts(part: NoChange) -> dict[str, int]:
    """Tasks of each role on the host that got the most of them; tasks of playbooks themselves are left out."""
    return {role: busiest(hosts) for role, hosts in part.roles.items() if role != OUTSIDE_ROLES}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def load_text(load: Mapping[str, float]) -> str:
    """How busy the machine was, in words."""
    return (
        f"load average {load['runnable']:.1f} at the start; {load['busy']:.0f} % of the processors' time busy, "
        f"{load['stolen']:.0f} % taken by other guests"
    )


def terminal(result: Result, previous: Result | None) -> str:
    """The summary in columns."""
    rows = [
        ["", "MEASURED", "GOAL", f"BEFORE ({previous.label})" if previous else "BEFORE"],
        *summary_rows(result, previous),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(results: Sequence[Result]) -> str:
    """docs/benchmarks.md: the newest result beside the one before it, and how it came about."""
    result, previous = newest_two(results)
    machine = result.machine
    before = f"before (`{previous.label}`, {previous.measured[:10]})" if previous else "before"
    parts = [
        INTRODUCTION,
        f"## `{result.label}`, {result.measured[:10]}\n",
        f"Commit {result.commit}; {machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB of memory, "
        f"Linux {machine['kernel']}, shared with other guests.\n",
        table(["", "measured", "goal", before], summary_rows(result, previous)),
    ]
    if result.nccl:
        parts += [NCCL, _nccl_table(result.nccl)]
    if result.host_modules:
        parts += [HOST_MODULES, _host_modules_table(result.host_modules)]
    if result.capacity:
        parts += [CAPACITY, _capacity_table(result.capacity)]
    if result.no_change:
        parts += [NO_CHANGE, _no_change_table(result.no_change), ROLES, _roles_table(result, previous)]
    if result.fleet:
        parts += [FLEET, _fleet_table(result.fleet), "![Wall time by number of hosts](benchmarks/fleet.svg)\n"]
    if result.report:
        parts += [REPORT, _report_table(result.report)]
    if result.cluster:
        size = result.cluster.bytes / result.cluster.nodes / 1000
        told = CLUSTER.format(nodes=result.cluster.nodes, pods=result.cluster.pods, size=size)
        parts += [told, _cluster_table(result.cluster)]
    if result.drain:
        parts += [DRAIN, drain_table(result.drain)]
    parts += _origins(result)
    if len(results) > 1:
        parts += ["## All kept results\n", _history(results)]
    return "\n".join(parts)


def _nccl_table(part: NcclLog) -> str:
    figures = [("wall, s", part.wall_s, 1), ("CPU, s", part.cpu_s, 1), ("peak memory, MB", part.peak_mb, 0)]
    rows = [[name, Spread.of(values).text(digits)] for name, values, digits in figures]
    return f"{table(['', 'median (minimum to maximum)'], rows)}\nThe machine meanwhile: {load_text(part.load)}.\n"


def _host_modules_table(part: HostModules) -> str:
    rows = [[name, Spread.of(seconds).text(3)] for name, seconds in part.cpu_s.items()]
    return f"{table(['one', 'CPU, s'], rows)}\nTasks per run: {part.tasks}. The machine meanwhile: {load_text(part.load)}.\n"


def _capacity_table(part: Capacity) -> str:
    rows = [
        [str(number), f"{playbook:.1f}", f"{floor:.1f}", f"{playbook / floor:.2f}", f"{playbook - floor:.1f}"]
        for number, (playbook, floor) in enumerate(zip(part.playbook_s, part.floor_s, strict=True), start=1)
    ]
    header = ["pair", "playbook, s", "by hand, s", "ratio", "overhead, s"]
    return f"{table(header, rows)}\nThe machine meanwhile: {load_text(part.load)}.\n"


def _no_change_table(part: NoChange) -> str:
    rows = [
        ["playbook", Spread.of(part.playbook_cpu_s).text(2), Spread.of(part.playbook_wall_s).text()],
        ["as many pings", Spread.of(part.ping_cpu_s).text(2), Spread.of(part.ping_wall_s).text()],
    ]
    tasks = ", ".join(f"{host} {count}" for host, count in part.tasks.items())
    return (
        f"{table(['', 'CPU, s', 'wall, s'], rows)}\nPairs: {len(part.playbook_cpu_s)}. Tasks: {tasks}. "
        f"The machine meanwhile: {load_text(part.load)}.\n"
    )


def _roles_table(result: Result, previous: Result | None) -> str:
    assert result.no_change
    now = role_counts(result.no_change)
    before = role_counts(previous.no_change) if previous and previous.no_change else {}
    rows = [[f"`{role}`", str(now.get(role, "")), str(before.get(role, ""))] for role in dict.fromkeys([*now, *before])]
    return table(["role", "tasks", "before"], rows)


def _report_table(part: Report) -> str:
    rows = [
        [name, Spread.of(seconds).text(2), f"{part.size_bytes[name] / 1e6:.2f}"] for name, seconds in part.cpu_s.items()
    ]
    return (
        f"{table(['document', 'CPU, s', 'MB'], rows)}\nHosts: {part.hosts}, findings of each: {part.findings}. "
        f"The machine meanwhile: {load_text(part.load)}.\n"
    )


def _fleet_table(part: Fleet) -> str:
    line = part.line
    rows = [
        [
            str(hosts),
            Spread.of(walls).text(),
            f"{line.at(hosts):.1f}",
            Spread.of(part.cpu_s[hosts]).text(),
            Spread.of(part.ping_cpu_s[hosts]).text() if hosts in part.ping_cpu_s else "",
        ]
        for hosts, walls in sorted(part.wall_s.items())
    ]
    return (
        f"{table(['hosts', 'wall, s', 'wall on the line, s', 'controller CPU, s', 'CPU of pings, s'], rows)}\n"
        f"Least squares: wall time {line.intercept:.1f} s and {line.slope:.2f} s per host (R² {line.r_squared:.3f}); controller CPU "
        f"{part.cpu_line.intercept:.1f} s and {part.cpu_line.slope:.2f} s per host, of pings {part.ping_cpu_line.intercept:.1f} s and "
        f"{part.ping_cpu_line.slope:.2f} s. {part.tasks_per_host} tasks per host. Booting all of them with their mirror took {part.boot_s:.0f} s. "
        f"The machine meanwhile: {load_text(part.load)}.\n"
    )


_WAYS = {
    "module": "playbook with `gpu_capacity`",
    "k8s_info": "playbook with `k8s_info` and filters",
    "alone": "`gpu_capacity` alone, with operand pods",
    "floor": "raw paged GET",
}


def _cluster_table(part: LargeCluster) -> str:
    rows = [
        [
            told,
            Spread.of(part.wall_s[way]).text(),
            Spread.of(part.cpu_s[way]).text(),
        ]
        for way, told in _WAYS.items()
    ]
    verdicts = ", ".join(f"{verdict} {count}" for verdict, count in part.verdicts.items())
    return (
        f"{table(['', 'wall, s', 'CPU, s'], rows)}\n"
        f"Pairs: {len(part.wall_s['module'])}; {part.ratio.text()} times faster, pair by pair. {part.bytes / 1e6:.0f} MB of JSON, read with "
        f"{Spread.of(part.peak_mb).text(0)} MB of memory. Verdicts of both: {verdicts}. "
        f"The machine meanwhile: {load_text(part.load)}.\n"
    )


def drain_table(part: Drains) -> str:
    """One row per case and way: how long, how it ended, what was named, and how the node was left."""
    rows = [
        [
            _DRAIN_CASES[case].format(part.pods[case]),
            _DRAIN_WAYS[way],
            Spread.of(found.wall_s).text(),
            "succeeds" if found.succeeded else "fails",
            _named(found, part.pods[case]),
            f"{'cordoned' if found.cordoned else 'not cordoned'}, {found.left or 'no'} pods left",
        ]
        for case, ways in part.cases.items()
        for way, found in ways.items()
    ]
    header = ["case", "by", "s", "ends", "names", "the node afterwards"]
    start = f"A playbook with one ping takes {Spread.of(part.start_s).text()} s."
    return f"{table(header, rows)}\n{start} The machine meanwhile: {load_text(part.load)}.\n"


def _named(found: Drained, pods: int) -> str:
    named = [f"{found.pods_named} of {pods} pods"] if found.pods_named else []
    return " and ".join([*named, *(["the budget"] if found.budget_named else [])]) or "nothing"


def _origins(result: Result) -> list[str]:
    """Which parts are of another time than the rest; empty when all are of one."""
    lines = [
        f"`{name}`: {origin['measured'][:10]}, commit {origin['commit']}, Linux {origin['machine']['kernel']}"
        for name, origin in result.origins.items()
    ]
    return [f"Measured at another time: {'; '.join(lines)}.\n"] if lines else []


def _history(results: Sequence[Result]) -> str:
    rows = [
        [
            f"`{result.label}`",
            result.measured[:10],
            *(read(result) or NOT_MEASURED for read in (_capacity_ratio, _cpu_ratio, _marginal_ratio, _tasks, _slope)),
        ]
        for result in reversed(results)
    ]
    return table(
        ["label", "date", "bare → capacity", "CPU to pings", "CPU of one more host", "tasks", "wall of one more host"],
        rows,
    )


def fleet_graph(results: Sequence[Result]) -> str | None:
    """The graph of the newest result with a fleet beside the one before it; None when no result has one."""
    with_fleet = [(result.label, result.fleet) for result in reversed(results) if result.fleet][:2]
    if not with_fleet:
        return None
    series = [graph.Series(label, fleet.wall_s) for label, fleet in with_fleet]
    return graph.chart("A run that changes nothing, on idle hosts", "hosts", "wall time, s", series)
