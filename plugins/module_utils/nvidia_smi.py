"""Reads the document of ``nvidia-smi -q -x``. Pure; raises nothing but ``NvidiaSmiFormatError``.

Tag names drift between driver branches (facts: 535 to 590), so each value has a list of places (``gpu_fields``). What a device
does not report is ``None`` with a reason. PCI addresses are returned as the kernel writes them (``000f:01:00.0``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple
from xml.etree import ElementTree

from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import (
    Field,
    Gpu,
    GpuProcess,
    MigDevice,
    in_bytes,
    integer,
    normal_bus_id,
    read_field,
    read_values,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import Missing, MissingLog, classify

SOURCE = "nvidia-smi"
MAXIMUM_CHARACTERS = 16 * 1024 * 1024  # eight H100 take 0.2 MB; more than this is not an answer but a fault

_START = re.compile(r"<\?xml|<!DOCTYPE|<!ENTITY|<nvidia_smi_log")
_END = "</nvidia_smi_log>"


class NvidiaSmiFormatError(ValueError):
    """The text is not a complete answer of ``nvidia-smi`` in the form that was asked for."""


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
    return SmiDocument(
        driver_version=_head(root, "driver_version", log, str),
        cuda_version=_head(root, "cuda_version", log, str),
        attached_gpus=_head(root, "attached_gpus", log, integer),
        gpus=tuple(_gpu(index, node, log) for index, node in enumerate(root.findall("gpu"))),
        missing=log.entries,
    )


def _head(root: ElementTree.Element, name: str, log: MissingLog, convert: Any) -> Any:
    value, missing = read_field(_texts(root, (name,)), convert, SOURCE)
    if missing is not None:
        log.add(name, missing)
    return value


def parse_all(text: str) -> List[SmiDocument]:
    """Every answer in a text that holds several, one after the other. Raises as ``parse`` does for one that it cannot read."""
    parts = [part + _END for part in text.split(_END)[:-1]]
    return [parse(part) for part in parts] if parts else [parse(text)]


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
    start, end = _START.search(text), text.rfind(_END)
    if start is None or end < start.start():
        raise NvidiaSmiFormatError("the answer is not a complete nvidia_smi_log document")
    document = text[start.start() : end + len(_END)]
    if "<!ENTITY" in document:
        raise NvidiaSmiFormatError("the answer defines XML entities, which nvidia-smi never does")
    try:
        root = ElementTree.fromstring(document)
    except (ElementTree.ParseError, ValueError) as error:
        raise NvidiaSmiFormatError("the answer is not well-formed XML: {0}".format(error)) from error
    if root.tag != "nvidia_smi_log":
        raise NvidiaSmiFormatError("the root element is {0}, not nvidia_smi_log".format(root.tag))
    return root


def _texts(node: ElementTree.Element, places: Tuple[str, ...]) -> List[str]:
    """The texts at ``places``; where a whole block is one word (``N/A``), that word stands for each value in it."""
    found: List[str] = []
    for place in places:
        here: Optional[ElementTree.Element] = node
        for part in place.split("/"):
            child = here.find(part) if here is not None else None
            if child is None and here is not None and here is not node and (here.text or "").strip():
                break
            here = child
        if here is not None:
            found.append(here.text or "")
    return found


def _gpu(index: int, node: ElementTree.Element, log: MissingLog) -> Gpu:
    prefix = "gpus[{0}].".format(index)

    def lookup(field: Field) -> List[str]:
        return _texts(node, field.xml)

    return Gpu(
        index=index,
        bus_id=_bus_id(node, prefix, log),
        mig_devices=_mig_devices(node),
        processes=_processes(node),
        **read_values(lookup, SOURCE, prefix, log),
    )


def _bus_id(node: ElementTree.Element, prefix: str, log: MissingLog) -> Optional[str]:
    try:
        return normal_bus_id(node.get("id", ""))
    except ValueError:
        value: Optional[str]
        value, missing = read_field(_texts(node, ("pci/pci_bus_id",)), normal_bus_id, SOURCE)
        if missing is not None:
            log.add(prefix + "bus_id", missing)
        return value


def _mig_devices(node: ElementTree.Element) -> Tuple[MigDevice, ...]:
    """MIG devices in the XML, which names neither their profile nor, in most branches, their UUID."""
    found: List[MigDevice] = []
    for index, item in enumerate(node.iterfind("mig_devices/mig_device")):
        number, instance, compute = (
            _optional(item.findtext(tag), integer) for tag in ("index", "gpu_instance_id", "compute_instance_id")
        )
        found.append(
            MigDevice(
                index=index if number is None else number,
                gpu_instance=instance,
                compute_instance=compute,
                profile=None,
                uuid=_optional(item.findtext("uuid"), str),
                memory_total_bytes=_optional(item.findtext("fb_memory_usage/total"), in_bytes),
            )
        )
    return tuple(found)


def _processes(node: ElementTree.Element) -> Tuple[GpuProcess, ...]:
    """Processes by pid; a process that is listed as C and as G is one process."""
    found: Dict[int, GpuProcess] = {}
    for item in node.iterfind("processes/process_info"):
        pid = _optional(item.findtext("pid"), integer)
        if pid is None:
            continue
        kind = (item.findtext("type") or "").strip()
        earlier = found.get(pid)
        kinds = set(earlier.kinds if earlier else ()) | ({kind} if kind else set())
        memory = _optional(item.findtext("used_memory"), in_bytes)
        found[pid] = GpuProcess(
            pid=pid,
            kinds=tuple(sorted(kinds)),
            name=(item.findtext("process_name") or "").strip() or None,
            memory_bytes=memory if memory is not None else (earlier.memory_bytes if earlier else None),
        )
    return tuple(found[pid] for pid in sorted(found))


def _optional(text: Optional[str], convert: Any) -> Any:
    return read_field([] if text is None else [text], convert, SOURCE)[0]
