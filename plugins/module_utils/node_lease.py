"""A node's lock, the budget and the node's own mark, in the Kubernetes API. Runs on the controller.

The lock of a node is a Lease, as kubelets and controllers keep theirs. The nodes that are out stand in annotations of one more Lease, because
what several controllers count has to be one object. Whose change a node is out for stands on the node itself, beside its cordon, so that both
change in one write. Every write names the version that it was decided on; the API server refuses it when there is a newer one.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, Dict, Mapping, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils.change_machine import (
    CLAIM,
    LOCK,
    SLOT,
    Claim,
    Lock,
    Node,
    Now,
    Read,
    Versioned,
    Write,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import as_map, parse_time
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import NODES, Cluster

NAMESPACE = "kube-system"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{0}/leases".format(NAMESPACE)
BUDGET = "baremetal-gpu-nodes-out"
CLAIM_ANNOTATION = "baremetal.gpu/change"
REASON_ANNOTATION = "baremetal.gpu/change-code"
# One value for all: a node's name may be longer than that of an annotation.
_OUT = "baremetal.gpu/nodes-out"
_MERGE = "application/merge-patch+json"


class NodeLease:
    """Answers the requests of a change of one node, whose lock is for ``lock_s``. Methods raise ``GpuError`` as ``Cluster`` does."""

    def __init__(self, cluster: Cluster, node: str, lock_s: float) -> None:
        self._cluster, self._node, self._lock_s = cluster, node, lock_s
        self._lease = "baremetal-gpu-{0}".format(node)

    def answer(self, request: Any) -> Any:
        """What a ``Now``, ``Read`` or ``Write`` is answered by."""
        if isinstance(request, Now):
            return self._now()
        if isinstance(request, Read):
            return {LOCK: self._read_lock, SLOT: self._read_out, CLAIM: self._read_node}[request.what]()
        if not isinstance(request, Write):
            raise TypeError("{0!r} is no request".format(request))
        if request.what == LOCK:
            return self._write_lease(self._lease, request.version, lock_spec(request.value, self._lock_s), {})
        if request.what == SLOT:
            annotations = {_OUT: json.dumps(dict(request.value), sort_keys=True)}
            return self._write_lease(BUDGET, request.version, {}, annotations)
        return self._write_node(request.value, request.version)

    def _now(self) -> float:
        """The API server's clock: controllers' own may differ."""
        answer = self._cluster.answer("GET", "/version")
        return (answer.date or datetime.now(timezone.utc)).timestamp()

    def _get(self, path: str) -> Optional[Mapping[str, Any]]:
        answer = self._cluster.answer("GET", path, absent=404)
        return None if answer.status == 404 else answer.body

    def _read_lock(self) -> Versioned:
        item = self._get("{0}/{1}".format(LEASES, self._lease))
        return Versioned(parse_lock(item), _version(item))

    def _read_out(self) -> Versioned:
        item = self._get("{0}/{1}".format(LEASES, BUDGET))
        return Versioned(parse_out(item), _version(item))

    def _read_node(self) -> Versioned:
        item = self._get("{0}/{1}".format(NODES, self._node))
        if item is None:
            raise GpuError(
                "BG-CHANGE-112",
                "the cluster has no node {0}".format(self._node),
                "it can be neither cordoned nor let in",
                "give the node's name as the cluster knows it",
            )
        return Versioned(parse_node(item), _version(item))

    def _write_lease(self, name: str, version: str, spec: Mapping[str, Any], annotations: Mapping[str, Any]) -> bool:
        metadata: Dict[str, Any] = {"name": name, "namespace": NAMESPACE, "annotations": dict(annotations)}
        body: Dict[str, Any] = {"metadata": metadata, "spec": dict(spec)}
        if not version:
            made = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **body}
            return self._cluster.answer("POST", LEASES, absent=409, body=made).status != 409
        metadata["resourceVersion"] = version
        return self._patch("{0}/{1}".format(LEASES, name), body)

    def _write_node(self, node: Node, version: str) -> bool:
        annotations: Dict[str, Optional[str]] = {
            CLAIM_ANNOTATION: json.dumps(vars(node.claim), sort_keys=True) if node.claim else None,
            REASON_ANNOTATION: node.reason or None,
        }
        metadata = {"resourceVersion": version, "annotations": annotations}
        body = {"metadata": metadata, "spec": {"unschedulable": node.cordoned or None}}
        return self._patch("{0}/{1}".format(NODES, self._node), body)

    def _patch(self, path: str, body: Mapping[str, Any]) -> bool:
        return self._cluster.answer("PATCH", path, absent=409, body=body, content_type=_MERGE).status != 409


def _version(item: Optional[Mapping[str, Any]]) -> str:
    return str(as_map(as_map(item).get("metadata")).get("resourceVersion") or "")


def parse_lock(item: Optional[Mapping[str, Any]]) -> Optional[Lock]:
    """Who holds a Lease; None when nobody does. One whose end cannot be read has ended: taking it over still needs the word."""
    spec = as_map(as_map(item).get("spec"))
    holder, renewed, seconds = (
        spec.get("holderIdentity"),
        parse_time(spec.get("renewTime")),
        spec.get("leaseDurationSeconds"),
    )
    if not holder:
        return None
    if renewed is None or not isinstance(seconds, int):
        return Lock(str(holder), 0.0)
    return Lock(str(holder), renewed.timestamp() + seconds)


def lock_spec(lock: Optional[Lock], lock_s: float) -> Dict[str, Any]:
    """A Lease's specification: when it was renewed, and for how many whole seconds."""
    if lock is None:
        return {"holderIdentity": None, "renewTime": None, "leaseDurationSeconds": None}
    seconds = max(1, round(lock_s))
    renewed = datetime.fromtimestamp(lock.until - seconds, timezone.utc)
    return {
        "holderIdentity": lock.holder,
        "leaseDurationSeconds": seconds,
        "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


def parse_out(item: Optional[Mapping[str, Any]]) -> Dict[str, str]:
    """Nodes that are out, with whose change. Raises ``GpuError`` BG-CHANGE-113 for what cannot be read: never as if none were out."""
    annotations = as_map(as_map(as_map(item).get("metadata")).get("annotations"))
    text = annotations.get(_OUT, "{}")
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise GpuError(
            "BG-CHANGE-113",
            "annotation {0} of Lease {1}/{2} is {3!r}".format(_OUT, NAMESPACE, BUDGET, str(text)[:200]),
            "how many nodes are out is not known",
            "look which nodes are cordoned for a change, and write them there as a JSON object of node to holder",
        )
    return {str(node): str(holder) for node, holder in found.items()}


def parse_node(item: Mapping[str, Any]) -> Node:
    """A node's cordon and mark. A mark that cannot be read is somebody's: the node is not taken without the word."""
    annotations = as_map(as_map(item.get("metadata")).get("annotations"))
    cordoned = bool(as_map(item.get("spec")).get("unschedulable"))
    reason = str(annotations.get(REASON_ANNOTATION) or "")
    text = annotations.get(CLAIM_ANNOTATION)
    if text is None:
        return Node(cordoned, None, reason)
    try:
        found = as_map(json.loads(text))
    except (TypeError, ValueError):
        found = {}
    # What is not known is the cautious side: a node that may have been cordoned before stays cordoned.
    claim = Claim(str(found.get("holder") or "unknown"), found.get("was_cordoned") is not False)
    return Node(cordoned, claim, reason)
