"""The one order in which a node is changed: lock, drain, change, reboot, prove, let in, unlock. Pure: no input or output.

A change is a generator. It yields requests, and whoever drives it carries each out and sends the answer back: the API and the host in a run,
a simulated world in the tests. What it decides depends on its journal and on these answers alone, so that one that was cut off anywhere goes
on from its journal. An exception that is thrown into it ends it, and leaves the node as it is.

Three things hold whatever happens, also between two controllers: no more nodes are out than the budget allows, no node is let in that has
not proved itself after its change, and nothing is done to a node before the journal says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, Generator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

LOCK, SLOT, PREFLIGHT, ANNOUNCE, CLAIM, DRAIN = "lock", "slot", "preflight", "announce", "claim", "drain"
CHANGE, REBOOT, PROVE, ADMIT, FREE, UNLOCK = "change", "reboot", "prove", "admit", "free", "unlock"
STEPS = (LOCK, SLOT, PREFLIGHT, ANNOUNCE, CLAIM, DRAIN, CHANGE, REBOOT, PROVE, ADMIT, FREE, UNLOCK)
"""In their order. From CLAIM on the node is out, until ADMIT is done."""

BEGUN, DONE, FAILED = "begun", "done", "failed"

UNFINISHED = "BG-CHANGE-106"
"""On a node from its cordon on: also a controller that dies, or a host that is lost, leaves a code there."""

# Two controllers that write the same object in turns end sooner.
_ATTEMPTS = 10


@dataclass(frozen=True)
class Entry:
    """One line of the journal of a node."""

    holder: str
    step: str
    phase: str
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """``budget`` is how many nodes may be out at once. ``take_over`` is the word that an expired lock's holder is dead."""

    budget: int = 1
    lock_s: float = 900.0
    may_reboot: bool = False
    take_over: bool = False


@dataclass(frozen=True)
class Lock:
    """Who may change a node, and until when (seconds, the API server's clock)."""

    holder: str
    until: float


@dataclass(frozen=True)
class Claim:
    """On the node itself: whose change it is out for, and whether it was cordoned before."""

    holder: str
    was_cordoned: bool


@dataclass(frozen=True)
class Node:
    """A node as the API has it. ``reason`` is the code of a change that has not ended or failed."""

    cordoned: bool = False
    claim: Optional[Claim] = None
    reason: str = ""


@dataclass(frozen=True)
class Versioned:
    """A value and the version that a write must find unchanged."""

    value: Any
    version: str


# ---- Requests ----


@dataclass(frozen=True)
class Now:
    """The API server's clock, in seconds."""


@dataclass(frozen=True)
class Append:
    """Write to the journal, and answer only when it would survive a crash."""

    entry: Entry


@dataclass(frozen=True)
class Read:
    """``what`` is LOCK (Optional[Lock]), SLOT (a map of nodes that are out to holders) or CLAIM (Node); answered by ``Versioned``."""

    what: str


@dataclass(frozen=True)
class Write:
    """Answered by False when the object is of another version by now."""

    what: str
    value: Any
    version: str


@dataclass(frozen=True)
class Do:
    """A step of the caller, answered by ``Outcome``. It may be asked for again after a crash. For REBOOT, ``data`` has the ``boot_id``
    that has to be over; nothing is rebooted when it is over already."""

    step: str
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a step. ``code`` is empty when it succeeded. CHANGE answers ``reboot: yes`` and the ``boot_id`` where one is needed,
    REBOOT the new ``boot_id``."""

    code: str = ""
    what: str = ""
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """How a change ended. ``error`` is None when the node is back and the lock released; ``out`` is whether the node is left out."""

    steps: Tuple[str, ...]
    out: bool
    error: Optional[GpuError] = None


class StopError(Exception):
    """Ends a change with a coded reason. ``lost`` when the node is another controller's by now: then nothing of it is touched."""

    def __init__(self, error: GpuError, lost: bool = False) -> None:
        super().__init__(error.message)
        self.error, self.lost = error, lost


Steps = Generator[Any, Any, Any]


# ---- Decisions ----


