"""Steps that depend on each other, run as soon as what they need is there and the machine has room for them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from lab import commands, progress
from lab.progress import Activity


@dataclass(frozen=True)
class Claim:
    """What a step takes of the machine while it runs: processors that it keeps busy, memory in GB (1e9 bytes), and whether it downloads."""

    processors: float = 0.0
    memory_gb: float = 0.0
    downloads: bool = False


WAITS = Claim()
"""A step that mostly waits for something else."""
DOWNLOADS = Claim(downloads=True)
SINGLE = Claim(processors=1.0, memory_gb=0.5)
"""One program that uses one processor."""


@dataclass(frozen=True)
class Step:
    """One step. `done` says that there is nothing to do; it is asked before anything runs.

    `work` gets the activity whose `detail` it may set for the person who waits.
    """

    name: str
    title: str
    work: Callable[[Activity], object]
    needs: tuple[str, ...] = ()
    claim: Claim = SINGLE
    done: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Timing:
    """How a step went, in seconds since the first one could start. It was `ready` when the last thing that it needed ended."""

    name: str
    title: str
    needs: tuple[str, ...]
    ready: float
    begun: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took, without the wait for room on the machine."""
        return self.ended - self.begun


def missing(steps: Iterable[Step], targets: Iterable[str]) -> list[Step]:
    """The steps that have to run for these targets, in the given order: what only a finished step needs is not made.

    Raises KeyError for an unknown name and ValueError for steps that need each other.
    """
    known = {step.name: step for step in steps}
    wanted: dict[str, bool] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        if name in path:
            raise ValueError(f"steps need each other: {' → '.join([*path[path.index(name) :], name])}")
        if name in wanted:
            return
        step = known[name]
        wanted[name] = not step.done()
        if wanted[name]:
            path.append(name)
            for need in step.needs:
                visit(need)
            path.pop()

    for target in targets:
        visit(target)
    return [step for step in known.values() if wanted.get(step.name)]


@dataclass(frozen=True)
class Room:
    """How much of the machine steps may take together."""

    processors: float
    memory_gb: float
    downloads: int = 3

    def fits(self, claim: Claim, running: Iterable[Claim]) -> bool:
        """Whether one more step can start. A step that runs alone always can, however small the machine is."""
        others = list(running)
        if not others:
            return True
        return (
            claim.processors + sum(other.processors for other in others) <= self.processors
            and claim.memory_gb + sum(other.memory_gb for other in others) <= self.memory_gb
            and claim.downloads + sum(other.downloads for other in others) <= self.downloads
        )


def room_here() -> Room:
    """This machine's room. One processor more than there are: a compiler links, and an installer writes, on one at a time."""
    return Room(processors=processors() + 1.0, memory_gb=_available_gb())


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _available_gb() -> float:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    table = dict(line.split(":", 1) for line in lines)
    return int(table["MemAvailable"].split()[0]) * 1024 / 1e9


def run(steps: Sequence[Step], room: Room | None = None) -> list[Timing]:
    """Run the steps; those given first go first when there is a choice. What a step needs and is not among them counts as there.

    The first error ends the programs of all running steps and is passed on when these have ended; no further step starts.
    """
    room = room or room_here()
    names = {step.name for step in steps}
    needs = {step.name: [need for need in step.needs if need in names] for step in steps}
    waiting = list(steps)
    running: dict[Future[float], tuple[Step, float, float]] = {}
    ended: dict[str, Timing] = {}
    zero = time.monotonic()

    with ThreadPoolExecutor(max_workers=max(1, len(waiting)), thread_name_prefix="step") as pool:
        try:
            while waiting or running:
                for step in list(waiting):
                    if not all(need in ended for need in needs[step.name]):
                        continue
                    if room.fits(step.claim, (other.claim for other, _, _ in running.values())):
                        waiting.remove(step)
                        number = f"{len(ended) + len(running) + 1}/{len(steps)} "
                        ready = max((ended[need].ended for need in needs[step.name]), default=0.0)
                        begun = time.monotonic() - zero
                        running[pool.submit(_work, step, number)] = (step, ready, begun)
                if not running:
                    raise ValueError(f"no step can start: {', '.join(step.name for step in waiting)}")
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    step, ready, begun = running.pop(future)
                    end = future.result() - zero
                    ended[step.name] = Timing(step.name, step.title, tuple(needs[step.name]), ready, begun, end)
        except BaseException:
            commands.stop_all()
            raise
    return list(ended.values())


def _work(step: Step, number: str) -> float:
    with progress.step(step.title, number) as activity:
        step.work(activity)
    return time.monotonic()


def critical_path(timings: Sequence[Timing]) -> list[Timing]:
    """The chain of steps that decided how long all took: each one's last need, back from the step that ended last."""
    known = {timing.name: timing for timing in timings}
    chain: list[Timing] = []
    last = max(timings, key=lambda timing: timing.ended, default=None)
    while last is not None:
        chain.append(last)
        last = max((known[need] for need in last.needs), key=lambda timing: timing.ended, default=None)
    return chain[::-1]


def summary(timings: Sequence[Timing], slowest: int = 5) -> list[str]:
    """What was slow, for people: the slowest steps, then the chain that decided the whole."""
    if not timings:
        return []
    ranked = sorted(timings, key=lambda timing: timing.seconds, reverse=True)[:slowest]
    chain = critical_path(timings)
    waited = sum(timing.begun - timing.ready for timing in chain)
    links = " → ".join(f"{timing.title} {timing.seconds:.1f} s" for timing in chain)
    return [
        f"{len(timings)} steps in {chain[-1].ended:.1f} s, {sum(timing.seconds for timing in timings):.1f} s of work",
        f"slowest: {'; '.join(f'{timing.title} {timing.seconds:.1f} s' for timing in ranked)}",
        f"critical path: {links} (of these, {waited:.1f} s waiting for room)",
    ]


def as_document(timings: Sequence[Timing]) -> list[Mapping[str, object]]:
    """For a file."""
    return [
        {
            "name": timing.name,
            "title": timing.title,
            "needs": list(timing.needs),
            "ready": round(timing.ready, 2),
            "begun": round(timing.begun, 2),
            "ended": round(timing.ended, 2),
        }
        for timing in timings
    ]


def from_document(document: Iterable[Mapping[str, object]]) -> list[Timing]:
    """What `as_document` wrote."""
    return [Timing(**{**entry, "needs": tuple(entry["needs"])}) for entry in document]  # type: ignore[arg-type]
