"""Empties a node through the eviction API and says what became of each pod. Runs on the controller.

The order is: everything that can be refused is refused, then the cordon, then all evictions at once. Whatever happens after the cordon
ends in a result that says what is so: what is gone, what is not and why, and whose the cordon is.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar

from ansible_collections.baremetal.gpu.plugins.module_utils import access_review
from ansible_collections.baremetal.gpu.plugins.module_utils.drain_plan import (
    EVICT,
    REFUSE,
    SKIP,
    Budget,
    Plan,
    Pod,
    Policies,
    budgets_of,
    in_turns,
    make_plan,
    never_evictable,
    parse_budget,
    parse_pod,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.eviction import (
    ACCEPTED,
    BUDGET,
    GONE,
    PASSING,
    REFUSED,
    Attempt,
    evict,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.followed_objects import Followed
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import NodeReading, parse_node
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    NODES,
    PODS,
    Cluster,
    TransientError,
    patiently,
)

T = TypeVar("T")

BUDGETS = "/apis/policy/v1/poddisruptionbudgets"
# Requests under way at once: what the client's connection pool holds on a small machine.
_WORKERS = 8

OPTIONS: Dict[str, Any] = {
    "timeout_s": {"type": "float", "default": 300},
    "grace_period_s": {"type": "int"},
    "daemonset": {"type": "str", "choices": [SKIP, REFUSE], "default": SKIP},
    "static": {"type": "str", "choices": [SKIP, REFUSE], "default": SKIP},
    "emptydir": {"type": "str", "choices": [EVICT, REFUSE], "default": REFUSE},
    "bare": {"type": "str", "choices": [EVICT, REFUSE], "default": REFUSE},
    "gpu_jobs": {"type": "str", "choices": [EVICT, REFUSE], "default": REFUSE},
    "gpu_jobs_wait_s": {"type": "float", "default": 0},
}
"""How a node is emptied, as a task says it; ``from_options`` reads what came of it."""


@dataclass(frozen=True)
class Limits:
    """``timeout_s`` from the first eviction to the last pod's end; ``gpu_jobs_s`` before it; ``grace_s`` None is each pod's own."""

    timeout_s: float
    gpu_jobs_s: float = 0.0
    grace_s: Optional[int] = None


def from_options(params: Mapping[str, Any]) -> Tuple[Limits, Policies]:
    """What ``OPTIONS`` of a task mean."""
    limits = Limits(params["timeout_s"], params["gpu_jobs_wait_s"], params["grace_period_s"])
    policies = Policies(**{name: params[name] for name in ("daemonset", "static", "emptydir", "bare", "gpu_jobs")})
    return limits, policies


@dataclass(frozen=True)
class Outcome:
    """What is so at the end. ``error`` is None only when no pod is left that had to go.

    ``cordoned`` is the node's state now (None: not known), ``cordon_is_ours`` whether this run set it. ``changed`` is whether anything is
    other than before.
    """

    evicted: Tuple[Dict[str, Any], ...] = ()
    blocked: Tuple[Dict[str, Any], ...] = ()
    skipped: Tuple[Dict[str, Any], ...] = ()
    gpu_jobs: Tuple[Dict[str, Any], ...] = ()
    in_turns: Tuple[Dict[str, Any], ...] = ()
    cordoned: Optional[bool] = None
    cordon_is_ours: bool = False
    changed: bool = False
    seconds: float = 0.0
    error: Optional[GpuError] = None

    def as_result(self) -> Dict[str, Any]:
        return {
            "changed": self.changed,
            "evicted": list(self.evicted),
            "blocked": list(self.blocked),
            "skipped": list(self.skipped),
            "gpu_jobs": list(self.gpu_jobs),
            "in_turns": list(self.in_turns),
            "cordoned": self.cordoned,
            "cordon_is_ours": self.cordon_is_ours,
            "seconds": round(self.seconds, 3),
        }


class Drain:
    """One node. Methods raise ``GpuError`` only before the first change; afterwards the outcome carries it."""

    def __init__(
        self,
        cluster: Cluster,
        node: str,
        policies: Policies,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster, self._name, self._policies, self._limits = cluster, node, policies, limits
        self._clock, self._sleep = clock, sleep
        selector = {"fieldSelector": "spec.nodeName={0}".format(node)}
        self._pods: Followed[Pod] = Followed(cluster, PODS, selector, parse_pod, clock, sleep)
        self._begun = clock()
        self._deadline = self._begun + limits.timeout_s
        self._budgets: Optional[Tuple[Budget, ...]] = None
        self._turns: Dict[str, Tuple[int, int]] = {}
        self._was_cordoned = self._is_ours = False
        self._node_ready: Optional[bool] = None
        self._asked: Dict[str, Pod] = {}
        self._attempts: Dict[str, Attempt] = {}
        self._due: Dict[str, float] = {}
        self._pauses: Dict[str, float] = {}
        self._gone_at: Dict[str, float] = {}

    # ---- What a task calls ----

    def check(self) -> None:
        """Refuse what can be refused before the first change. Raises ``GpuError``."""
        self._prepare(self._deadline)

    def predict(self) -> Outcome:
        """What ``run`` would do, by evictions that the API server only pretends: each pod is held against its budget by itself."""
        self._prepare(self._deadline)
        plan = self._plan()
        attempts = self._attempt([pod for pod in plan.evict if not pod.deleting], dry_run=True)
        goes = {uid for uid, attempt in attempts.items() if attempt.kind in (ACCEPTED, GONE)}
        blocked = [pod for pod in plan.evict if pod.uid not in goes and not pod.deleting]
        self._attempts = attempts
        return self._outcome(
            plan,
            evicted=[pod.as_dict() for pod in plan.evict if pod not in blocked],
            blocked=[self._blocked(pod) for pod in blocked],
            cordoned=self._was_cordoned,
            changed=bool(plan.evict) or not self._was_cordoned,
        )

    def run(self) -> Outcome:
        """Cordon and empty the node. Raises ``GpuError`` when that is refused before the first change."""
        self._prepare(self._deadline)
        first = self._plan()
        error: Optional[GpuError] = None
        try:
            self._cordon()
            # What was scheduled before the cordon, but after the list.
            self._patiently(self._pods.read, self._deadline)
            self._require_policies()
            self._await_gpu_jobs()
            self._deadline = self._clock() + self._limits.timeout_s
            error = self._empty()
        except GpuError as stopped:
            error = stopped
        return self._finish(first, error)

    def uncordon(self, check_mode: bool = False) -> Outcome:
        """Let pods on the node again."""
        self._read_node(self._deadline)
        if self._was_cordoned and not check_mode:
            self._patiently(lambda: self._set_cordon(False), self._deadline)
        return Outcome(cordoned=check_mode and self._was_cordoned, changed=self._was_cordoned, seconds=self._elapsed())

    # ---- Before the first change ----

    def _prepare(self, deadline: float) -> None:
        self._read_node(deadline)
        self._patiently(self._pods.read, deadline)
        self._read_budgets()
        self._require_policies()
        plan = self._plan()
        never = never_evictable(plan.evict, self._budgets or ())
        if never:
            raise GpuError(
                "BG-DRAIN-105",
                "node {0} has pods that the API never evicts: {1}".format(self._name, _listed(never)),
                "the drain could only wait until its deadline",
                "leave one disruption budget per pod",
            )
        if plan.gpu_jobs and self._policies.gpu_jobs == REFUSE and not self._limits.gpu_jobs_s:
            raise self._jobs_left("GPU jobs on node {0} would lose work: {1}")
        self._require_rights(plan)
        self._turns = in_turns(plan.evict, self._budgets or ())

    def _read_node(self, deadline: float) -> None:
        node = self._patiently(self._node, deadline)
        if node is None:
            raise GpuError(
                "BG-DRAIN-102",
                "the cluster has no node {0}".format(self._name),
                "nothing can be drained",
                "give the node's name as the cluster knows it",
            )
        self._was_cordoned, self._node_ready = node.unschedulable, node.ready

    def _node(self) -> Optional[NodeReading]:
        answer = self._cluster.answer("GET", "{0}/{1}".format(NODES, self._name), absent=404)
        return None if answer.status == 404 else parse_node(answer.body)

    def _read_budgets(self) -> None:
        """Budgets explain; without the right to list them, or now, the API server's own words have to do."""
        found: List[Budget] = []
        try:
            self._cluster.objects(BUDGETS, lambda item: found.append(parse_budget(item)), found.clear)
        except GpuError:
            return
        self._budgets = tuple(found)

    def _require_policies(self) -> None:
        refused = self._plan().refused
        if refused:
            raise GpuError(
                "BG-DRAIN-103",
                "node {0} has pods that the policies do not let go: {1}".format(self._name, _listed(refused)),
                "a drain without them would leave them to the change, or lose their data",
                "move them, or allow it by the policy that is named",
            )

    def _require_rights(self, plan: Plan) -> None:
        """Ask for what comes after the first change; that the node and its pods can be read is already seen."""
        wanted = [{"verb": "patch", "resource": "nodes", "name": self._name}]
        wanted.append({"verb": "watch", "resource": "pods"})
        if not self._may({"verb": "create", "resource": "pods", "subresource": "eviction"}):
            for namespace in sorted({pod.namespace for pod in plan.evict}):
                wanted.append({"verb": "create", "resource": "pods", "subresource": "eviction", "namespace": namespace})
        missing = [each for each in wanted if not self._may(each)]
        if missing:
            raise GpuError(
                "BG-DRAIN-104",
                "the user may not {0}".format(", ".join(access_review.title(each) for each in missing)),
                "the drain of node {0} would stop in the middle".format(self._name),
                "give the user of this connection these rights",
            )

    def _may(self, attributes: Mapping[str, str]) -> bool:
        return self._patiently(lambda: access_review.may(self._cluster, attributes), self._deadline)

    # ---- The cordon ----

    def _cordon(self) -> None:
        if self._was_cordoned:
            return
        # Before the request: an answer that is lost may be to a request that was served.
        self._is_ours = True
        try:
            self._patiently(lambda: self._set_cordon(True), self._deadline)
        except GpuError as error:
            self._is_ours = error.code == "BG-DRAIN-108"
            raise

    def _set_cordon(self, wanted: bool) -> None:
        self._cluster.answer(
            "PATCH",
            "{0}/{1}".format(NODES, self._name),
            body={"spec": {"unschedulable": wanted or None}},
            content_type="application/merge-patch+json",
        )

    # ---- Evictions ----

    def _await_gpu_jobs(self) -> None:
        if not self._plan().gpu_jobs or not self._limits.gpu_jobs_s:
            return
        self._pods.follow(self._clock() + self._limits.gpu_jobs_s, lambda: not self._plan().gpu_jobs)
        if self._plan().gpu_jobs and self._policies.gpu_jobs == REFUSE:
            waited = "after {0:g} s".format(self._limits.gpu_jobs_s)
            raise self._jobs_left("GPU jobs on node {0} still run " + waited + ": {1}")

    def _jobs_left(self, text: str) -> GpuError:
        jobs = ", ".join("{0} ({1})".format(pod.title, pod.owner or "bare") for pod in self._plan().gpu_jobs)
        return GpuError(
            "BG-DRAIN-109",
            text.format(self._name, jobs),
            "what they have not saved would be computed again",
            "wait for them (gpu_jobs_wait_s), or say that they may be lost (gpu_jobs: evict)",
        )

    def _empty(self) -> Optional[GpuError]:
        """Evict until nothing is left, or nothing can be done, or the deadline; the last look is a new list."""
        while True:
            plan = self._plan()
            if plan.refused:
                self._require_policies()
            if not plan.evict:
                self._patiently(self._pods.read, self._deadline)
                if not self._plan().evict:
                    return self._not_held()
                continue
            now = self._clock()
            if now >= self._deadline or all(self._kind(pod) == REFUSED for pod in plan.evict):
                # The last word has a list: a watch may have lost what happened.
                self._look_once()
                plan = self._plan()
                return self._left(plan) if plan.evict else self._not_held()
            due = [pod for pod in plan.evict if not pod.deleting and self._due.get(pod.uid, 0.0) <= now]
            if due:
                self._note(self._attempt(due))
            waiting = [self._due[pod.uid] for pod in self._plan().evict if not pod.deleting and pod.uid in self._due]
            until = min([self._deadline, *waiting])
            self._pods.follow(until, self._is_news(plan))
            self._note_gone()

    def _not_held(self) -> Optional[GpuError]:
        """An empty node that is not cordoned is not drained: the next pod may come at any time."""
        node = self._patiently(self._node, self._deadline)
        if node is not None and node.unschedulable:
            return None
        self._is_ours = self._was_cordoned = False
        return GpuError(
            "BG-DRAIN-110",
            "node {0} is empty, but {1}".format(
                self._name, "no longer in the cluster" if node is None else "something took its cordon away meanwhile"
            ),
            "pods may come back to it at any time",
            "look who else changes the node, then run again",
        )

    def _is_news(self, plan: Plan) -> Callable[[], bool]:
        known = {pod.uid for pod in plan.evict}

        def news() -> bool:
            left = self._plan().evict
            # Also when what is left can only be reported: there is nothing to wait for.
            return all(self._kind(pod) == REFUSED for pod in left) or any(pod.uid not in known for pod in left)

        return news

    def _attempt(self, pods: Sequence[Pod], dry_run: bool = False) -> Dict[str, Attempt]:
        """One request for each until the deadline, as many at once as there are connections."""
        if not pods:
            return {}

        def ask(pod: Pod) -> Optional[Attempt]:
            # A server that hangs takes each request's whole time: with many pods, far beyond the deadline.
            if self._clock() >= self._deadline:
                return None
            return evict(self._cluster, pod, self._limits.grace_s, dry_run)

        with ThreadPoolExecutor(min(_WORKERS, len(pods))) as workers:
            attempts = zip(pods, workers.map(ask, pods))
            return {pod.uid: attempt for pod, attempt in attempts if attempt is not None}

    def _note(self, attempts: Mapping[str, Attempt]) -> None:
        now = self._clock()
        for uid, attempt in attempts.items():
            pod = self._pods.objects.get(uid)
            if pod is not None and attempt.kind in (ACCEPTED, PASSING):
                self._asked[uid] = pod
            if attempt.kind == GONE:
                self._pods.objects.pop(uid, None)
            self._attempts[uid] = attempt
            pause = min(LONGEST_PAUSE_S, 2 * self._pauses.get(uid, FIRST_PAUSE_S / 2))
            self._pauses[uid] = pause
            # One that was accepted shows that it ends; if it does not, it is asked for again.
            wait = LONGEST_PAUSE_S if attempt.kind == ACCEPTED else max(pause, attempt.retry_after_s)
            self._due[uid] = self._deadline if attempt.kind == REFUSED else now + wait

    def _note_gone(self) -> None:
        now = self._clock()
        for uid in self._asked:
            pod = self._pods.objects.get(uid)
            # Of one that has ended the object may stay a little longer; nothing of it runs.
            if pod is None or pod.ended:
                self._gone_at.setdefault(uid, now)

    def _kind(self, pod: Pod) -> str:
        attempt = self._attempts.get(pod.uid)
        return attempt.kind if attempt and not pod.deleting else ""

    # ---- The end ----

    def _left(self, plan: Plan) -> GpuError:
        """Why pods are left, by the cause that a person has to look at first."""
        self._read_budgets()
        by_kind: Dict[str, List[Pod]] = {}
        for pod in plan.evict:
            by_kind.setdefault(self._kind(pod) or ACCEPTED, []).append(pod)
        reasons = "; ".join("{0}: {1}".format(each["pod"], each["reason"]) for each in map(self._blocked, plan.evict))
        what = "{0} of node {1}'s pods are left after {2:.0f} s: {3}".format(
            len(plan.evict), self._name, self._elapsed(), reasons[:2000]
        )
        for kind, code, why, remedy in (
            (REFUSED, "BG-DRAIN-111", "asking again changes nothing", "read the reason, then run again"),
            (
                BUDGET,
                "BG-DRAIN-106",
                "their disruption budgets allow no eviction",
                "heal or scale what the budgets protect, or give more time",
            ),
            (
                PASSING,
                "BG-DRAIN-108",
                "the Kubernetes API did not serve the evictions",
                "read the API server's log, then run again",
            ),
        ):
            if kind in by_kind:
                return GpuError(code, what, why, remedy)
        return GpuError(
            "BG-DRAIN-107",
            what,
            "what runs in them may still use the node",
            "read the kubelet's log, give more time, or after the host is off remove the pods by force",
        )

    def _blocked(self, pod: Pod) -> Dict[str, Any]:
        """A pod that is left, with why, and the figures of the budgets it is under."""
        attempt = self._attempts.get(pod.uid)
        over = budgets_of(pod, self._budgets or ())
        if pod.deleting or (attempt is not None and attempt.kind == ACCEPTED):
            reason = "it is ending but has not ended (may take {0} s)".format(
                pod.grace_s if self._limits.grace_s is None else self._limits.grace_s
            )
            if self._node_ready is not True:
                reason += ", and the node is not Ready: no kubelet confirms that it ended"
        elif attempt is not None and attempt.kind == BUDGET and over:
            reason = "disruption budget {0}".format(", ".join(str(budget) for budget in over))
        elif attempt is not None:
            reason = attempt.said
        else:
            reason = "no eviction was asked for"
        return {**pod.as_dict(), "reason": reason, "budgets": [budget.as_dict() for budget in over]}

    def _finish(self, first: Plan, error: Optional[GpuError]) -> Outcome:
        """Take the cordon back when nothing else has changed, and say how the node is left."""
        if error is not None:
            # The last look decides whether an eviction without an answer was served.
            self._look_once()
        self._note_gone()
        ended = {uid: pod for uid, pod in self._asked.items() if self._has_effect(uid)}
        cordoned: Optional[bool] = True
        if error is not None:
            cordoned, error = self._settle_cordon(error, bool(ended))
        plan = self._plan()
        return self._outcome(
            plan,
            evicted=[
                {**pod.as_dict(), "seconds": round(self._gone_at[uid] - self._begun, 3)}
                for uid, pod in ended.items()
                if uid in self._gone_at
            ],
            blocked=[self._blocked(pod) for pod in plan.evict] if error else [],
            cordoned=cordoned,
            changed=bool(ended) or (self._is_ours and cordoned is not False),
            error=error,
            jobs=first.gpu_jobs,
        )

    def _look_once(self) -> None:
        try:
            self._pods.read()
        except GpuError:  # what was seen last has to do; the error that stopped the drain says more
            return

    def _has_effect(self, uid: str) -> bool:
        pod = self._pods.objects.get(uid)
        attempt = self._attempts.get(uid)
        return pod is None or pod.deleting or (attempt is not None and attempt.kind == ACCEPTED)

    def _settle_cordon(self, error: GpuError, has_effect: bool) -> Tuple[Optional[bool], GpuError]:
        if self._was_cordoned:
            return True, _and(error, "the node stays cordoned, as it was found")
        if not self._is_ours:
            return False, _and(error, "the node is not cordoned")
        if has_effect:
            return True, _and(error, "the node stays cordoned, because pods were evicted")
        try:
            self._patiently(lambda: self._set_cordon(False), self._clock() + LONGEST_PAUSE_S)
        except GpuError as failed:
            return None, _and(
                error, "nothing was evicted, but the cordon could not be taken back ({0})".format(failed.what)
            )
        return False, _and(error, "nothing was evicted, and the cordon is taken back")

    def _outcome(
        self,
        plan: Plan,
        evicted: Sequence[Dict[str, Any]],
        blocked: Sequence[Dict[str, Any]],
        cordoned: Optional[bool],
        changed: bool,
        error: Optional[GpuError] = None,
        jobs: Optional[Sequence[Pod]] = None,
    ) -> Outcome:
        return Outcome(
            evicted=tuple(evicted),
            blocked=tuple(blocked),
            # One that was evicted is no longer left on purpose once it has ended.
            skipped=tuple(
                {**pod.as_dict(), "reason": reason} for pod, reason in plan.skip if pod.uid not in self._asked
            ),
            gpu_jobs=tuple(pod.as_dict() for pod in (plan.gpu_jobs if jobs is None else jobs)),
            in_turns=tuple(
                {"budget": name, "pods": count, "disruptions_allowed": allowed}
                for name, (count, allowed) in self._turns.items()
            ),
            cordoned=cordoned,
            cordon_is_ours=self._is_ours and cordoned is not False,
            changed=changed,
            seconds=self._elapsed(),
            error=error,
        )

    # ---- Helpers ----

    def _plan(self) -> Plan:
        return make_plan(self._pods.objects.values(), self._policies)

    def _elapsed(self) -> float:
        return self._clock() - self._begun

    def _patiently(self, call: Callable[[], T], deadline: float) -> T:
        """Ask again while the API does not answer. Raises ``GpuError`` BG-DRAIN-108 at the deadline, another when it refuses."""
        try:
            return patiently(call, deadline, self._clock, self._sleep)
        except TransientError as error:
            raise GpuError(
                "BG-DRAIN-108", error.what, "the drain can neither go on nor be judged", error.remedy
            ) from error


def _listed(pods: Sequence[Tuple[Pod, str]]) -> str:
    return ", ".join("{0} ({1})".format(pod.title, reason) for pod, reason in pods)


def _and(error: GpuError, state: str) -> GpuError:
    """The same error, whose consequence also says how the node is left."""
    return GpuError(error.code, error.what, "; ".join(part for part in (error.why, state) if part), error.remedy)
