"""Reads how a host runs: boot, memory errors, processor governors, modules, NVIDIA's services. Read-only and bounded."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded
from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import read_text, why_unreadable
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import (
    ABSENT,
    FAILED,
    TIMEOUT,
    UNREADABLE,
    Missing,
    MissingLog,
)

UNITS = ("nvidia-persistenced.service", "nvidia-fabricmanager.service")
FABRIC_MANAGER_LOG = "var/log/fabricmanager.log"
LOG_TAIL_BYTES = 1024 * 1024
MODULES = ("nvidia", "nvidia_uvm", "nvidia_peermem", "mlx5_core", "mlx5_ib")

_VERSION = re.compile(r"\b(\d{3,4}\.\d{1,4}(?:\.\d{1,4})?)\b")
# What the fabric manager writes when it cannot work; NV_WARN_NOTHING_TO_DO (no NVSwitch) is benign.
_FABRIC_ERRORS = re.compile(
    r"fatal error|topology mismatch|NVSwitches don't match|failed to (?:initialize|configure)", re.I
)
_FABRIC_BENIGN = re.compile(r"NV_WARN_NOTHING_TO_DO|\[INFO\]")
_PROPERTIES = "Id,LoadState,ActiveState,SubState,NRestarts,ActiveEnterTimestampMonotonic"

Run = Callable[[List[str], float], bounded.Completed]
Find = Callable[[str], Optional[str]]


@dataclass(frozen=True)
class Service:
    """A systemd unit. ``installed`` is false when no such unit is there; ``active_since_s`` counts from boot."""

    installed: bool
    active: Optional[bool]
    state: Optional[str]
    restarts: Optional[int]
    active_since_s: Optional[float]


@dataclass(frozen=True)
class FabricManager:
    """The fabric manager: service, version, and lines of its log that tell errors."""

    service: Optional[Service]
    version: Optional[str]
    log_errors: Optional[Tuple[str, ...]]


@dataclass(frozen=True)
class MemoryErrors:
    """What the memory controllers counted since boot."""

    corrected: int
    uncorrected: int


@dataclass(frozen=True)
class HostState:
    boot_id: Optional[str]
    uptime_s: Optional[float]
    memory_errors: Optional[MemoryErrors]
    governors: Optional[Dict[str, int]]
    """How many processors have which frequency governor."""
    modules: Optional[Tuple[str, ...]]
    """Which of ``MODULES`` are loaded."""
    open_kernel_module: Optional[bool]
    """Whether the driver's kernel module is the open one, which shares GPU memory by dma-buf without nvidia_peermem."""
    persistence_daemon: Optional[Service]
    fabric_manager: FabricManager


def answer(
    path: Optional[str], arguments: List[str], name: str, run: Run, timeout_s: float
) -> Tuple[Optional[bounded.Completed], Optional[Missing]]:
    """A program's answer, or why there is none."""
    if path is None:
        return None, Missing(ABSENT, "{0} is not installed".format(name))
    try:
        completed = run([path, *arguments], timeout_s)
    except OSError as error:
        return None, Missing(FAILED, "{0} cannot be started: {1}".format(name, error.strerror or error))
    if completed.timed_out:
        return completed, Missing(TIMEOUT, "{0} did not answer within {1:g} s".format(name, timeout_s))
    if completed.return_code != 0:
        said = " ".join((completed.output + " " + completed.errors).split())[:300]
        return completed, Missing(FAILED, "{0} ended with {1}: {2}".format(name, completed.return_code, said))
    return completed, None


def read_host_state(root: str, find: Find, run: Run, timeout_s: float, log: MissingLog) -> HostState:
    """All of it. What is missing is noted in ``log``."""
    services = _read_services(find, run, timeout_s, log)
    return HostState(
        boot_id=_first_word(root, "proc/sys/kernel/random/boot_id", "host.boot_id", log),
        uptime_s=_uptime(root, log),
        memory_errors=_memory_errors(root, log),
        governors=_governors(root, log),
        modules=_modules(root, log),
        open_kernel_module=_open_kernel_module(root, log),
        persistence_daemon=services.get(UNITS[0]),
        fabric_manager=FabricManager(
            service=services.get(UNITS[1]),
            version=_fabric_manager_version(find, run, timeout_s, log),
            log_errors=_fabric_log(root, log),
        ),
    )


def parse_services(text: str) -> Dict[str, Service]:
    """Units by name from ``systemctl show``, whose blocks are separated by empty lines."""
    found: Dict[str, Service] = {}
    for block in re.split(r"\n\s*\n", text.replace("\r", "")):
        values = dict(line.split("=", 1) for line in block.split("\n") if "=" in line)
        if "Id" not in values:
            continue
        installed = values.get("LoadState") in ("loaded", "masked")
        since = values.get("ActiveEnterTimestampMonotonic", "")
        restarts = values.get("NRestarts", "")
        found[values["Id"]] = Service(
            installed=installed,
            active=values.get("ActiveState") == "active" if "ActiveState" in values else None,
            state="{0} ({1})".format(values.get("ActiveState", "?"), values.get("SubState", "?"))
            if installed
            else None,
            restarts=int(restarts) if re.match(r"^[0-9]{1,9}$", restarts) else None,
            active_since_s=int(since) / 1e6 if re.match(r"^[1-9][0-9]{0,18}$", since) else None,
        )
    return found


