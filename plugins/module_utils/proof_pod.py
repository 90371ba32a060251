"""The pod that proves a GPU: made, watched until it ends, judged by what it saw, and removed in any case. Runs on the controller."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi, NoAnswerError

CODE = "BG-POD-001"
REMEDY = "read the events of the pod and the node; usual causes are GPUs all in use, no runtime class nvidia and a stale CDI file"
_GPU = re.compile(r"GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Subject:
    """What the pod is to prove, and of whom."""

    node: str
    resource: str
    requirements: Tuple[str, ...]
    simulated: bool


@dataclass(frozen=True)
class Ended:
    """How the pod's only container ended. ``message`` is what it wrote to its termination log."""

    exit_code: int
    message: str


def ended(pod: Mapping[str, Any]) -> Optional[Ended]:
    """How a pod ended, or None while it has not.

    By its container, not by its phase: the phase of a pod this short lags behind.
    """
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    terminated = ((statuses[0].get("state") or {}) if statuses else {}).get("terminated")
    if not terminated:
        return None
    return Ended(int(terminated.get("exitCode", -1)), str(terminated.get("message") or ""))


def judge(pod: Mapping[str, Any], subject: Subject, timeout_s: float) -> Finding:
    """The finding about a pod as it was read last. One that did not end is unknown, never ok."""
    result = ended(pod)
    seen = _GPU.findall(result.message) if result is not None and result.exit_code == 0 else []
    if seen:
        status, reason = OK, "a pod that requests {0} sees {1}".format(subject.resource, ", ".join(seen))
    elif result is not None:
        status = FAIL
        reason = "the pod ended with exit status {0} and saw no GPU".format(result.exit_code)
    else:
        phase = (pod.get("status") or {}).get("phase") or "unknown"
        status = UNKNOWN
        reason = "the pod did not end within {0:g} s; its phase is {1}{2}".format(timeout_s, phase, _waiting(pod))
    return _finding(subject, status, reason, _namespace(pod), result.message if result is not None else "")


def not_run(subject: Subject, reason: str) -> Finding:
    """The finding when no pod was started."""
    return _finding(subject, SKIPPED, reason, "", "")


def _finding(subject: Subject, status: str, reason: str, namespace: str, message: str) -> Finding:
    return Finding(
        code=CODE,
        subject=subject.node,
        status=status,
        reason=reason,
        remedy=REMEDY if status in (FAIL, UNKNOWN) else "",
        evidence={
            "what": "nvidia-smi in a pod",
            "where": "node {0}{1}".format(subject.node, ", namespace " + namespace if namespace else ""),
            "message": message,
        },
        requirements=subject.requirements,
        simulated=subject.simulated,
    )


def _waiting(pod: Mapping[str, Any]) -> str:
    """What the scheduler or the kubelet last said about a pod that does not run, with what separates it."""
    status = pod.get("status") or {}
    said = [
        str(condition["message"])
        for condition in status.get("conditions") or ()
        if condition.get("status") == "False" and condition.get("message")
    ]
    said += [
        "{0}: {1}".format(waiting.get("reason"), waiting.get("message"))
        for waiting in ((each.get("state") or {}).get("waiting") for each in status.get("containerStatuses") or ())
        if waiting and waiting.get("message")
    ]
    return " ({0})".format(said[-1]) if said else ""


def _namespace(pod: Mapping[str, Any]) -> str:
    return str((pod.get("metadata") or {}).get("namespace") or "default")


def run(api: KubeApi, manifest: Mapping[str, Any], timeout_s: float, poll_interval_s: float) -> Dict[str, Any]:
    """Make the pod, wait until it has ended or the time is over, remove it, and return it as it was read last.

    The manifest has ``generateName``: a pod left over from an interrupted run must not count as proof. While the pod is watched,
    an API that does not answer is asked again. Raises ``GpuError`` BG-POD-101 when it refuses, BG-POD-102 without an answer.
    """
    path = "/api/v1/namespaces/{0}/pods".format(_namespace(manifest))
    try:
        pod = _accepted(api.request("POST", path, manifest), "create a pod")
        path = "{0}/{1}".format(path, pod["metadata"]["name"])
        try:
            return _watched(api, path, pod, timeout_s, poll_interval_s)
        finally:
            _removed(api, path, poll_interval_s)
    except NoAnswerError as error:
        raise GpuError(
            "BG-POD-102",
            "the Kubernetes API did not answer ({0})".format(error),
            "whether the pod ran is not known, and {0} may still be there".format(path.rpartition("/")[2]),
            "check that the API server runs and that the kubeconfig's certificates fit, then run again",
        ) from error


def _watched(api: KubeApi, path: str, pod: Dict[str, Any], timeout_s: float, poll_interval_s: float) -> Dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while ended(pod) is None and time.monotonic() < deadline:
        time.sleep(max(0.0, min(poll_interval_s, deadline - time.monotonic())))
        try:
            status, answer = api.request("GET", path)
        except NoAnswerError:
            if time.monotonic() >= deadline:
                raise
            continue
        if not _is_passing(status):
            pod = _accepted((status, answer), "read the pod")
    return pod


def _removed(api: KubeApi, path: str, poll_interval_s: float) -> None:
    """Remove the pod; asked three times, because a pod that stays keeps a GPU's share."""
    for attempt in range(3):
        try:
            status, answer = api.request("DELETE", path)
        except NoAnswerError:
            if attempt == 2:
                raise
        else:
            if status == 404:
                return
            if attempt == 2 or not _is_passing(status):
                _accepted((status, answer), "remove the pod")
                return
        time.sleep(poll_interval_s)


def _is_passing(status: int) -> bool:
    """Whether an HTTP status says that asking again may help."""
    return status == 429 or status >= 500


def _accepted(response: Tuple[int, Dict[str, Any]], what: str) -> Dict[str, Any]:
    status, answer = response
    if status >= 400:
        raise GpuError(
            "BG-POD-101",
            "the Kubernetes API refused to {0} (HTTP {1}: {2})".format(
                what, status, answer.get("message") or "no reason"
            ),
            "that an allocated GPU works is shown only by a pod",
            "the user of the kubeconfig needs create, get and delete on pods of that namespace, and quotas and policies must allow one",
        )
    return answer
