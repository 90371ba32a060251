"""Labels and taints of a registered node: what to correct, and nothing of what others set. Pure.

k3s gives a node its labels and taints only when it registers. Afterwards they are corrected through the API. Which of them are
ours is remembered in annotations, so that one that is no longer wanted goes, and one that somebody else set stays.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

OWNED_LABELS = "baremetal.gpu/labels"
OWNED_TAINTS = "baremetal.gpu/taints"
FLANNEL_ADDRESS = "flannel.alpha.coreos.com/public-ip"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True)
class Taint:
    """One taint. A node has at most one per key and effect."""

    key: str
    value: str
    effect: str

    @property
    def identity(self) -> str:
        return "{0}:{1}".format(self.key, self.effect)

    def __str__(self) -> str:
        return "{0}={1}:{2}".format(self.key, self.value, self.effect) if self.value else self.identity


@dataclass(frozen=True)
class Node:
    """What the API says of a node. ``heartbeat`` is when its kubelet last reported; empty when it never did."""

    name: str
    machine_id: str
    kubelet_version: str
    ready: bool
    heartbeat: str
    unschedulable: bool
    labels: Mapping[str, str]
    taints: Tuple[Taint, ...]
    owned_labels: FrozenSet[str]
    owned_taints: FrozenSet[str]
    resource_version: str
    message: str = ""
    addresses: Tuple[str, ...] = ()
    """What its kubelet announces (type InternalIP)."""
    pod_network_address: str = ""
    """Where flannel of other nodes sends packets for its pods; empty where there is no flannel."""

    def as_dict(self) -> Dict[str, Any]:
        return {
            "name": self.name,
            "machine_id": self.machine_id,
            "kubelet_version": self.kubelet_version,
            "ready": self.ready,
            "heartbeat": self.heartbeat,
            "unschedulable": self.unschedulable,
            "labels": dict(self.labels),
            "taints": [str(taint) for taint in self.taints],
            "owned_labels": sorted(self.owned_labels),
            "owned_taints": sorted(self.owned_taints),
            "resource_version": self.resource_version,
            "message": self.message,
            "addresses": list(self.addresses),
            "pod_network_address": self.pod_network_address,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Node:
        """The node that ``as_dict`` made."""
        return cls(
            name=str(data["name"]),
            machine_id=str(data["machine_id"]),
            kubelet_version=str(data["kubelet_version"]),
            ready=bool(data["ready"]),
            heartbeat=str(data["heartbeat"]),
            unschedulable=bool(data["unschedulable"]),
            labels=dict(data["labels"]),
            taints=tuple(parse_taint(text) for text in data["taints"]),
            owned_labels=frozenset(data["owned_labels"]),
            owned_taints=frozenset(data["owned_taints"]),
            resource_version=str(data["resource_version"]),
            message=str(data.get("message") or ""),
            addresses=tuple(map(str, data.get("addresses") or ())),
            pod_network_address=str(data.get("pod_network_address") or ""),
        )


@dataclass(frozen=True)
class Correction:
    """What to change on a node: labels with their values (None removes one), and all taints as they must be, or None."""

    labels: Mapping[str, Optional[str]]
    taints: Optional[Tuple[Taint, ...]]
    annotations: Mapping[str, str]

    @property
    def needed(self) -> bool:
        return bool(self.labels or self.annotations) or self.taints is not None

    def patch(self, resource_version: str) -> Dict[str, Any]:
        """A JSON merge patch, which is refused when the node has changed since."""
        metadata: Dict[str, Any] = {"resourceVersion": resource_version}
        if self.labels:
            metadata["labels"] = dict(self.labels)
        if self.annotations:
            metadata["annotations"] = dict(self.annotations)
        patch: Dict[str, Any] = {"metadata": metadata}
        if self.taints is not None:
            patch["spec"] = {
                "taints": [
                    {"key": taint.key, "effect": taint.effect, **({"value": taint.value} if taint.value else {})}
                    for taint in self.taints
                ]
            }
        return patch


def parse_node(item: Mapping[str, Any]) -> Node:
    """Read the API's object. What is not there is empty; an annotation that cannot be read owns nothing."""
    metadata, spec, status = (item.get(part) or {} for part in ("metadata", "spec", "status"))
    annotations = metadata.get("annotations") or {}
    information = status.get("nodeInfo") or {}
    conditions = {entry.get("type"): entry for entry in status.get("conditions") or []}
    ready = conditions.get("Ready") or {}
    return Node(
        name=str(metadata.get("name") or ""),
        machine_id=str(information.get("machineID") or ""),
        kubelet_version=str(information.get("kubeletVersion") or ""),
        ready=ready.get("status") == "True",
        heartbeat=str(ready.get("lastHeartbeatTime") or ""),
        unschedulable=bool(spec.get("unschedulable")),
        labels={str(key): str(value) for key, value in (metadata.get("labels") or {}).items()},
        taints=tuple(
            Taint(str(entry.get("key")), str(entry.get("value") or ""), str(entry.get("effect")))
            for entry in spec.get("taints") or []
        ),
        owned_labels=_owned(annotations.get(OWNED_LABELS)),
        owned_taints=_owned(annotations.get(OWNED_TAINTS)),
        resource_version=str(metadata.get("resourceVersion") or ""),
        message=str(ready.get("message") or ""),
        addresses=tuple(
            str(entry.get("address")) for entry in status.get("addresses") or [] if entry.get("type") == "InternalIP"
        ),
        pod_network_address=str(annotations.get(FLANNEL_ADDRESS) or ""),
    )


