"""The lab's main job: from nothing, or from what already runs, to a verdict.

Everything is one set of steps that depend on each other: building, booting, preparing the site, and each system's playbook, which starts as
soon as its own hosts are ready.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab import artefacts, faults, graph, hosts, plays, report, rootfs, site, tailnet, upkeep
from lab.graph import WAITS, Claim, Step, Timing
from lab.model import Host, System, find_host, fleet, hosts_of, mirror, select
from lab.plays import Run
from lab.progress import Activity, elapsed, say
from lab.settings import STATE

TIMINGS = STATE / "report/timings.json"

_BOOTS = Claim(processors=1.0, memory_gb=1.0)
# A playbook's controller keeps most of one processor busy, and its hosts wait for it as often as it for them.
_PLAYS = Claim(processors=1.0, memory_gb=2.0)


@dataclass
class _Work:
    """What the steps of one run find out for each other."""

    plan: artefacts.Plan
    machines: tuple[Host, ...]
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Of the chosen systems' inventory."""
    started: list[str] = field(default_factory=list)
    """Hosts that were started now."""
    runs: dict[str, Run] = field(default_factory=dict)
    """Finished playbooks by system."""
    restarted: list[str] = field(default_factory=list)
    """`host/service` of services that playbooks restarted."""

    def boot(self, _: Activity) -> None:
        upkeep.take_lease(self.plan.entries[name] for name in self.plan.targets)
        self.started = hosts.up(self.machines, self.plan.entries["simulation"].path)
        faults.warn()

    def prepare(self, _: Activity) -> None:
        if self.broken:
            # The site was prepared before that host was broken; preparing it again would have to reach it.
            site.write_inventory(self.machines, self.plan.result(), self.variables)
        else:
            site.prepare(self.machines, self.plan.result(), self.variables)

    @property
    def broken(self) -> bool:
        """Whether a fault keeps one of the hosts off or still."""
        return any(faults.keeps_off(host.name) for host in self.machines)

    def play(self, system: System, extra: tuple[str, ...]) -> None:
        before = report.invocations((system,))
        self.runs[system.name] = plays.run(system, extra)
        after = report.invocations((system,))
        self.restarted += [name for name, identifier in before.items() if after.get(name) != identifier]


def up(names: list[str] | None, fleet_size: int = 0) -> list[str]:
    """Build what is missing, boot the hosts of the chosen systems and prepare the site; return the hosts started now.

    A fleet comes with the mirror alone, unless systems are named beside it.
    """
    chosen = select(names) if names or not fleet_size else ()
    machines = hosts_of(chosen) or (mirror(),)
    work = _Work(_plan(chosen), machines + fleet(fleet_size), _variables(chosen))
    timings = _run(work, _site_steps(work))
    _tell(timings)
    return work.started


def _plan(chosen: tuple[System, ...]) -> artefacts.Plan:
    return artefacts.plan({module for system in chosen for module in system.modules})


def _variables(chosen: tuple[System, ...]) -> dict[str, Any]:
    return {name: value for system in chosen for name, value in system.variables.items()}


def boot(names: list[str]) -> list[str]:
    """Only boot the named hosts, without site and plays; return the hosts started now. Builds no more than they need."""
    work = _Work(artefacts.plan(), tuple(find_host(name) for name in names))
    simulation = "simulation" if any(host.hardware for host in work.machines) else None
    needs = [*sorted({f"rootfs/{host.image}" for host in work.machines}), *([simulation] if simulation else [])]

    def start(_: Activity) -> None:
        upkeep.take_lease(work.plan.entries[name] for name in needs)
        work.started = hosts.up(work.machines, work.plan.entries[simulation].path if simulation else None)

    step = Step("boot", f"Have {', '.join(names)} running", start, tuple(needs), _BOOTS)
    graph.run(graph.missing([*work.plan.steps, step], [step.name]))
    return work.started


def lab(names: list[str] | None, *, check: bool = False) -> int:
    """`make lab`: boot, run the playbooks, write and print the verdict. Returns 0 when the verdict is ok, else 1.

    With `check` the playbooks only predict what they would change.
    """
    chosen = select(names)
    work = _Work(_plan(chosen), hosts_of(chosen), _variables(chosen))
    extra = ("--check", "--diff") if check else ()
    timings = _run(work, [*_site_steps(work), *(_play_step(work, system, extra) for system in chosen)])
    runs = [work.runs[system.name] for system in chosen]
    document = report.merge(runs, sorted(work.restarted), work.started, elapsed(), check=check)
    report.write(document)
    for run in runs:
        if run.returncode:
            say(f"{run.system.name}: last lines of {run.log}")
            print("\n".join(run.log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]))
    _tell(timings)
    print(report.table(document))
    return 0 if document["status"] == "ok" else 1


def timings() -> int:
    """Print how long each step of the last run took, and which of them decided the whole. Returns 1 when there was no run."""
    if not TIMINGS.exists():
        say("no timings: run `make lab` first")
        return 1
    known = graph.from_document(json.loads(TIMINGS.read_text(encoding="utf-8")))
    print("   begun   waited    took  step")
    for timing in sorted(known, key=lambda each: each.begun):
        print(f"{timing.begun:6.1f} s {timing.begun - timing.ready:6.1f} s {timing.seconds:6.1f} s  {timing.title}")
    print("\n".join(graph.summary(known)))
    return 0


def _run(work: _Work, more: list[Step]) -> list[Timing]:
    """Do what has to be done and note how long it took."""
    steps = graph.missing([*work.plan.steps, *more], [*work.plan.targets, *(step.name for step in more)])
    if steps[0] not in more:
        say(f"{sum(step not in more for step in steps)} of {len(work.plan.steps)} parts are to be built")
    timings = graph.run(steps)
    document: Any = graph.as_document(timings)
    TIMINGS.parent.mkdir(parents=True, exist_ok=True)
    TIMINGS.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return timings


def _tell(timings: list[Timing]) -> None:
    for line in graph.summary(timings):
        say(line)


def _site_steps(work: _Work) -> list[Step]:
    """From built artefacts to a site on which plays can run."""
    names = ", ".join(host.name for host in work.machines)
    images = (f"rootfs/{kind}" for kind in rootfs.PACKAGES)
    steps = [
        Step("boot", f"Have {names} running", work.boot, ("simulation", *images), _BOOTS),
        Step("site", "Have the mirror and the inventory ready", work.prepare, ("boot", *work.plan.targets), WAITS),
    ]
    return [*steps, *(_server_step(work, host) for host in work.machines if host.purpose in _SERVERS)]


_SERVERS = {"k3s-server": "k3s server", "login-server": "tailnet's login server"}
"""Purposes of hosts that the plays find at work, and what each of them is."""


def _server_step(work: _Work, host: Host) -> Step:
    def start(_: Activity) -> None:
        if work.broken:
            return
        if host.purpose == "login-server":
            tailnet.start(host, work.plan.result().programs["headscale"])
        else:
            site.start_k3s_server(host)

    return Step(
        f"server/{host.name}", f"Have the {_SERVERS[host.purpose]} on {host.name} at work", start, ("site",), WAITS
    )


def _play_step(work: _Work, system: System, extra: tuple[str, ...]) -> Step:
    def play(_: Activity) -> None:
        work.play(system, extra)

    servers = (f"server/{host.name}" for host in system.hosts if host.purpose in _SERVERS)
    return Step(f"play/{system.name}", f"Run playbooks/{system.playbook}", play, ("site", *servers), _PLAYS)
