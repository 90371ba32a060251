"""Reads RDMA adapters (HCAs) from ``/sys/class/infiniband``. ``parse`` is pure; nothing here raises.

The same structure comes from a host's sysfs and from a dump of it as ``path=value`` lines, which is how people share it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import read_text, why_unreadable
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import ABSENT, Missing, MissingLog
from ansible_collections.baremetal.gpu.plugins.module_utils.plain_text import plain

DIRECTORY = "sys/class/infiniband"
GIDS = 16
"""Entries of a port's GID table that are read; the kernel fills it from the start, and each unused one costs a failed read."""

_STATE = re.compile(r"^(?:\d{1,2}:\s*)?(\w[\w ]{0,30})$")
_RATE = re.compile(r"^([0-9]{1,5}(?:\.[0-9]{1,3})?)\s*Gb/sec")
_DUMP_LINE = re.compile(r"^(?:/?sys/class/infiniband/)?([A-Za-z][\w.-]{0,63}/[\w./-]{1,200})=(.*)$")
_IBSTAT_DEVICE = re.compile(r"^(?:CA|Infiniband device) '([\w.-]{1,64})'(?: port (\d{1,3}) status:)?$")
_IBSTAT_PORT = re.compile(r"^Port (\d{1,3})$")
_PORT_LABELS = {
    "state": "state",
    "physical state": "phys_state",
    "phys state": "phys_state",
    "rate": "rate",
    "link layer": "link_layer",
    "link_layer": "link_layer",
}
_DEVICE_LABELS = {"CA type": "hca_type", "Firmware version": "fw_ver"}
_NO_GID = re.compile(r"^[0:]*$")
_SPEED = re.compile(r"^([0-9]{1,3}(?:\.[0-9])?) GT/s")
_IPV4_GID = re.compile(r"^0000:0000:0000:0000:0000:ffff:[0-9a-f]{4}:[0-9a-f]{4}$", re.IGNORECASE)


@dataclass(frozen=True)
class Gid:
    """One entry of a port's GID table. ``ipv4`` says that it is an IPv4 address mapped into IPv6."""

    index: int
    gid: str
    type: Optional[str]
    netdev: Optional[str]
    ipv4: bool


@dataclass(frozen=True)
class Port:
    """One port. ``counters`` joins ``counters`` and ``hw_counters``; they count since the driver was loaded."""

    number: int
    state: Optional[str]
    physical_state: Optional[str]
    rate_gb_per_s: Optional[float]
    """Gigabits per second, as the kernel prints it."""
    link_layer: Optional[str]
    counters: Dict[str, int]
    gids: Optional[Tuple[Gid, ...]]


@dataclass(frozen=True)
class NetDevice:
    """A network interface on the adapter."""

    name: str
    mtu: Optional[int]
    state: Optional[str]
    carrier_down_count: Optional[int]


@dataclass(frozen=True)
class Adapter:
    """One RDMA device. PCI widths are lanes, speeds GT/s."""

    name: str
    firmware_version: Optional[str]
    hca_type: Optional[str]
    board_id: Optional[str]
    pci_address: Optional[str]
    pcie_width_current: Optional[int]
    pcie_width_max: Optional[int]
    pcie_gt_per_s_current: Optional[float]
    pcie_gt_per_s_max: Optional[float]
    ports: Tuple[Port, ...]
    netdevs: Tuple[NetDevice, ...]


def parse_dump(text: str) -> Dict[str, str]:
    """Files by path below ``/sys/class/infiniband`` from lines ``mlx5_0/hca_type=MT4129``; other lines are passed over."""
    files: Dict[str, str] = {}
    for line in plain(text).split("\n"):
        match = _DUMP_LINE.match(line.strip())
        if match is not None:
            files[match.group(1)] = match.group(2)
    return files


