"""Finds in kernel messages what says something about GPUs, NVSwitches, network adapters and memory. Pure; raises nothing.

Lines may come from ``/dev/kmsg``, ``dmesg`` (with seconds or dates), ``journalctl`` or a syslog file. What a kind of event means
is decided on the controller; here it is only recognised. Bursts are one event with a count.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.plain_text import plain

MAXIMUM_EVENTS = 500
"""Different events that are kept; a broken device repeats few of them without end."""

XID = "xid"
SXID = "sxid"
GPU_INIT = "gpu_init"
AER_CORRECTED = "aer_corrected"
AER_UNCORRECTED = "aer_uncorrected"
MLX5 = "mlx5"
PCIE_LIMITED = "pcie_limited"
PEERMEM = "peermem"
NCCL_SEGFAULT = "nccl_segfault"
MEMORY_CORRECTED = "memory_corrected"
MEMORY_UNCORRECTED = "memory_uncorrected"
LINK_DOWN = "link_down"

_KMSG = re.compile(r"^(\d{1,5}),(\d{1,20}),(\d{1,20}),[^;]{0,64};(.*)$")
_SECONDS = re.compile(r"^(?:<\d{1,3}>)?\[\s*(\d{1,10}\.\d{1,9})\]\s?(?:\S{1,253} kernel:\s)?(.*)$")
_SYSLOG = re.compile(r"^(?:.{0,80}?)\b(?:kernel|systemd-networkd\[\d{1,8}\]|NetworkManager\[\d{1,8}\]):\s(.*)$")
_INNER_SECONDS = re.compile(r"^\[\s*(\d{1,10}\.\d{1,9})\]\s?(.*)$")

_PROPERTY = re.compile(r"^ [A-Z_]{1,32}=")
_ADDRESS = r"([0-9a-fA-F]{2,8}:[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2})?(?:\.[0-7])?)"
_XID = re.compile(r"NVRM:\s+Xid \((?:PCI:)?" + _ADDRESS + r"[^)]{0,80}\):\s*(\d{1,6})\b,?\s*(.*)$")
_SXID = re.compile(r"(nvidia-nvswitch\d{1,3}|NVSwitch\S{0,20}): SXid \(PCI:" + _ADDRESS + r"\):\s*(\d{1,6}),?\s*(.*)$")
_GPU_UUID = re.compile(r"NVRM:\s+GPU at PCI:" + _ADDRESS + r":\s+(GPU-[0-9a-fA-F-]{8,40})")
_RECOVERY = re.compile(r"recovery action changed from 0x[0-9a-fA-F]+ \(([^)]*)\) to 0x[0-9a-fA-F]+ \(([^)]*)\)")
_GPU_INIT = re.compile(
    r"NVRM:\s+(?:The NVIDIA )?GPU "
    + _ADDRESS
    + r"\b.{0,80}?(RmInitAdapter failed.*|rm_init_adapter failed.*|has fallen off the bus.*)$"
)
_AER = re.compile(
    r"(?:\S+ )?"
    + _ADDRESS
    + r":.*?(?:severity=|AER: )(Corrected|Correctable|Uncorrected|Uncorrectable|Multiple Corrected|Multiple Uncorrected)"
)
_MLX5 = re.compile(
    r"mlx5_core " + _ADDRESS + r":.*?("
    r"Will cause a leak of a command resource|device's health compromised - reached miss count|"
    r"unrecoverable hardware error|ACCESS_REG\b.{0,80}\bfailed|Port module event.{0,80}(?:High Temperature|Cable error.*)|"
    r"High Temperature|Detected insufficient power on the PCIe slot)",
    re.IGNORECASE,
)
_PCIE_LIMITED = re.compile(
    _ADDRESS + r":\s+[0-9.]{1,12} Gb/s available PCIe bandwidth, limited by ([0-9.]{1,6}) GT/s PCIe x(\d{1,2})"
)
_PEERMEM = re.compile(r"nvidia-peermem\b.*ERROR detected invalid context, skipping further processing")
_SEGFAULT = re.compile(r"\bsegfault at\b.*\bin (libnccl\S{0,60})")
_EDAC = re.compile(r"EDAC (\S{1,20}): \d{1,9} (UE|CE)\b")
_MACHINE_CHECK = re.compile(
    r"\[Hardware Error\]:\s*(?:event severity: (\w+)|(Uncorrected|Deferred|Corrected)\b|"
    r"CPU \d{1,5}: Machine Check(?: Exception)?: \S+ Bank \d{1,3}: ([0-9a-fA-F]{16}))"
)
_MEMORY_FAILURE = re.compile(r"Memory failure: 0x[0-9a-fA-F]{1,16}|Uncorrected hardware memory error")
_CARRIER = re.compile(r"(?:^|\s)([a-zA-Z][\w.-]{0,14}): (?:lost carrier|Lost carrier|Link down|link down)\s*$")
_MLX5_LINK = re.compile(r"mlx5_core " + _ADDRESS + r" ([\w.-]{1,15}): Link down")

# Words of which a message must have one before any expression is tried: nearly no message of a boot has one.
_NEEDLES = (
    "NVRM",
    "SXid",
    "AER",
    "PCIe",
    "mlx5",
    "peermem",
    "libnccl",
    "EDAC",
    "Hardware Error",
    "Memory failure",
    "hardware memory error",
    "ink down",
    "ost carrier",
)
# The bit of a machine check's status that says that the error was not corrected (Intel SDM, AMD APM: MCi_STATUS.UC).
_UNCORRECTED_BIT = 1 << 61


@dataclass
class Event:
    """One kind of message about one thing. Times are seconds since boot, ``None`` where the line has none."""

    kind: str
    device: Optional[str]
    number: Optional[int]
    message: str
    count: int = 1
    first_s: Optional[float] = None
    last_s: Optional[float] = None
    details: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """A message without its prefix. ``sequence`` is ``/dev/kmsg``'s number."""

    message: str
    seconds: Optional[float] = None
    sequence: Optional[int] = None


