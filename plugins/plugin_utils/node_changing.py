"""One change of one node as a task asks for it: what the controller does itself, and which step it leaves to the host's tasks.

Locking, emptying, the wait for the node and letting it in are done here. The steps that tasks on the host do (``host_steps``) are left off:
``begin`` and ``go_on`` return the next one, and ``go_on`` takes what became of it. All state is in the journal, the API and these answers.
"""

from __future__ import annotations

import math
import re
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.baremetal.gpu.plugins.module_utils import access_review
from ansible_collections.baremetal.gpu.plugins.module_utils import change_machine as machine
from ansible_collections.baremetal.gpu.plugins.module_utils.change_machine import Do, NodeChange, Outcome, Settings
from ansible_collections.baremetal.gpu.plugins.module_utils.drain import Drain, Limits
from ansible_collections.baremetal.gpu.plugins.module_utils.drain_plan import Policies
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.node_lease import NAMESPACE, NodeLease
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import Cluster, patiently
from ansible_collections.baremetal.gpu.plugins.module_utils.node_readiness import Waiter, Wanted
from ansible_collections.baremetal.gpu.plugins.plugin_utils.change_journal import Journal, drive, opened, read

T = TypeVar("T")

HOST_STEPS = (machine.PREFLIGHT, machine.ANNOUNCE, machine.CHANGE, machine.REBOOT, machine.PROVE)
"""Steps that tasks may carry out; without tasks PREFLIGHT, ANNOUNCE and CHANGE have nothing to do, and PROVE is the wait for the node."""

# What a change asks of the API beside what its drain does.
_RIGHTS = (
    *({"verb": verb, "resource": "nodes"} for verb in ("get", "list", "watch", "patch")),
    *(
        {"verb": verb, "group": "coordination.k8s.io", "resource": "leases", "namespace": NAMESPACE}
        for verb in ("get", "create", "patch")
    ),
)


@dataclass(frozen=True)
class Options:
    """What a task says about the change. ``title`` is a word that tells changes apart; a rerun goes on only with the same."""

    name: str
    title: str
    journal: Path
    settings: Settings
    drain_limits: Limits
    policies: Policies = field(default_factory=Policies)
    ready_s: float = 600.0
    api_s: float = 120.0
    """How long an API that does not answer is asked again."""
    resources: Mapping[str, Any] = field(default_factory=dict)
    host_steps: tuple[str, ...] = (machine.CHANGE,)


@dataclass(frozen=True)
class Answer:
    """What became of a step that the host's tasks did. ``failure`` is empty when it succeeded."""

    step: str
    failure: str = ""
    reboot: bool = False
    boot_id: str = ""

    def as_outcome(self) -> Outcome:
        if self.failure:
            found = re.search(r"\bBG-[A-Z][A-Z0-9]*-\d{3}\b", self.failure)
            return Outcome(found.group() if found else "BG-CHANGE-116", self.failure)
        if self.step == machine.CHANGE:
            return Outcome(data={"reboot": "yes" if self.reboot else "no", "boot_id": self.boot_id})
        return Outcome(data={"boot_id": self.boot_id} if self.step == machine.REBOOT else {})


@dataclass(frozen=True)
class Progress:
    """How far the change is. ``next`` is the step that the host's tasks have to do; empty at the end, and when there is nothing to change."""

    changed: bool = False
    next: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    out: bool = False
    holder: str = ""
    drained: Mapping[str, Any] | None = None
    error: GpuError | None = None

    def as_result(self) -> dict[str, Any]:
        told = {"failed": True, **self.error.as_result()} if self.error else {}
        return {
            "changed": self.changed,
            "next": self.next,
            "data": dict(self.data),
            "steps": list(self.steps),
            "out": self.out,
            "holder": self.holder,
            "drained": self.drained,
            **told,
        }


def require(options: Options) -> None:
    """Raises ``GpuError`` BG-CHANGE-101 for what cannot be meant."""
    machine.require(options.settings, options.name, options.title)
    wrong = [
        f"{name} is {value}"
        for name, value in (
            ("drain.timeout_s", options.drain_limits.timeout_s),
            ("ready_timeout_s", options.ready_s),
            ("api_timeout_s", options.api_s),
        )
        if not (math.isfinite(value) and value > 0)
    ]
    wrong += [f"the title is {options.title!r}"] if not re.fullmatch(r"[\w.+:@-]{1,100}", options.title) else []
    wrong += [f"{options.name!r} is no node's name"] if "/" in options.name else []
    wrong += [f"{step!r} is no step of the host" for step in options.host_steps if step not in HOST_STEPS]
    if wrong:
        raise GpuError(
            "BG-CHANGE-101", "; ".join(wrong), "no node can be changed so", "correct the variable that says so"
        )


