"""Can this machine run the lab? Said before anything is built, with the reason and the remedy."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab import probes
from lab.network import MACHINE_WIDE, sysctl
from lab.settings import CACHE, STATE

# Measured: a cache that was built from nothing takes 14 GB and the hosts of both systems 4 GB, builds need room beside; both
# systems together use 4 GB of memory, a build 4 GB.
FREE_DISK_GB = 30
HOSTS_DISK_GB = 5
MEMORY_GB = 8

# What systemd, containerd and the kubelet of a host make cgroups of.
CONTROLLERS = ("cpu", "memory", "pids")

_CGROUPS = Path("/sys/fs/cgroup")

# What is said of each subject of probes.failures(); most of it has one remedy.
_IN_A_CONTAINER = "run it on a machine or in a VM, or in a container that was started with --privileged"
_SUBJECTS = {
    "namespaces": ("hosts need namespaces of their own", _IN_A_CONTAINER),
    "overlay": (
        "containers need overlay file systems where the cache lies, {cache}",
        "set XDG_CACHE_HOME to a folder on ext4 or xfs, not inside a container's own file system",
    ),
    "loop": ("each host has a disk of its own, a loop device", f"give it /dev/loop-control, or {_IN_A_CONTAINER}"),
    "veth": ("hosts need veth interfaces", "use a kernel with CONFIG_VETH"),
    "bridge": ("the lab's network needs a bridge", "use a kernel with CONFIG_BRIDGE"),
    "vxlan": ("the pod network needs VXLAN", "use a kernel with CONFIG_VXLAN"),
    "nf_tables": ("hosts and services need nf_tables", "use a kernel with CONFIG_NF_TABLES"),
}


@dataclass(frozen=True)
class Machine:
    """What the lab wants to know of the machine it runs on. Sizes in GB (1e9 bytes)."""

    architecture: str
    root: bool
    package_manager: str | None
    free_disk_gb: float
    """Free where the cache lies."""
    free_hosts_disk_gb: float
    """Free where the lab's state, and with it the hosts' disks, lies."""
    memory_gb: float
    """Of the machine, or what a cgroup lets this process have when that is less."""
    own_user_namespace: bool = False
    """Whether root is root of a user namespace only."""
    missing_capabilities: tuple[str, ...] = ()
    missing_controllers: tuple[str, ...] = ()
    """cgroup controllers that are absent, or in which no group can be made."""
    seccomp: bool = True
    fixed_settings: Mapping[str, str] = field(default_factory=dict)
    """Machine-wide settings that are too low and cannot be raised, with their value."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """What was tried and did not work, by subject, with the kernel's reason."""


def observe() -> Machine:
    """Read this machine, and try out what cannot be read."""
    place, status = _existing(CACHE), Path("/proc/self/status").read_text(encoding="utf-8")
    return Machine(
        architecture=platform.machine(),
        root=os.geteuid() == 0,
        package_manager=shutil.which("apt-get"),
        free_disk_gb=shutil.disk_usage(place).free / 1e9,
        free_hosts_disk_gb=shutil.disk_usage(_existing(STATE)).free / 1e9,
        memory_gb=min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _memory_limit()) / 1e9,
        own_user_namespace=is_own_user_namespace(Path("/proc/self/uid_map").read_text(encoding="ascii")),
        missing_capabilities=probes.missing_capabilities(status),
        missing_controllers=_missing_controllers(),
        seccomp="Seccomp:" in status,
        fixed_settings=_fixed_settings(),
        # Without root every trial fails for that one reason.
        failures=probes.failures(place) if os.geteuid() == 0 else {},
    )


def is_own_user_namespace(uid_map: str) -> bool:
    """From the text of /proc/self/uid_map: the first namespace maps every user to itself."""
    return [line.split() for line in uid_map.splitlines()] != [["0", "0", "4294967295"]]


def refusals(machine: Machine, cache_exists: bool) -> list[str]:
    """Why the lab cannot run here, each with its remedy; empty when it can."""
    return [*_who_and_what(machine), *_room(machine, cache_exists), *_kernel(machine)]


