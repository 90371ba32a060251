"""What pods say of a node's GPUs: NVIDIA's operands that offer them, and the pods that use them. Pure: takes parsed objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import (
    as_list,
    as_map,
    is_gpu,
    parse_time,
    said,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import parse_quantity

PLUGIN, DISCOVERY, MPS_DAEMON, MIG_MANAGER = (
    "device plugin",
    "GPU feature discovery",
    "MPS control daemon",
    "MIG manager",
)

SELECTORS = (
    # This collection's role, and NVIDIA's chart of the device plugin.
    "app.kubernetes.io/name in (nvidia-device-plugin,gpu-feature-discovery,nvidia-mps-control-daemon)",
    # NVIDIA's GPU operator.
    "app in (nvidia-device-plugin-daemonset,nvidia-device-plugin-mps-control-daemon,gpu-feature-discovery,nvidia-mig-manager)",
    # The plugin's static manifest.
    "name=nvidia-device-plugin-ds",
)
"""Label selectors of operand pods, by how they were installed; the first that finds a pod counts."""

# By what the names of an operand's containers hold, in all three installations. The daemon comes first: its names hold more.
_ROLES = (
    ("mps-control-daemon", MPS_DAEMON),
    ("feature-discovery", DISCOVERY),
    ("mig-manager", MIG_MANAGER),
    ("device-plugin", PLUGIN),
)


@dataclass(frozen=True)
class Operand:
    """One operand's pod on a node. ``ready_since`` is when it became Ready or its container started, whichever came last."""

    role: str
    pod: str
    node: str
    ready: bool
    ready_since: Optional[datetime]
    state: str
    restarts: int


def parse_operand(item: Mapping[str, Any]) -> Optional[Operand]:
    """An operand's pod, or None for another pod and for one that is on no node."""
    metadata, spec, status = as_map(item.get("metadata")), as_map(item.get("spec")), as_map(item.get("status"))
    names = [str(as_map(each).get("name") or "") for each in as_list(spec.get("containers"))]
    role = next((role for part, role in _ROLES if any(part in name for name in names)), None)
    node = str(spec.get("nodeName") or _wanted_node(spec))
    if role is None or not node:
        return None
    containers = [as_map(each) for each in as_list(status.get("containerStatuses"))]
    ready, since, why = _readiness(status, containers)
    if metadata.get("deletionTimestamp"):
        ready, why = False, "is being removed"
    return Operand(
        role=role,
        pod="{0}/{1}".format(metadata.get("namespace") or "default", metadata.get("name") or ""),
        node=node,
        ready=ready,
        ready_since=since,
        state="Ready" if ready else why,
        restarts=max((_number(each.get("restartCount")) for each in containers), default=0),
    )


def _wanted_node(spec: Mapping[str, Any]) -> str:
    """The node that a pod of a DaemonSet is for before it is scheduled (its controller writes it as an affinity)."""
    affinity = as_map(as_map(spec.get("affinity")).get("nodeAffinity"))
    required = as_map(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
    for term in map(as_map, as_list(required.get("nodeSelectorTerms"))):
        for field in map(as_map, as_list(term.get("matchFields"))):
            values = as_list(field.get("values"))
            if field.get("key") == "metadata.name" and len(values) == 1:
                return str(values[0])
    return ""


def _readiness(status: Mapping[str, Any], containers: List[Mapping[str, Any]]) -> Tuple[bool, Optional[datetime], str]:
    times: List[datetime] = []
    ready, why = False, str(status.get("phase") or "unknown")
    for condition in map(as_map, as_list(status.get("conditions"))):
        if condition.get("type") == "Ready":
            ready = condition.get("status") == "True"
            since = parse_time(condition.get("lastTransitionTime"))
            times += [since] if since else []
        elif condition.get("status") == "False" and condition.get("message"):
            why = said(condition)
    for container in containers:
        state = as_map(container.get("state"))
        started = parse_time(as_map(state.get("running")).get("startedAt"))
        times += [started] if started else []
        for kind in ("waiting", "terminated"):
            if as_map(state.get(kind)).get("reason"):
                why = said(as_map(state.get(kind)))
    return ready, max(times, default=None), why


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def requests(item: Mapping[str, Any]) -> Tuple[str, Dict[str, Decimal]]:
    """A pod's node and what it holds of the node's GPU resources; nothing for a pod that has ended or is on no node.

    What the scheduler counts: containers and sidecars together, or one init container with the sidecars before it, whichever is more.
    """
    spec, status = as_map(item.get("spec")), as_map(item.get("status"))
    node = str(spec.get("nodeName") or "")
    if not node or status.get("phase") in ("Succeeded", "Failed"):
        return node, {}
    running: Dict[str, Decimal] = {}
    starting: Dict[str, Decimal] = {}
    for container in map(as_map, as_list(spec.get("initContainers"))):
        wanted = _wanted(container)
        if container.get("restartPolicy") == "Always":
            _add(running, wanted)
            wanted = {}
        for name in {*wanted, *running}:
            held = running.get(name, Decimal(0)) + wanted.get(name, Decimal(0))
            starting[name] = max(starting.get(name, Decimal(0)), held)
    for container in map(as_map, as_list(spec.get("containers"))):
        _add(running, _wanted(container))
    return node, {
        name: max(running.get(name, Decimal(0)), starting.get(name, Decimal(0))) for name in {*running, *starting}
    }


def _wanted(container: Mapping[str, Any]) -> Dict[str, Decimal]:
    resources = as_map(container.get("resources"))
    # Requests of extended resources equal their limits; an object that is only written has the limits alone.
    both = {**as_map(resources.get("limits")), **as_map(resources.get("requests"))}
    found = {}
    for name, value in both.items():
        if is_gpu(str(name)):
            try:
                found[str(name)] = parse_quantity(str(value))
            except ValueError:
                continue  # the API server admits no such pod
    return found


def _add(total: Dict[str, Decimal], more: Mapping[str, Decimal]) -> None:
    for name, count in more.items():
        total[name] = total.get(name, Decimal(0)) + count
