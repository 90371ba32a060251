"""Podman as the lab uses it: an own store in the cache, so that nothing of the machine's own containers is touched."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.settings import CACHE

STORE = CACHE / "podman"
# One run folder per store: two users' caches, or a cache that was moved away, must not see each other's mounts.
_RUN = Path("/run/baremetal-gpu-lab") / f"podman-{hashlib.sha256(str(STORE).encode()).hexdigest()[:8]}"


class PodmanError(RuntimeError):
    """A podman command failed; the message holds the command and what it said."""


def command(*arguments: str | Path) -> list[str]:
    """The full command line. runc, because crun refuses this kind of hybrid cgroup set-up; cgroupfs, because the machine may have no systemd."""
    return [
        "podman",
        f"--root={STORE / 'storage'}",
        f"--runroot={_RUN}",
        f"--network-config-dir={STORE / 'networks'}",
        "--runtime=runc",
        "--cgroup-manager=cgroupfs",
        "--events-backend=none",
        *map(str, arguments),
    ]


def podman(*arguments: str | Path, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run podman and return its result. Raises PodmanError when it fails and `check` is set."""
    (STORE / "networks").mkdir(parents=True, exist_ok=True)
    result = subprocess.run(command(*arguments), capture_output=True, text=True, input=text, check=False)
    if check and result.returncode:
        raise PodmanError(f"{' '.join(map(str, arguments))}: exit {result.returncode}: {result.stderr.strip()}")
    return result


def execute(
    container: str, *arguments: str, check: bool = True, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command inside a running container."""
    return podman("exec", "--interactive", container, *arguments, check=check, text=text)


def lines(*arguments: str) -> Sequence[str]:
    """The non-empty output lines of a podman command."""
    return [line for line in podman(*arguments).stdout.splitlines() if line]
