"""Reads ``nvidia-smi nvlink -s``, ``nvidia-smi nvlink -e`` and ``nvidia-smi -L``. Pure; raises nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.plain_text import plain

_GPU = re.compile(r"^GPU (\d{1,4}): (.+?) \(UUID: ([^)\s]+)\)")
_MIG = re.compile(r"^\s+MIG (\S+)\s+Device\s+(\d{1,3}): \(UUID: ([^)\s]+)\)")
_LINK = re.compile(r"^\s*Link (\d{1,3}): (.*?)\s*$")
_SPEED = re.compile(r"^([0-9]{1,5}(?:\.[0-9]{1,6})?) GB/s$")
_ERRORS = re.compile(r"^\s*Link (\d{1,3}): ([A-Za-z0-9 ()-]+?)(?: Error(?:s)?)?: ([0-9]{1,20}|N/A)\s*$")
_ALL_INACTIVE = "all links are inactive"
_MIG_REFUSES = re.compile(r"not supported for devices? in MIG mode", re.IGNORECASE)
_LOST = re.compile(
    r"^Unable to determine the device handle for .{0,12}?([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f.]{2,5}): (.+)$"
)

INACTIVE = "inactive"
ACTIVE = "active"


@dataclass(frozen=True)
class NvLinks:
    """Links of one GPU by number. ``speeds_gb_per_s`` has ``None`` for a link that is inactive.

    ``all_inactive`` is what nvidia-smi says in place of a list; ``refused`` is its reason for giving none.
    """

    gpu: int
    uuid: str
    product_name: str
    speeds_gb_per_s: Dict[str, Optional[float]] = field(default_factory=dict)
    errors: Dict[str, Dict[str, int]] = field(default_factory=dict)
    all_inactive: bool = False
    refused: Optional[str] = None


@dataclass(frozen=True)
class ListedMig:
    """A MIG device as ``nvidia-smi -L`` names it."""

    gpu: int
    index: int
    profile: str
    uuid: str


@dataclass(frozen=True)
class Listing:
    """``nvidia-smi -L``: GPUs as (number, name, uuid), MIG devices, and GPUs that could not be opened as (address, why)."""

    gpus: Tuple[Tuple[int, str, str], ...]
    mig_devices: Tuple[ListedMig, ...]
    unreachable: Tuple[Tuple[str, str], ...]


def parse_status(text: str) -> Tuple[NvLinks, ...]:
    """States of all links by GPU. Lines of other kinds are passed over; no GPU line gives nothing."""
    found: List[NvLinks] = []
    for line in plain(text).split("\n"):
        gpu = _GPU.match(line)
        if gpu is not None:
            found.append(NvLinks(int(gpu.group(1)), gpu.group(3), gpu.group(2)))
            continue
        if not found:
            continue
        link = _LINK.match(line)
        if link is not None:
            speed = _SPEED.match(link.group(2))
            if speed is not None or INACTIVE in link.group(2).lower():
                found[-1].speeds_gb_per_s[link.group(1)] = float(speed.group(1)) if speed is not None else None
        elif _ALL_INACTIVE in line:
            found[-1] = _replace(found[-1], all_inactive=True)
        elif _MIG_REFUSES.search(line):
            found[-1] = _replace(found[-1], refused=line.strip())
    # A listing (-L) names GPUs without links; in a file of several answers the one that has them counts.
    told = {item.uuid for item in found if _says_something(item)}
    return tuple(item for item in found if _says_something(item) or item.uuid not in told)


def _says_something(links: NvLinks) -> bool:
    return bool(links.speeds_gb_per_s) or links.all_inactive or links.refused is not None


def parse_errors(text: str) -> Dict[str, Dict[str, Dict[str, int]]]:
    """Error counters by GPU's uuid, link and kind (``replay``, ``recovery``, ``crc``): counts since the last reset."""
    found: Dict[str, Dict[str, Dict[str, int]]] = {}
    links: Optional[Dict[str, Dict[str, int]]] = None
    for line in plain(text).split("\n"):
        gpu = _GPU.match(line)
        if gpu is not None:
            links = found.setdefault(gpu.group(3), {})
            continue
        counter = _ERRORS.match(line)
        if counter is not None and links is not None and counter.group(3) != "N/A":
            kind = counter.group(2).strip().lower().replace(" ", "_")
            links.setdefault(counter.group(1), {})[kind] = int(counter.group(3))
    return found


def parse_listing(text: str) -> Listing:
    """GPUs and MIG devices. Lines of other kinds are passed over."""
    gpus: List[Tuple[int, str, str]] = []
    devices: List[ListedMig] = []
    unreachable: List[Tuple[str, str]] = []
    for line in plain(text).split("\n"):
        gpu, device, lost = _GPU.match(line), _MIG.match(line), _LOST.match(line.strip())
        if gpu is not None:
            gpus.append((int(gpu.group(1)), gpu.group(2), gpu.group(3)))
        elif device is not None and gpus:
            devices.append(ListedMig(gpus[-1][0], int(device.group(2)), device.group(1), device.group(3)))
        elif lost is not None:
            unreachable.append((lost.group(1), lost.group(2)))
    return Listing(tuple(gpus), tuple(devices), tuple(unreachable))


def _replace(links: NvLinks, all_inactive: bool = False, refused: Optional[str] = None) -> NvLinks:
    return NvLinks(
        links.gpu, links.uuid, links.product_name, links.speeds_gb_per_s, links.errors, all_inactive, refused
    )
