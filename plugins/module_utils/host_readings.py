"""Collects what ``host_preflight`` returns. Runs on the managed host; never fails because something is absent, never hangs.

Files are read below a root (``/`` on a host), so that tests read a tree of their own. Programs and connections are given
from outside for the same reason.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import socket
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded, kernel_clock, reachability
from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import read_text, why_unreadable
from ansible_collections.baremetal.gpu.plugins.module_utils.host_network import read_interfaces, read_listening
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import ABSENT, UNREADABLE, Missing, MissingLog

SCHEMA = 1
"""Version of the returned structure; raised when a key changes its meaning."""

# Options of the module and of its action plugin, which sends `SENT` to the host and compares the rest on the controller.
ARGUMENTS: Dict[str, Any] = {
    "profile": {"type": "str"},
    "architecture": {"type": "str", "choices": ["amd64", "arm64"]},
    "node_ip": {"type": "str"},
    "link_gbps": {"type": "int", "default": 0},
    "disk_path": {"type": "path", "default": "/var/lib"},
    "disk_free_gb": {"type": "int", "default": 0},
    "ports": {"type": "list", "elements": "str", "default": []},
    "service": {"type": "str"},
    "k3s_server": {"type": "str"},
    "targets": {"type": "list", "elements": "str", "default": []},
    "timeout_s": {"type": "float", "default": 5},
}
SENT = ("disk_path", "targets", "timeout_s")

# Files by which container engines mark what they run. In a container memory, swap and clock are the machine's around it.
CONTAINER_MARKS = ("run/.containerenv", ".dockerenv", "run/systemd/container")
# Services that make a Kubernetes node of a host; two of them contend for its ports and folders.
NODE_SERVICES = (
    "k3s.service",
    "k3s-agent.service",
    "rke2-server.service",
    "rke2-agent.service",
    "snap.microk8s.daemon-kubelite.service",
    "snap.k8s.kubelet.service",
    "k0sworker.service",
    "kubelet.service",
)
UNITS = (*NODE_SERVICES, "ufw.service", "firewalld.service")
# What only k3s's installer leaves behind; it writes unit and environment anew at each of its runs.
INSTALLER_MARKS = ("usr/local/bin/k3s-agent-uninstall.sh", "usr/local/bin/k3s-uninstall.sh")
K3S_CONFIG = "etc/rancher/k3s/config.yaml"

_OS_LINE = re.compile(r"^([A-Z_]+)=(.*)$")
_SERVER_LINE = re.compile(r"^server:\s*[\"']?([^\"'\s#]+)", re.MULTILINE)

Run = Callable[[Sequence[str], float], bounded.Completed]
Find = Callable[[str], Optional[str]]


def collect(
    root: str, find: Find, targets: Sequence[str], disk_path: str, timeout_s: float, run: Run = bounded.run
) -> Dict[str, Any]:
    """Every reading of the host, as the module documents it. Each program and all connections together get ``timeout_s``."""
    log = MissingLog()
    return {
        "schema": SCHEMA,
        "container": any(os.path.lexists(os.path.join(root, mark)) for mark in CONTAINER_MARKS),
        "os": _os_release(root, log),
        "architecture": platform.machine(),
        "cgroup_version": _cgroup_version(root, log),
        "memory_bytes": _memory(root, log),
        "swaps": _swaps(root, log),
        "disk": _disk(root, disk_path, log),
        "clock_synchronised": kernel_clock.synchronised(log),
        "hostname": socket.gethostname(),
        "machine_id": _machine_id(root, log),
        **read_interfaces(root, find, run, timeout_s, log),
        "listening": read_listening(root, log),
        "units": _units(find, run, timeout_s, log),
        "ufw_enabled": _ufw_enabled(root),
        "k3s": {
            "server": _k3s_server(root, log),
            "installer": ["/" + mark for mark in INSTALLER_MARKS if os.path.lexists(os.path.join(root, mark))],
        },
        "targets": reachability.try_all(targets, timeout_s),
        "missing": {path: {"kind": item.kind, "reason": item.reason} for path, item in sorted(log.entries.items())},
    }


def _os_release(root: str, log: MissingLog) -> Dict[str, Optional[str]]:
    values: Dict[str, str] = {}
    try:
        for line in read_text(os.path.join(root, "etc/os-release")).splitlines():
            match = _OS_LINE.match(line.strip())
            if match:
                values[match.group(1)] = match.group(2).strip("\"'")
    except OSError as error:
        log.add("os", why_unreadable("/etc/os-release", error))
    return {name: values.get(name.upper()) for name in ("id", "version_id", "pretty_name")}


def _cgroup_version(root: str, log: MissingLog) -> Optional[int]:
    """2 where one hierarchy has every controller; 1 for the old ones and for both side by side."""
    directory = os.path.join(root, "sys/fs/cgroup")
    if os.path.exists(os.path.join(directory, "cgroup.controllers")):
        return 2
    if os.path.isdir(directory):
        return 1
    log.add("cgroup_version", Missing(ABSENT, "/sys/fs/cgroup: no such directory"))
    return None


def _memory(root: str, log: MissingLog) -> Optional[int]:
    try:
        match = re.search(r"^MemTotal:\s+(\d+) kB$", read_text(os.path.join(root, "proc/meminfo")), re.MULTILINE)
    except OSError as error:
        log.add("memory_bytes", why_unreadable("/proc/meminfo", error))
        return None
    if match is None:
        log.add("memory_bytes", Missing(UNREADABLE, "/proc/meminfo has no MemTotal"))
        return None
    return int(match.group(1)) * 1024


def _swaps(root: str, log: MissingLog) -> Optional[List[Dict[str, Any]]]:
    """Active swap areas: the first line is a heading, sizes are in KiB."""
    try:
        lines = [line.split() for line in read_text(os.path.join(root, "proc/swaps")).splitlines()[1:]]
    except OSError as error:
        log.add("swaps", why_unreadable("/proc/swaps", error))
        return None
    return [{"path": line[0], "size_bytes": int(line[2]) * 1024} for line in lines if len(line) > 2]


def _disk(root: str, path: str, log: MissingLog) -> Dict[str, Any]:
    """Room for unprivileged writers on the file system that ``path``, or what of it exists by now, lies on."""
    existing = path
    while existing not in ("", "/") and not os.path.isdir(os.path.join(root, existing.lstrip("/"))):
        existing = os.path.dirname(existing)
    try:
        status = os.statvfs(os.path.join(root, existing.lstrip("/")))
    except OSError as error:
        log.add("disk", why_unreadable(path, error))
        return {"path": path, "free_bytes": None}
    return {"path": path, "free_bytes": status.f_bavail * status.f_frsize}


def _machine_id(root: str, log: MissingLog) -> Optional[str]:
    """A digest, because the id itself is confidential (machine-id(5))."""
    try:
        text = read_text(os.path.join(root, "etc/machine-id")).strip()
    except OSError as error:
        log.add("machine_id", why_unreadable("/etc/machine-id", error))
        return None
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        log.add("machine_id", Missing(UNREADABLE, "/etc/machine-id holds no id"))
        return None
    return hashlib.sha256(b"baremetal.gpu " + text.encode()).hexdigest()


def _units(find: Find, run: Run, timeout_s: float, log: MissingLog) -> Optional[Dict[str, Mapping[str, str]]]:
    systemctl = find("systemctl")
    if systemctl is None:
        log.add("units", Missing(ABSENT, "no program systemctl"))
        return None
    properties = "--property=Id,LoadState,ActiveState,UnitFileState"
    try:
        done = run([systemctl, "show", properties, *UNITS], timeout_s)
    except OSError as error:
        log.add("units", why_unreadable(systemctl, error))
        return None
    if done.return_code != 0:
        reason = "did not answer in time" if done.timed_out else " ".join(done.errors.split())[:200]
        log.add("units", Missing(UNREADABLE, "systemctl show: {0}".format(reason)))
        return None
    return parse_units(done.output)


def parse_units(text: str) -> Dict[str, Mapping[str, str]]:
    """What ``systemctl show`` prints: a block of ``Name=value`` lines for each unit. Units that do not exist are left out."""
    found: Dict[str, Mapping[str, str]] = {}
    for block in text.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("Id") and values.get("LoadState") not in (None, "not-found"):
            found[values["Id"]] = {
                "active": values.get("ActiveState", ""),
                "enabled": values.get("UnitFileState", ""),
                "load": values["LoadState"],
            }
    return found


def _ufw_enabled(root: str) -> bool:
    """ufw's unit is active also where its rules are switched off; its own setting is what counts."""
    try:
        text = read_text(os.path.join(root, "etc/ufw/ufw.conf"))
    except OSError:
        return False
    return re.search(r"^ENABLED=[\"']?yes\b", text, re.MULTILINE | re.IGNORECASE) is not None


def _k3s_server(root: str, log: MissingLog) -> Optional[str]:
    """The server of a k3s that is configured by now; None where there is none."""
    try:
        match = _SERVER_LINE.search(read_text(os.path.join(root, K3S_CONFIG)))
    except FileNotFoundError:
        return None
    except OSError as error:
        log.add("k3s.server", why_unreadable("/" + K3S_CONFIG, error))
        return None
    return match.group(1) if match else None
