"""The fault catalogue `lab/hardware/faults.yml`, checked and made ready for hosts, which have no YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from lab.simulation import profile as profiles
from lab.simulation.host.faults import CONTROLS
from lab.simulation.profile import GPU_VALUES, HCA_VALUES, ProfileError

CATALOGUE = profiles.PROFILES / f"{profiles.NOT_A_PROFILE}.yml"

TARGETS = ("gpu", "hca", "host")
_FIELDS = {"title", "target", "profiles", "set", "xid", "kernel", "undone"}
_WORDS = {"address", "slot", "uuid", "gpu", "hca", "link", "driver", "pcie_width"}
_OTHER_NAMES = {"gpu": r"nvlink_\{link\}_\w+", "hca": r"counter_\w+", "host": r"init_error|\w+_version"}


def load(path: Path = CATALOGUE) -> dict[str, dict[str, Any]]:
    """All faults by name, those of single Xids among them. Raises ProfileError with the fault and the field that is wrong."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("schema") != 1:
        raise ProfileError(f"{path.name}: schema: 1 is expected")
    faults = {
        **content["faults"],
        **{f"xid_{number}": _xid(number, text) for number, text in content["xids"].items()},
    }
    return {name: _complete(path, name, fault) for name, fault in faults.items()}


def _xid(number: int, text: str) -> dict[str, Any]:
    line = f"NVRM: Xid (PCI:{{slot}}): {number}, {text}"
    return {
        "title": f"Xid {number} of a GPU, without any other effect",
        "target": "gpu",
        "xid": number,
        "kernel": [line],
    }


def _complete(path: Path, name: str, fault: dict[str, Any]) -> dict[str, Any]:
    """A fault with all its fields. Raises ProfileError for the first that is wrong."""
    complete = {"profiles": list(profiles.names()), "set": {}, "kernel": [], "undone": [], **fault}
    checks = (_mistakes(fault), _mistaken_profiles(complete), _mistaken_values(complete), _mistaken_lines(complete))
    for mistake in chain.from_iterable(checks):
        raise ProfileError(f"{path.name}: {name}: {mistake}")
    return complete


def _mistakes(fault: dict[str, Any]) -> Iterator[str]:
    if unknown := sorted(set(fault) - _FIELDS):
        yield f"unknown: {', '.join(unknown)}"
    if fault.get("target") not in TARGETS or not fault.get("title"):
        yield f"a title and a target of {', '.join(TARGETS)} are expected"
    elif "xid" in fault and fault["target"] != "gpu":
        yield "only a GPU has Xids"
    if not fault.get("set") and "xid" not in fault:
        yield "it changes nothing"


def _mistaken_profiles(fault: dict[str, Any]) -> Iterator[str]:
    if foreign := sorted(set(fault["profiles"]) - set(profiles.names())):
        yield f"no such profile: {', '.join(foreign)}"


def _mistaken_values(fault: dict[str, Any]) -> Iterator[str]:
    target = fault["target"]
    known = {"gpu": {*GPU_VALUES, *CONTROLS}, "hca": set(HCA_VALUES), "host": set()}[target]
    for key, value in fault["set"].items():
        if key not in known and not re.fullmatch(_OTHER_NAMES[target], key):
            yield f"no {target} has a value {key!r}"
        if isinstance(value, dict) and set(value) != set(fault["profiles"]):
            yield f"{key}: one value for each of {', '.join(fault['profiles'])} is expected"


def _mistaken_lines(fault: dict[str, Any]) -> Iterator[str]:
    for line in [*fault["kernel"], *fault["undone"]]:
        if unknown := sorted(set(re.findall(r"\{(\w+)\}", line)) - _WORDS):
            yield f"unknown word {', '.join(unknown)} in {line!r}"


@cache
def render() -> str:
    """The catalogue as hosts read it: JSON. Read once: every host of a run gets the same."""
    return json.dumps(load(), indent=1) + "\n"