def _who_and_what(machine: Machine) -> list[str]:
    found = []
    if not machine.root:
        found.append("the lab makes containers with their own systemd: run it as root")
    if machine.own_user_namespace:
        found.append(f"root is root of a user namespace only, which cannot make hosts: {_IN_A_CONTAINER}")
    if machine.architecture != "x86_64":
        found.append(f"the lab's artefacts are built for x86_64, this is {machine.architecture}: use an x86_64 machine")
    if machine.package_manager is None:
        found.append(
            "apt-get is missing: the lab takes its tools from Debian 12's packages; use a Debian 12 machine or VM"
        )
    return found


def _room(machine: Machine, cache_exists: bool) -> list[str]:
    found = []
    if not cache_exists and machine.free_disk_gb < FREE_DISK_GB:
        found.append(
            f"{machine.free_disk_gb:.0f} GB are free for {CACHE}, {FREE_DISK_GB} GB are needed: free some, or set XDG_CACHE_HOME"
        )
    if machine.free_hosts_disk_gb < HOSTS_DISK_GB:
        found.append(
            f"{machine.free_hosts_disk_gb:.0f} GB are free for the hosts' disks in {STATE}, {HOSTS_DISK_GB} GB are needed: "
            "free some, or set BAREMETAL_GPU_LAB_DIR"
        )
    if machine.memory_gb < MEMORY_GB:
        found.append(f"{machine.memory_gb:.0f} GB of memory, {MEMORY_GB} GB are needed: use a larger machine")
    return found


def _kernel(machine: Machine) -> list[str]:
    found = []
    if machine.root and machine.missing_capabilities:
        found.append(f"root lacks the capabilities {', '.join(machine.missing_capabilities)}: {_IN_A_CONTAINER}")
    if machine.missing_controllers:
        missing = ", ".join(machine.missing_controllers)
        found.append(
            f"no cgroups can be made for {missing} below {_CGROUPS}: mount them writable, or {_IN_A_CONTAINER}"
        )
    if not machine.seccomp:
        found.append("pods are confined by seccomp, which this kernel lacks: use a kernel with CONFIG_SECCOMP_FILTER")
    if machine.root:
        for name, value in machine.fixed_settings.items():
            found.append(
                f"{name} is {value} and cannot be raised to {MACHINE_WIDE[name]}: let /proc/sys be writable, or "
                f"`sysctl -w {name}={MACHINE_WIDE[name]}` on the machine"
            )
    # Without namespaces the other trials, each in one of its own, fail too, and say nothing more.
    failures = machine.failures
    for subject in ["namespaces"] if "namespaces" in failures else failures:
        what, remedy = _SUBJECTS[subject]
        found.append(f"{what.format(cache=CACHE)} ({failures[subject]}): {remedy}")
    return found


def cache_is_filled() -> bool:
    """Whether a mirror was built before: then next to nothing is left to build."""
    return any((CACHE / "mirror").glob("*/tree"))


def refuse_unusable() -> None:
    """Raise SystemExit with every reason at once when the lab cannot run on this machine."""
    found = refusals(observe(), cache_is_filled())
    if found:
        raise SystemExit("\n".join(["This machine cannot run the lab:", *(f"- {reason}" for reason in found)]))


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _missing_controllers() -> tuple[str, ...]:
    """Of version 1 each controller has a tree of its own; of version 2 they are listed."""
    listing = _CGROUPS / "cgroup.controllers"
    if listing.exists():
        offered = set(listing.read_text(encoding="ascii").split()) if _writable(_CGROUPS) else set()
        return tuple(name for name in CONTROLLERS if name not in offered)
    return tuple(name for name in CONTROLLERS if not _writable(_CGROUPS / name))


def _writable(folder: Path) -> bool:
    """Whether groups can be made there; root may write everywhere, except where it is mounted read-only."""
    return folder.is_dir() and not os.statvfs(folder).f_flag & os.ST_RDONLY


def _memory_limit() -> float:
    """The memory in bytes that this process' cgroup may use; infinity without a limit."""
    limits = [float("inf")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        path = _CGROUPS / name
        if path.exists():
            text = path.read_text(encoding="ascii").strip()
            limits += [float(text)] if text.isdigit() else []
    return min(limits)


def _fixed_settings() -> dict[str, str]:
    found = {}
    for name, wanted in MACHINE_WIDE.items():
        path = sysctl(name)
        value = path.read_text(encoding="ascii").strip()
        if int(value) < int(wanted) and os.statvfs(path).f_flag & os.ST_RDONLY:
            found[name] = value
    return found
