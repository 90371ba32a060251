"""Runs programs side by side on a host, bounded in time, and reads what they print while it comes.

Output goes through a pipe into the reader, so that neither memory nor a disk holds a log of any size. Every program leads a
process group of its own, which is ended with it: a launcher passes the signal on to its ranks.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.reading import Reading, read
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import Scanner

GRACE_S = 15.0
"""How long a launcher may take to end its ranks on other hosts once it is asked to, in seconds."""

_KILLED_S = 3.0
CHUNK_BYTES = 65536

BY_ITSELF, DEADLINE, NOT_STARTED = "by-itself", "deadline", "not-started"

AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def run_all(runs: Sequence[Mapping[str, Any]], signatures: Sequence[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """Start all runs at once and wait for them. Each has ``name``, ``command``, ``environment`` and ``timeout_s``.

    One outcome per run, in their order: ``ended`` (one of the constants above), ``exit_code``, ``message`` and ``reading``.
    Raises what ``Scanner`` raises.
    """
    outcomes: List[Optional[Dict[str, Any]]] = [None] * len(runs)
    scanners = [Scanner(signatures) for _run in runs]

    def one(index: int) -> None:
        outcomes[index] = _run(runs[index], scanners[index])

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcome or _outcome(run, NOT_STARTED, message="its thread ended") for run, outcome in zip(runs, outcomes)]


def _run(run: Mapping[str, Any], scanner: Scanner) -> Dict[str, Any]:
    try:
        process = subprocess.Popen(
            [str(word) for word in run["command"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(run["environment"]),
            start_new_session=True,
        )
    except OSError as error:
        return _outcome(run, NOT_STARTED, message="{0}: {1}".format(run["command"][0], error.strerror or error))
    watch = _Watch(process, float(run["timeout_s"]))
    reading = read(watch.chunks(), scanner)
    code = watch.end()
    ended = DEADLINE if watch.has_fired else BY_ITSELF
    return _outcome(run, ended, None if watch.has_fired else code, reading=reading)


class _Watch:
    """Reads a program's output until its end or its time is over. Then its process group is asked to end, then killed."""

    def __init__(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        self.has_fired = False
        self._process = process
        # What to send, and how long to wait for the end of the output behind it.
        self._steps = [(signal.SIGTERM, GRACE_S), (signal.SIGKILL, _KILLED_S)]
        self._until = time.monotonic() + timeout_s

    def chunks(self) -> Iterator[bytes]:
        stream = self._process.stdout
        if stream is None:
            return
        with stream:
            while True:
                ready, _write, _special = select.select([stream], [], [], max(0.0, self._until - time.monotonic()))
                chunk = os.read(stream.fileno(), CHUNK_BYTES) if ready else b""
                if ready and not chunk:
                    return
                # A program that never stops writing is ended in time too.
                if time.monotonic() >= self._until and not self._go_on():
                    return
                if chunk:
                    yield chunk

    def _go_on(self) -> bool:
        """Send the next signal; False when all were sent, and what still holds the output is left behind."""
        self.has_fired = True
        if not self._steps:
            return False
        number, wait_s = self._steps.pop(0)
        self._send(number)
        self._until = time.monotonic() + wait_s
        return True

    def end(self) -> Optional[int]:
        """The exit status once nothing of the program runs any more; None when it cannot be killed."""
        try:
            code: Optional[int] = self._process.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            self._send(signal.SIGKILL)
            try:
                code = self._process.wait(timeout=_KILLED_S)
            except subprocess.TimeoutExpired:
                # It hangs in the kernel, as with a dead GPU.
                return None
        self._send(signal.SIGKILL)  # children that outlived it
        return code

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _outcome(
    run: Mapping[str, Any],
    ended: str,
    exit_code: Optional[int] = None,
    message: str = "",
    reading: Optional[Reading] = None,
) -> Dict[str, Any]:
    return {
        "name": run["name"],
        "ended": ended,
        "exit_code": exit_code,
        "message": message,
        "reading": (reading or Reading()).as_dict(),
    }


def environment(own: Mapping[str, str]) -> Dict[str, str]:
    """The host's environment with a run's variables, in the C locale; root may run MPI."""
    found = dict(os.environ, LC_ALL="C", LANG="C")
    if os.geteuid() == 0:
        found.update(AS_ROOT)
    found.update({str(name): str(value) for name, value in own.items()})
    return found
