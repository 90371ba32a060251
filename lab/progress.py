"""Honest progress: every step is named when it starts and timed, on a monotonic clock, when it ends.

A step that takes long says every half minute that it goes on, with what it has done so far where that is known; with or without a terminal.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HEARTBEAT_S = 30.0
"""A step that runs is heard of at least so often."""

_START = time.monotonic()
_LOCK = threading.Lock()


@dataclass(eq=False)
class Activity:
    """A step that goes on. `detail` says how far it is: "812 packages compiled"."""

    name: str
    begun: float
    detail: str = ""
    heard: float = 0.0
    """When the person who waits last heard of it."""

    def __post_init__(self) -> None:
        self.heard = self.begun

    def tell(self, detail: str) -> None:
        """Say how far it is; shown when somebody waits for long."""
        self.detail = detail

    def describe(self, now: float) -> str:
        """For the person who waits, at this reading of the monotonic clock."""
        told = f" ({self.detail})" if self.detail else ""
        return f"{self.name}, {now - self.begun:.0f} s{told}"


@dataclass
class _State:
    """What runs now, and who speaks for it."""

    running: list[Activity] = field(default_factory=list)
    watcher: threading.Thread | None = None


_STATE = _State()


def elapsed() -> float:
    """Seconds since this process began its work."""
    return time.monotonic() - _START


def say(message: str) -> None:
    """Print one line with the elapsed time; safe from several threads."""
    with _LOCK:
        print(f"[{elapsed():6.1f} s] {message}", file=sys.stderr, flush=True)


@contextmanager
def step(name: str, number: str = "") -> Iterator[Activity]:
    """Announce a step, with its number such as `3/14 ` where the number of steps is known, and say how long it took or that it failed."""
    say(f"{number}{name} …")
    activity = Activity(name, time.monotonic())
    with _LOCK:
        _STATE.running.append(activity)
        _watch()
    try:
        yield activity
    except BaseException:
        _end(activity)
        say(f"{number}{name}: FAILED after {time.monotonic() - activity.begun:.1f} s")
        raise
    _end(activity)
    say(f"{number}{name}: {time.monotonic() - activity.begun:.1f} s")


def heartbeat(running: Iterable[Activity], now: float) -> str:
    """The line that names what was not heard of for long, at this reading of the monotonic clock; empty when there is no such step."""
    due = [activity for activity in running if now - activity.heard >= HEARTBEAT_S]
    for activity in due:
        activity.heard = now
    return "; ".join(activity.describe(now) for activity in due)


def _end(activity: Activity) -> None:
    with _LOCK:
        _STATE.running.remove(activity)


def _watch() -> None:
    """Start the thread that speaks for long steps; the caller holds the lock."""
    if _STATE.watcher is None:
        _STATE.watcher = threading.Thread(target=_beat, name="heartbeat", daemon=True)
        _STATE.watcher.start()


def _beat() -> None:
    while True:
        time.sleep(1.0)
        with _LOCK:
            line = heartbeat(_STATE.running, time.monotonic())
        if line:
            say(f"still at it: {line}")
