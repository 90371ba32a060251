"""Node and pod objects as the Kubernetes API gives them, reduced to what decides about GPU capacity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

GPU = "nvidia.com/gpu"
SHARED = "nvidia.com/gpu.shared"
NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
"""The API server's clock in tests that have no server."""


def ago(seconds: float, now: datetime = NOW) -> str:
    """A time as the API writes it."""
    return (now - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def node(
    name: str,
    capacity: dict[str, str],
    allocatable: dict[str, str] | None = None,
    *,
    ready: str | None = "True",
    ready_for_s: float = 86400,
    cordoned: bool = False,
    labels: dict[str, str] | None = None,
    taints: list[dict[str, str]] | None = None,
    conditions: list[dict[str, str]] | None = None,
    now: datetime = NOW,
) -> dict[str, Any]:
    """A node; ``capacity`` and ``allocatable`` are its GPU resources, ``labels`` are without ``nvidia.com/``."""
    usual = {"cpu": "224", "memory": "2113386776Ki", "pods": "110", "hugepages-1Gi": "0"}
    reported = [{"type": "MemoryPressure", "status": "False"}, *(conditions or [])]
    if ready is not None:
        reported.append(
            {
                "type": "Ready",
                "status": ready,
                "reason": "KubeletReady" if ready == "True" else "NodeStatusUnknown",
                "message": "kubelet is posting ready status" if ready == "True" else "Kubelet stopped posting status",
                "lastTransitionTime": ago(ready_for_s, now),
            }
        )
    return {
        "metadata": {
            "name": name,
            "resourceVersion": "4711",
            "labels": {
                "kubernetes.io/hostname": name,
                **{f"nvidia.com/{key}": text for key, text in (labels or {}).items()},
            },
        },
        "spec": {**({"unschedulable": True} if cordoned else {}), **({"taints": taints} if taints else {})},
        "status": {
            "capacity": {**usual, **capacity},
            "allocatable": {**usual, **(capacity if allocatable is None else allocatable)},
            "conditions": reported,
        },
    }


def operand(
    node_name: str,
    container: str = "nvidia-device-plugin",
    *,
    ready: bool = True,
    for_s: float = 3600,
    waiting: str = "",
    scheduled: bool = True,
    now: datetime = NOW,
    **metadata: Any,
) -> dict[str, Any]:
    """An operand's pod on a node; ``waiting`` is why its container does not run."""
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {"startedAt": ago(for_s, now)}}
    affinity = {"key": "metadata.name", "operator": "In", "values": [node_name]}
    terms = {"nodeSelectorTerms": [{"matchFields": [affinity]}]}
    return {
        "metadata": {
            "name": f"{container}-{node_name}",
            "namespace": "gpu-operands",
            "labels": {"app.kubernetes.io/name": container},
            **metadata,
        },
        "spec": {
            "containers": [{"name": container}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
            **({"nodeName": node_name} if scheduled else {}),
        },
        "status": {
            "phase": "Running" if ready else "Pending",
            "conditions": [
                {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": ago(for_s, now)}
            ],
            "containerStatuses": [{"name": container, "restartCount": 2 if waiting else 0, "state": state}],
        },
    }


def gpu_pod(node_name: str, *counts: int, phase: str = "Running", resource: str = GPU) -> dict[str, Any]:
    """A pod whose containers hold these numbers of GPUs."""
    containers = [{"name": f"c{n}", "resources": {"limits": {resource: str(c)}}} for n, c in enumerate(counts)]
    return {
        "metadata": {"name": f"pod-{node_name}"},
        "spec": {"nodeName": node_name, "containers": containers},
        "status": {"phase": phase},
    }


def resource_slice(
    node_name: str,
    count: int,
    *,
    tainted: int = 0,
    generation: int = 1,
    kind: str = "gpu",
    driver: str = "gpu.nvidia.com",
    beta: bool = False,
) -> dict[str, Any]:
    """A slice of a node's pool; the first ``tainted`` of its devices are not given out."""
    devices = []
    for number in range(count):
        taints = [{"key": "unhealthy", "effect": "NoSchedule"}] if number < tainted else []
        details = {"attributes": {"type": {"string": kind}}, "taints": taints}
        devices.append({"name": f"{kind}-{number}", **({"basic": details} if beta else details)})
    pool = {"name": node_name, "generation": generation, "resourceSliceCount": 1}
    return {"spec": {"driver": driver, "nodeName": node_name, "pool": pool, "devices": devices}}
