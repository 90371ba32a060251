"""Measurements of `make bench` on lab hosts. Each returns plain data for the result file; nothing here judges."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from lab import engine, hosts, plays
from lab.model import systems
from lab.progress import say
from lab.settings import REPOSITORY, STATE
from tools.bench import events
from tools.bench.cluster import Cluster, kubectl_folder
from tools.bench.measure import Usage, load, run

HERE = REPOSITORY / "tests" / "bench"
WORK = STATE / "bench"
PLAYBOOK = "playbooks/spark.yml"
FLEET_PLAYBOOK = HERE / "fleet.yml"


@dataclass(frozen=True)
class Repetitions:
    """How often each thing is measured, and on how many hosts. `budget_s` ends a part early, after at least one repetition."""

    capacity: int
    no_change: int
    fleet: int
    fleet_sizes: tuple[int, ...]
    budget_s: Mapping[str, float]
    report: int = 3
    cluster: int = 1
    cluster_nodes: int = 1000
    drain: int = 1


MODES = {
    "default": Repetitions(
        capacity=3,
        no_change=5,
        fleet=3,
        fleet_sizes=(1, 5, 10, 20),
        budget_s={"capacity": 360, "no_change": 100, "fleet": 180, "cluster": 600, "drain": 480, "report": 30},
        cluster=3,
        cluster_nodes=5000,
        drain=3,
    ),
    "quick": Repetitions(
        capacity=1,
        no_change=2,
        fleet=1,
        fleet_sizes=(1, 5),
        budget_s={"capacity": 120, "no_change": 40, "fleet": 40, "cluster": 60, "drain": 60, "report": 15},
        cluster=1,
        cluster_nodes=1000,
    ),
}


def playbook(path: str | Path, name: str, *extra: str, variables: Mapping[str, str] | None = None) -> Usage:
    """Run a playbook on the bench's hosts. Raises RuntimeError when it fails: what did not work has no duration."""
    return _run(plays.command(path, *extra), name, variables or {})


def _run(command: list[str], name: str, variables: Mapping[str, str]) -> Usage:
    log = WORK / "log" / f"{name}.log"
    usage = run(
        command,
        log,
        cwd=REPOSITORY,
        environment={**plays.environment(_verdict(name)), **variables},
    )
    if usage.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
        raise RuntimeError(f"{name} ended with {usage.returncode}; the end of {log}:\n{tail}")
    say(f"{name}: {usage.wall_s:.1f} s, CPU {usage.cpu_s:.1f} s")
    return usage


def repeat(times: int, budget_s: float, body: Callable[[int], None]) -> int:
    """Call `body` up to `times` times, at least once, and no more once another round would pass the budget; returns how often.

    The estimate of a round is the longest so far.
    """
    begun, longest = time.monotonic(), 0.0
    for number in range(times):
        started = time.monotonic()
        if number and started - begun + longest > budget_s:
            say(f"no time for more than {number} of {times} repetitions")
            return number
        body(number)
        longest = max(longest, time.monotonic() - started)
    return times


def capacity(repetitions: Repetitions) -> dict[str, Any]:
    """From a bare host to proven capacity: the playbook against the steps by hand, in pairs, each from the same state.

    Seconds, and the machine's load meanwhile.
    """
    hosts.down()
    engine.up(["spark"])
    cluster = Cluster(kubectl_folder() / "kubectl", STATE / "kubeconfig/calypso.yaml")
    target = next(host for host in systems()["spark"].hosts if host.purpose == "managed")
    inputs = WORK / "floor"
    before = cluster.objects()

    def bare() -> None:
        hosts.remove((target,))
        cluster.restore(before)
        engine.up(["spark"])

    def playbook_way(name: str) -> Usage:
        return playbook(PLAYBOOK, name)

    def floor_way(name: str) -> Usage:
        return _run(["/bin/sh", str(HERE / "floor.sh"), str(inputs)], name, {"PATH": cluster.path()})

    ways = {"playbook": playbook_way, "floor": floor_way}
    measured: dict[str, list[float]] = {way: [] for way in ways}

    def pair(number: int) -> None:
        # Turn about, so that neither always comes first.
        for way in sorted(ways, reverse=number % 2 == 0):
            bare()
            measured[way].append(round(ways[way](f"capacity-{number + 1}-{way}").wall_s, 2))
            if way == "playbook":
                # While the host is there that the playbook made; the first pair begins with it.
                playbook(HERE / "floor_inputs.yml", "floor-inputs", "--extra-vars", f"floor_inputs={inputs}")

    with load() as found:
        repeat(repetitions.capacity, repetitions.budget_s["capacity"], pair)
    return {"seconds": measured, "load": asdict(found)}


