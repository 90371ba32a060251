"""The lab's hosts and systems, read from `systems.yml` into typed values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

_FILE = Path(__file__).with_name("systems.yml")


@dataclass(frozen=True)
class Host:
    """One simulated machine. `hardware` names a profile of `lab/simulation/profiles`, or is None for a host without GPU."""

    name: str
    address: int
    image: str
    dress: str | None = None
    hardware: str | None = None
    purpose: str = "managed"


@dataclass(frozen=True)
class System:
    """One reference system: the hosts it needs, the playbook that builds it, the services whose restarts matter."""

    name: str
    playbook: str
    hosts: tuple[Host, ...]
    services: tuple[str, ...]


@cache
def systems() -> dict[str, System]:
    """All systems by name. Raises KeyError when a system names a host that is not declared."""
    document = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    hosts = {name: Host(name=name, **fields) for name, fields in document["hosts"].items()}
    return {
        name: System(
            name=name,
            playbook=fields["playbook"],
            hosts=tuple(hosts[host] for host in fields["hosts"]),
            services=tuple(fields["services"]),
        )
        for name, fields in document["systems"].items()
    }


def select(names: list[str] | None) -> tuple[System, ...]:
    """The systems to work on; all of them without a choice."""
    known = systems()
    return tuple(known[name] for name in names or known)


def hosts_of(chosen: tuple[System, ...]) -> tuple[Host, ...]:
    """Every host of the chosen systems once, in the order in which they are declared."""
    return tuple(dict.fromkeys(host for system in chosen for host in system.hosts))


def mirror() -> Host:
    """The host that serves all artefacts."""
    return next(host for host in hosts_of(select(None)) if host.purpose == "mirror")


def host_names() -> list[str]:
    """Every host's name."""
    return [host.name for host in hosts_of(select(None))]
