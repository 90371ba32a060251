"""A cluster's API with what a drain needs of it: cordons, evictions held against budgets, pods that end, and faults of every kind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.drain_plan import parse_budget, parse_pod
from ansible_collections.baremetal.gpu.tests.unit.plugins.fake_api import FakeCluster, status

BUDGETS = "/apis/policy/v1/poddisruptionbudgets"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def pod(name: str, owner: str = "ReplicaSet/web", **spec: Any) -> dict[str, Any]:
    """A pod on node n1. ``owner`` empty is a bare one; further fields are of its specification."""
    kind, _slash, owner_name = owner.partition("/")
    owners = [{"kind": kind, "name": owner_name, "controller": True}] if owner else []
    return {
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": f"uid-{name}",
            "labels": {"app": "web"},
            "ownerReferences": owners,
        },
        "spec": {"nodeName": "n1", "restartPolicy": "Always", "containers": [{"name": "c"}], **spec},
        "status": {"phase": "Running"},
    }


def gpu_job(name: str) -> dict[str, Any]:
    """A pod of a Job that holds a GPU."""
    container = {"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return pod(name, "Job/train", restartPolicy="Never", containers=[container])


def budget(allowed: int, name: str = "web", healthy: int = 2, desired: int = 2) -> dict[str, Any]:
    """A budget over all pods with the label ``app: web``."""
    return {
        "metadata": {"namespace": "team", "name": name},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"currentHealthy": healthy, "desiredHealthy": desired, "disruptionsAllowed": allowed},
    }


@dataclass
class FakeNodes(FakeCluster):
    """``ends_after_s`` is how long an evicted pod takes, None for ever. ``write_faults`` answer the next writes to what their name is a part
    of: a status and its body, 0 for a lost connection; ``served`` ones are carried out before their answer is lost."""

    budgets: list[dict[str, Any]] = field(default_factory=list)
    ends_after_s: float | None = 0.02
    forbidden: set[str] = field(default_factory=set)
    write_faults: list[tuple[str, int, bool]] = field(default_factory=list)
    evictions: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    elsewhere: list[dict[str, Any]] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    on_eviction: list[Callable[[], None]] = field(default_factory=list)
    on_cordon: list[Callable[[], None]] = field(default_factory=list)
    _writing: threading.RLock = field(default_factory=threading.RLock)

    def add(self, *pods: dict[str, Any]) -> None:
        """Pods that appear now."""
        with self._writing:
            for each in pods:
                self.pods.append(each)
                self._event("ADDED", each)

    def end(self, name: str) -> None:
        """A pod is gone."""
        with self._writing:
            found = next((each for each in self.pods if each["metadata"]["name"] == name), None)
            if found is not None:
                self.pods.remove(found)
                self._event("DELETED", found)

    def cordoned(self) -> bool:
        return bool(self.nodes["n1"]["spec"].get("unschedulable"))

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path.startswith("/api/v1/nodes/") and not self.errors and path not in self.refused:
            found = self.nodes.get(path.rsplit("/", 1)[-1])
            return (200, found) if found else (404, status(404))
        if path == BUDGETS and path not in self.refused and not self.errors:
            return 200, {"kind": "PodDisruptionBudgetList", "metadata": {}, "items": self.budgets}
        return super().answer(path, query)

    def write(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        if path == REVIEWS:
            wanted = body["spec"]["resourceAttributes"]
            right = "/".join(wanted[key] for key in ("verb", "resource", "subresource") if key in wanted)
            return 201, {"status": {"allowed": right not in self.forbidden}}
        self.written.append(path)
        with self._writing:
            fault = next((each for each in self.write_faults if each[0] in path), None)
            if fault:
                self.write_faults.remove(fault)
                if fault[2]:
                    self._serve(path, query, body)
                return fault[1], status(fault[1], "injected")
            return self._serve(path, query, body)

    def _serve(self, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/api/v1/nodes/n1":
            unschedulable = body["spec"]["unschedulable"]
            self.nodes["n1"]["spec"]["unschedulable"] = unschedulable
            if unschedulable and self.on_cordon:
                self.on_cordon.pop(0)()
            return 200, self.nodes["n1"]
        if path.endswith("/eviction"):
            return self._evict(path.split("/")[-2], query, body)
        return 404, status(404)

    def _evict(self, name: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        self.evictions.append((name, body))
        if self.on_eviction:
            self.on_eviction.pop(0)()
        everywhere = [*self.pods, *self.elsewhere]
        found = next((each for each in everywhere if each["metadata"]["name"] == name), None)
        if found is None:
            return 404, status(404)
        if found["metadata"]["uid"] != body["deleteOptions"]["preconditions"]["uid"]:
            return 409, status(409, "the UID in the precondition does not match")
        dry = query.get("dryRun") == "All" and body["deleteOptions"].get("dryRun") == ["All"]
        for each in self.budgets:
            if parse_budget(each).covers(parse_pod(found)):
                if each["status"]["disruptionsAllowed"] <= 0:
                    cause = {"reason": "DisruptionBudget", "message": "The disruption budget needs more healthy pods"}
                    return 429, status(429, "Cannot evict pod as it would violate its budget.", causes=[cause])
                each["status"]["disruptionsAllowed"] -= 0 if dry else 1
        if not dry:
            found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            self._event("MODIFIED", found)
            if self.ends_after_s is not None:
                self.later(self.ends_after_s, lambda: self.end(name))
        return 201, {"kind": "Status", "status": "Success"}

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something after a while."""
        timer = threading.Timer(seconds, do)
        timer.daemon = True
        timer.start()

    def events(self, version: int, seconds: float, path: str = "/api/v1/nodes") -> Iterator[dict[str, Any] | int]:
        """Events of the list that is watched: nodes have no node."""
        for event in super().events(version, seconds, path):
            if (
                isinstance(event, int)
                or event["type"] == "ERROR"
                or ("nodeName" in event["object"]["spec"]) == path.endswith("pods")
            ):
                yield event