class NodeChanging:
    """The change of one node over one connection. Methods raise ``GpuError`` when nothing can be decided."""

    def __init__(
        self,
        cluster: Cluster,
        options: Options,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        require(options)
        self._cluster, self._options = cluster, options
        self._clock, self._sleep = clock, sleep
        self._lease = NodeLease(cluster, options.name, options.settings.lock_s)
        self._drained: dict[str, Any] | None = None

    def begin(self, wanted: bool) -> Progress:
        """Begin, or go on with what was cut off. Without either there is nothing to do."""
        with self._opened() as journal:
            if not wanted and not machine.unfinished(journal.entries):
                return Progress()
            return self._drive(journal, None)

    def go_on(self, answer: Answer) -> Progress:
        """Take what became of a step, and go on to the next one that the host's tasks have to do."""
        with self._opened() as journal:
            return self._drive(journal, answer)

    def predict(self, wanted: bool, answer: Answer | None = None) -> Progress:
        """What ``begin`` and ``go_on`` would return, by reading alone. Evictions are asked for as dry runs."""
        steps = tuple(step for step in HOST_STEPS if step in self._options.host_steps and step != machine.REBOOT)
        if answer is not None:
            return self._predict_next(steps, answer)
        entries = read(self._options.journal, self._options.name)
        unfinished = machine.unfinished(entries)
        if not wanted and not unfinished:
            return Progress()
        holder = self._holder(entries)
        self._require_rights()
        self._require_free(holder)
        self._drained = self._drain().predict().as_result()
        reboots = machine.CHANGE in {entry.step for entry in unfinished if entry.phase == machine.DONE}
        pending = machine.next_of(entries, steps if not reboots else (*steps, machine.REBOOT))
        return self._progress(Progress(changed=True, next=pending, holder=holder))

    def _predict_next(self, steps: Sequence[str], answer: Answer) -> Progress:
        if answer.failure:
            return Progress(changed=True, error=GpuError(answer.as_outcome().code, answer.failure))
        if answer.step == machine.CHANGE and answer.reboot:
            if self._options.settings.may_reboot:
                return Progress(changed=True, next=machine.REBOOT)
            return Progress(changed=True, error=machine.reboot_refused(self._options.name))
        rest = HOST_STEPS[HOST_STEPS.index(answer.step) + 1 :]
        return Progress(changed=True, next=next((step for step in rest if step in steps), ""))

    # ---- The run ----

    def _opened(self) -> Any:
        return opened(self._options.journal, self._options.name)

    def _holder(self, entries: Sequence[machine.Entry]) -> str:
        """Who this change is: the same as before when it was cut off, and then it has to be the same change."""
        found = machine.holder_of(entries)
        if not found:
            return f"{socket.gethostname()}/{self._options.title}/{uuid.uuid4().hex[:8]}"
        before = found.split("/")[1] if found.count("/") == 2 else found
        if before != self._options.title:
            raise GpuError(
                "BG-CHANGE-111",
                f"node {self._options.name} has an unfinished change, {before}, and this one is {self._options.title}",
                "a change that goes on has to be the one that was begun",
                f"run {before} again first; when it can never end, move {self._options.journal}/{self._options.name}.jsonl away and take the node over",
            )
        return found

    def _drive(self, journal: Journal, answer: Answer | None) -> Progress:
        holder = self._holder(journal.entries)
        if not machine.unfinished(journal.entries):
            if answer is not None:
                raise GpuError(
                    "BG-CHANGE-117",
                    f"node {self._options.name} has no change of which {answer.step} could be a step",
                    "somebody ended it meanwhile, or moved its journal away",
                    "look at the node, then run the whole change again",
                )
            # Before the lock, which is written first.
            self._answer_by_api(machine.Read(machine.CLAIM))
            self._require_rights()
        change = NodeChange(self._options.name, holder, journal.entries, self._options.settings).run()
        result = drive(change, journal, self._answer_by_api, lambda request: self._do(request, answer, journal))
        if isinstance(result, Do):
            out = machine.STEPS.index(result.step) > machine.STEPS.index(machine.CLAIM)
            return self._progress(Progress(True, result.step, result.data, out=out, holder=holder))
        changed = result.error is None or result.out
        return self._progress(Progress(changed, "", {}, result.steps, result.out, holder, error=result.error))

    def _progress(self, progress: Progress) -> Progress:
        return Progress(**{**vars(progress), "drained": self._drained})

    def _answer_by_api(self, request: Any) -> Any:
        return self._patiently(lambda: self._lease.answer(request))

    def _patiently(self, call: Callable[[], T]) -> T:
        """Ask again while the API does not answer: writes name their version, so one that was served is not served twice."""
        return patiently(call, self._clock() + self._options.api_s, self._clock, self._sleep)

    def _do(self, request: Do, answer: Answer | None, journal: Journal) -> Outcome | None:
        own: dict[str, Callable[[], Outcome]] = {
            machine.PREFLIGHT: self._check,
            machine.DRAIN: self._empty,
            machine.PROVE: lambda: self._wait(boot_that_is_over(journal.entries)),
        }
        if request.step in own:
            outcome = own[request.step]()
            if outcome.code or request.step not in self._options.host_steps:
                return outcome
        if answer is not None and answer.step == request.step:
            return answer.as_outcome()
        # Only a change that says so needs a reboot, and then it is the role's own step.
        if request.step in self._options.host_steps or request.step == machine.REBOOT:
            return None
        return Outcome()

    # ---- The steps of the controller ----

    def _require_rights(self) -> None:
        missing = [right for right in _RIGHTS if not self._may(right)]
        if missing:
            raise GpuError(
                "BG-CHANGE-118",
                "the user may not {0}".format(", ".join(access_review.title(right) for right in missing)),
                f"the change of node {self._options.name} would stop in the middle",
                "give the user of this kubeconfig these rights",
            )

    def _may(self, right: Mapping[str, str]) -> bool:
        return self._patiently(lambda: access_review.may(self._cluster, right))

    def _require_free(self, holder: str) -> None:
        """The refusals of a lock, the budget and the node's mark, by reading alone."""
        settings, name = self._options.settings, self._options.name
        now = self._answer_by_api(machine.Now())
        try:
            machine.claim_lock(self._answer_by_api(machine.Read(machine.LOCK)).value, holder, now, settings)
            machine.take_slot(self._answer_by_api(machine.Read(machine.SLOT)).value, name, holder, settings.budget)
            machine.require_unclaimed(self._answer_by_api(machine.Read(machine.CLAIM)).value, name, holder, settings)
        except machine.StopError as stopped:
            raise stopped.error from stopped

    def _drain(self) -> Drain:
        return Drain(self._cluster, self._options.name, self._options.policies, self._options.drain_limits)

    def _check(self) -> Outcome:
        """What the drain refuses is refused before the cordon."""
        try:
            self._drain().check()
        except GpuError as error:
            return Outcome(error.code, error.what)
        return Outcome()

    def _empty(self) -> Outcome:
        try:
            outcome = self._drain().run()
        except GpuError as error:
            return Outcome(error.code, error.what)
        self._drained = outcome.as_result()
        return Outcome(outcome.error.code, outcome.error.what) if outcome.error else Outcome()

    def _wait(self, not_boot_id: str) -> Outcome:
        """The node is Ready, offers what it must, and its own pods run; it is still cordoned."""
        wanted = Wanted(schedulable=False, resources=self._options.resources, not_boot_id=not_boot_id)
        try:
            found = Waiter(self._cluster, self._options.name, wanted).run(self._options.ready_s)
        except GpuError as error:
            return Outcome(error.code, error.what)
        if found.missing:
            return Outcome("BG-READY-102", f"not ready after {found.seconds:.0f} s: {'; '.join(found.missing)}")
        return Outcome(data={"boot_id": found.boot_id})


def boot_that_is_over(entries: Sequence[machine.Entry]) -> str:
    """The boot that a change ended by its reboot: until its kubelet reports anew, the API shows the node of before. Empty without one."""
    changes = [
        entry for entry in machine.unfinished(entries) if (entry.step, entry.phase) == (machine.CHANGE, machine.DONE)
    ]
    return changes[-1].data.get("boot_id", "") if changes and changes[-1].data.get("reboot") == "yes" else ""