def require(settings: Settings, node: str, holder: str) -> None:
    """Raises ``GpuError`` BG-CHANGE-101 for what cannot be meant."""
    for wrong, what in (
        (not node or not holder, "a node or a holder has no name"),
        (settings.budget < 1, "the budget is {0}, so no node may ever be out".format(settings.budget)),
        (not 0 < settings.lock_s < float("inf"), "a lock of {0} s".format(settings.lock_s)),
    ):
        if wrong:
            raise GpuError("BG-CHANGE-101", what, "no node can be changed so", "correct the variable that says so")


def unfinished(journal: Sequence[Entry]) -> Tuple[Entry, ...]:
    """The entries of a change that has not ended; empty when there is none."""
    begin = len(journal)
    while begin and (journal[begin - 1].step, journal[begin - 1].phase) != (UNLOCK, DONE):
        begin -= 1
    return tuple(journal[begin:])


def holder_of(journal: Sequence[Entry]) -> str:
    """Who a rerun has to be to go on; empty when there is nothing to go on with."""
    entries = unfinished(journal)
    return entries[0].holder if entries else ""


def next_of(journal: Sequence[Entry], steps: Sequence[str]) -> str:
    """The first of these steps that an unfinished change has not done; empty when it has done all."""
    done = {entry.step for entry in unfinished(journal) if entry.phase == DONE}
    return next((step for step in steps if step not in done), "")


def claim_lock(found: Optional[Lock], holder: str, now: float, settings: Settings) -> Lock:
    """The lock to write. Raises ``StopError`` when it is another's."""
    if found is not None and found.holder != holder:
        if now < found.until:
            raise StopError(
                GpuError(
                    "BG-CHANGE-102",
                    "the node is locked by {0} for {1:.0f} s more".format(found.holder, found.until - now),
                    "two changes of one node would undo each other",
                    "wait for it, or look whether it still runs",
                ),
                lost=True,
            )
        if not settings.take_over:
            raise StopError(
                GpuError(
                    "BG-CHANGE-103",
                    "the node is locked by {0}, whose lock ended {1:.0f} s ago".format(found.holder, now - found.until),
                    "its change was cut off, or is only slow",
                    "run it again where it was begun; when it can never go on, take the lock over explicitly",
                ),
                lost=True,
            )
    return Lock(holder, now + settings.lock_s)


def take_slot(out: Mapping[str, str], node: str, holder: str, budget: int) -> Dict[str, str]:
    """Nodes that are out with this one. Raises ``StopError`` BG-CHANGE-104 when there are too many already."""
    others = sorted(name for name in out if name != node)
    if len(others) >= budget:
        raise StopError(
            GpuError(
                "BG-CHANGE-104",
                "{0} of at most {1} nodes are out already: {2}".format(len(others), budget, ", ".join(others)),
                "what runs on the cluster would not have room",
                "finish or repair their changes first, or raise the budget",
            )
        )
    return {**out, node: holder}


def require_unclaimed(found: Node, node: str, holder: str, settings: Settings) -> None:
    """Raises ``StopError`` BG-CHANGE-110 when the node is out for another's change."""
    if found.claim is not None and found.claim.holder != holder and not settings.take_over:
        raise StopError(
            GpuError(
                "BG-CHANGE-110",
                "node {0} is out for a change of {1}".format(node, found.claim.holder),
                "that change has not ended, although nobody holds its lock",
                "run it again where it was begun; when it can never go on, take the node over explicitly",
            )
        )


def reboot_refused(node: str) -> GpuError:
    """The refusal of a reboot that a change needs."""
    return GpuError(
        "BG-CHANGE-107",
        "node {0} has to be rebooted for its change, and that is not allowed".format(node),
        "it runs on as before the change",
        "allow the reboot and run again",
    )


# ---- The change ----


