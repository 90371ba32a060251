"""Starts a lab host again when it reboots: one process per lab, which sleeps until a host's systemd ends.

A container whose systemd reboots ends: the kernel sends the first process of its process namespace the signal that stands for
the wish (reboot(2)). A host that was switched off, or killed, stays off.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import IO

from lab.progress import say
from lab.settings import REPOSITORY, STATE

FOLDER = STATE / "supervisor"
"""`lock` holds the supervisor's process number, and is locked while it lives; `hosts/<host>` the number of each host's systemd."""

REBOOT_STATUS = 128 + signal.SIGHUP
"""The exit status of a container that asked for a restart; 128 + SIGINT is one that was switched off."""

_NOTICE_S = 1.0
_END_S = 30.0


def watch(host: str, process: int) -> None:
    """Let the supervisor watch a host that was just started; start it if it does not run."""
    entry = FOLDER / "hosts" / host
    entry.parent.mkdir(parents=True, exist_ok=True)
    unfinished = FOLDER / f"{host}.unfinished"
    unfinished.write_text(f"{process}\n", encoding="ascii")
    unfinished.rename(entry)
    if running() is None:
        _spawn()


def running() -> int | None:
    """The supervisor's process number, or None when it does not run."""
    lock = FOLDER / "lock"
    if not lock.exists():
        return None
    with lock.open("r", encoding="ascii") as file:
        try:
            # Shared, so that two who ask at the same time do not take each other for the supervisor.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read().strip()
            return int(text) if text else None
    return None


def end() -> None:
    """End the supervisor and wait until it is gone. Whoever holds the lock is it, so no other process can be hit."""
    process = running()
    if process is None:
        return
    descriptor = os.pidfd_open(process)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        if not select.select([descriptor], [], [], _END_S)[0]:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], _END_S)
    finally:
        os.close(descriptor)


def _spawn() -> None:
    """Start the supervisor in a session of its own, so that it outlives this command and its terminal."""
    log = STATE / "log/supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "lab", "supervise"],
            cwd=REPOSITORY,
            env={**os.environ, "BAREMETAL_GPU_LAB_DIR": str(STATE)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + _END_S
    while running() is None:
        # Another one may have been quicker; then this one ends with 0.
        if process.poll() not in (None, 0) or time.monotonic() > deadline:
            raise RuntimeError(f"the supervisor of lab hosts does not start; it wrote {log}")
        time.sleep(0.02)


def supervise(restart: Callable[[str], None], exit_status: Callable[[str, int], int | None]) -> None:
    """Be the supervisor of this lab, unless there is one already."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("a+", encoding="ascii") as lock:
        if not _become_the_one(lock):
            return
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        Supervisor(restart, exit_status).run()


def _become_the_one(lock: IO[str]) -> bool:
    """Take the lock. Whoever asks whether there is a supervisor holds it for an instant; a supervisor holds it for ever."""
    for _attempt in range(20):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


class Supervisor:
    """The loop. `restart` starts a host again; `exit_status` tells how its container ended, or None when there is none."""

    def __init__(self, restart: Callable[[str], None], exit_status: Callable[[str, int], int | None]) -> None:
        self._restart = restart
        self._exit_status = exit_status
        self._watched: dict[str, tuple[int, int]] = {}
        self._ending = False

    def run(self) -> None:
        """Watch until the lab's state is gone or a signal asks for the end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        while not self._ending and FOLDER.is_dir():
            self.look()
            descriptors = [descriptor for _process, descriptor in self._watched.values()]
            select.select(descriptors, [], [], _NOTICE_S)

    def look(self) -> None:
        """Notice hosts that were started, and treat those that ended."""
        self._notice()
        for host, (process, descriptor) in list(self._watched.items()):
            if select.select([descriptor], [], [], 0)[0]:
                self._forget(host)
                self._ended(host, process)

    def _notice(self) -> None:
        for entry in (FOLDER / "hosts").glob("*"):
            try:
                process = int(entry.read_text(encoding="ascii"))
            except FileNotFoundError:  # removed since it was listed
                continue
            if self._watched.get(entry.name, (0, 0))[0] == process:
                continue
            self._forget(entry.name)
            try:
                self._watched[entry.name] = (process, os.pidfd_open(process))
            except ProcessLookupError:  # ended before it could be watched
                self._ended(entry.name, process)

    def _forget(self, host: str) -> None:
        _process, descriptor = self._watched.pop(host, (0, None))
        if descriptor is not None:
            os.close(descriptor)

    def _ended(self, host: str, process: int) -> None:
        # First: a start that follows writes it anew.
        (FOLDER / "hosts" / host).unlink(missing_ok=True)
        status = self._exit_status(host, process)
        if status is None:
            return
        if status != REBOOT_STATUS:
            say(f"{host} ended with status {status}: it stays off")
            return
        say(f"{host} reboots")
        try:
            self._restart(host)
        except (RuntimeError, OSError) as error:  # the other hosts go on needing their supervisor
            say(f"{host} cannot be started again: {error}")

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True