def parse_ibstat(text: str) -> Dict[str, str]:
    """The same files from what ``ibstat`` and ``ibstatus`` print; other lines are passed over."""
    files: Dict[str, str] = {}
    name, port = "", ""
    for line in plain(text).split("\n"):
        device = _IBSTAT_DEVICE.match(line.strip())
        if device is not None:
            name, port = device.group(1), device.group(2) or ""
            continue
        label, _colon, value = (part.strip() for part in line.partition(":"))
        number = _IBSTAT_PORT.match(label)
        if number is not None and not value:
            port = number.group(1)
        elif name and port and label.lower() in _PORT_LABELS:
            suffix = " Gb/sec" if label == "Rate" else ""
            files["{0}/ports/{1}/{2}".format(name, port, _PORT_LABELS[label.lower()])] = value + suffix
        elif name and label in _DEVICE_LABELS:
            files["{0}/{1}".format(name, _DEVICE_LABELS[label])] = value
    return files


def parse(files: Mapping[str, str]) -> Tuple[Adapter, ...]:
    """Adapters by name, from the contents of their files."""
    names: Dict[str, Dict[str, str]] = {}
    for path, value in files.items():
        name, _slash, rest = path.partition("/")
        names.setdefault(name, {})[rest] = value.strip()
    return tuple(_adapter(name, names[name]) for name in sorted(names, key=_natural))


def _natural(name: str) -> List[Tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d{1,9})", name) if part]


def _adapter(name: str, files: Mapping[str, str]) -> Adapter:
    numbers = sorted(
        {int(match.group(1)) for path in files for match in [re.match(r"ports/(\d{1,3})/", path)] if match}
    )
    devices = sorted({match.group(1) for path in files for match in [re.match(r"net/([^/]+)/", path)] if match})
    return Adapter(
        name=name,
        firmware_version=files.get("fw_ver") or None,
        hca_type=files.get("hca_type") or None,
        board_id=files.get("board_id") or None,
        pci_address=files.get("pci_address") or None,
        pcie_width_current=_whole(files.get("pci/current_link_width")),
        pcie_width_max=_whole(files.get("pci/max_link_width")),
        pcie_gt_per_s_current=_first_number(_SPEED, files.get("pci/current_link_speed")),
        pcie_gt_per_s_max=_first_number(_SPEED, files.get("pci/max_link_speed")),
        ports=tuple(_port(number, files) for number in numbers),
        netdevs=tuple(
            NetDevice(
                name=device,
                mtu=_whole(files.get("net/{0}/mtu".format(device))),
                state=files.get("net/{0}/operstate".format(device)) or None,
                carrier_down_count=_whole(files.get("net/{0}/carrier_down_count".format(device))),
            )
            for device in devices
        ),
    )


def _port(number: int, files: Mapping[str, str]) -> Port:
    prefix = "ports/{0}/".format(number)
    counters: Dict[str, int] = {}
    for path, text in files.items():
        match = re.match(re.escape(prefix) + r"(?:hw_)?counters/(\w{1,64})$", path)
        value = _whole(text) if match is not None else None
        if match is not None and value is not None:
            counters[match.group(1)] = value
    return Port(
        number=number,
        state=_word(files.get(prefix + "state")),
        physical_state=_word(files.get(prefix + "phys_state")),
        rate_gb_per_s=_first_number(_RATE, files.get(prefix + "rate")),
        link_layer=files.get(prefix + "link_layer") or None,
        counters=dict(sorted(counters.items())),
        gids=_gids(prefix, files),
    )


def _gids(prefix: str, files: Mapping[str, str]) -> Optional[Tuple[Gid, ...]]:
    found: List[Gid] = []
    seen = False
    for index in range(GIDS):
        gid = files.get("{0}gids/{1}".format(prefix, index))
        if gid is None:
            continue
        seen = True
        if _NO_GID.match(gid):
            continue
        found.append(
            Gid(
                index=index,
                gid=gid,
                type=files.get("{0}gid_attrs/types/{1}".format(prefix, index)) or None,
                netdev=files.get("{0}gid_attrs/ndevs/{1}".format(prefix, index)) or None,
                ipv4=bool(_IPV4_GID.match(gid)),
            )
        )
    return tuple(found) if seen else None