def parse_labels(texts: Sequence[str]) -> Dict[str, str]:
    """Labels from ``key=value``. Raises ``GpuError`` BG-NODE-001."""
    found = {}
    for text in texts:
        key, equals, value = str(text).partition("=")
        if not key or not equals:
            raise _malformed("label", text, "key=value")
        found[key] = value
    return found


def parse_taint(text: str) -> Taint:
    """A taint from ``key=value:Effect`` or ``key:Effect``. Raises ``GpuError`` BG-NODE-001."""
    rest, colon, effect = str(text).rpartition(":")
    key, _equals, value = rest.partition("=")
    if not key or not colon or effect not in EFFECTS:
        raise _malformed("taint", text, "key=value:Effect with an effect of {0}".format(", ".join(EFFECTS)))
    return Taint(key, value, effect)


def correct(node: Node, labels: Mapping[str, str], taints: Sequence[Taint]) -> Correction:
    """What differs from the wanted labels and taints, without touching those of others."""
    changed: Dict[str, Optional[str]] = {key: value for key, value in labels.items() if node.labels.get(key) != value}
    changed.update({key: None for key in sorted(node.owned_labels) if key not in labels and key in node.labels})
    wanted = {taint.identity: taint for taint in taints}
    merged = _merge(node, wanted)
    annotations = {}
    for name, owned, now in (
        (OWNED_LABELS, node.owned_labels, frozenset(labels)),
        (OWNED_TAINTS, node.owned_taints, frozenset(wanted)),
    ):
        if owned != now:
            annotations[name] = json.dumps(sorted(now))
    return Correction(changed, None if merged == node.taints else merged, annotations)


def is_settled(node: Node, labels: Mapping[str, str], taints: Sequence[Taint]) -> bool:
    """Whether a node is Ready and as wanted."""
    return node.ready and not correct(node, labels, taints).needed


def difference(node: Optional[Node], correction: Correction) -> Dict[str, str]:
    """The correction for ``--diff``: the labels and taints that change, and what we own."""
    before: List[str] = []
    after: List[str] = []
    for key, value in correction.labels.items():
        if node is not None and key in node.labels:
            before.append("label {0}={1}".format(key, node.labels[key]))
        if value is not None:
            after.append("label {0}={1}".format(key, value))
    if correction.taints is not None:
        before += ["taint {0}".format(taint) for taint in (node.taints if node else ())]
        after += ["taint {0}".format(taint) for taint in correction.taints]
    for name, value in correction.annotations.items():
        owned = (node.owned_labels if name == OWNED_LABELS else node.owned_taints) if node else frozenset()
        before.append("annotation {0}: {1}".format(name, json.dumps(sorted(owned))))
        after.append("annotation {0}: {1}".format(name, value))
    return {"before": "".join(line + "\n" for line in before), "after": "".join(line + "\n" for line in after)}


def _merge(node: Node, wanted: Mapping[str, Taint]) -> Tuple[Taint, ...]:
    """Taints in the order of the node's, without those that were ours and are not wanted, then the new ones."""
    kept = [
        wanted.get(taint.identity, taint)
        for taint in node.taints
        if taint.identity in wanted or taint.identity not in node.owned_taints
    ]
    present = {taint.identity for taint in kept}
    return (*kept, *(taint for identity, taint in wanted.items() if identity not in present))


def _owned(annotation: Any) -> FrozenSet[str]:
    try:
        names = json.loads(annotation) if isinstance(annotation, str) else []
    except ValueError:
        return frozenset()
    return frozenset(str(name) for name in names) if isinstance(names, list) else frozenset()


def _malformed(what: str, text: Any, form: str) -> GpuError:
    return GpuError(
        "BG-NODE-001",
        "{0!r} is no {1} of a node".format(text, what),
        "neither the kubelet nor the API would take it",
        "write it as {0}".format(form),
    )