def split_line(text: str) -> Line:
    """A line's message, and when it was, if that can be told as seconds since boot."""
    text = text.rstrip("\r\n")
    kmsg = _KMSG.match(text)
    if kmsg is not None:
        return Line(kmsg.group(4), int(kmsg.group(3)) / 1e6, int(kmsg.group(2)))
    seconds = _SECONDS.match(text)
    if seconds is not None:
        return Line(seconds.group(2), float(seconds.group(1)))
    if text.startswith("{"):
        return _from_journal(text)
    syslog = _SYSLOG.match(text)
    if syslog is not None:
        inner = _INNER_SECONDS.match(syslog.group(1))
        return Line(inner.group(2), float(inner.group(1))) if inner is not None else Line(syslog.group(1))
    return Line(text)


def _from_journal(text: str) -> Line:
    """A line of ``journalctl -o json``."""
    try:
        entry = json.loads(text)
        message, source = entry.get("MESSAGE"), entry.get("_SOURCE_MONOTONIC_TIMESTAMP")
        seconds = int(source) / 1e6 if source is not None else None
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return Line(text)
    return Line(message, seconds) if isinstance(message, str) else Line(text)


def events_in(lines: Iterable[Line], since_s: Optional[float] = None) -> Tuple[Event, ...]:
    """What the messages tell, bursts joined, in the order of their first message.

    ``since_s`` leaves out what is older, in seconds since boot; messages without such a time are kept.
    """
    found: Dict[Tuple[Any, ...], Event] = {}
    uuids: Dict[str, str] = {}
    for line in lines:
        named = _GPU_UUID.search(line.message)
        if named is not None:
            uuids[_address(named.group(1))] = named.group(2)
        if since_s is not None and line.seconds is not None and line.seconds < since_s:
            continue
        event = _event(line.message)
        if event is None:
            continue
        event.first_s = event.last_s = line.seconds
        key = (event.kind, event.device, event.number, event.details.get("fatal"), event.details.get("to"))
        known = found.get(key)
        if known is None:
            if len(found) < MAXIMUM_EVENTS:
                found[key] = event
        else:
            known.count += 1
            known.last_s = line.seconds if line.seconds is not None else known.last_s
    for event in found.values():
        if event.kind in (XID, GPU_INIT) and event.device in uuids:
            event.details["uuid"] = uuids[event.device]
    return tuple(found.values())


def _event(message: str) -> Optional[Event]:
    if not _may_tell(message):
        return None
    for recognise in _RECOGNISERS:
        event = recognise(message)
        if event is not None:
            event.message = event.message[:300]
            return event
    return None


def _address(text: str) -> str:
    """``PCI:0000:9b:00`` and its relatives as sysfs names the device: ``0000:9b:00.0``."""
    base, _dot, function = text.lower().partition(".")
    parts = base.split(":")
    if len(parts) == 2:
        parts = ["0000", *parts]
    try:
        parts[0] = "{0:04x}".format(int(parts[0], 16))
    except ValueError:
        return text.lower()
    return "{0}.{1}".format(":".join(parts), function or "0")


