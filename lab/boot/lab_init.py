#!/usr/bin/python3
"""First program of a lab host: give this boot an identity and clocks of its own, then become systemd.

The kernel has one boot_id for all containers, so each start gets a private file in its place. Where the kernel has time
namespaces, the host's monotonic and boot clocks begin at zero with this start, so that uptime, btime and the start times of
processes are those of the host. The host's python3 and its standard library are enough.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
import uuid
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
OFFSETS = Path("/proc/self/timens_offsets")

CLONE_NEWTIME = 0x80
MS_BIND, MS_REMOUNT, MS_RDONLY = 4096, 32, 1
NANOSECONDS = 10**9


def checked(result: int, what: str) -> None:
    """Raise OSError for a system call that failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def own_boot_id(libc: ctypes.CDLL) -> None:
    """Before systemd reads it: the journal and the kubelet know a boot by this file."""
    own = Path("/run/lab-boot-id")
    own.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
    own.chmod(0o444)
    source, target = os.fsencode(own), os.fsencode(BOOT_ID)
    checked(libc.mount(source, target, b"none", MS_BIND, None), f"bind {own} on {BOOT_ID}")
    checked(libc.mount(b"none", target, b"none", MS_BIND | MS_REMOUNT | MS_RDONLY, None), f"remount {BOOT_ID}")


def started_ns(stat: str, ticks_per_s: int) -> int:
    """When a process started on the boot clock, from the text of its /proc/PID/stat (field 22, in ticks)."""
    # The name, field 2, may hold spaces and brackets.
    return int(stat.rpartition(")")[2].split()[19]) * NANOSECONDS // ticks_per_s


def offsets(zero_boottime_ns: int, boottime_ns: int, monotonic_ns: int) -> str:
    """What makes both clocks read zero at the instant when the boot clock read `zero_boottime_ns`."""
    zeros = {"monotonic": monotonic_ns - (boottime_ns - zero_boottime_ns), "boottime": zero_boottime_ns}
    lines = []
    for clock, zero_ns in zeros.items():
        seconds, nanoseconds = divmod(-zero_ns, NANOSECONDS)
        lines.append(f"{clock} {seconds} {nanoseconds}\n")
    return "".join(lines)


def own_clocks(libc: ctypes.CDLL) -> None:
    """Take effect with the exec that follows. Zero is the start of this very process: none may seem to be older than the host."""
    if not OFFSETS.exists():
        return
    zero_ns = started_ns(Path("/proc/self/stat").read_text(encoding="utf-8"), os.sysconf("SC_CLK_TCK"))
    text = offsets(zero_ns, time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.clock_gettime_ns(time.CLOCK_MONOTONIC))
    checked(libc.unshare(CLONE_NEWTIME), "unshare the clocks")
    OFFSETS.write_text(text, encoding="ascii")


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    own_boot_id(libc)
    own_clocks(libc)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
