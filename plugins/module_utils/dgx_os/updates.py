"""What the dashboard and fwupd say about updates."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Optional, Tuple

SNAPSHOT_SIGNATURE = "ssbbs"


@dataclass(frozen=True)
class OtaSnapshot:
    """The answer of the dashboard's ``GetOTAAvailabilitySnapshot``.

    Its interface is not documented: ``flags`` are its two truth values as they are, and nothing is concluded from them.
    """

    state: str
    checked_at: str
    flags: Tuple[bool, bool]
    offered: str


@dataclass(frozen=True)
class Firmware:
    """Firmware of one device that fwupd knows; nothing else of the device is kept."""

    name: str
    version: str
    vendor: str


def parse_snapshot(text: str) -> Optional[OtaSnapshot]:
    """What ``busctl call`` printed; None for anything else."""
    try:
        signature, *values = shlex.split(text)
    except ValueError:
        return None
    if signature != SNAPSHOT_SIGNATURE or len(values) != 5 or not {values[2], values[3]} <= {"true", "false"}:
        return None
    return OtaSnapshot(values[0], values[1], (values[2] == "true", values[3] == "true"), values[4])


def parse_fwupd(text: str) -> Optional[Tuple[Firmware, ...]]:
    """Devices with a version, from ``fwupdmgr get-devices --json``; None where that is not what it is."""
    try:
        devices = json.loads(text)["Devices"]
        return tuple(
            Firmware(str(device["Name"]), str(device["Version"]), str(device.get("Vendor", "")))
            for device in devices
            if "Name" in device and "Version" in device
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
