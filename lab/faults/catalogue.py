"""The catalogue of faults, read from `lab/faults.yml` and from the simulated hardware's own catalogue into typed values."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from lab.model import Host
from lab.settings import REPOSITORY

FILE = REPOSITORY / "lab/faults.yml"
SCHEMA = REPOSITORY / "lab/faults.schema.json"
HARDWARE = REPOSITORY / "lab/hardware/faults.yml"
"""Faults of simulated hardware belong to it: `simulated-hardware fault NAME` on the host does them."""

JUDGED = "in nvidia-smi, NVML, sysfs and the kernel log, which gpu_health judges"

_AIMED_WITH = {"gpu": "number of the GPU, from 0", "hca": "name of the network adapter", "link": "number of the NVLink"}


class FaultError(RuntimeError):
    """A fault cannot be made or taken back; the message says why and what to do."""


@dataclass(frozen=True)
class Parameter:
    """Something about a fault that can be chosen. `pattern` is a regular expression for the whole value."""

    default: str
    pattern: str
    what: str


@dataclass(frozen=True)
class Way:
    """One way to make a fault: on hosts with all the traits it needs, by this handler with these settings. `seen_as` as of the fault."""

    needs: frozenset[str]
    handler: str
    settings: Mapping[str, str]
    seen_as: str = ""


@dataclass(frozen=True)
class Fault:
    """One entry. `seen_as` tells what a user sees."""

    name: str
    title: str
    seen_as: str
    ways: tuple[Way, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def way(self, host: Host) -> Way | None:
        """How it is made on this host, or None where it does not exist."""
        return next((way for way in self.ways if way.needs <= host.traits), None)

    def hosts(self, hosts: Iterable[Host]) -> list[str]:
        """The names of those hosts that can have it."""
        return [host.name for host in hosts if self.way(host)]

    def choose(self, arguments: Iterable[str]) -> dict[str, str]:
        """The parameters' values from `KEY=VALUE` texts and the defaults. Raises FaultError for what is not a parameter."""
        chosen = {name: parameter.default for name, parameter in self.parameters.items()}
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if not equals:
                raise FaultError(f"{argument}: KEY=VALUE is expected")
            if name not in self.parameters:
                raise FaultError(f"{self.name} has no {name}{or_these(name, self.parameters)}")
            if not re.fullmatch(self.parameters[name].pattern, value):
                raise FaultError(
                    f"{argument}: {self.parameters[name].what}; {self.parameters[name].pattern} is expected"
                )
            chosen[name] = value
        return chosen


@cache
def catalogue() -> dict[str, Fault]:
    """Every fault by name. Raises FaultError for a file that is not valid."""
    faults, seen = read(FILE)
    return {**faults, **(hardware(HARDWARE, seen) if HARDWARE.exists() else {})}


def read(file: Path) -> tuple[dict[str, Fault], dict[str, Any]]:
    """The lab's own faults, and what users see of hardware faults, by name: one text, or one for each profile."""
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    try:
        jsonschema.validate(document, json.loads(SCHEMA.read_text(encoding="utf-8")))
    except jsonschema.ValidationError as error:
        raise FaultError(f"{file.name}: {'.'.join(map(str, error.absolute_path))}: {error.message}") from None
    return {name: _fault(name, entry) for name, entry in document["faults"].items()}, document["hardware_seen_as"]


def _fault(name: str, entry: Mapping[str, Any]) -> Fault:
    return Fault(
        name=name,
        title=entry["title"],
        seen_as=entry["seen_as"],
        ways=tuple(
            Way(
                frozenset(way["needs"]), way["handler"], {key: str(value) for key, value in way.get("with", {}).items()}
            )
            for way in entry["ways"]
        ),
        parameters={key: Parameter(**values) for key, values in entry.get("parameters", {}).items()},
    )


def hardware(file: Path, seen: Mapping[str, Any]) -> dict[str, Fault]:
    """The faults of simulated hardware by name; `seen` tells what a user sees of them. Raises FaultError where it does not."""
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    entries = dict(document["faults"])
    for number in document["xids"]:
        entries[f"xid_{number}"] = {"title": f"Xid {number}, as event and in the kernel log", "target": "gpu"}
    if set(entries) != set(seen):
        raise FaultError(f"hardware_seen_as differs from {file.name} in {', '.join(sorted(set(entries) ^ set(seen)))}")
    return {name: _hardware_fault(name, entry, seen[name]) for name, entry in entries.items()}


def _hardware_fault(name: str, entry: Mapping[str, Any], seen: str | Mapping[str, str]) -> Fault:
    by_profile = {"hardware": seen} if isinstance(seen, str) else seen
    traits = entry.get("profiles", by_profile)
    return Fault(
        name=name,
        title=entry["title"],
        seen_as="; ".join(by_profile.values() if len(by_profile) == 1 else map(": ".join, by_profile.items())),
        ways=tuple(
            Way(frozenset([trait]), "hardware", {"fault": name}, by_profile.get(trait) or by_profile["hardware"])
            for trait in traits
        ),
        parameters={
            key: Parameter(default="", pattern=r"[\w-]*", what=what)
            for key, what in _AIMED_WITH.items()
            if key == entry["target"] or (key == "link" and "nvlink" in name)
        },
    )


def find(name: str) -> Fault:
    """One fault. Raises FaultError with near names for one that does not exist."""
    known = catalogue()
    if name not in known:
        raise FaultError(f"no fault is called {name}{or_these(name, known) or '.'} `make lab-faults` lists all.")
    return known[name]


def or_these(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that does not exist: near names, else all when they are few."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    # What a name begins with is a hint too: gpu, net, etcd.
    near = near or [other for other in names if other.split("_")[0] == name.split("_")[0]]
    if near:
        return f": did you mean {' or '.join(near)}?"
    return f": there is {', '.join(names)}" if 0 < len(names) <= 6 else ""