def _xid(message: str) -> Optional[Event]:
    match = _XID.search(message)
    if match is None:
        return None
    details: Dict[str, Any] = {}
    change = _RECOVERY.search(match.group(3))
    if change is not None:
        details.update({"from": change.group(1), "to": change.group(2)})
    return Event(XID, _address(match.group(1)), int(match.group(2)), message.strip(), details=details)


def _sxid(message: str) -> Optional[Event]:
    match = _SXID.search(message)
    if match is None:
        return None
    severity = re.match(r"(Non-fatal|Fatal)\b", match.group(4), re.IGNORECASE)
    # Each error is followed by lines of data, which say no severity and nothing new.
    if severity is None and re.match(r"(Severity|Data|Sub-engine|Engine)\b", match.group(4)):
        return None
    fatal = None if severity is None else severity.group(1).lower() == "fatal"
    return Event(
        SXID,
        _address(match.group(2)),
        int(match.group(3)),
        message.strip(),
        details={"switch": match.group(1), "fatal": fatal},
    )


def _gpu_init(message: str) -> Optional[Event]:
    match = _GPU_INIT.search(message)
    return Event(GPU_INIT, _address(match.group(1)), None, message.strip()) if match is not None else None


def _aer(message: str) -> Optional[Event]:
    if "AER" not in message and "PCIe Bus Error" not in message:
        return None
    match = _AER.search(message)
    if match is None:
        return None
    kind = AER_CORRECTED if match.group(2).split()[-1].startswith("Correct") else AER_UNCORRECTED
    return Event(kind, _address(match.group(1)), None, message.strip())


def _mlx5(message: str) -> Optional[Event]:
    match = _MLX5.search(message)
    if match is None:
        return None
    return Event(MLX5, _address(match.group(1)), None, message.strip(), details={"what": match.group(2)[:80]})


def _pcie_limited(message: str) -> Optional[Event]:
    match = _PCIE_LIMITED.search(message)
    if match is None:
        return None
    details = {"gt_per_s": float(match.group(2).strip(".") or 0), "width": int(match.group(3))}
    return Event(PCIE_LIMITED, _address(match.group(1)), None, message.strip(), details=details)


def _software(message: str) -> Optional[Event]:
    if _PEERMEM.search(message):
        return Event(PEERMEM, None, None, message.strip())
    match = _SEGFAULT.search(message)
    return Event(NCCL_SEGFAULT, match.group(1), None, message.strip()) if match is not None else None


def _memory(message: str) -> Optional[Event]:
    edac = _EDAC.search(message)
    if edac is not None:
        kind = MEMORY_UNCORRECTED if edac.group(2) == "UE" else MEMORY_CORRECTED
        return Event(kind, edac.group(1), None, message.strip())
    if _MEMORY_FAILURE.search(message):
        return Event(MEMORY_UNCORRECTED, None, None, message.strip())
    check = _MACHINE_CHECK.search(message)
    if check is None:
        return None
    word = check.group(1) or check.group(2)
    if word is not None:
        uncorrected = word.lower() not in ("corrected", "info")
    else:
        uncorrected = bool(int(check.group(3), 16) & _UNCORRECTED_BIT)
    return Event(MEMORY_UNCORRECTED if uncorrected else MEMORY_CORRECTED, None, None, message.strip())


def _link_down(message: str) -> Optional[Event]:
    match = _MLX5_LINK.search(message)
    if match is not None:
        return Event(LINK_DOWN, match.group(2), None, message.strip())
    match = _CARRIER.search(message)
    return Event(LINK_DOWN, match.group(1), None, message.strip()) if match is not None else None


_RECOGNISERS = (_xid, _sxid, _gpu_init, _aer, _mlx5, _pcie_limited, _software, _memory, _link_down)


def lines_of(text: str) -> List[Line]:
    """The lines of a text. ``/dev/kmsg`` follows a record with lines of properties (`` SUBSYSTEM=pci``).

    Only the first line, for its time, and those that may tell something are taken apart: a boot has thousands of others.
    """
    lines = [line for line in plain(text).split("\n") if line.strip() and not _PROPERTY.match(line)]
    return [split_line(line) if not number or _may_tell(line) else _OTHER for number, line in enumerate(lines)]


def _may_tell(text: str) -> bool:
    return any(needle in text for needle in _NEEDLES)


_OTHER = Line("")
