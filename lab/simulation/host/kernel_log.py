"""Lines in the host's own kernel log, which `simulated-kmsg` shows as /dev/kmsg."""

from __future__ import annotations

import os

from .state import Place, RefusedError

WARNING = 4
"""The level of most messages of NVIDIA's kernel module."""

RECORD_LIMIT = 1900
"""simulated-kmsg cuts records at 2048 bytes with its prefix; the kernel does so at about 1000."""


def write(place: Place, lines: list[str], level: int = WARNING) -> None:
    """One record for each line. Raises RefusedError when the host's kernel log is not running."""
    if not lines:
        return
    for line in lines:
        if "\n" in line or len(line) > RECORD_LIMIT:
            raise RefusedError(
                f"a kernel log line must be one line of at most {RECORD_LIMIT} characters: {line[:60]!r}"
            )
    try:
        fifo = os.open(place.kernel_log, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        raise RefusedError(f"the simulated kernel log is not running ({place.kernel_log}: {error.strerror})") from error
    try:
        for line in lines:
            os.write(fifo, f"<{level}>{line}\n".encode())
    finally:
        os.close(fifo)