# ibstat writes states in small letters.
_SPELLED = {"Active": "ACTIVE", "Down": "DOWN", "Initializing": "INIT", "Armed": "ARMED"}


def _word(text: Optional[str]) -> Optional[str]:
    """``4: ACTIVE`` is ``ACTIVE``."""
    match = _STATE.match(text or "")
    return _SPELLED.get(match.group(1), match.group(1)) if match is not None else None


def _whole(text: Optional[str]) -> Optional[int]:
    return int(text) if text is not None and re.match(r"^[0-9]{1,20}$", text) else None


def _first_number(pattern: re.Pattern[str], text: Optional[str]) -> Optional[float]:
    match = pattern.match(text or "")
    return float(match.group(1)) if match is not None else None


def read_adapters(root: str, log: MissingLog) -> Optional[Tuple[Adapter, ...]]:
    """The host's RDMA adapters; ``None`` with a reason where the kernel lists none at all."""
    directory = os.path.join(root, DIRECTORY)
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        log.add("rdma_adapters", why_unreadable("/" + DIRECTORY, error))
        return None
    files: Dict[str, str] = {}
    for name in names:
        _read_adapter(os.path.join(directory, name), name, files)
    adapters = parse(files)
    for index, adapter in enumerate(adapters):
        if not adapter.netdevs:
            reason = "no network interface of {0} is visible".format(adapter.name)
            log.add("rdma_adapters[{0}].netdevs".format(index), Missing(ABSENT, reason))
        for port in adapter.ports:
            if port.gids is None:
                place = "rdma_adapters[{0}].ports[{1}].gids".format(index, port.number)
                log.add(place, Missing(ABSENT, "/{0}/{1} has no GID table".format(DIRECTORY, adapter.name)))
    return adapters


def _read_adapter(at: str, name: str, files: Dict[str, str]) -> None:
    for item in ("fw_ver", "hca_type", "board_id"):
        _read(os.path.join(at, item), "{0}/{1}".format(name, item), files)
    for port in _listed(os.path.join(at, "ports")):
        _read_port(os.path.join(at, "ports", port), "{0}/ports/{1}".format(name, port), files)
    device = os.path.join(at, "device")
    if os.path.exists(device):
        files["{0}/pci_address".format(name)] = os.path.basename(os.path.realpath(device))
    for item in ("current_link_width", "max_link_width", "current_link_speed", "max_link_speed"):
        _read(os.path.join(device, item), "{0}/pci/{1}".format(name, item), files)
    for interface in _listed(os.path.join(device, "net")):
        for item in ("mtu", "operstate", "carrier_down_count"):
            place = "{0}/net/{1}/{2}".format(name, interface, item)
            _read(os.path.join(device, "net", interface, item), place, files)


def _read_port(at: str, shown: str, files: Dict[str, str]) -> None:
    for item in ("state", "phys_state", "rate", "link_layer"):
        _read(os.path.join(at, item), "{0}/{1}".format(shown, item), files)
    for folder in ("counters", "hw_counters"):
        for item in _listed(os.path.join(at, folder)):
            _read(os.path.join(at, folder, item), "{0}/{1}/{2}".format(shown, folder, item), files)
    for index in range(GIDS):
        if not _read(os.path.join(at, "gids", str(index)), "{0}/gids/{1}".format(shown, index), files):
            break
        for item in ("types", "ndevs"):
            place = "gid_attrs/{0}/{1}".format(item, index)
            _read(os.path.join(at, place), "{0}/{1}".format(shown, place), files)


def _listed(directory: str) -> List[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _read(path: str, shown: str, files: Dict[str, str]) -> bool:
    try:
        files[shown] = read_text(path).strip()
    except OSError:
        return False
    return True
