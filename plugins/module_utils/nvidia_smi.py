"""Reads the document of ``nvidia-smi -q -x``. Pure; raises nothing but ``NvidiaSmiFormatError``.

Tag names drift between driver branches (facts: 535 to 590), so each value has a list of places. What a device does
not report is ``None`` with a reason. PCI addresses are returned as the kernel writes them (``000f:01:00.0``).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple, TypeVar

from ansible_collections.baremetal.gpu.plugins.module_utils.missing import (
    UNREADABLE,
    Missing,
    MissingLog,
    classify,
)

SOURCE = "nvidia-smi"
MAXIMUM_CHARACTERS = 16 * 1024 * 1024  # eight H100 take 0.2 MB; more than this is not an answer but a fault

_END = "</nvidia_smi_log>"
_BYTES_PER_UNIT = {"b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_BUS_ID = re.compile(r"^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$", re.IGNORECASE)
_PCI_DEVICE_ID = re.compile(r"^(?:0x)?([0-9a-f]{4})([0-9a-f]{4})$", re.IGNORECASE)

Value = TypeVar("Value")


class NvidiaSmiFormatError(ValueError):
    """The text is not a complete document of ``nvidia-smi -q -x``."""


@dataclass(frozen=True)
class GpuProcess:
    """A process on a GPU. ``kinds`` joins ``C`` (compute) and ``G`` (graphics) when one process is listed twice."""

    pid: int
    kinds: Tuple[str, ...]
    name: Optional[str]
    memory_bytes: Optional[int]


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver sees it; ``None`` is missing and has its reason in the log of missing values."""

    index: int
    bus_id: Optional[str]
    uuid: Optional[str]
    minor_number: Optional[int]
    product_name: Optional[str]
    architecture: Optional[str]
    compute_capability: Optional[str]
    pci_id: Optional[str]
    vbios_version: Optional[str]
    gsp_firmware_version: Optional[str]
    memory_total_bytes: Optional[int]
    memory_used_bytes: Optional[int]
    mig_mode: Optional[str]
    mig_mode_pending: Optional[str]
    compute_mode: Optional[str]
    persistence_mode: Optional[str]
    ecc_mode: Optional[str]
    processes: Tuple[GpuProcess, ...]


@dataclass(frozen=True)
class SmiDocument:
    """All of one answer. ``attached_gpus`` is the driver's own count, beside the GPUs it describes."""

    driver_version: Optional[str]
    cuda_version: Optional[str]
    attached_gpus: Optional[int]
    gpus: Tuple[Gpu, ...]
    missing: Dict[str, Missing]


def parse(text: str) -> SmiDocument:
    """Read one answer. Raises ``NvidiaSmiFormatError`` when it is truncated, foreign or defines entities."""
    root = _root(text)
    log = MissingLog()
    fields = _Fields(root, "", log)
    return SmiDocument(
        driver_version=fields.text("driver_version", ["driver_version"]),
        cuda_version=fields.text("cuda_version", ["cuda_version"]),
        attached_gpus=fields.read("attached_gpus", ["attached_gpus"], _integer),
        gpus=tuple(_gpu(index, node, log) for index, node in enumerate(root.findall("gpu"))),
        missing=log.entries,
    )


def normal_bus_id(text: str) -> str:
    """``0000000F:01:00.0`` as sysfs names it: ``000f:01:00.0``. Raises ``ValueError`` on anything else."""
    match = _BUS_ID.match(text.strip())
    if match is None:
        raise ValueError("not a PCI address")
    domain, bus, device, function = match.groups()
    return "{0:04x}:{1}:{2}.{3}".format(int(domain, 16), bus.lower(), device.lower(), function)


def parse_compute_capabilities(text: str) -> Dict[str, str]:
    """Compute capability by GPU uuid from ``--query-gpu=uuid,compute_cap --format=csv,noheader``.

    The XML of most drivers does not carry it. Lines that are not such a pair are ignored: what is not there stays
    missing.
    """
    found = {}
    for line in text.splitlines():
        uuid, _comma, value = line.partition(",")
        if classify(value, SOURCE) is None and re.match(r"^\d+\.\d+$", value.strip()):
            found[uuid.strip()] = value.strip()
    return found


def _root(text: str) -> ElementTree.Element:
    if len(text) > MAXIMUM_CHARACTERS:
        raise NvidiaSmiFormatError("the answer has more than {0} characters".format(MAXIMUM_CHARACTERS))
    # Warnings may stand before and after the document ("WARNING: infoROM is corrupted at gpu ...").
    start, end = text.find("<"), text.rfind(_END)
    if start < 0 or end < 0:
        raise NvidiaSmiFormatError("the answer is not a complete nvidia_smi_log document")
    document = text[start : end + len(_END)]
    if "<!ENTITY" in document:
        raise NvidiaSmiFormatError("the answer defines XML entities, which nvidia-smi never does")
    try:
        root = ElementTree.fromstring(document)
    except (ElementTree.ParseError, ValueError) as error:
        raise NvidiaSmiFormatError("the answer is not well-formed XML: {0}".format(error)) from error
    if root.tag != "nvidia_smi_log":
        raise NvidiaSmiFormatError("the root element is {0}, not nvidia_smi_log".format(root.tag))
    return root


