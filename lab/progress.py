"""Honest progress: every step is named when it starts and timed, on a monotonic clock, when it ends."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_START = time.monotonic()
_LOCK = threading.Lock()


def elapsed() -> float:
    """Seconds since this process began its work."""
    return time.monotonic() - _START


def say(message: str) -> None:
    """Print one line with the elapsed time; safe from several threads."""
    with _LOCK:
        print(f"[{elapsed():6.1f} s] {message}", file=sys.stderr, flush=True)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Announce a step and say how long it took, or that it failed."""
    say(f"{name} …")
    begun = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{name}: FAILED after {time.monotonic() - begun:.1f} s")
        raise
    say(f"{name}: {time.monotonic() - begun:.1f} s")
