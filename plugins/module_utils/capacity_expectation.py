"""What nodes are declared to offer, from inventory data. Pure.

A node's declaration is either resource counts (``{nvidia.com/gpu: 8}``) or GPUs and how they are shared or partitioned
(``{gpus: 1, replicas: 10, sharing: mps}``, ``{gpus: 8, mig: {1g.10gb: 56}, mig_strategy: single}``), from which the counts follow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.resource_slices import RESOURCE

GPU = "nvidia.com/gpu"
SHARED = ".shared"
"""The suffix that the device plugin's ``renameByDefault`` gives to shared resources."""

NO_SHARING, MPS, TIME_SLICING = "none", "mps", "time-slicing"
SINGLE, MIXED = "single", "mixed"

_KEYS = ("gpus", "replicas", "sharing", "renamed", "mig", "mig_strategy", "whole_gpus", "product", "dra")
# 1g.10gb, 7g.80gb, 1g.10gb+me (in resource names 1g.10gb.me). A profile's first number is its compute slices; a GPU has seven.
_PROFILE = re.compile(r"\A([1-7])g\.[0-9]{1,3}gb(?:[+.](?:me|gfx|me\.all))?\Z")
_SLICES = 7


@dataclass(frozen=True)
class Expectation:
    """What one node must offer. ``resources`` are the counts; the rest is known only of declarations that say it."""

    resources: Mapping[str, int]
    gpus: Optional[int] = None
    replicas: Optional[int] = None
    sharing: Optional[str] = None
    mig: Mapping[str, int] = field(default_factory=dict)
    product: Optional[str] = None


Expected = Dict[str, Expectation]
"""Expectations by name of node."""


def parse_expected(data: Mapping[str, Any], groups: Sequence[Any] = ()) -> Expected:
    """The declarations of nodes and of groups of nodes, checked. Raises ``GpuError`` BG-CAP-104, or 107 for two of one node."""
    found: Expected = {}
    origins: Dict[str, str] = {}
    for origin, node, declared in _declarations(data, groups):
        # Kubernetes takes a node's name in lower case only; an inventory may write the same host twice.
        key = node.lower()
        if key in origins:
            raise GpuError(
                "BG-CAP-107",
                "node {0} has two expectations, one from {1} and one from {2}".format(node, origins[key], origin),
                "it cannot be judged by both",
                "declare each node once",
            )
        origins[key] = origin
        found[node] = parse_node_expectation(node, declared)
    if not found:
        raise _unusable("no node is declared")
    return found


def _declarations(data: Mapping[str, Any], groups: Sequence[Any]) -> List[Tuple[str, str, Any]]:
    found = [("its own entry", str(node), declared) for node, declared in data.items()]
    for number, group in enumerate(groups, start=1):
        nodes = group.get("nodes") if isinstance(group, Mapping) else None
        if not isinstance(nodes, (list, tuple)) or not all(isinstance(node, str) and node for node in nodes):
            raise _unusable("group {0} has no list of nodes".format(number))
        origin = "group {0}".format(group.get("name") or number)
        found += [(origin, str(node), group.get("expect")) for node in nodes]
    return found


def parse_node_expectation(node: str, declared: Any) -> Expectation:
    """One node's declaration. Raises ``GpuError`` BG-CAP-104."""
    if not isinstance(declared, Mapping) or not declared:
        raise _unusable("node {0} declares no resource".format(node))
    counts = {str(name): value for name, value in declared.items() if "/" in str(name)}
    rest = {str(name): value for name, value in declared.items() if "/" not in str(name)}
    unknown = sorted(set(rest) - set(_KEYS))
    if unknown:
        raise _unusable(
            "node {0} declares {1}, which is neither a resource nor one of {2}".format(
                node, ", ".join(unknown), ", ".join(_KEYS)
            )
        )
    product = None if rest.get("product") is None else str(rest["product"])
    if counts:
        if set(rest) - {"product"}:
            raise _unusable("node {0} declares resources and {1}".format(node, ", ".join(sorted(set(rest)))))
        return Expectation({name: _count(node, name, value) for name, value in counts.items()}, product=product)
    return _mig(node, rest, product) if rest.get("mig") else _whole(node, rest, product)


def _whole(node: str, rest: Mapping[str, Any], product: Optional[str]) -> Expectation:
    if rest.get("gpus") is None:
        raise _unusable("node {0} declares neither gpus nor a resource".format(node))
    for key in ("mig_strategy", "whole_gpus"):
        if rest.get(key) is not None:
            raise _unusable("node {0} declares {1} without mig".format(node, key))
    gpus = _count(node, "gpus", rest["gpus"])
    replicas, sharing = _sharing(node, rest)
    if _flag(node, rest, "dra"):
        if replicas > 1:
            raise _unusable("node {0} declares {1} replicas of what claims allocate (dra)".format(node, replicas))
        return Expectation({RESOURCE: gpus}, gpus, product=product)
    name = GPU + SHARED if _renamed(node, rest, replicas) else GPU
    return Expectation({name: gpus * replicas}, gpus, replicas, sharing, product=product)