def no_change(repetitions: Repetitions) -> dict[str, Any]:
    """A run that changes nothing, against a playbook of as many `ping` tasks on the same hosts, in pairs.

    Controller CPU and wall seconds of each, how many tasks each host got, from events, and the machine's load meanwhile.
    """
    engine.up(["spark"])
    playbook(PLAYBOOK, "no-change-converge")
    counted = _count(PLAYBOOK, "no-change-count")
    pings = WORK / "pings.yml"
    pings.write_text(yaml.safe_dump(ping_playbook(events.per_host(counted))), encoding="utf-8")
    measured: dict[str, list[dict[str, float]]] = {"playbook": [], "ping": []}

    def pair(number: int) -> None:
        for way, path in (("playbook", PLAYBOOK), ("ping", pings)):
            measured[way].append(_figures(_unchanged(path, f"no-change-{number + 1}-{way}")))

    with load() as found:
        repeat(repetitions.no_change, repetitions.budget_s["no_change"], pair)
    return {
        "runs": measured,
        "tasks": events.per_host(counted),
        "roles": events.per_role(counted),
        "statuses": events.statuses(counted),
        "load": asdict(found),
    }


def fleet_scaling(repetitions: Repetitions) -> dict[str, Any]:
    """Wall and CPU seconds of a run that changes nothing on some of many idle hosts, by their number, and the machine's load.

    On the fewest and on the most hosts also those of as many pings, for what one more host costs.
    """
    size = max(repetitions.fleet_sizes)
    hosts.down()
    begun = time.monotonic()
    engine.up(None, size)
    boot_s = time.monotonic() - begun
    playbook(FLEET_PLAYBOOK, "fleet-converge")
    counted = _count(FLEET_PLAYBOOK, "fleet-count")
    tasks = events.busiest(events.per_host(counted))
    pings = WORK / "fleet-pings.yml"
    pings.write_text(yaml.safe_dump(ping_playbook({"fleet": tasks})), encoding="utf-8")
    ends = (min(repetitions.fleet_sizes), size)
    measured: dict[str, list[dict[str, float]]] = {str(number): [] for number in repetitions.fleet_sizes}
    pinged: dict[str, list[dict[str, float]]] = {str(number): [] for number in ends}

    def round_of_sizes(number: int) -> None:
        for hosts_in_run in repetitions.fleet_sizes:
            name, limit = f"fleet-{number + 1}-of-{hosts_in_run}", f"fleet[0:{hosts_in_run - 1}]"
            measured[str(hosts_in_run)].append(_figures(_unchanged(FLEET_PLAYBOOK, name, "--limit", limit)))
            if hosts_in_run in ends:
                pinged[str(hosts_in_run)].append(_figures(_unchanged(pings, f"{name}-ping", "--limit", limit)))

    with load() as found:
        repeat(repetitions.fleet, repetitions.budget_s["fleet"], round_of_sizes)
    return {
        "runs": measured,
        "pings": pinged,
        "tasks_per_host": tasks,
        "boot_s": round(boot_s, 1),
        "load": asdict(found),
    }


def ping_playbook(tasks: Mapping[str, int]) -> list[dict[str, Any]]:
    """A playbook with as many `ping` tasks for each host, or for each of a group, as it is given."""
    return [
        {
            "name": f"Ping {host}",
            "hosts": host,
            "gather_facts": False,
            "tasks": [
                {"name": f"Ping it, time {number}", "ansible.builtin.ping": {}} for number in range(1, count + 1)
            ],
        }
        for host, count in tasks.items()
    ]


def _count(path: str | Path, name: str) -> list[events.Event]:
    """The events of a run. It comes before those that are timed, which do without the counting."""
    file = WORK / f"{name}.jsonl"
    _unchanged(path, name, variables=events.environment(file))
    return list(events.read(file.read_text(encoding="utf-8").splitlines()))


def _unchanged(path: str | Path, name: str, *extra: str, variables: Mapping[str, str] | None = None) -> Usage:
    """Run a playbook that must not change anything. Raises RuntimeError when it does: then it measures something else."""
    usage = playbook(path, name, *extra, variables=variables)
    verdict = json.loads(_verdict(name).read_text(encoding="utf-8"))
    changed = {host: record["changed_tasks"] for host, record in verdict["hosts"].items() if record["changed"]}
    if changed:
        raise RuntimeError(f"{name} should change nothing, and changed {changed}")
    return usage


def _figures(usage: Usage) -> dict[str, float]:
    return {"wall_s": round(usage.wall_s, 2), "cpu_s": round(usage.cpu_s, 2)}


def _verdict(name: str) -> Path:
    return WORK / "report" / f"{name}.json"
