"""GPUs that NVIDIA's DRA driver publishes in ResourceSlices instead of as extended resources. Pure: takes parsed objects.

A slice belongs to a pool, whose newest generation counts; a pool that is not published whole yet counts for what is there.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import as_list, as_map

DRIVER = "gpu.nvidia.com"
RESOURCE = "resourceslices/gpu.nvidia.com"
"""What the devices are called among the resources of a node."""

PATHS = tuple("/apis/resource.k8s.io/{0}/resourceslices".format(version) for version in ("v1", "v1beta2", "v1beta1"))
"""Newest first; an API server serves those of its releases."""

_KEEPS_OFF = ("NoSchedule", "NoExecute")


class Slices:
    """The devices of every node, from slices as they come."""

    def __init__(self) -> None:
        self._pools: Dict[Tuple[str, str], Tuple[int, List[bool]]] = {}

    def clear(self) -> None:
        self._pools.clear()

    def take(self, item: Mapping[str, Any]) -> None:
        """One slice. What is of another driver, or of no single node, has no GPUs of a node."""
        spec = as_map(item.get("spec"))
        node = spec.get("nodeName")
        if spec.get("driver") != DRIVER or not isinstance(node, str):
            return
        pool = as_map(spec.get("pool"))
        key = (node, str(pool.get("name") or ""))
        said = pool.get("generation")
        generation = said if isinstance(said, int) else 0
        known, devices = self._pools.get(key, (generation, []))
        if generation < known:
            return
        found = [_is_free_of_taints(each) for each in map(as_map, as_list(spec.get("devices"))) if _is_gpu(each)]
        self._pools[key] = (generation, (devices if generation == known else []) + found)

    def by_node(self) -> Dict[str, Tuple[Decimal, Decimal]]:
        """Devices of each node, and those of them that pods may get."""
        found: Dict[str, Tuple[Decimal, Decimal]] = {}
        for (node, _pool), (_generation, devices) in self._pools.items():
            capacity, allocatable = found.get(node, (Decimal(0), Decimal(0)))
            found[node] = (capacity + len(devices), allocatable + sum(devices))
        return found


def _details(device: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where a device's fields stand: below ``basic`` in the first beta."""
    return as_map(device.get("basic")) or device


def _is_gpu(device: Mapping[str, Any]) -> bool:
    """Whole GPUs; MIG devices that could be made of one are published beside it."""
    kind = as_map(as_map(_details(device).get("attributes")).get("type")).get("string")
    return kind in (None, "gpu")


def _is_free_of_taints(device: Mapping[str, Any]) -> bool:
    taints = map(as_map, as_list(_details(device).get("taints")))
    return not any(taint.get("effect") in _KEEPS_OFF for taint in taints)
