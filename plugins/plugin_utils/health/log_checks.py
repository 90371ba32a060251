"""Judges what the kernel log tells: Xids by ``data/xid.yml``, NVSwitches, PCI Express, adapters, memory. Pure."""

from __future__ import annotations

import re
from typing import Any, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils import kernel_log
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    FAIL,
    FIX_CONFIGURATION,
    NO_ACTION,
    REBOOT,
    RESET_GPU,
    RESTART_APP,
    RMA,
    UNKNOWN,
    WARN,
    Finding,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.data import Xid
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.view import (
    KERNEL_LOG,
    Seen,
    View,
    the_finding,
    unknown,
)

BOOT_GRACE_S = 300
"""Links may go up and down while a host boots (oci-hpc's grace)."""
FLAPS = 5
RECOVERY = 154

# Code and remedy of each class of Xid.
XID_CLASSES: Mapping[str, tuple[str, str]] = {
    "bus": ("BG-HEALTH-047", "drain the node and power it off and on; when it comes back, have the board replaced"),
    "memory": ("BG-HEALTH-048", "drain the node and reset the GPU; look at row remapping afterwards"),
    "engine": ("BG-HEALTH-049", "drain the node and reset the GPU; when it comes back, reboot and update the driver"),
    "nvlink": ("BG-HEALTH-050", "look at both ends of the link and at the fabric manager; reset the GPUs"),
    "recovery": ("BG-HEALTH-051", "do what the driver advises, after draining the node"),
    "power": ("BG-HEALTH-052", "power the host off and check the board's power cables"),
    "contained": (
        "BG-HEALTH-053",
        "restart the application; reset the GPU at the next window, for its row to be remapped",
    ),
    "remap": ("BG-HEALTH-054", "reset the GPU at the next window, for the remapping to take effect"),
    "application": ("BG-HEALTH-055", "restart the application; when others hit it too, run DCGM's diagnostic"),
    "support": ("BG-HEALTH-056", "save nvidia-bug-report.sh and ask the maker"),
}
UNLISTED = ("BG-HEALTH-057", "look it up in NVIDIA's Xid catalogue and add it to data/xid.yml")
_ADVICE = {"gpu reset required": RESET_GPU, "node reboot required": REBOOT, "drain p2p": RESET_GPU}
_WHERE = "kernel log"


def run(view: View) -> list[Finding]:
    """All findings of the kernel log: whether it is readable, and one for each class of message that is in it."""
    if KERNEL_LOG not in view.parts:
        return []
    code, what = "BG-HEALTH-046", "kernel log"
    log = view.readings["kernel_log"]
    remedy = "run as root, or give the user the right to read the log; keep the journal across the whole boot"
    if log is None:
        return unknown(code, what, _WHERE, view.why_missing("kernel_log")["reason"], remedy)
    events, cleared = _without_cleared(log["events"])
    found = _xids(view, events)
    for own in (_switches, _initialisation, _pcie, _adapters, _peermem, _segfaults, _memory, _flaps, _limited):
        found += own(view, events)
    evidence = {"source": log["source"], "lines": log["lines"], "since_s": log["since_s"], "cleared": cleared}
    if not log["complete"]:
        reason = f"the beginning of {log['source']} was overwritten, so earlier messages are not known"
        return [*unknown(code, what, log["source"], reason, remedy), *found]
    good = "the kernel log was read" if found else "the kernel log tells nothing bad"
    return [*the_finding(code, what, str(log["source"]), None, [Seen(view.subject, evidence)], good, remedy), *found]


Event = Mapping[str, Any]


def _without_cleared(events: list[Event]) -> tuple[list[Event], list[str]]:
    """Events that still stand. The driver's advice going back to None says that the GPU was reset since: what a reset repairs
    and was told before is over."""
    resets: dict[str, tuple[int, float]] = {}
    for index, event in enumerate(events):
        if event["kind"] == kernel_log.XID and event["number"] == RECOVERY and event["details"].get("to") == "None":
            resets[event["device"]] = (index, event["last_s"] or 0.0)
    standing, cleared = [], []
    for index, event in enumerate(events):
        reset = resets.get(event["device"] or "")
        if event["kind"] == kernel_log.XID and reset is not None and _before(event, index, reset):
            cleared.append(f"Xid {event['number']} on {event['device']}")
        else:
            standing.append(event)
    return standing, cleared


