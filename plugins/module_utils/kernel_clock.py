"""Asks the kernel whether the clock is synchronised. Read-only, and whichever program synchronises it."""

from __future__ import annotations

import ctypes
import struct
from typing import Callable, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils.missing import FAILED, Missing, MissingLog

# adjtimex(2): the return value for a clock that is not synchronised, and the bit of `status` that says so.
TIME_ERROR = 5
STA_UNSYNC = 0x0040
# struct timex: `modes` is an int (and 0 asks without changing), then four longs, then `status`; 208 bytes on 64 bits.
_BYTES = 512
_LONG = struct.calcsize("l")
_STATUS_AT = _LONG + 4 * _LONG

Adjtimex = Callable[[ctypes.Array[ctypes.c_char]], int]


def synchronised(log: MissingLog, adjtimex: Optional[Adjtimex] = None) -> Optional[bool]:
    """True or false as the kernel says; ``None`` where it cannot be asked."""
    try:
        call = adjtimex or ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError) as error:
        log.add("clock_synchronised", Missing(FAILED, "the C library has no adjtimex ({0})".format(error)))
        return None
    buffer = ctypes.create_string_buffer(_BYTES)
    state = call(buffer)
    if state < 0:
        log.add("clock_synchronised", Missing(FAILED, "adjtimex failed"))
        return None
    (status,) = struct.unpack_from("i", buffer.raw, _STATUS_AT)
    return state != TIME_ERROR and not status & STA_UNSYNC