class _Fields:
    """Reads values below one element and logs why each missing one is missing."""

    def __init__(self, node: ElementTree.Element, prefix: str, log: MissingLog) -> None:
        self._node = node
        self._prefix = prefix
        self._log = log

    def read(self, name: str, places: List[str], convert: Callable[[str], Value]) -> Optional[Value]:
        """The first of ``places`` that has a value; otherwise ``None``, with the first place's reason."""
        reasons: List[Missing] = []
        for place in places:
            found = self._node.find(place)
            if found is None:
                continue
            text = found.text or ""
            missing = classify(text, SOURCE)
            if missing is None:
                try:
                    return convert(text.strip())
                except ValueError as error:
                    missing = Missing(UNREADABLE, "{0} prints {1!r}: {2}".format(SOURCE, text.strip()[:80], error))
            reasons.append(missing)
        fallback = classify(None, SOURCE)
        assert fallback is not None
        self._log.add(self._prefix + name, reasons[0] if reasons else fallback)
        return None

    def text(self, name: str, places: List[str]) -> Optional[str]:
        return self.read(name, places, str)


def _gpu(index: int, node: ElementTree.Element, log: MissingLog) -> Gpu:
    prefix = "gpus[{0}].".format(index)
    fields = _Fields(node, prefix, log)
    return Gpu(
        index=index,
        bus_id=_bus_id(fields, node),
        uuid=fields.text("uuid", ["uuid"]),
        minor_number=fields.read("minor_number", ["minor_number"], _integer),
        product_name=fields.text("product_name", ["product_name"]),
        architecture=fields.text("architecture", ["product_architecture"]),
        compute_capability=fields.text("compute_capability", ["compute_cap"]),
        pci_id=fields.read("pci_id", ["pci/pci_device_id"], _pci_id),
        vbios_version=fields.text("vbios_version", ["vbios_version"]),
        gsp_firmware_version=fields.text("gsp_firmware_version", ["gsp_firmware_version"]),
        memory_total_bytes=fields.read("memory_total_bytes", ["fb_memory_usage/total"], _bytes),
        memory_used_bytes=fields.read("memory_used_bytes", ["fb_memory_usage/used"], _bytes),
        mig_mode=fields.text("mig_mode", ["mig_mode/current_mig"]),
        mig_mode_pending=fields.text("mig_mode_pending", ["mig_mode/pending_mig"]),
        compute_mode=fields.text("compute_mode", ["compute_mode"]),
        persistence_mode=fields.text("persistence_mode", ["persistence_mode"]),
        ecc_mode=fields.text("ecc_mode", ["ecc_mode/current_ecc"]),
        processes=_processes(node),
    )


def _bus_id(fields: _Fields, node: ElementTree.Element) -> Optional[str]:
    try:
        return normal_bus_id(node.get("id", ""))
    except ValueError:
        return fields.read("bus_id", ["pci/pci_bus_id"], normal_bus_id)


def _processes(node: ElementTree.Element) -> Tuple[GpuProcess, ...]:
    """Processes by pid; a process that is listed as C and as G is one process."""
    found: Dict[int, GpuProcess] = {}
    for item in node.iterfind("processes/process_info"):
        try:
            pid = _integer(item.findtext("pid") or "")
        except ValueError:
            continue
        kind = (item.findtext("type") or "").strip()
        earlier = found.get(pid)
        kinds = set(earlier.kinds if earlier else ()) | ({kind} if kind else set())
        memory = _optional_bytes(item.findtext("used_memory"))
        found[pid] = GpuProcess(
            pid=pid,
            kinds=tuple(sorted(kinds)),
            name=(item.findtext("process_name") or "").strip() or None,
            memory_bytes=memory if memory is not None else (earlier.memory_bytes if earlier else None),
        )
    return tuple(found[pid] for pid in sorted(found))


def _optional_bytes(text: Optional[str]) -> Optional[int]:
    if text is None or classify(text, SOURCE) is not None:
        return None
    try:
        return _bytes(text)
    except ValueError:
        return None


def _integer(text: str) -> int:
    if not re.match(r"^[0-9]{1,18}$", text.strip()):
        raise ValueError("not a whole number")
    return int(text)


def _bytes(text: str) -> int:
    """``81559 MiB`` in bytes."""
    match = re.match(r"^([0-9]{1,15})\s*([A-Za-z]+)$", text.strip())
    if match is None or match.group(2).lower() not in _BYTES_PER_UNIT:
        raise ValueError("not a number with a binary unit")
    return int(match.group(1)) * _BYTES_PER_UNIT[match.group(2).lower()]


def _pci_id(text: str) -> str:
    """``233010DE`` (device, then vendor) as ``10de:2330``."""
    match = _PCI_DEVICE_ID.match(text)
    if match is None:
        raise ValueError("not a PCI device id")
    return "{1}:{0}".format(match.group(1).lower(), match.group(2).lower())
