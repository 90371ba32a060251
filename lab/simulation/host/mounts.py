"""Covering parts of /sys and /proc in the host's own mount namespace; the machine below is not touched."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from .state import RefusedError

MS_BIND = 4096
MS_PRIVATE = 1 << 18
MNT_DETACH = 2


def mount(source: str | Path, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2), because a process for each of some fifty mounts would make every boot slower."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode()) != 0:
        raise RefusedError(f"cannot mount {source} on {target}: {os.strerror(ctypes.get_errno())}")


def mounted_as(source: str, target: Path) -> bool:
    """Whether the file system that is seen at `target` is the tmpfs that this script calls `source`."""
    number = target.stat().st_dev
    seen = (str(target), f"{os.major(number)}:{os.minor(number)}", source)
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, file_system = line.partition(" - ")
        _, _, device, _, at = fields.split()[:5]
        if (at, device, file_system.split()[1]) == seen:
            return True
    return False


def cover(source: str, target: Path) -> None:
    """Put a tmpfs over a folder, once."""
    if not mounted_as(source, target):
        mount(source, target, "tmpfs", options="mode=755")


def _hold(source: str, target: Path) -> Path:
    """Another view of a folder, for when something else will lie over it."""
    original = Path("/run/simulated-hardware", source)
    original.mkdir(parents=True, exist_ok=True)
    mount(target, original, "none", MS_BIND)
    # A lab host's mounts are shared with each other: what is put over the folder must not come up in this view of it too.
    mount("none", original, "none", MS_PRIVATE)
    return original


def cover_linking_children(source: str, target: Path, replaced: tuple[str, ...]) -> None:
    """The same as cover_keeping_children with one mount in all: children are links to the folder's former self.

    For folders that nobody looks into from another mount namespace, where such links lead nowhere.
    """
    if mounted_as(source, target):
        return
    original = _hold(source, target)
    cover(source, target)
    for child in original.iterdir():
        if child.name not in replaced:
            (target / child.name).symlink_to(child)


def cover_keeping_children(source: str, target: Path, replaced: tuple[str, ...]) -> None:
    """Put a tmpfs over a folder of sysfs, which does not allow new entries, and show its former children in it.

    The children named `replaced` are left out: they are what the caller makes.
    """
    if mounted_as(source, target):
        return
    original = _hold(source, target)
    try:
        cover(source, target)
        for child in original.iterdir():
            shown = target / child.name
            if child.is_symlink():
                shown.symlink_to(child.readlink())
            elif child.is_dir() and child.name not in replaced:
                shown.mkdir()
                mount(child, shown, "none", MS_BIND)
    finally:
        ctypes.CDLL(None).umount2(os.fsencode(original), MNT_DETACH)
