"""Can this machine run the lab? Said before anything is built, with the reason and the remedy."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass

from lab.settings import CACHE

# Measured: a cache that was built from nothing takes 14 GB and the hosts of both systems 4 GB, builds need room beside; both
# systems together use 4 GB of memory, a build 4 GB.
FREE_DISK_GB = 30
MEMORY_GB = 8


@dataclass(frozen=True)
class Machine:
    """What the lab wants to know of the machine it runs on. Sizes in GB (1e9 bytes)."""

    architecture: str
    root: bool
    package_manager: str | None
    free_disk_gb: float
    memory_gb: float


def observe() -> Machine:
    """Read this machine."""
    place = next(path for path in (CACHE, *CACHE.parents) if path.exists())
    return Machine(
        architecture=platform.machine(),
        root=os.geteuid() == 0,
        package_manager=shutil.which("apt-get"),
        free_disk_gb=shutil.disk_usage(place).free / 1e9,
        memory_gb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
    )


def refusals(machine: Machine, cache_exists: bool) -> list[str]:
    """Why the lab cannot run here, each with its remedy; empty when it can."""
    found = []
    if not machine.root:
        found.append("the lab makes containers with their own systemd: run it as root")
    if machine.architecture != "x86_64":
        found.append(f"the lab's artefacts are built for x86_64, this is {machine.architecture}: use an x86_64 machine")
    if machine.package_manager is None:
        found.append(
            "apt-get is missing: the lab takes its tools from Debian 12's packages; use a Debian 12 machine or VM"
        )
    if not cache_exists and machine.free_disk_gb < FREE_DISK_GB:
        found.append(
            f"{machine.free_disk_gb:.0f} GB are free for {CACHE}, {FREE_DISK_GB} GB are needed: free some, or set XDG_CACHE_HOME"
        )
    if machine.memory_gb < MEMORY_GB:
        found.append(f"{machine.memory_gb:.0f} GB of memory, {MEMORY_GB} GB are needed: use a larger machine")
    return found


def cache_is_filled() -> bool:
    """Whether a mirror was built before: then next to nothing is left to build."""
    return any((CACHE / "mirror").glob("*/tree"))


def refuse_unusable() -> None:
    """Raise SystemExit with every reason at once when the lab cannot run on this machine."""
    found = refusals(observe(), cache_is_filled())
    if found:
        raise SystemExit("\n".join(["This machine cannot run the lab:", *(f"- {reason}" for reason in found)]))
