"""Runs a program that may hang. Every external call of the host modules goes through here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Optional, Sequence

_GRACE_S = 2.0  # how long a killed program may take to go before it is left behind


@dataclass(frozen=True)
class Completed:
    """How a program ended. ``return_code`` is ``None`` when it did not end in time."""

    return_code: Optional[int]
    output: str
    errors: str
    elapsed_s: float

    @property
    def timed_out(self) -> bool:
        return self.return_code is None


def run(command: Sequence[str], timeout_s: float) -> Completed:
    """Run ``command`` for at most ``timeout_s`` seconds, in the C locale, without input.

    On timeout its whole process group is killed. A process that hangs in the kernel (a dead GPU does that) cannot be
    killed: it is left behind rather than waited for. Raises ``OSError`` when the program cannot be started.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ, LC_ALL="C", LANG="C"),
        start_new_session=True,
    )
    return_code: Optional[int] = None
    try:
        output, errors = process.communicate(timeout=timeout_s)
        return_code = process.returncode
    except subprocess.TimeoutExpired:
        output, errors = _kill(process)
    return Completed(
        return_code=return_code,
        output=output.decode("utf-8", "replace"),
        errors=errors.decode("utf-8", "replace"),
        elapsed_s=round(time.monotonic() - started, 3),
    )


def _kill(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        return b"", b""