def _before(event: Event, index: int, reset: tuple[int, float]) -> bool:
    if event["last_s"] is not None and reset[1]:
        return bool(event["last_s"] <= reset[1])
    return index <= reset[0]


def _blame_gpu(view: View, event: Event) -> dict[str, str]:
    address = str(event["device"])
    known = next((gpu["uuid"] for gpu in view.gpus if gpu["bus_id"] == address and gpu["uuid"]), None)
    uuid = known or event["details"].get("uuid")
    return {"kind": "gpu", "name": str(uuid or address), "bus_id": address}


def _told(event: Event) -> str:
    return f"{event['message']} ({event['count']} times)" if event["count"] > 1 else str(event["message"])


# ---- Xid ----


def _xids(view: View, events: list[Event]) -> list[Finding]:
    by_code: dict[tuple[str, str], list[Seen]] = {}
    for event in events:
        if event["kind"] != kernel_log.XID:
            continue
        meaning = view.xids.get(event["number"])
        place, seen = _judged(view, event, meaning)
        if seen is not None:
            by_code.setdefault(place, []).append(seen)
    found: list[Finding] = []
    for (code, remedy), items in sorted(by_code.items()):
        found += the_finding(code, "Xid events", _WHERE, None, items, "", remedy)
    return found


def _judged(view: View, event: Event, meaning: Xid | None) -> tuple[tuple[str, str], Seen | None]:
    label = f"Xid {event['number']} on {event['device']}"
    value = {key: event[key] for key in ("count", "first_s", "last_s")}
    blame = _blame_gpu(view, event)
    if meaning is None:
        return UNLISTED, Seen(label, value, UNKNOWN, f"its meaning is not known: {_told(event)}")
    if meaning.severity == "info":
        return UNLISTED, None
    place = XID_CLASSES[meaning.kind]
    if event["number"] == RECOVERY:
        to = event["details"].get("to")
        if to == "None":
            return place, None
        advice = str(to or "unknown").lower()
        action = next((action for text, action in _ADVICE.items() if advice.startswith(text)), RESET_GPU)
        return place, Seen(label, value, FAIL, f"the driver advises: {to or _told(event)}", action, blame)
    status = FAIL if meaning.severity == "fail" else WARN
    if meaning.kind == "nvlink" and re.search(r"\bFatal\b", event["message"]):
        status = FAIL
    return place, Seen(label, value, status, f"{meaning.note}: {_told(event)}", meaning.action, blame)


# ---- Other messages ----


def _simple(
    view: View,
    events: list[Event],
    kinds: Mapping[str, tuple[str, str]],
    code: str,
    what: str,
    remedy: str,
    blamed: str,
) -> list[Finding]:
    """One finding over events of some kinds, each with its status and action."""
    seen = []
    for event in events:
        if event["kind"] in kinds:
            status, action = kinds[event["kind"]]
            name = str(event["device"] or view.subject)
            blame = _blame_gpu(view, event) if blamed == "gpu" else {"kind": blamed, "name": name}
            value = {key: event[key] for key in ("count", "first_s", "last_s")}
            seen.append(Seen(name, value, status, _told(event), action, blame))
    return the_finding(code, what, _WHERE, None, seen, "", remedy)


def _switches(view: View, events: list[Event]) -> list[Finding]:
    seen = []
    for event in events:
        if event["kind"] != kernel_log.SXID:
            continue
        name = str(event["details"].get("switch") or event["device"])
        fatal = event["details"].get("fatal")
        status, action = (WARN, NO_ACTION) if fatal is False else (FAIL, RESET_GPU)
        blame = {"kind": "switch", "name": name, "bus_id": str(event["device"])}
        seen.append(Seen(f"SXid {event['number']} on {name}", event["count"], status, _told(event), action, blame))
    remedy = "a fatal one needs all GPUs of the switch reset; look at the fabric manager's log"
    return the_finding("BG-HEALTH-058", "SXid events", _WHERE, None, seen, "", remedy)


