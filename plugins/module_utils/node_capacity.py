"""What the Kubernetes API says of a node that matters for its GPU capacity. Pure: takes parsed objects."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import parse_quantity

# What the device plugin and the operator call GPUs: whole or shared ones, and MIG devices.
_GPU_RESOURCE = re.compile(r"\Anvidia\.com/(gpu|mig-)")
# Labels of GPU feature discovery and of the MIG manager; a node has some thirty more of theirs, which nothing here reads.
_LABELS = frozenset(
    "nvidia.com/" + name
    for name in (
        *("gpu.count", "gpu.replicas", "gpu.sharing-strategy", "gpu.product"),
        *("mps.capable", "mig.strategy", "mig.config", "mig.config.state"),
    )
)
# Conditions that kubelet and cloud controllers set; whatever else is True was set by what watches hardware.
_USUAL_CONDITIONS = frozenset(
    ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable", "OutOfDisk", "EtcdIsVoter")
)


@dataclass(frozen=True)
class NodeReading:
    """One node of the list. Counts are of extended resources only; ``None`` in ``ready`` is no report.

    ``ready_since`` is when the condition Ready got its value. ``taints`` are ``key=value:Effect``; ``conditions`` are those that are True
    beside the usual ones, with what they say. ``problems`` are quantities that are none.
    """

    name: str
    ready: Optional[bool] = None
    ready_reason: str = ""
    ready_since: Optional[datetime] = None
    unschedulable: bool = False
    capacity: Mapping[str, Decimal] = field(default_factory=dict)
    allocatable: Mapping[str, Decimal] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Tuple[str, ...] = ()
    conditions: Mapping[str, str] = field(default_factory=dict)
    resource_version: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)

    def differs(self, other: Optional[NodeReading]) -> bool:
        """Whether a later reading says something else; heartbeats say nothing else."""
        return other is None or _without_version(self) != _without_version(other)


def _without_version(node: NodeReading) -> Tuple[Any, ...]:
    return tuple(value for name, value in vars(node).items() if name != "resource_version")


def is_gpu(resource: str) -> bool:
    """Whether a resource is what NVIDIA's device plugin calls a GPU or a MIG device."""
    return _GPU_RESOURCE.match(resource) is not None


def parse_node(item: Mapping[str, Any]) -> NodeReading:
    """A node object of the API. Never raises: what is not there, or is something else, is not reported."""
    metadata, spec, status = as_map(item.get("metadata")), as_map(item.get("spec")), as_map(item.get("status"))
    conditions = [as_map(each) for each in as_list(status.get("conditions"))]
    ready, reason, since = _ready(conditions)
    problems: Dict[str, str] = {}
    return NodeReading(
        name=str(metadata.get("name") or ""),
        ready=ready,
        ready_reason=reason,
        ready_since=since,
        unschedulable=bool(spec.get("unschedulable")),
        capacity=_quantities("capacity", as_map(status.get("capacity")), problems),
        allocatable=_quantities("allocatable", as_map(status.get("allocatable")), problems),
        labels={str(name): str(text) for name, text in as_map(metadata.get("labels")).items() if name in _LABELS},
        taints=tuple(_taint(as_map(each)) for each in as_list(spec.get("taints"))),
        conditions={
            str(each.get("type")): said(each)
            for each in conditions
            if each.get("status") == "True" and each.get("type") not in _USUAL_CONDITIONS
        },
        resource_version=str(metadata.get("resourceVersion") or ""),
        problems=problems,
    )


def as_map(value: Any) -> Mapping[str, Any]:
    """``value``, or an empty map where the object has none or something else."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> List[Any]:
    """``value``, or an empty list where the object has none or something else."""
    return value if isinstance(value, list) else []


def said(condition: Mapping[str, Any]) -> str:
    """``reason: message`` of a condition."""
    return "{0}: {1}".format(condition.get("reason") or "", condition.get("message") or "").strip(": ")[:300]


def parse_time(value: Any) -> Optional[datetime]:
    """A time as the API writes it (RFC 3339, UTC), or None for anything else."""
    try:
        return datetime.strptime(str(value)[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _ready(conditions: List[Mapping[str, Any]]) -> Tuple[Optional[bool], str, Optional[datetime]]:
    for condition in conditions:
        if condition.get("type") == "Ready":
            status = condition.get("status")
            ready = True if status == "True" else False if status == "False" else None
            return ready, said(condition), parse_time(condition.get("lastTransitionTime"))
    return None, "the node reports no condition Ready", None


def _taint(taint: Mapping[str, Any]) -> str:
    key, value = str(taint.get("key") or ""), taint.get("value")
    return "{0}:{1}".format("{0}={1}".format(key, value) if value else key, taint.get("effect") or "")


def _quantities(where: str, values: Mapping[str, Any], problems: Dict[str, str]) -> Dict[str, Decimal]:
    """Extended resources (``vendor/name``) only: CPU and memory of thousands of nodes are not worth their parsing."""
    found: Dict[str, Decimal] = {}
    for name, value in values.items():
        if "/" not in str(name):
            continue
        try:
            found[str(name)] = parse_quantity(str(value))
        except ValueError:
            text = "{0} of {1} is {2!r}, which is not a quantity".format(where, name, str(value)[:100])
            problems[str(name)] = "{0}; {1}".format(problems[name], text) if name in problems else text
    return found
