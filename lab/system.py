"""The packages of the machine that the lab runs on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lab.commands import persist, stream
from lab.progress import step

PACKAGE_LIST = Path(__file__).with_name("system-packages.txt")


def wanted_packages(text: str) -> tuple[str, ...]:
    """The package names of a list with one name a line; comments start with `#`."""
    names = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(name for name in names if name)


def missing_packages(wanted: Iterable[str], listing: str) -> tuple[str, ...]:
    """What of `wanted` is not installed. `listing` has lines `status name` as dpkg-query prints them."""
    installed = {line.split()[1] for line in listing.splitlines() if line.startswith("installed ")}
    return tuple(name for name in wanted if name not in installed)


def ensure_packages() -> tuple[str, ...]:
    """Install what the lab needs and this machine lacks; returns the names that were installed.

    Raises RuntimeError when apt cannot install them, with the end of its output.
    """
    wanted = wanted_packages(PACKAGE_LIST.read_text(encoding="utf-8"))
    # dpkg-query ends with 1 when it does not know a name: that is an answer here, not an error.
    query = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    missing = missing_packages(wanted, query.stdout)
    if missing:
        if os.geteuid() != 0:
            raise RuntimeError(f"the lab needs root to install these packages: {' '.join(missing)}")
        with step(f"Install packages on this machine: {' '.join(missing)}"):
            _apt_get("update")
            _apt_get("install", "--yes", "--no-install-recommends", *missing)
    return missing


def _apt_get(*arguments: str) -> None:
    """Run apt-get, again after a pause when a mirror or another apt is in the way; it keeps what it has downloaded in part."""
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    persist(f"apt-get {arguments[0]}", lambda: stream(command, lambda _: None, env=environment))
