"""What a node lacks to take pods after a change: pure judgement, and the waiting for it by watches. Runs on the controller."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Callable, Iterable, List, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.followed_objects import Followed
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import (
    NodeReading,
    as_list,
    as_map,
    parse_node,
    said,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import NODES, PODS, Cluster, TransientError
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import plain

# A watch that lost an event is found out after so long.
_LOOK_AGAIN_S = 10.0
_PAUSE_S = 0.5


@dataclass(frozen=True)
class Wanted:
    """What has to be so. ``resources`` are counts that allocatable must equal; ``not_boot_id`` is the boot that must be over, or empty."""

    schedulable: bool = True
    resources: Mapping[str, Decimal] = field(default_factory=dict)
    daemonsets: bool = True
    not_boot_id: str = ""


@dataclass(frozen=True)
class Seen:
    """A node as it is now."""

    reading: NodeReading
    boot_id: str = ""


@dataclass(frozen=True)
class DaemonPod:
    """A pod of a DaemonSet on the node; ``lacks`` is empty when it is Ready."""

    title: str
    lacks: str = ""


@dataclass(frozen=True)
class Readiness:
    """What is still missing at the end, the node's boot id (empty: not known), and how long it took."""

    missing: Tuple[str, ...]
    boot_id: str
    seconds: float


def parse_seen(item: Mapping[str, Any]) -> Seen:
    """A node object. Never raises."""
    info = as_map(as_map(item.get("status")).get("nodeInfo"))
    return Seen(parse_node(item), str(info.get("bootID") or ""))


def parse_daemon_pod(item: Mapping[str, Any]) -> Optional[DaemonPod]:
    """A pod object; None for one that no DaemonSet started. Never raises."""
    metadata, status = as_map(item.get("metadata")), as_map(item.get("status"))
    owners = [as_map(each) for each in as_list(metadata.get("ownerReferences"))]
    if not any(each.get("controller") and each.get("kind") == "DaemonSet" for each in owners):
        return None
    title = "{0}/{1}".format(metadata.get("namespace") or "default", metadata.get("name") or "")
    if metadata.get("deletionTimestamp"):
        return DaemonPod(title, "it is being removed")
    conditions = [as_map(each) for each in as_list(status.get("conditions"))]
    ready = next((each for each in conditions if each.get("type") == "Ready"), {})
    if ready.get("status") == "True":
        return DaemonPod(title)
    return DaemonPod(title, "it is {0}, not Ready{1}".format(status.get("phase") or "new", _because(said(ready))))


def _because(text: str) -> str:
    return " ({0})".format(text) if text else ""


def node_lacks(seen: Optional[Seen], wanted: Wanted) -> Tuple[str, ...]:
    """What the node itself still lacks, in words."""
    if seen is None:
        return ("it is not in the cluster",)
    found: List[str] = []
    node = seen.reading
    if wanted.not_boot_id and seen.boot_id in ("", wanted.not_boot_id):
        # Until the kubelet has reported, the API shows the node as it was before the reboot, Ready.
        found.append(
            "its kubelet has not reported since the reboot (boot {0})".format(seen.boot_id or "is not reported")
        )
    if node.ready is not True:
        found.append("it is not Ready{0}".format(_because(node.ready_reason)))
    if wanted.schedulable and node.unschedulable:
        found.append("it is cordoned")
    for resource, count in sorted(wanted.resources.items()):
        offered = node.allocatable.get(resource)
        if offered != count:
            shown = "not reported" if offered is None else plain(offered)
            found.append("allocatable {0} is {1}, not {2}".format(resource, shown, plain(count)))
    return tuple(found)


def pods_lack(pods: Iterable[Optional[DaemonPod]], wanted: Wanted) -> Tuple[str, ...]:
    """What the node's DaemonSets still lack, in words."""
    if not wanted.daemonsets:
        return ()
    return tuple(sorted("{0}: {1}".format(pod.title, pod.lacks) for pod in pods if pod is not None and pod.lacks))


class Waiter:
    """Follows one node and the pods of DaemonSets on it."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        wanted: Wanted,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._wanted, self._clock, self._sleep = wanted, clock, sleep
        by_name = {"fieldSelector": "metadata.name={0}".format(name)}
        on_node = {"fieldSelector": "spec.nodeName={0}".format(name)}
        self._nodes: Followed[Seen] = Followed(cluster, NODES, by_name, parse_seen, clock, sleep)
        self._pods: Followed[Optional[DaemonPod]] = Followed(cluster, PODS, on_node, parse_daemon_pod, clock, sleep)

    def run(self, timeout_s: float) -> Readiness:
        """Wait until nothing is missing, at most so long; the last word has a new list.

        Raises ``GpuError`` when the API refuses, BG-READY-103 when it does not answer at the deadline.
        """
        begun = self._clock()
        deadline = begun + timeout_s
        while True:
            try:
                self._nodes.read()
                if self._wanted.daemonsets:
                    self._pods.read()
            except TransientError as error:
                if self._clock() >= deadline:
                    raise GpuError(
                        "BG-READY-103", error.what, "whether the node is ready is not known", error.remedy
                    ) from error
                self._sleep(max(0.0, min(error.retry_after_s or _PAUSE_S, deadline - self._clock())))
                continue
            missing = self._node_lacks() + self._pods_lack()
            if not missing or self._clock() >= deadline:
                boot_id = next((seen.boot_id for seen in self._nodes.objects.values()), "")
                return Readiness(missing, boot_id, self._clock() - begun)
            until = min(deadline, self._clock() + _LOOK_AGAIN_S)
            # First the node: without it its pods do not start.
            if self._node_lacks():
                self._nodes.follow(until, lambda: not self._node_lacks())
            else:
                self._pods.follow(until, lambda: not self._pods_lack())

    def _node_lacks(self) -> Tuple[str, ...]:
        return node_lacks(next(iter(self._nodes.objects.values()), None), self._wanted)

    def _pods_lack(self) -> Tuple[str, ...]:
        return pods_lack(self._pods.objects.values(), self._wanted)
