"""Asks for the eviction of one pod and says what the answer means. Runs on the controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils.drain_plan import Pod
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import ForeignAnswerError, NoAnswerError, TlsError
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import first_line
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import as_list, as_map
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import Cluster

ACCEPTED, GONE, BUDGET, PASSING, REFUSED = "accepted", "gone", "budget", "passing", "refused"


@dataclass(frozen=True)
class Attempt:
    """What became of one request.

    ``ACCEPTED``: the pod ends. ``GONE``: this pod is no more. ``BUDGET``: a disruption budget does not allow it now. ``PASSING``: no answer,
    or an overloaded server; nothing is known. ``REFUSED``: asking again changes nothing. ``said`` is the server's reason.
    """

    kind: str
    said: str = ""
    retry_after_s: float = 0.0


def evict(cluster: Cluster, pod: Pod, grace_s: Optional[int], dry_run: bool = False) -> Attempt:
    """One request for exactly this pod, not for another of its name. ``grace_s`` None leaves the pod's own. Raises ``GpuError`` on bad TLS."""
    path = "/api/v1/namespaces/{0}/pods/{1}/eviction".format(pod.namespace, pod.name)
    query = {"dryRun": "All"} if dry_run else None
    try:
        answer = cluster.api.ask("POST", path, body=_body(pod, grace_s, dry_run), query=query)
    except (TlsError, ForeignAnswerError) as error:
        raise cluster.from_transport(error) from error
    except NoAnswerError as error:
        return Attempt(PASSING, first_line(error))
    return classify(answer.status, answer.body, answer.retry_after_s or 0.0)


def _body(pod: Pod, grace_s: Optional[int], dry_run: bool) -> Dict[str, Any]:
    options: Dict[str, Any] = {"preconditions": {"uid": pod.uid}}
    if grace_s is not None:
        options["gracePeriodSeconds"] = grace_s
    if dry_run:
        options["dryRun"] = ["All"]
    return {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": options,
    }


def classify(status: int, body: Mapping[str, Any], retry_after_s: float = 0.0) -> Attempt:
    """What an answer to an eviction means."""
    causes = [as_map(each) for each in as_list(as_map(body.get("details")).get("causes"))]
    reasons = {str(each.get("reason")) for each in causes}
    told = [str(each["message"]) for each in causes if each.get("message")]
    said = "HTTP {0}: {1}".format(status, first_line("; ".join([str(body.get("message") or "no reason given"), *told])))
    if status < 300:
        return Attempt(ACCEPTED)
    if status == 404:
        return Attempt(GONE)
    if status == 409:
        # The precondition: a pod of this name is there, but another one. The next list shows whether that is so.
        return Attempt(PASSING, said, retry_after_s)
    if status == 429 and "DisruptionBudget" in reasons:
        return Attempt(BUDGET, said, retry_after_s)
    if status == 500 and "more than one PodDisruptionBudget" in said:
        return Attempt(REFUSED, said)
    # In a namespace that is being removed nothing is created, an eviction neither; its pods go without.
    if status == 429 or status >= 500 or (status == 403 and "NamespaceTerminating" in reasons):
        return Attempt(PASSING, said, retry_after_s)
    return Attempt(REFUSED, said)
