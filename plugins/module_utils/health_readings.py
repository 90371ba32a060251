"""Collects what ``gpu_health`` needs beyond ``gpu_info``: counters over a window, a diagnostic of DCGM, captures of others."""

from __future__ import annotations

import os
import re
import time
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils import (
    bounded,
    counters,
    gpu_readings,
    host_state,
    infiniband,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import get
from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import read_text
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import MissingLog

MAXIMUM_CAPTURE_BYTES = 32 * 1024 * 1024

# Counters of a GPU that say something as a difference.
_GPU_COUNTERS = (
    "pcie.replays",
    "ecc.volatile.sram_correctable",
    "ecc.volatile.dram_correctable",
    "clock_events_us.hw_thermal_slowdown",
    "clock_events_us.hw_power_brake_slowdown",
)
_DURATION = re.compile(r"^([0-9]{1,6})\s*([smhd])$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Find = Callable[[str], Optional[str]]
Run = Callable[[List[str], float], bounded.Completed]


def since_boot(text: Optional[str], now: float, uptime_s: Optional[float]) -> Optional[float]:
    """The option ``since`` (``2h`` or ISO 8601) in seconds since boot; ``None`` for all of the boot.

    ``now`` is the time of day in seconds. Raises ``GpuError`` BG-HEALTH-102 for a text that is neither.
    """
    if not text:
        return None
    duration = _DURATION.match(text.strip())
    if duration is not None:
        moment = now - int(duration.group(1)) * _SECONDS[duration.group(2)]
    else:
        try:
            # Python 3.9 does not read the Z of ISO 8601.
            parsed = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text.strip()))
        except ValueError:
            raise GpuError(
                "BG-HEALTH-102",
                "since is {0!r}, which is no time".format(text),
                "messages of the kernel log could not be chosen",
                "write a duration such as 2h, or a time such as 2026-01-05T10:00:00Z",
            ) from None
        moment = (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=timezone.utc)).timestamp()
    return None if uptime_s is None else max(0.0, moment - (now - uptime_s))


def collect(
    root: str, find: Find, options: Mapping[str, Any], check_mode: bool, run: Run = bounded.run
) -> Dict[str, Any]:
    """The readings of ``gpu_info`` with ``counters`` and ``dcgm``. Raises ``GpuError`` on options that cannot be followed."""
    timeout_s = options["timeout_s"]
    uptime_s = _uptime(root)
    since_s = since_boot(options["since"], time.time(), uptime_s)
    readings = gpu_readings.collect(root, find, timeout_s, run, since_s=since_s).as_dict()
    readings["counters"] = _measure(root, find, run, options, readings, check_mode)
    # A diagnostic loads the GPUs, which check mode must not.
    readings["dcgm"] = _diagnose(find, run, {**options, "dcgm_level": None} if check_mode else options)
    return readings


def read_captures(paths: List[str]) -> List[Dict[str, Any]]:
    """What each file shows. A file that cannot be read, or in which nothing is recognised, has a reason and no captures."""
    # On a host every module is compiled anew for each task, so what is rarely needed is imported where it is.
    from ansible_collections.baremetal.gpu.plugins.module_utils import captures

    found = []
    for path in paths:
        reason = None
        parts: List[Dict[str, Any]] = []
        try:
            with open(path, "rb") as file:
                text = file.read(MAXIMUM_CAPTURE_BYTES).decode("utf-8", "replace")
            parts = [asdict(item) for item in captures.recognise(text)]
            reason = None if parts else "nothing in it is an answer of a known program"
        except OSError as error:
            reason = "it cannot be read: {0}".format(error.strerror or error)
        found.append({"path": path, "reason": reason, "captures": parts})
    return found


def _uptime(root: str) -> Optional[float]:
    try:
        return float(read_text(os.path.join(root, "proc/uptime")).split()[0])
    except (OSError, ValueError, IndexError):
        return None


