"""Podman as the lab uses it: an own store in the cache, so that nothing of the machine's own containers is touched."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from lab.settings import CACHE, RUN, STATE


def store() -> Path:
    """The store of this lab's containers: where it was made, also when the cache is another one by now.

    Raises PodmanError when that place is gone, since the hosts cannot be seen, and so not removed, without it.
    """
    kept = STATE / "store"
    if not kept.exists():
        return CACHE / "podman"
    place = Path(kept.read_text(encoding="utf-8").strip())
    if not place.is_dir():
        raise PodmanError(f"this lab's hosts were made in {place}, which is gone: move it back, then run this again")
    return place


def keep_store() -> None:
    """Note the store in the lab's state, once, before its first host is made."""
    place = store()
    place.mkdir(parents=True, exist_ok=True)
    STATE.mkdir(parents=True, exist_ok=True)
    (STATE / "store").write_text(f"{place}\n", encoding="utf-8")


class PodmanError(RuntimeError):
    """A podman command failed; the message holds the command and what it said."""


def release_store() -> None:
    """Unmount what podman leaves mounted of the store when its last container is gone; it mounts it again when it needs it."""
    overlay = store() / "storage/overlay"
    if is_released(Path("/proc/self/mountinfo").read_text(encoding="utf-8"), overlay):
        subprocess.run(["umount", str(overlay)], check=True)


def is_released(mountinfo: str, overlay: Path) -> bool:
    """Whether this folder is mounted and nothing below it is any more, from the text of /proc/self/mountinfo."""
    mounted = {line.split()[4] for line in mountinfo.splitlines()}
    return str(overlay) in mounted and not any(path.startswith(f"{overlay}/") for path in mounted)


def command(*arguments: str | Path) -> list[str]:
    """The full command line. runc, because crun refuses this kind of hybrid cgroup set-up; cgroupfs, because the machine may have no systemd."""
    place = store()
    # One run folder per store: two users' caches, or a cache that was moved away, must not see each other's mounts.
    run = RUN / f"podman-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"
    return [
        "podman",
        f"--root={place / 'storage'}",
        f"--runroot={run}",
        f"--network-config-dir={place / 'networks'}",
        "--runtime=runc",
        "--cgroup-manager=cgroupfs",
        "--events-backend=none",
        *map(str, arguments),
    ]


def podman(*arguments: str | Path, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run podman and return its result. Raises PodmanError when it fails and `check` is set."""
    (store() / "networks").mkdir(parents=True, exist_ok=True)
    result = subprocess.run(command(*arguments), capture_output=True, text=True, input=text, check=False)
    if check and result.returncode:
        raise PodmanError(f"{' '.join(map(str, arguments))}: exit {result.returncode}: {result.stderr.strip()}")
    return result


def execute(
    container: str, *arguments: str, check: bool = True, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command inside a running container."""
    return podman("exec", "--interactive", container, *arguments, check=check, text=text)
