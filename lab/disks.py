"""A disk of its own for each lab host: a sparse file with ext4, so that a host can run full and the machine cannot.

Container stores must not lie on the container's own overlay either (overlay on overlay fails), which this disk also saves.
"""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

from lab.settings import STATE

SIZE_GB = 16
"""Size as the host sees it. The file takes what is written: 0.2 to 1 GB for a host of either system."""

FOLDERS = ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/rancher")
"""What of a host lies on its disk: whatever Kubernetes writes much of."""

_WRITTEN_BLOCKS = 512
"""Of 4 kB each, so a full disk costs the machine 2 MB."""

_ROOT = STATE / "disks"


class DiskError(RuntimeError):
    """A host's disk cannot be made, mounted or removed; the message says why."""


def folder(host: str) -> Path:
    """Where a host's disk is mounted on the machine."""
    return _ROOT / host


def volumes(host: str) -> dict[str, Path]:
    """Each folder of FOLDERS with the place on the machine that is bound there."""
    return {path: folder(host) / path.strip("/").replace("/", "-") for path in FOLDERS}


def ensure(host: str) -> None:
    """Make the disk of a host, once, and mount it. Its content survives a restart of the machine, its mount does not."""
    place, image = folder(host), _ROOT / f"{host}.img"
    if place.is_mount():
        return
    _ROOT.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.mkdir(exist_ok=True)
    if not image.exists():
        unfinished = image.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            # What hosts keep for root alone lies in it.
            unfinished.chmod(0o600)
            file.truncate(SIZE_GB * 10**9)
        # No journal and no zeroed tables: the disk is thrown away, and this way making it costs milliseconds and 5 MB.
        options = ["-t", "ext4", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard"]
        _run("mke2fs", "-q", *options, str(unfinished))
        unfinished.rename(image)
    _run("mount", "-t", "ext4", "-o", "loop,noinit_itable", str(image), str(place))
    for volume in volumes(host).values():
        volume.mkdir(exist_ok=True)


def filler(host: str) -> Path:
    """What takes the room of a full disk."""
    return folder(host) / ".filler"


def fill(host: str) -> None:
    """Leave no free block. Blocks are reserved, not written, so the sparse file below takes no room for them."""
    with filler(host).open("ab") as file:
        free = os.statvfs(folder(host))
        bulk = (free.f_bavail - _WRITTEN_BLOCKS) * free.f_frsize
        if bulk > 0:
            os.posix_fallocate(file.fileno(), 0, bulk)
        # The last blocks are written: which of them the file system needs for itself is known only when there are no more.
        try:
            while True:
                os.write(file.fileno(), bytes(free.f_frsize))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def remove(host: str) -> None:
    """Unmount a host's disk and delete it; the loop device ends with its mount."""
    place = folder(host)
    if place.is_mount():
        _run("umount", str(place))
    if place.is_dir():
        place.rmdir()
    (_ROOT / f"{host}.img").unlink(missing_ok=True)


def remove_all() -> None:
    """Remove every disk of this lab."""
    for place in sorted(_ROOT.iterdir()) if _ROOT.is_dir() else []:
        if place.is_dir():
            remove(place.name)


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DiskError(f"{' '.join(command)}: {result.stderr.strip()}")
