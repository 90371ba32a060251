"""Which pods of a node a drain evicts, leaves alone or refuses, and which disruption budgets stand before it. Pure: takes parsed objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_pods import requests
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import as_list, as_map
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import plain

EVICT, SKIP, REFUSE = "evict", "skip", "refuse"

# The kubelet writes it on the API's picture of a pod that it read from a file.
_MIRROR = "kubernetes.io/config.mirror"
_ENDED = ("Succeeded", "Failed")
# What the API server's eviction does not hold against a budget.
_OUTSIDE_BUDGETS = (*_ENDED, "Pending")
# The kubelet's own default.
_GRACE_S = 30


@dataclass(frozen=True)
class Policies:
    """What a drain may do. ``daemonset`` and ``static`` are SKIP or REFUSE, the others EVICT or REFUSE."""

    daemonset: str = SKIP
    static: str = SKIP
    emptydir: str = REFUSE
    bare: str = REFUSE
    gpu_jobs: str = REFUSE


@dataclass(frozen=True)
class Pod:
    """A pod of the node. ``owner`` is ``Kind/name`` of its controller or empty; ``grace_s`` is how long it may take to end."""

    namespace: str
    name: str
    uid: str
    phase: str = "Running"
    owner: str = ""
    mirror: bool = False
    emptydir: bool = False
    to_completion: bool = False
    deleting: bool = False
    grace_s: int = _GRACE_S
    labels: Mapping[str, str] = field(default_factory=dict)
    gpus: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return "{0}/{1}".format(self.namespace, self.name)

    @property
    def ended(self) -> bool:
        return self.phase in _ENDED

    @property
    def is_gpu_job(self) -> bool:
        """Whether it holds GPUs and runs to an end of its own: started anew elsewhere, it has lost what it did not save."""
        return self.to_completion and bool(self.gpus) and not self.ended and not self.deleting

    def as_dict(self) -> Dict[str, Any]:
        return {
            "pod": self.title,
            "owner": self.owner,
            "gpus": {name: plain(count) for name, count in sorted(self.gpus.items())},
        }


@dataclass(frozen=True)
class Budget:
    """A PodDisruptionBudget and what its controller last said of it; ``selector`` is None where it selects nothing."""

    namespace: str
    name: str
    selector: Optional[Mapping[str, Any]]
    current_healthy: Optional[int]
    desired_healthy: Optional[int]
    allowed: Optional[int]

    def covers(self, pod: Pod) -> bool:
        return self.namespace == pod.namespace and self.selector is not None and selects(self.selector, pod.labels)

    def as_dict(self) -> Dict[str, Any]:
        return {
            "name": "{0}/{1}".format(self.namespace, self.name),
            "current_healthy": self.current_healthy,
            "desired_healthy": self.desired_healthy,
            "disruptions_allowed": self.allowed,
        }

    def __str__(self) -> str:
        return "{0} ({1} healthy, {2} needed)".format(
            self.name, _known(self.current_healthy), _known(self.desired_healthy)
        )


@dataclass(frozen=True)
class Plan:
    """What is done with each pod. Those in ``evict`` have to be gone at the end, also those that are ending already."""

    evict: Tuple[Pod, ...] = ()
    skip: Tuple[Tuple[Pod, str], ...] = ()
    refused: Tuple[Tuple[Pod, str], ...] = ()

    @property
    def gpu_jobs(self) -> Tuple[Pod, ...]:
        """Pods that would lose work."""
        return tuple(pod for pod in self.evict if pod.is_gpu_job)


def parse_pod(item: Mapping[str, Any]) -> Pod:
    """A pod object of the API. Never raises: what is not there, or is something else, is as if it were not written."""
    metadata, spec, status = as_map(item.get("metadata")), as_map(item.get("spec")), as_map(item.get("status"))
    grace = spec.get("terminationGracePeriodSeconds")
    return Pod(
        namespace=str(metadata.get("namespace") or "default"),
        name=str(metadata.get("name") or ""),
        uid=str(metadata.get("uid") or ""),
        phase=str(status.get("phase") or "Unknown"),
        owner=_controller(metadata),
        mirror=_MIRROR in as_map(metadata.get("annotations")),
        emptydir=any("emptyDir" in as_map(volume) for volume in as_list(spec.get("volumes"))),
        to_completion=spec.get("restartPolicy") in ("Never", "OnFailure"),
        deleting=bool(metadata.get("deletionTimestamp")),
        grace_s=grace if isinstance(grace, int) else _GRACE_S,
        labels={str(name): str(value) for name, value in as_map(metadata.get("labels")).items()},
        gpus=requests(item)[1],
    )


def _controller(metadata: Mapping[str, Any]) -> str:
    for owner in map(as_map, as_list(metadata.get("ownerReferences"))):
        if owner.get("controller"):
            return "{0}/{1}".format(owner.get("kind") or "", owner.get("name") or "")
    return ""


def parse_budget(item: Mapping[str, Any]) -> Budget:
    """A PodDisruptionBudget (policy/v1). Never raises; a figure that is not there is None."""
    metadata, spec, status = as_map(item.get("metadata")), as_map(item.get("spec")), as_map(item.get("status"))
    selector = spec.get("selector")
    return Budget(
        namespace=str(metadata.get("namespace") or "default"),
        name=str(metadata.get("name") or ""),
        selector=selector if isinstance(selector, Mapping) else None,
        current_healthy=_integer(status.get("currentHealthy")),
        desired_healthy=_integer(status.get("desiredHealthy")),
        allowed=_integer(status.get("disruptionsAllowed")),
    )


def _integer(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _known(value: Optional[int]) -> str:
    return "unknown" if value is None else str(value)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector (``matchLabels``, ``matchExpressions``) selects; an empty one selects everything."""
    if any(labels.get(str(name)) != str(value) for name, value in as_map(selector.get("matchLabels")).items()):
        return False
    return all(_meets(as_map(each), labels) for each in as_list(selector.get("matchExpressions")))


