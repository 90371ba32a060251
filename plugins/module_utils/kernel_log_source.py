"""Reads a host's kernel log. A log that cannot be read is missing with its reason: it is not a log without errors."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from typing import Callable, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded, kernel_log
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import FAILED, Missing, MissingLog

DEVICE = "dev/kmsg"
_RECORD_BYTES = 8192  # the kernel refuses smaller buffers than the record (EINVAL)
_MAXIMUM_BYTES = 64 * 1024 * 1024
_JOURNAL_LINES = "100000"

Run = Callable[[List[str], float], bounded.Completed]
Find = Callable[[str], Optional[str]]


@dataclass(frozen=True)
class KernelLog:
    """``complete`` is false when the beginning is gone, because the kernel's buffer is a ring."""

    source: str
    complete: bool
    lines: int
    since_s: Optional[float]
    events: Tuple[kernel_log.Event, ...]


def read_kernel_log(
    root: str, find: Find, run: Run, timeout_s: float, since_s: Optional[float], log: MissingLog
) -> Optional[KernelLog]:
    """The log since boot, or since ``since_s`` seconds after it, from the first source that has all of it.

    Sources are ``/dev/kmsg``, ``journalctl -k -b``, ``dmesg``. One that lost its beginning is taken when no other has more.
    """
    partial: Optional[KernelLog] = None
    reasons: List[str] = []
    device = "/" + DEVICE
    readers: Tuple[Tuple[str, Callable[[], Tuple[Optional[str], str]]], ...] = (
        (device, lambda: _from_device(os.path.join(root, DEVICE), timeout_s)),
        ("journalctl", lambda: _from_program(find, run, timeout_s, _JOURNALCTL)),
        ("dmesg", lambda: _from_program(find, run, timeout_s, ["dmesg"])),
    )
    for source, read in readers:
        text, reason = read()
        if text is None:
            reasons.append("{0}: {1}".format(source, reason))
            continue
        lines = kernel_log.lines_of(text)
        # The journal keeps all of a boot; the others are complete when their first message is early enough.
        complete = source == "journalctl" or _begins_early(lines, since_s)
        found = KernelLog(source, complete, len(lines), since_s, kernel_log.events_in(lines, since_s))
        if complete:
            return found
        if partial is None and lines:
            partial = found
    if partial is None:
        log.add("kernel_log", Missing(FAILED, "the kernel log cannot be read: {0}".format("; ".join(reasons))))
    return partial


def _begins_early(lines: List[kernel_log.Line], since_s: Optional[float]) -> bool:
    if not lines:
        return False
    return lines[0].sequence == 0 or (lines[0].seconds is not None and lines[0].seconds <= (since_s or 1.0))


_JOURNALCTL = ["journalctl", "-k", "-b", "-o", "short-monotonic", "--no-pager", "-q", "-n", _JOURNAL_LINES]


def _from_device(path: str, timeout_s: float) -> Tuple[Optional[str], str]:
    deadline = time.monotonic() + timeout_s
    parts: List[bytes] = []
    size = 0
    try:
        device = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        return None, error.strerror or str(error)
    try:
        while size < _MAXIMUM_BYTES and time.monotonic() < deadline:
            try:
                part = os.read(device, _RECORD_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.EPIPE:  # the record was overwritten meanwhile; the next one follows
                    continue
                return None, error.strerror or str(error)
            if not part:
                break
            parts.append(part)
            size += len(part)
        else:
            return None, "it does not end"
    finally:
        os.close(device)
    return b"".join(parts).decode("utf-8", "replace"), ""


def _from_program(find: Find, run: Run, timeout_s: float, command: List[str]) -> Tuple[Optional[str], str]:
    path = find(command[0])
    if path is None:
        return None, "not installed"
    try:
        completed = run([path, *command[1:]], timeout_s)
    except OSError as error:
        return None, error.strerror or str(error)
    if completed.timed_out:
        return None, "no answer within {0:g} s".format(timeout_s)
    if completed.return_code != 0:
        return None, "ended with {0}: {1}".format(completed.return_code, " ".join(completed.errors.split())[:200])
    # Without the right to see it, journalctl says so, prints nothing and ends well.
    if not completed.output.strip():
        return None, " ".join(completed.errors.split())[:200] or "it is empty"
    return completed.output, ""
