"""Long-running programs: their output is read while they run, they are tried again when that can help, and none outlives its step."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lab.progress import say

T = TypeVar("T")

PAUSES_S = (2.0, 5.0, 15.0, 30.0)
"""Pauses between attempts that need the network: a mirror that is restarted is back within a minute."""

_KEPT_LINES = 60
_RUNNING: set[subprocess.Popen[Any]] = set()
_LOCK = threading.Lock()


def stream(
    command: Sequence[str | Path],
    on_line: Callable[[str], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a program and hand over each line that it prints. Raises RuntimeError with its last lines when it fails."""
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env=dict(env) if env is not None else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # A group of its own, so that its children end with it.
        start_new_session=True,
    )
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    with owned(process):
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line)
            on_line(line.rstrip("\n"))
        status = process.wait()
    if status:
        raise RuntimeError(f"{Path(command[0]).name} ended with {status}:\n{''.join(last).strip()}")


@contextmanager
def owned(process: subprocess.Popen[Any]) -> Iterator[None]:
    """A program that must not outlive what is done here, whatever happens."""
    with _LOCK:
        _RUNNING.add(process)
    try:
        yield
    finally:
        with _LOCK:
            _RUNNING.discard(process)
        _end(process)


def stop_all() -> None:
    """End every program that still runs: what they make would be thrown away."""
    with _LOCK:
        running = list(_RUNNING)
    for process in running:
        _end(process)


def _end(process: subprocess.Popen[Any], patience_s: float = 10.0) -> None:
    """End a program that still runs, with its children where it leads a group of its own."""
    if process.poll() is not None:
        return
    _signal(process, signal.SIGTERM)
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    try:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    except ProcessLookupError:
        pass  # it ended by itself meanwhile


def persist(
    what: str,
    attempt: Callable[[], T],
    pauses_s: Sequence[float] = PAUSES_S,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Do something that needs the network, again after each pause while it raises RuntimeError; the last error is passed on.

    `attempt` is expected to go on where the one before it stopped.
    """
    for pause in pauses_s:
        try:
            return attempt()
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or ["no message"])[-1]
            say(f"{what} was interrupted ({reason[:200]}); going on in {pause:.0f} s")
            sleep(pause)
    return attempt()
