"""Runs a program that may hang. Every external call of the host modules goes through here."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence

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


def run(command: Sequence[str], timeout_s: float, descriptors: Sequence[int] = ()) -> Completed:
    """Run ``command`` for at most ``timeout_s`` seconds, in the C locale, without input. It gets ``descriptors`` under their numbers.

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
        pass_fds=tuple(descriptors),
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


class CallFailedError(Exception):
    """A bounded call did not end in time, or not with a result."""

    def __init__(self, reason: str, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


def call(function: Callable[[], Any], timeout_s: float) -> Any:
    """What ``function`` returns, as JSON carries it, from a child process that gets ``timeout_s`` seconds.

    For libraries that may hang in the kernel, as NVML does with a dead GPU. Raises ``CallFailedError``.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # Nothing of the parent's (its buffers, its exit handlers) may run here.
        _answer_and_leave(function, writer)
    os.close(writer)
    try:
        text = _read_all(reader, time.monotonic() + timeout_s)
    finally:
        os.close(reader)
        _reap(child)
    if text is None:
        raise CallFailedError("no answer within {0:g} s".format(timeout_s), timed_out=True)
    try:
        answer = json.loads(text.decode("utf-8", "replace"))
    except ValueError:
        raise CallFailedError("the call ended without an answer") from None
    if "failed" in answer:
        raise CallFailedError(str(answer["failed"]))
    return answer["result"]


def _answer_and_leave(function: Callable[[], Any], writer: int) -> None:
    try:
        try:
            text = json.dumps({"result": function()})
        except Exception as error:
            text = json.dumps({"failed": "{0}: {1}".format(type(error).__name__, error)})
        with os.fdopen(writer, "w") as pipe:
            pipe.write(text)
    finally:
        os._exit(0)


def _read_all(reader: int, deadline: float) -> Optional[bytes]:
    parts: list[bytes] = []
    while True:
        ready, _writable, _broken = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(reader, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _reap(child: int) -> None:
    """End the child and forget it; one that hangs in the kernel is left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + _GRACE_S
    while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.005)