def _meets(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = str(expression.get("key")), expression.get("operator")
    values = [str(value) for value in as_list(expression.get("values"))]
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    return operator == "DoesNotExist" and key not in labels


def make_plan(pods: Iterable[Pod], policies: Policies) -> Plan:
    """Decide on each pod, in the order of their names."""
    evict: List[Pod] = []
    skip: List[Tuple[Pod, str]] = []
    refused: List[Tuple[Pod, str]] = []
    for pod in sorted(pods, key=lambda each: (each.title, each.uid)):
        action, reason = _decide(pod, policies)
        if action == EVICT:
            evict.append(pod)
        elif action == SKIP:
            skip.append((pod, reason))
        else:
            refused.append((pod, reason))
    return Plan(tuple(evict), tuple(skip), tuple(refused))


def _decide(pod: Pod, policies: Policies) -> Tuple[str, str]:
    if pod.mirror:
        return policies.static, "static: the kubelet runs it from a file, the API cannot end it"
    if pod.owner.startswith("DaemonSet/"):
        return policies.daemonset, "of a {0}, which would start it again on this node".format(pod.owner)
    if pod.ended:
        return SKIP, "it has ended ({0})".format(pod.phase)
    if pod.deleting:
        return EVICT, ""
    if policies.bare == REFUSE and not pod.owner:
        return REFUSE, "bare: nothing starts it again elsewhere (policy bare)"
    if policies.emptydir == REFUSE and pod.emptydir:
        return REFUSE, "it has an emptyDir, whose data would be lost (policy emptydir)"
    return EVICT, ""


def budgets_of(pod: Pod, budgets: Sequence[Budget]) -> Tuple[Budget, ...]:
    """The budgets that an eviction of this pod is held against."""
    if pod.phase in _OUTSIDE_BUDGETS or pod.deleting:
        return ()
    return tuple(budget for budget in budgets if budget.covers(pod))


def never_evictable(pods: Iterable[Pod], budgets: Sequence[Budget]) -> Tuple[Tuple[Pod, str], ...]:
    """Pods under several budgets: the API server evicts none of them, however long one waits."""
    found = []
    for pod in pods:
        over = budgets_of(pod, budgets)
        if len(over) > 1:
            names = ", ".join(budget.name for budget in over)
            found.append((pod, "it is under several disruption budgets ({0})".format(names)))
    return tuple(found)


def in_turns(pods: Iterable[Pod], budgets: Sequence[Budget]) -> Dict[str, Tuple[int, int]]:
    """Budgets that do not allow all of their pods here at once, by ``namespace/name``: pods here and disruptions allowed now."""
    here: Dict[str, int] = {}
    for pod in pods:
        for budget in budgets_of(pod, budgets):
            title = "{0}/{1}".format(budget.namespace, budget.name)
            here[title] = here.get(title, 0) + 1
    allowed = {"{0}/{1}".format(each.namespace, each.name): each.allowed or 0 for each in budgets}
    return {title: (count, allowed[title]) for title, count in sorted(here.items()) if count > allowed[title]}