def counters_of(readings: Mapping[str, Any]) -> Dict[str, int]:
    """All counters of the readings of ``gpu_info``, named ``device|counter``."""
    groups: Dict[str, Dict[str, Any]] = {}
    for gpu in readings["gpus"] or []:
        values = {name: get(gpu, name) for name in _GPU_COUNTERS}
        groups["gpu:{0}".format(gpu["uuid"] or gpu["bus_id"])] = values
    for item in readings["nvlinks"] or []:
        for link, errors in item["errors"].items():
            group = groups.setdefault("gpu:{0}".format(item["uuid"]), {})
            group.update({"nvlink.{0}.{1}".format(link, kind): value for kind, value in errors.items()})
    for adapter in readings["rdma_adapters"] or []:
        for port in adapter["ports"]:
            groups["port:{0}/{1}".format(adapter["name"], port["number"])] = dict(port["counters"])
        for netdev in adapter["netdevs"]:
            groups["netdev:{0}".format(netdev["name"])] = {"carrier_down_count": netdev["carrier_down_count"]}
    return counters.flatten(groups)


def _measure(
    root: str, find: Find, run: Run, options: Mapping[str, Any], readings: Dict[str, Any], check_mode: bool
) -> Dict[str, Any]:
    """Differences of all counters over the window that the state file allows, or over ``minimum_window_s`` the first time."""
    boot_id = get(readings, "host.boot_id")
    uptime_s = _uptime(root)
    if boot_id is None or uptime_s is None:
        why = "boot and uptime are not known"
        return {"window_s": None, "reason": why, "deltas": {}, "unknown": {}, "state_file": None}
    path = options["state_file"]
    kept = counters.load(path)
    now = counters.Snapshot(boot_id, uptime_s, counters_of(readings))
    before = counters.baseline(kept, now, options["window_s"], options["minimum_window_s"])
    if before is None:
        # The first look at this boot: wait for the shortest window, and read once more what counts.
        before = now
        time.sleep(options["minimum_window_s"])
        now = counters.Snapshot(boot_id, uptime_s + options["minimum_window_s"], _again(root, find, run, options))
        kept = [*kept, before]
    written: Optional[str] = path
    if not check_mode:
        try:
            counters.save(path, counters.remember(kept, now, options["window_s"]))
        except OSError as error:
            raise GpuError(
                "BG-HEALTH-103",
                "the state file {0} cannot be written ({1})".format(path, error.strerror or error),
                "counters could not be compared with later ones",
                "run with the right to write it, or name another state_file",
            ) from error
    else:
        written = None
    found = counters.deltas(before, now)
    return {
        "window_s": round(now.at_s - before.at_s, 3),
        "reason": None,
        "deltas": {name: delta.value for name, delta in found.items() if delta.value is not None},
        "unknown": {name: delta.reason for name, delta in found.items() if delta.value is None},
        "state_file": written,
    }


def _again(root: str, find: Find, run: Run, options: Mapping[str, Any]) -> Dict[str, int]:
    log = MissingLog()
    driver = gpu_readings.read_driver(find, run, options["timeout_s"], log)
    adapters = infiniband.read_adapters(root, log)
    return counters_of(
        {
            "gpus": None if driver.document is None else [asdict(gpu) for gpu in driver.document.gpus],
            "nvlinks": None if driver.nvlinks is None else [asdict(item) for item in driver.nvlinks],
            "rdma_adapters": None if adapters is None else [asdict(item) for item in adapters],
        }
    )


def _diagnose(find: Find, run: Run, options: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """A diagnostic of DCGM from a file or a run of its own; ``None`` when none was asked for."""
    if not options["dcgm_report"] and not options["dcgm_level"]:
        return None
    from ansible_collections.baremetal.gpu.plugins.module_utils import captures

    if options["dcgm_report"]:
        try:
            return captures.read_dcgm(read_text(options["dcgm_report"]))
        except OSError as error:
            return {"error": "{0}: {1}".format(options["dcgm_report"], error.strerror or error)}
    command = ["diag", "-r", str(options["dcgm_level"]), "-j"]
    completed, missing = host_state.answer(find("dcgmi"), command, "dcgmi", run, options["dcgm_timeout_s"])
    if completed is None or (missing is not None and completed.timed_out):
        return {"error": missing.reason if missing is not None else "dcgmi did not answer"}
    # dcgmi also ends with an error for findings; what counts is its document.
    found = captures.read_dcgm(completed.output)
    if found["error"] is not None and missing is not None:
        found["error"] = missing.reason
    found["return_code"] = completed.return_code
    return found