def _mig(node: str, rest: Mapping[str, Any], product: Optional[str]) -> Expectation:
    """MIG devices: of one profile, offered as GPUs (``single``), or of each profile under its own name (``mixed``)."""
    if _flag(node, rest, "dra"):
        raise _unusable("node {0} declares mig of what claims allocate (dra)".format(node))
    if not isinstance(rest["mig"], Mapping):
        raise _unusable("node {0} declares mig that is no map of profiles".format(node))
    mig = {_profile(node, name): _count(node, "mig " + str(name), value) for name, value in rest["mig"].items()}
    strategy = rest.get("mig_strategy")
    if strategy not in (SINGLE, MIXED):
        raise _unusable("node {0} declares mig and no mig_strategy (single or mixed)".format(node))
    if strategy == SINGLE and len(mig) != 1:
        raise _unusable("node {0} declares {1} profiles under mig_strategy single".format(node, len(mig)))
    replicas, sharing = _sharing(node, rest)
    if sharing == MPS:
        raise _unusable("node {0} declares MIG devices shared by MPS, which the device plugin refuses".format(node))
    gpus = None if rest.get("gpus") is None else _count(node, "gpus", rest["gpus"])
    whole = _count(node, "whole_gpus", rest.get("whole_gpus", 0))
    slices = sum(int(profile[0]) * count for profile, count in mig.items())
    if gpus is not None and slices > _SLICES * max(0, gpus - whole):
        raise _unusable(
            "node {0} declares {1} slices on {2} GPUs of {3} each".format(node, slices, gpus - whole, _SLICES)
        )
    suffix = SHARED if _renamed(node, rest, replicas) else ""
    if strategy == SINGLE:
        resources = {GPU + suffix: sum(mig.values()) * replicas}
    else:
        resources = {mig_resource(profile) + suffix: count * replicas for profile, count in mig.items()}
        resources[GPU + suffix if whole else GPU] = whole * replicas
    return Expectation(resources, gpus, replicas, sharing, mig, product)


def mig_resource(profile: str) -> str:
    """``nvidia.com/mig-1g.10gb``; a plus is no character of a resource's name."""
    return "nvidia.com/mig-{0}".format(profile.replace("+", "."))


def _profile(node: str, name: Any) -> str:
    text = str(name)
    if text.startswith("mig-"):
        text = text[4:]
    if not _PROFILE.match(text):
        raise _unusable("node {0} declares the unknown MIG profile {1!r}".format(node, name))
    return text


def _sharing(node: str, rest: Mapping[str, Any]) -> Tuple[int, Optional[str]]:
    replicas = _count(node, "replicas", rest.get("replicas", 1))
    sharing = rest.get("sharing")
    if replicas == 0:
        raise _unusable("node {0} declares 0 replicas; a GPU that is not shared has one".format(node))
    if sharing not in (None, NO_SHARING, MPS, TIME_SLICING):
        raise _unusable("node {0} declares the unknown sharing {1!r}".format(node, sharing))
    if (sharing in (None, NO_SHARING)) and replicas == 1:
        return 1, NO_SHARING
    if sharing == NO_SHARING:
        raise _unusable("node {0} declares {1} replicas and no sharing".format(node, replicas))
    return replicas, sharing


def _renamed(node: str, rest: Mapping[str, Any], replicas: int) -> bool:
    renamed = _flag(node, rest, "renamed")
    if renamed and replicas == 1 and rest.get("sharing") in (None, NO_SHARING):
        raise _unusable("node {0} declares a renamed resource and no sharing".format(node))
    return renamed


def _flag(node: str, rest: Mapping[str, Any], name: str) -> bool:
    value = rest.get(name, False)
    if value not in (True, False):
        raise _unusable("node {0} declares {1}: {2!r}, which is neither true nor false".format(node, name, value))
    return bool(value)


def _count(node: str, name: str, value: Any) -> int:
    # Templates give numbers as text; true is a number to Python and a mistake here.
    text = "" if isinstance(value, bool) else str(value).strip()
    if not re.match(r"^[0-9]{1,9}$", text):
        raise _unusable("node {0} declares {1}: {2!r}, which is not a count".format(node, name, value))
    return int(text)


def _unusable(what: str) -> GpuError:
    return GpuError(
        "BG-CAP-104",
        "the expected capacity is not usable: {0}".format(what),
        "nothing can be compared with it",
        "declare {node: {nvidia.com/gpu: count}} or {node: {gpus: count, replicas: count}} in the inventory",
    )
