"""Runs jobs of nccl-tests on a cluster over the controller's own connection: looks first, watches, reads logs, removes everything."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi, NoAnswerError
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.idle import IN_USE, SHARED, UNREADABLE, Obstacle
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.reading import Reading, read
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.running import BY_ITSELF, DEADLINE, NOT_STARTED
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import Scanner
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.runs import GRACE_S

LOG_BYTES = 64 * 1024 * 1024
REMOVAL_S = 90.0
"""How long the pods of a removed job may take to go, in seconds: their own grace is 5."""

_PATHS = {"Job": "/apis/batch/v1/namespaces/{0}/jobs", "MPIJob": "/apis/kubeflow.org/v2beta1/namespaces/{0}/mpijobs"}
_PODS = {"Job": "job-name={0}", "MPIJob": "training.kubeflow.org/job-name={0}"}
_LAUNCHER = "training.kubeflow.org/job-role"
_ENDED = {"Complete": True, "Succeeded": True, "Failed": False}
_SHARED_LABELS = {
    "nvidia.com/gpu.sharing-strategy": ("", "none"),
    "nvidia.com/gpu.replicas": ("", "0", "1"),
    "nvidia.com/mig.strategy": ("", "none", "single", "mixed"),
}


@dataclass(frozen=True)
class Settings:
    """How often to ask, in seconds, and which resource of a node is its GPUs."""

    poll_interval_s: float = 2.0
    resource: str = "nvidia.com/gpu"


class Cluster:
    """The executor of jobs. Every method raises ``GpuError`` BG-NCCL-112 when the API refuses or does not answer."""

    def __init__(self, api: KubeApi, settings: Settings, signatures: Sequence[Mapping[str, Any]]) -> None:
        self._api = api
        self._settings = settings
        self._signatures = signatures

    # Before

    def obstacles(self, nodes: Sequence[str], wanted: int) -> list[Obstacle]:
        """What keeps a run from each of the nodes; read only."""
        found = (self._obstacle(node, wanted) for node in nodes)
        return [obstacle for obstacle in found if obstacle is not None]

    def _obstacle(self, name: str, wanted: int) -> Obstacle | None:
        status, node = self._asked("GET", f"/api/v1/nodes/{name}")
        if status == 404:
            return Obstacle(UNREADABLE, name, "the cluster has no such node")
        shared = sharing(node, self._settings.resource, wanted)
        if shared is not None:
            return Obstacle(shared[0], name, shared[1])
        query = {"fieldSelector": f"spec.nodeName={name},status.phase!=Succeeded,status.phase!=Failed"}
        _status, pods = self._asked("GET", "/api/v1/pods", query=query)
        users = sorted(_name(pod) for pod in pods.get("items") or () if uses(pod, self._settings.resource))
        if users:
            return Obstacle(IN_USE, name, f"{len(users)} pods have its GPUs: {', '.join(users[:3])}")
        return None

    # The runs themselves

    def run_all(self, manifests: Sequence[Mapping[str, Any]], deadline_s: float) -> list[dict[str, Any]]:
        """Make all jobs, wait until each has ended or the time is over, read their logs, and remove them in any case.

        One outcome per manifest, in their order, as ``running.run_all`` gives them, and ``pods`` with the node of each.
        """
        made: list[Mapping[str, Any]] = []
        try:
            for manifest in manifests:
                # Noted before: without an answer it may have been made all the same.
                made.append(manifest)
                self._accepted("POST", _path(manifest), body=manifest)
            ends = self._watched(made, deadline_s)
            return [self._outcome(manifest, end) for manifest, end in zip(made, ends, strict=True)]
        finally:
            self._removed(made)

    def _watched(self, manifests: Sequence[Mapping[str, Any]], deadline_s: float) -> list[Mapping[str, Any] | None]:
        """The condition with which each job ended; None where it did not in time. An API that stumbles is asked again."""
        until = time.monotonic() + deadline_s
        ends: list[Mapping[str, Any] | None] = [None] * len(manifests)
        while None in ends and time.monotonic() < until:
            for index, manifest in enumerate(manifests):
                if ends[index] is not None:
                    continue
                try:
                    status, job = self._api.request("GET", _object(manifest))
                except NoAnswerError:
                    continue
                if status == 404:
                    ends[index] = {"type": "Failed", "reason": "Removed", "message": "somebody removed the job"}
                elif status < 400:
                    ends[index] = ending(job)
            if None in ends:
                time.sleep(max(0.0, min(self._settings.poll_interval_s, until - time.monotonic())))
        return ends

    def _outcome(self, manifest: Mapping[str, Any], end: Mapping[str, Any] | None) -> dict[str, Any]:
        pods = self._pods(manifest)
        speaking = [pod for pod in pods if _labels(pod).get(_LAUNCHER) in (None, "launcher")]
        container = _terminated(speaking[-1]) if speaking else None
        reading = self._log(speaking[-1]) if speaking and _has_run(speaking[-1]) else Reading()
        too_late = end is None or "DeadlineExceeded" in (end.get("reason"), *(_reason(pod) for pod in speaking))
        ended = DEADLINE if too_late else BY_ITSELF
        # A job past its deadline takes its pods with it: without one, that it never ran is not known. Of an MPIJob the workers stay, and
        # the launcher was never made while one of them did not run.
        silent = [pod for pod in pods if pod not in speaking]
        if not any(map(_has_run, speaking)) and (speaking or not too_late or not all(map(_has_run, silent))):
            ended = NOT_STARTED
        said = (
            [str(end.get("message") or "")] if end is not None and not _ENDED.get(str(end.get("type")), False) else []
        )
        return {
            "name": _name(manifest),
            "ended": ended,
            "exit_code": None if container is None else container.get("exitCode"),
            "message": "; ".join([text for text in (*said, *(_waiting(pod) for pod in pods)) if text][:3]),
            "reading": reading.as_dict(),
            "pods": {_name(pod): (pod.get("spec") or {}).get("nodeName") for pod in pods},
        }

    def _pods(self, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
        path = f"/api/v1/namespaces/{manifest['metadata']['namespace']}/pods"
        selector = _PODS[str(manifest["kind"])].format(_name(manifest))
        _status, answer = self._asked("GET", path, query={"labelSelector": selector})
        items: list[dict[str, Any]] = answer.get("items") or []
        return sorted(items, key=_name)

    def _log(self, pod: Mapping[str, Any]) -> Reading:
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{_name(pod)}/log"
        return read(self._api.pieces(path, {"limitBytes": LOG_BYTES}), Scanner(self._signatures))

    def _removed(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Remove all jobs and wait until their pods are gone, because the next run needs their GPUs. Raises BG-NCCL-113."""
        left = list(manifests)
        until = time.monotonic() + REMOVAL_S
        while left:
            left = [manifest for manifest in left if not self._is_gone(manifest)]
            if not left:
                return
            if time.monotonic() >= until:
                names = ", ".join(f"{manifest['kind']} {_name(manifest)}" for manifest in left)
                raise GpuError(
                    "BG-NCCL-113",
                    f"{names} in namespace {left[0]['metadata']['namespace']} could not be removed",
                    "what stays holds GPUs",
                    "remove it, and look at the node's kubelet when its pods do not go",
                )
            time.sleep(min(self._settings.poll_interval_s, 1.0))

    def _is_gone(self, manifest: Mapping[str, Any]) -> bool:
        try:
            status, _answer = self._api.request("DELETE", _object(manifest), {"propagationPolicy": "Background"})
            return status == 404 and not self._pods(manifest)
        except (NoAnswerError, GpuError):
            return False

    def _asked(self, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """An answer that is no refusal; 404 is one that the caller looks at."""
        try:
            status, answer = self._api.request(method, path, **more)
        except NoAnswerError as error:
            raise _refused(f"the Kubernetes API did not answer ({error})") from error
        if status >= 400 and status != 404:
            raise _refused(
                f"the Kubernetes API refused {method} {path} (HTTP {status}: {answer.get('message') or 'no reason'})"
            )
        return status, answer

    def _accepted(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        status, answer = self._asked(method, path, **more)
        if status == 404:
            raise _refused(
                f"the cluster does not know {path}; several nodes need the MPI operator (kubeflow.org/v2beta1)"
            )
        return answer


def _refused(what: str) -> GpuError:
    return GpuError(
        "BG-NCCL-112",
        what,
        "without it no job can be run, or its end is not known",
        "check the API server and the rights of the kubeconfig's user: get nodes, list pods; create, get and delete jobs; get logs",
    )


def sharing(node: Mapping[str, Any], resource: str, wanted: int) -> tuple[str, str] | None:
    """The code of a refusal and why, when a node does not offer just the declared GPUs, each as a whole.

    With MPS or time-slicing a node offers every GPU several times, so that the number alone shows it; labels say how.
    """
    status, labels = node.get("status") or {}, _labels(node)
    ready = [item.get("status") for item in status.get("conditions") or () if item.get("type") == "Ready"]
    if ready != ["True"]:
        return UNREADABLE, "it is not Ready, so what it offers is what it last reported"
    for label, allowed in _SHARED_LABELS.items():
        if str(labels.get(label, "")) not in allowed:
            return SHARED, f"its label {label} is {labels[label]}"
    offered = status.get("allocatable") or {}
    parts = sorted(
        name
        for name, count in offered.items()
        if name.startswith(("nvidia.com/mig-", f"{resource}.shared")) and count != "0"
    )
    if parts:
        return SHARED, f"it offers parts of GPUs ({', '.join(parts)})"
    if "MIG" in str(labels.get("nvidia.com/gpu.product", "")):
        return SHARED, "its GPUs are divided by MIG"
    count = offered.get(resource)
    if count != str(wanted):
        code = SHARED if str(count).isdigit() and int(str(count)) > wanted else UNREADABLE
        return code, f"it offers {count or 'no'} {resource}, declared are {wanted}"
    return None


def uses(pod: Mapping[str, Any], resource: str) -> bool:
    """Whether a pod has GPUs, whole or in parts."""
    spec = pod.get("spec") or {}
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    requested = [
        (container.get("resources") or {}).get(kind) or {}
        for container in containers
        for kind in ("limits", "requests")
    ]
    return any(
        name.startswith((resource, "nvidia.com/mig-")) and str(count) != "0"
        for part in requested
        for name, count in part.items()
    )


def ending(job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The condition with which a Job or MPIJob ended."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") in _ENDED and condition.get("status") == "True":
            found: Mapping[str, Any] = condition
            return found
    return None


def wait_s(job_s: float) -> float:
    """How long to wait for a job whose own limit is ``job_s``: its backstop, and a period of its controller."""
    return job_s + GRACE_S + 15


def _path(manifest: Mapping[str, Any]) -> str:
    return _PATHS[str(manifest["kind"])].format(manifest["metadata"]["namespace"])


def _object(manifest: Mapping[str, Any]) -> str:
    return f"{_path(manifest)}/{_name(manifest)}"


def _name(item: Mapping[str, Any]) -> str:
    return str((item.get("metadata") or {}).get("name"))


def _labels(item: Mapping[str, Any]) -> Mapping[str, Any]:
    labels: Mapping[str, Any] = (item.get("metadata") or {}).get("labels") or {}
    return labels


def _reason(pod: Mapping[str, Any]) -> str | None:
    reason: str | None = (pod.get("status") or {}).get("reason")
    return reason


def _states(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each.get("state") or {} for each in (pod.get("status") or {}).get("containerStatuses") or ()]


def _terminated(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = [state["terminated"] for state in _states(pod) if state.get("terminated") is not None]
    return found[0] if found else None


def _has_run(pod: Mapping[str, Any]) -> bool:
    return any(state.get(name) is not None for state in _states(pod) for name in ("running", "terminated"))


def _waiting(pod: Mapping[str, Any]) -> str:
    """What the scheduler or the kubelet said about a pod that did not run."""
    status = pod.get("status") or {}
    said = [
        f"{item['waiting'].get('reason')}: {item['waiting'].get('message') or ''}"
        for item in _states(pod)
        if item.get("waiting")
    ]
    said += [
        str(condition["message"])
        for condition in status.get("conditions") or ()
        if condition.get("status") == "False" and condition.get("type") == "PodScheduled" and condition.get("message")
    ]
    return f"{_name(pod)}: {said[0].strip(': ')}" if said else ""