def _initialisation(view: View, events: list[Event]) -> list[Finding]:
    kinds = {kernel_log.GPU_INIT: (FAIL, REBOOT)}
    remedy = "reboot the host inside a maintenance window; when it comes back, have the board replaced"
    return _simple(view, events, kinds, "BG-HEALTH-063", "initialisation of GPUs", remedy, "gpu")


def _pcie(view: View, events: list[Event]) -> list[Finding]:
    kinds = {kernel_log.AER_UNCORRECTED: (FAIL, REBOOT), kernel_log.AER_CORRECTED: (WARN, NO_ACTION)}
    remedy = "reseat the board, adapter or riser at this address"
    return _simple(view, events, kinds, "BG-HEALTH-059", "errors of PCI Express", remedy, "adapter")


def _adapters(view: View, events: list[Event]) -> list[Finding]:
    kinds = {kernel_log.MLX5: (FAIL, FIX_CONFIGURATION)}
    remedy = "reset the adapter (mlxfwreset) inside a maintenance window; check its cable, cooling and power"
    return _simple(view, events, kinds, "BG-HEALTH-060", "messages of network adapters", remedy, "adapter")


def _peermem(view: View, events: list[Event]) -> list[Finding]:
    kinds = {kernel_log.PEERMEM: (FAIL, REBOOT)}
    remedy = "unload and load the nvidia modules, or reboot: adapters no longer reach GPU memory"
    return _simple(view, events, kinds, "BG-HEALTH-061", "errors of nvidia_peermem", remedy, "host")


def _segfaults(view: View, events: list[Event]) -> list[Finding]:
    kinds = {kernel_log.NCCL_SEGFAULT: (WARN, RESTART_APP)}
    remedy = "compare the versions of NCCL and driver; update NCCL in the application's image"
    return _simple(view, events, kinds, "BG-HEALTH-062", "crashes in NCCL", remedy, "host")


def _memory(view: View, events: list[Event]) -> list[Finding]:
    kinds = {kernel_log.MEMORY_UNCORRECTED: (FAIL, RMA), kernel_log.MEMORY_CORRECTED: (WARN, NO_ACTION)}
    remedy = "find the memory module or processor in the machine's event log and have it replaced"
    return _simple(view, events, kinds, "BG-HEALTH-069", "machine checks", remedy, "host")


def _flaps(view: View, events: list[Event]) -> list[Finding]:
    seen = []
    for event in events:
        if event["kind"] != kernel_log.LINK_DOWN or event["count"] < FLAPS:
            continue
        if event["last_s"] is not None and event["last_s"] < BOOT_GRACE_S:
            continue
        blame = {"kind": "port", "name": str(event["device"])}
        text = f"it lost its link {event['count']} times"
        seen.append(Seen(str(event["device"]), event["count"], FAIL, text, FIX_CONFIGURATION, blame))
    remedy = "check cable, optics and the switch's port"
    return the_finding("BG-HEALTH-070", "links that come and go", _WHERE, None, seen, "", remedy)


def _limited(view: View, events: list[Event]) -> list[Finding]:
    """Adapters whose driver says that their slot is too narrow; narrow by design is no fault."""
    wanted = view.host.rdma.pcie_width if view.host is not None else None
    seen = []
    for event in events:
        if event["kind"] != kernel_log.PCIE_LIMITED:
            continue
        width = event["details"]["width"]
        if wanted is not None and width >= wanted:
            continue
        blame = {"kind": "adapter", "name": str(event["device"])}
        seen.append(Seen(str(event["device"]), f"x{width}", FAIL, _told(event), FIX_CONFIGURATION, blame))
    remedy = "reseat the adapter or its riser"
    return the_finding("BG-HEALTH-071", "adapters limited by PCI Express", _WHERE, wanted, seen, "", remedy)
