"""Checks of the machine: operating system, architecture, memory, disk, clock, swap, cgroups. Pure."""

from __future__ import annotations

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils.host_expectations import (
    HostExpectations,
    HostReadings,
    found,
)

# What kernels call the architectures.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
GIB = 1024**3
GB = 1000**3
_SHARED = "the host is a container and shares the one of the machine around it"


def operating_system(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    system, version = host["os"]["id"], host["os"]["version_id"] or ""
    evidence = {"what": "operating system", "where": "/etc/os-release", "found": host["os"]}
    known = ", ".join(f"{each.id} {' or '.join(each.versions)}" for each in expected.platforms)
    remedy = f"install one of {known}"
    if system is None:
        reason = host.why("os") if "os" in host["missing"] else "/etc/os-release names no system"
        return [found("BG-HOST-001", UNKNOWN, reason, evidence, remedy)]
    supported = any(
        system == each.id and any(version == one or version.startswith(one + ".") for one in each.versions)
        for each in expected.platforms
    )
    shown = host["os"]["pretty_name"] or f"{system} {version}"
    if supported:
        return [found("BG-HOST-001", OK, shown, evidence)]
    return [found("BG-HOST-001", FAIL, f"{shown} is none of {known}", evidence, remedy)]


def architecture(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    wanted = expected.architecture or (expected.profile.architecture_of_host if expected.profile else "")
    if not wanted:
        return []
    shown = ARCHITECTURES.get(host["architecture"], host["architecture"])
    evidence = {"what": "CPU architecture", "where": "uname", "expected": wanted, "found": shown}
    if shown == wanted:
        return [found("BG-HOST-002", OK, f"{shown}, as declared", evidence)]
    remedy = "declare the profile or the architecture that the host has, and artefacts for it"
    return [
        found(
            "BG-HOST-002",
            FAIL,
            f"the host is {shown or 'of no known architecture'}, declared is {wanted}",
            evidence,
            remedy,
        )
    ]


def memory(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    bounds = expected.profile.memory_gib if expected.profile else None
    if bounds is None:
        return []
    least, most = bounds
    total = host["memory_bytes"]
    evidence = {"what": "memory", "where": "/proc/meminfo", "expected_gib": [least, most], "found_bytes": total}
    remedy = "declare the profile that matches the hardware, or have its memory modules checked"
    if total is None or host.container:
        reason = _SHARED if total is not None else host.why("memory_bytes")
        return [found("BG-HOST-003", UNKNOWN, reason, evidence, remedy)]
    shown = f"{total / GIB:.1f} GiB"
    if least <= total / GIB <= most:
        return [found("BG-HOST-003", OK, f"{shown}, as the profile says", evidence)]
    reason = (
        f"the host has {shown}, profile {expected.profile.name if expected.profile else ''} {least:g} to {most:g} GiB"
    )
    return [found("BG-HOST-003", FAIL, reason, evidence, remedy)]


def disk(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    if not expected.disk_free_bytes:
        return []
    path, free, wanted = host["disk"]["path"], host["disk"]["free_bytes"], expected.disk_free_bytes
    evidence = {"what": "room on disk", "where": path, "expected_bytes": wanted, "found_bytes": free}
    remedy = f"free space on the file system of {path}, or mount a larger one there"
    if free is None:
        return [found("BG-HOST-007", UNKNOWN, host.why("disk"), evidence, remedy)]
    shown = f"{free / GB:.1f} GB free for {path}"
    if free >= wanted:
        return [found("BG-HOST-007", OK, shown, evidence)]
    return [found("BG-HOST-007", FAIL, f"{shown}, {wanted / GB:g} GB are needed for images", evidence, remedy)]


def clock(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    state = host["clock_synchronised"]
    evidence = {"what": "synchronisation of the clock", "where": "adjtimex", "found": state}
    remedy = "start a time service (timedatectl set-ntp true, or chrony) and wait until it says that it is synchronised"
    if state is None or host.container:
        reason = _SHARED if state is not None else host.why("clock_synchronised")
        return [found("BG-HOST-008", UNKNOWN, reason, evidence, remedy)]
    if state:
        return [found("BG-HOST-008", OK, "the kernel says that the clock is synchronised", evidence)]
    return [found("BG-HOST-008", FAIL, "the kernel says that the clock is not synchronised", evidence, remedy)]


def swap(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    """A warning: k3s lets its kubelet run with swap. Where the kubelet would not start, its own role refuses."""
    areas = host["swaps"]
    evidence = {"what": "active swap", "where": "/proc/swaps", "found": areas}
    remedy = "swapoff --all, and remove the entry from /etc/fstab"
    if areas is None:
        return [found("BG-HOST-009", UNKNOWN, host.why("swaps"), evidence, remedy)]
    if host.container:
        return [found("BG-HOST-009", SKIPPED, _SHARED, evidence)]
    if not areas:
        return [found("BG-HOST-009", OK, "no swap", evidence)]
    names = ", ".join(area["path"] for area in areas)
    return [found("BG-HOST-009", WARN, f"swap is active on {names}", evidence, remedy)]


def cgroup(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    version = host["cgroup_version"]
    evidence = {"what": "cgroup hierarchy", "where": "/sys/fs/cgroup", "found": version}
    remedy = "boot with systemd.unified_cgroup_hierarchy=1"
    if version is None:
        return [found("BG-HOST-017", UNKNOWN, host.why("cgroup_version"), evidence, remedy)]
    if version == 2:
        return [found("BG-HOST-017", OK, "cgroup version 2", evidence)]
    return [found("BG-HOST-017", WARN, "cgroup version 1, or both side by side", evidence, remedy)]
