"""The lab's hosts and systems, read from `systems.yml` into typed values."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("systems.yml")


@dataclass(frozen=True)
class Host:
    """One simulated machine. `hardware` names a profile of `lab/hardware`, or is None for a host without GPU; `runs` is
    what a whole system has running there."""

    name: str
    address: int
    image: str
    dress: str | None = None
    hardware: str | None = None
    purpose: str = "managed"
    runs: tuple[str, ...] = ()
    group: str = ""
    """Group of the inventory that it is in only while the lab has it; the others stand in `inventories/lab`."""
    memory_mib: int | None = None
    """Bound on its memory; None leaves it unbounded."""
    cpus: float | None = None
    """Bound on its processor time, in processors; None leaves it unbounded."""

    @property
    def traits(self) -> frozenset[str]:
        """What can be said of this host in one word each, as faults say which hosts they exist on."""
        words = {"host", self.image, self.purpose, *self.runs}
        words.update({"hardware", self.hardware} if self.hardware else ())
        return frozenset(words)

    @property
    def system(self) -> str:
        """The first system that it belongs to; empty for a host of the fleet."""
        return next((name for name, system in systems().items() if self in system.hosts), "")


class UnknownHostError(RuntimeError):
    """No host of the lab has this name; the message names those that are near."""


class SharedHostError(RuntimeError):
    """Systems that were chosen together have a host in common."""


@dataclass(frozen=True)
class System:
    """One reference system: the hosts it needs, the playbook that builds it, the services whose restarts matter."""

    name: str
    playbook: str
    hosts: tuple[Host, ...]
    services: tuple[str, ...]
    optional: bool = False
    """Whether it is left out unless it is asked for by its name."""
    modules: tuple[str, ...] = ()
    """Optional Go modules (`lab/golang.py`) that its site is made of."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """What its inventory says beside what is declared in `inventories/lab`."""


@cache
def systems() -> dict[str, System]:
    """All systems by name. Raises KeyError when a system names a host that is not declared."""
    document = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    hosts = {
        name: Host(name=name, **{**fields, "runs": tuple(fields.get("runs", ()))})
        for name, fields in document["hosts"].items()
    }
    return {
        name: System(
            name=name,
            playbook=fields["playbook"],
            hosts=tuple(hosts[host] for host in fields["hosts"]),
            services=tuple(fields["services"]),
            optional=fields.get("optional", False),
            modules=tuple(fields.get("modules", ())),
            variables=fields.get("variables", {}),
        )
        for name, fields in document["systems"].items()
    }


def fleet(count: int) -> tuple[Host, ...]:
    """The first hosts of the fleet: alike, cheap, part of no system; for measuring what many hosts cost.

    Raises ValueError when the template has no address for so many.
    """
    template = dict(yaml.safe_load(_FILE.read_text(encoding="utf-8"))["fleet"])
    first, most = template.pop("address"), template.pop("most")
    if not 0 <= count <= most:
        raise ValueError(f"a fleet has up to {most} hosts, not {count}")
    return tuple(
        Host(name=f"fleet-{number:02d}", address=first + number - 1, purpose="fleet", **template)
        for number in range(1, count + 1)
    )


def select(names: list[str] | None) -> tuple[System, ...]:
    """The systems to work on; without a choice all that are not optional.

    Raises SharedHostError for two that have a host in common: each would make it what it wants.
    """
    known = systems()
    chosen = tuple(known[name] for name in names or [name for name, system in known.items() if not system.optional])
    for one, other in itertools.combinations(chosen, 2):
        shared = [host.name for host in one.hosts if host in other.hosts and host.purpose != "mirror"]
        if shared and one != other:
            raise SharedHostError(f"systems {one.name} and {other.name} share {', '.join(shared)}: choose one of them")
    return chosen


def hosts_of(chosen: tuple[System, ...]) -> tuple[Host, ...]:
    """Every host of the chosen systems once, in the order in which they are declared."""
    return tuple(dict.fromkeys(host for system in chosen for host in system.hosts))


def mirror() -> Host:
    """The host that serves all artefacts."""
    return next(host for host in hosts_of(select(None)) if host.purpose == "mirror")


def all_hosts() -> tuple[Host, ...]:
    """Every host of every system."""
    return hosts_of(tuple(systems().values()))


def find_host(name: str) -> Host:
    """One host. Raises UnknownHostError with near names."""
    known = {host.name: host for host in all_hosts()}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise UnknownHostError(f"no lab host is called {name}: {hint}")
    return known[name]


def control_plane(host: Host) -> Host | None:
    """The host that has the API of this host's cluster; None for a host of no cluster, such as the mirror."""
    if host.purpose == "mirror" or not host.system:
        return None
    return next((other for other in hosts_of(select([host.system])) if "kube-apiserver" in other.runs), None)