def fabric_log_errors(text: str) -> Tuple[str, ...]:
    """Lines of a fabric manager's log that tell that it cannot work, the last ten."""
    lines = [line.strip()[:300] for line in text.split("\n") if _FABRIC_ERRORS.search(line)]
    return tuple(line for line in lines if not _FABRIC_BENIGN.search(line))[-10:]


def _read_services(find: Find, run: Run, timeout_s: float, log: MissingLog) -> Dict[str, Service]:
    command = ["show", "--no-pager", "--property=" + _PROPERTIES, *UNITS]
    completed, missing = answer(find("systemctl"), command, "systemctl", run, timeout_s)
    services = parse_services(completed.output) if completed is not None and missing is None else {}
    for unit, name in zip(UNITS, ("host.persistence_daemon", "host.fabric_manager.service")):
        if unit not in services:
            log.add(name, missing or Missing(UNREADABLE, "systemctl says nothing about {0}".format(unit)))
    return services


def _first_word(root: str, path: str, name: str, log: MissingLog) -> Optional[str]:
    try:
        words = read_text(os.path.join(root, path)).split()
    except OSError as error:
        log.add(name, why_unreadable("/" + path, error))
        return None
    if not words:
        log.add(name, Missing(ABSENT, "/{0} is empty".format(path)))
    return words[0] if words else None


def _uptime(root: str, log: MissingLog) -> Optional[float]:
    word = _first_word(root, "proc/uptime", "host.uptime_s", log)
    if word is None:
        return None
    if not re.match(r"^[0-9]{1,12}(\.[0-9]{1,9})?$", word):
        log.add("host.uptime_s", Missing(UNREADABLE, "/proc/uptime begins with {0!r}".format(word[:40])))
        return None
    return float(word)


def _memory_errors(root: str, log: MissingLog) -> Optional[MemoryErrors]:
    counts = {"ce_count": 0, "ue_count": 0}
    controllers = glob.glob(os.path.join(glob.escape(root), "sys/devices/system/edac/mc/mc[0-9]*"))
    try:
        for controller in controllers:
            for name in counts:
                counts[name] += int(read_text(os.path.join(controller, name)))
    except OSError as error:
        log.add("host.memory_errors", why_unreadable("/sys/devices/system/edac/mc", error))
        return None
    except ValueError:
        log.add("host.memory_errors", Missing(UNREADABLE, "/sys/devices/system/edac/mc: a count is no number"))
        return None
    if not controllers:
        log.add("host.memory_errors", Missing(ABSENT, "no memory controller is below /sys/devices/system/edac/mc"))
        return None
    return MemoryErrors(corrected=counts["ce_count"], uncorrected=counts["ue_count"])


def _governors(root: str, log: MissingLog) -> Optional[Dict[str, int]]:
    pattern = "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"
    found: Dict[str, int] = {}
    for path in glob.glob(os.path.join(glob.escape(root), pattern)):
        try:
            name = read_text(path).strip()
        except OSError:
            continue
        found[name] = found.get(name, 0) + 1
    if not found:
        log.add("host.governors", Missing(ABSENT, "the kernel shows no frequency governor"))
        return None
    return dict(sorted(found.items()))


def _modules(root: str, log: MissingLog) -> Optional[Tuple[str, ...]]:
    try:
        loaded = {line.split(" ", 1)[0] for line in read_text(os.path.join(root, "proc/modules")).split("\n")}
    except OSError as error:
        log.add("host.modules", why_unreadable("/proc/modules", error))
        return None
    return tuple(name for name in MODULES if name in loaded)


def _open_kernel_module(root: str, log: MissingLog) -> Optional[bool]:
    try:
        return "Open Kernel Module" in read_text(os.path.join(root, "proc/driver/nvidia/version"))
    except OSError as error:
        log.add("host.open_kernel_module", why_unreadable("/proc/driver/nvidia/version", error))
        return None


def _fabric_manager_version(find: Find, run: Run, timeout_s: float, log: MissingLog) -> Optional[str]:
    completed, missing = answer(find("nv-fabricmanager"), ["--version"], "nv-fabricmanager", run, timeout_s)
    if missing is None and completed is not None:
        match = _VERSION.search(completed.output + completed.errors)
        if match is not None:
            return match.group(1)
        missing = Missing(UNREADABLE, "nv-fabricmanager --version prints no version")
    if missing is not None:
        log.add("host.fabric_manager.version", missing)
    return None


def _fabric_log(root: str, log: MissingLog) -> Optional[Tuple[str, ...]]:
    try:
        with open(os.path.join(root, FABRIC_MANAGER_LOG), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_TAIL_BYTES))
            return fabric_log_errors(file.read(LOG_TAIL_BYTES).decode("utf-8", "replace"))
    except OSError as error:
        log.add("host.fabric_manager.log_errors", why_unreadable("/" + FABRIC_MANAGER_LOG, error))
        return None