class NodeChange:
    """One change of one node. ``run`` is the generator; ``journal`` are the node's entries so far."""

    def __init__(self, node: str, holder: str, journal: Sequence[Entry], settings: Settings) -> None:
        require(settings, node, holder)
        self._node, self._holder, self._settings = node, holder, settings
        self._done: Dict[str, Mapping[str, str]] = {}
        for entry in unfinished(journal):
            self._note(entry)
        self._steps: List[str] = []

    def run(self) -> Generator[Any, Any, Result]:
        """The whole change. Returns its result; raises only what is thrown into it."""
        step = LOCK
        try:
            # Also when it was locked before: the lock may have ended since.
            yield from self._step(LOCK, self._lock, again=True)
            for step, work in (
                (SLOT, self._slot),
                (PREFLIGHT, self._caller(PREFLIGHT)),
                (ANNOUNCE, self._caller(ANNOUNCE)),
                (CLAIM, self._claim),
                (DRAIN, self._caller(DRAIN)),
                (CHANGE, self._caller(CHANGE)),
                (REBOOT, self._reboot),
            ):
                yield from self._step(step, work, again=self._again(step))
            # What was proved before a crash is proved again: it is this run that lets the node in.
            step = PROVE
            yield from self._step(PROVE, self._caller(PROVE), again=ADMIT not in self._done)
            for step, work in ((ADMIT, self._admit), (FREE, self._free), (UNLOCK, self._unlock)):
                yield from self._step(step, work)
        except StopError as stopped:
            return (yield from self._stop(step, stopped))
        return Result(tuple(self._steps), out=False)

    def _again(self, step: str) -> bool:
        """Whether a rerun cannot trust that a step is done: what it took may be another's, and pods may have come back."""
        if ADMIT in self._done:
            return False
        return step in (SLOT, CLAIM) or (step == DRAIN and REBOOT not in self._done)

    def _step(self, step: str, work: Callable[[], Steps], again: bool = False) -> Steps:
        """Journal, lock, work, journal. A step that is done is not done again, unless it has to be."""
        if step in self._done and not again:
            return
        yield from self._append(step, BEGUN)
        if step not in (LOCK, UNLOCK):
            yield from self._renew()
        data = yield from work()
        yield from self._append(step, DONE, data)
        self._steps.append(step)

    def _append(self, step: str, phase: str, data: Optional[Mapping[str, str]] = None) -> Steps:
        entry = Entry(self._holder, step, phase, data or {})
        yield Append(entry)
        self._note(entry)

    def _note(self, entry: Entry) -> None:
        if entry.phase == DONE:
            self._done[entry.step] = entry.data

    def _renew(self) -> Steps:
        """Hold the lock for the next step, or find that it is lost."""
        now = yield Now()
        for _attempt in range(_ATTEMPTS):
            found = yield Read(LOCK)
            if found.value is None or found.value.holder != self._holder:
                raise self._lost("its lock is held by {0}".format(found.value.holder if found.value else "nobody"))
            if (yield Write(LOCK, Lock(self._holder, now + self._settings.lock_s), found.version)):
                return
        raise self._busy("its lock")

    def _lock(self) -> Steps:
        now = yield Now()
        for _attempt in range(_ATTEMPTS):
            found = yield Read(LOCK)
            lock = claim_lock(found.value, self._holder, now, self._settings)
            if (yield Write(LOCK, lock, found.version)):
                return {}
        raise self._busy("its lock")

    def _slot(self) -> Steps:
        for _attempt in range(_ATTEMPTS):
            found = yield Read(SLOT)
            if found.value.get(self._node) == self._holder:
                return {}
            out = take_slot(found.value, self._node, self._holder, self._settings.budget)
            if (yield Write(SLOT, out, found.version)):
                return {}
        raise self._busy("the list of nodes that are out")

    def _claim(self) -> Steps:
        """Cordon the node and write on it whose it is, in one write."""
        for _attempt in range(_ATTEMPTS):
            found = yield Read(CLAIM)
            # After this reading: whoever takes the node over later changes it, and that defeats the write.
            yield from self._renew()
            node: Node = found.value
            require_unclaimed(node, self._node, self._holder, self._settings)
            was_cordoned = node.claim.was_cordoned if node.claim else node.cordoned
            wanted = Node(True, Claim(self._holder, was_cordoned), node.reason or UNFINISHED)
            if wanted == node or (yield Write(CLAIM, wanted, found.version)):
                return {}
        raise self._busy("the node")

    def _caller(self, step: str) -> Callable[[], Steps]:
        def work() -> Steps:
            outcome = yield Do(step)
            return self._succeeded(step, outcome)

        return work

    def _reboot(self) -> Steps:
        """Only when the change needs it, and only out of the boot in which the change was made."""
        change = self._done.get(CHANGE, {})
        if change.get("reboot") != "yes":
            return {}
        if not self._settings.may_reboot:
            raise StopError(reboot_refused(self._node))
        before = change.get("boot_id", "")
        data = self._succeeded(REBOOT, (yield Do(REBOOT, {"boot_id": before})))
        if not before or data.get("boot_id", "") in ("", before):
            raise StopError(
                GpuError(
                    "BG-CHANGE-108",
                    "node {0} shows no boot after the reboot (before {1}, now {2})".format(
                        self._node, before or "unknown", data.get("boot_id") or "unknown"
                    ),
                    "whether it was rebooted is not proved",
                    "look at the host's console, then run again",
                )
            )
        return data

    def _admit(self) -> Steps:
        """Let the node in, in one write that another controller's claim defeats."""
        for _attempt in range(_ATTEMPTS):
            found = yield Read(CLAIM)
            node: Node = found.value
            if node.claim is None or node.claim.holder != self._holder:
                raise self._lost("it is out for {0}".format(node.claim.holder if node.claim else "nobody"))
            if (yield Write(CLAIM, Node(node.claim.was_cordoned), found.version)):
                return {}
        raise self._busy("the node")

    def _free(self) -> Steps:
        for _attempt in range(_ATTEMPTS):
            found = yield Read(SLOT)
            if found.value.get(self._node) != self._holder:
                return {}
            rest = {name: holder for name, holder in found.value.items() if name != self._node}
            if (yield Write(SLOT, rest, found.version)):
                return {}
        raise self._busy("the list of nodes that are out")

    def _unlock(self) -> Steps:
        for _attempt in range(_ATTEMPTS):
            found = yield Read(LOCK)
            if found.value is None or found.value.holder != self._holder:
                return {}
            if (yield Write(LOCK, None, found.version)):
                return {}
        raise self._busy("its lock")

    # ---- The end of one that failed ----

    def _stop(self, step: str, stopped: StopError) -> Generator[Any, Any, Result]:
        """A node that is not out is given back. One that is stays out, with the reason on it, until a rerun proves it."""
        yield from self._append(step, FAILED, {"code": stopped.error.code})
        if stopped.lost:
            return Result(tuple(self._steps), CLAIM in self._done and ADMIT not in self._done, stopped.error)
        out = yield from self._mark(stopped.error.code)
        try:
            if not out and ADMIT not in self._done:
                yield from self._free()
                yield from self._unlock()
                yield from self._append(UNLOCK, DONE)
        except StopError:  # what stopped it first says more; a rerun gives back what is left
            pass
        return Result(tuple(self._steps), out, stopped.error)

    def _mark(self, code: str) -> Generator[Any, Any, bool]:
        """Whether the node is out, also for another's change; its own reason is written on it."""
        for _attempt in range(_ATTEMPTS):
            found = yield Read(CLAIM)
            node: Node = found.value
            if node.claim is None or node.claim.holder != self._holder:
                break
            if (yield Write(CLAIM, replace(node, cordoned=True, reason=code), found.version)):
                break
        return node.claim is not None

    def _succeeded(self, step: str, outcome: Outcome) -> Mapping[str, str]:
        if outcome.code:
            raise StopError(
                GpuError(
                    outcome.code,
                    "node {0}: the step {1} failed: {2}".format(self._node, step, outcome.what),
                    "the node is not proved",
                    "correct what the reason names, then run again: it goes on from there",
                )
            )
        return outcome.data

    def _lost(self, how: str) -> StopError:
        return StopError(
            GpuError(
                "BG-CHANGE-105",
                "node {0} was taken over meanwhile: {1}".format(self._node, how),
                "another controller changes it now",
                "look how that one ends before this is run again",
            ),
            lost=True,
        )

    def _busy(self, what: str) -> StopError:
        return StopError(
            GpuError(
                "BG-CHANGE-109",
                "node {0}: {1} is changed by others without pause".format(self._node, what),
                "nothing can be decided on it",
                "look which controllers write to it, then run again",
            )
        )
