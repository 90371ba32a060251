"""Nodes and pods of a large GPU cluster, of the size that they have in a real one. Deterministic.

A node has 50 images with two names each (what a kubelet reports by default, `nodeStatusMaxImages`), some 110 labels (node feature
discovery and GPU feature discovery), their names again in an annotation, and a kubelet's conditions: some 25 kB as JSON, to which
the API server adds who owns which field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

GPU = "nvidia.com/gpu"
GPUS = 8
EXPECTED = {GPU: GPUS}

# Every so many nodes, one of each is not as declared.
_EVERY = 100
_ODD: Mapping[int, tuple[str, str, str, str]] = {
    # remainder: verdict, capacity, allocatable, Ready
    7: ("short", "7", "7", "True"),
    19: ("degraded", "8", "7", "True"),
    41: ("surplus", "16", "16", "True"),
    63: ("unknown", "8", "8", "Unknown"),
}
MISSING = 88
"""Of every hundred nodes this one is declared and is not in the cluster."""


def name(number: int) -> str:
    return f"gpu-{number:05d}"


def expected(count: int) -> dict[str, dict[str, int]]:
    """What is declared of `count` nodes."""
    return {name(number): dict(EXPECTED) for number in range(count)}


def verdicts(count: int) -> dict[str, str]:
    """What each declared node is, by construction."""
    found = {}
    for number in range(count):
        rest = number % _EVERY
        found[name(number)] = "missing" if rest == MISSING else _ODD[rest][0] if rest in _ODD else "ok"
    return found


def nodes(count: int) -> list[dict[str, Any]]:
    """The nodes that are there."""
    return [node(number) for number in range(count) if number % _EVERY != MISSING]


def node(number: int) -> dict[str, Any]:
    """One node as its kubelet and the operands would have written it."""
    _verdict, capacity, allocatable, ready = _ODD.get(number % _EVERY, ("ok", str(GPUS), str(GPUS), "True"))
    labels = _labels(number)
    usual = {
        "cpu": "224",
        "ephemeral-storage": "3510182832Ki",
        "hugepages-2Mi": "0",
        "memory": "2113386776Ki",
        "pods": "110",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name(number), "labels": labels, "annotations": _annotations(number, labels)},
        "spec": {
            "podCIDR": f"10.{number // 256 % 256}.{number % 256}.0/24",
            "taints": [{"key": GPU, "effect": "NoSchedule"}],
        },
        "status": {
            "capacity": {**usual, GPU: capacity, "rdma/hca_shared_devices_a": "63"},
            "allocatable": {**usual, GPU: allocatable, "rdma/hca_shared_devices_a": "63"},
            "conditions": _conditions(ready),
            "addresses": [{"type": "InternalIP", "address": f"10.200.{number // 250}.{number % 250 + 1}"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": _digest(number, "machine")[:32],
                "systemUUID": _digest(number, "system")[:32],
                "bootID": _digest(number, "boot")[:36],
                "kernelVersion": "a kernel of bench.el9.x86_64",
                "osImage": "Rocky Linux (Blue Onyx)",
                "containerRuntimeVersion": "containerd://of-the-bench",
                "kubeletVersion": "bench",
                "kubeProxyVersion": "bench",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
            "images": [_image(number, each) for each in range(50)],
        },
    }


def _digest(number: int, what: str) -> str:
    return hashlib.sha256(f"{number}/{what}".encode()).hexdigest()


def _image(number: int, each: int) -> dict[str, Any]:
    repository = f"registry.example.internal/platform/team-{each % 7}/component-with-a-usual-name-{each:02d}"
    names = [f"{repository}@sha256:{_digest(each, 'image')}", f"{repository}:release-{number % 5}.{each}"]
    return {"names": names, "sizeBytes": 40_000_000 + each * 1_234_567}


def _labels(number: int) -> dict[str, str]:
    features = {f"feature.node.kubernetes.io/cpu-cpuid.FEATURE{each:02d}": "true" for each in range(75)}
    gpus = {
        "count": str(GPUS),
        "replicas": "1",
        "product": "NVIDIA-H100-80GB-HBM3",
        "sharing-strategy": "none",
        "memory": "81559",
        "family": "hopper",
        "machine": "SYS-821GE-TNHR",
        "present": "true",
        "compute.major": "9",
        "compute.minor": "0",
        **{f"deploy.operand-{each}": "true" for each in range(10)},
    }
    return {
        "kubernetes.io/hostname": name(number),
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": f"hall-{number % 4}",
        **features,
        **{f"nvidia.com/gpu.{key}": value for key, value in gpus.items()},
    }


def _annotations(number: int, labels: Mapping[str, str]) -> dict[str, str]:
    return {
        "nfd.node.kubernetes.io/feature-labels": ",".join(key.rpartition("/")[2] for key in labels),
        "node.alpha.kubernetes.io/ttl": "300",
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
        "csi.volume.kubernetes.io/nodeid": f'{{"rook-ceph.rbd.csi.ceph.com":"{name(number)}"}}',
    }


def _conditions(ready: str) -> list[dict[str, str]]:
    when = {"lastHeartbeatTime": "2026-01-01T00:05:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    pressures = [
        {"type": kind, "status": "False", "reason": f"KubeletHasNo{kind}", "message": f"kubelet has no {kind}", **when}
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")
    ]
    return [
        *pressures,
        {"type": "Ready", "status": ready, "reason": "KubeletReady", "message": "kubelet posts", **when},
    ]


def pod(number: int, node_number: int) -> dict[str, Any]:
    """One pod: every fourth is a device plugin's, the others use a GPU."""
    plugin = number % 4 == 0
    label = {"app.kubernetes.io/name": "nvidia-device-plugin" if plugin else "training"}
    resources = {} if plugin else {"limits": {GPU: "1", "cpu": "16", "memory": "128Gi"}}
    variables = [{"name": f"SETTING_{each}", "value": _digest(each, "value")} for each in range(40)]
    container = {
        "name": "nvidia-device-plugin" if plugin else "worker",
        "image": f"registry.example.internal/platform/{label['app.kubernetes.io/name']}:1",
        "env": variables,
        "resources": resources,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{number:06d}", "namespace": "default", "labels": label},
        "spec": {"nodeName": name(node_number), "containers": [container], "automountServiceAccountToken": False},
    }
