"""Recognises captures that were taken on a host and gives them the structure of ``gpu_info``. Pure; raises nothing.

A file may hold several answers one after the other, with prompts, comments and colours. Whatever is recognised is read; a file in
which nothing is recognised says so, because nothing read is not nothing wrong.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils import (
    dcgm_diag,
    dcgm_metrics,
    infiniband,
    kernel_log,
    nvidia_smi,
    nvlink,
    smi_csv,
    smi_report,
    smi_table,
    topology,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_readings import SCHEMA
from ansible_collections.baremetal.gpu.plugins.module_utils.host_state import fabric_log_errors
from ansible_collections.baremetal.gpu.plugins.module_utils.plain_text import plain

DRIVER = "driver"
NVLINKS = "nvlinks"
TOPOLOGY = "topology"
RDMA = "rdma"
KERNEL_LOG = "kernel_log"
FABRIC_LOG = "fabric_log"
DCGM = "dcgm"

_SMI_FAILURE = re.compile(
    r"^.{0,80}?(NVIDIA-SMI has failed because.*|Failed to initialize NVML.*|NVML library version.*|No devices were found.*|"
    r"Unable to determine the device handle for .*|.*couldn't find libnvidia-ml.*|GPU is lost.*)$",
    re.MULTILINE | re.IGNORECASE,
)
_FABRIC_LINE = re.compile(r"^\[\w{3} \d{1,2} \d{4} [\d:]{8}\] \[\w{1,10}\] \[tid \d{1,10}\]", re.MULTILINE)
_KERNEL_LINE = re.compile(
    r"^(?:\d{1,5},\d{1,20},\d{1,20},|(?:<\d{1,3}>)?\[\s*\d{1,10}\.\d{1,9}\] |\[\w{3} \w{3} +\d{1,2} [\d:]{8} \d{4}\] |"
    r".{0,80}?\b(?:kernel|systemd-networkd\[\d{1,8}\]|systemd\[\d{1,8}\]): )"
)


@dataclass(frozen=True)
class Capture:
    """What one answer in a file says: the parts that it shows, and readings with ``None`` for all others."""

    parts: Tuple[str, ...]
    readings: Dict[str, Any]


def recognise(text: str) -> Tuple[Capture, ...]:
    """Everything that is recognised in a file's text; several answers of the driver are several captures."""
    documents, message = _documents(text)
    extra, parts = _others(text)
    if not documents:
        if message is not None:
            return (Capture((DRIVER, *parts), _readings(None, message, extra)),)
        return (Capture(tuple(parts), _readings(None, None, extra)),) if parts else ()
    return tuple(Capture((DRIVER, *parts), _readings(document, message, extra)) for document in documents)


def _documents(text: str) -> Tuple[List[nvidia_smi.SmiDocument], Optional[str]]:
    """Answers of the driver, and what it says in place of one."""
    failure = _SMI_FAILURE.search(plain(text))
    message = failure.group(1).strip()[:300] if failure is not None else None
    if "<nvidia_smi_log" in text:
        try:
            return nvidia_smi.parse_all(plain(text)), message
        except nvidia_smi.NvidiaSmiFormatError as error:
            return [], "nvidia-smi -q -x: {0}".format(error)
    found: List[nvidia_smi.SmiDocument] = []
    for reader in (smi_report.parse_all, smi_csv.parse_all, _table):
        try:
            found.extend(reader(text))
        except nvidia_smi.NvidiaSmiFormatError as error:
            if smi_report.MARK in text and reader is smi_report.parse_all:
                message = message or str(error)
    return found or _listed(text), message


def _listed(text: str) -> List[nvidia_smi.SmiDocument]:
    """GPUs of ``nvidia-smi -L``, which names no more than product and UUID; for a text without any fuller answer."""
    listing = nvlink.parse_listing(text)
    if not listing.gpus or any(_says_something(item) for item in nvlink.parse_status(text)):
        return []
    return [
        smi_csv.document([{"index": str(number), "name": name, "uuid": uuid} for number, name, uuid in listing.gpus])
    ]


def _says_something(item: nvlink.NvLinks) -> bool:
    return bool(item.speeds_gb_per_s) or item.all_inactive or item.refused is not None


def _table(text: str) -> List[nvidia_smi.SmiDocument]:
    return [smi_table.parse(text)]


def _others(text: str) -> Tuple[Dict[str, Any], List[str]]:
    """Keys of the readings that the text gives beside the driver's answer, and the parts they belong to."""
    extra: Dict[str, Any] = {}
    parts: List[str] = []
    links = [item for item in nvlink.parse_status(text) if _says_something(item)]
    if links:
        extra["nvlinks"] = [asdict(item) for item in links]
        parts.append(NVLINKS)
    if topology.is_matrix(text):
        extra["topology"] = topology.parse(text)
        parts.append(TOPOLOGY)
    files = {**infiniband.parse_dump(text), **infiniband.parse_ibstat(text)}
    adapters = [item for item in infiniband.parse(files) if item.ports]
    if adapters:
        extra["rdma_adapters"] = [asdict(item) for item in adapters]
        parts.append(RDMA)
    if any(root in text for root in dcgm_diag.ROOTS):
        extra["dcgm"] = read_dcgm(text)
        parts.append(DCGM)
    elif "DCGM_FI_DEV_" in text:
        _add_metrics(text, extra, parts)
    if _FABRIC_LINE.search(plain(text)):
        extra["host"] = {"fabric_manager": {"log_errors": list(fabric_log_errors(plain(text)))}}
        parts.append(FABRIC_LOG)
    elif KERNEL_LOG not in parts:
        _add_kernel_log(text, extra, parts)
    return extra, parts


def _add_metrics(text: str, extra: Dict[str, Any], parts: List[str]) -> None:
    try:
        document, xids = dcgm_metrics.parse(text)
    except dcgm_metrics.DcgmMetricsError:
        return
    extra["metrics"] = document
    parts.append(DRIVER)
    if "DCGM_FI_DEV_XID_ERRORS" in text:
        parts.append(KERNEL_LOG)
        extra["kernel_log"] = _log(dcgm_metrics.SOURCE, len(document.gpus), xids)


def _add_kernel_log(text: str, extra: Dict[str, Any], parts: List[str]) -> None:
    lines = [line for line in plain(text).split("\n") if line.strip() and not line.startswith("#")]
    events = kernel_log.events_in(kernel_log.lines_of("\n".join(lines)))
    alike = sum(1 for line in lines if _KERNEL_LINE.match(line))
    if events or (lines and alike * 2 > len(lines)):
        extra["kernel_log"] = _log("capture", len(lines), events)
        parts.append(KERNEL_LOG)


def _log(source: str, lines: int, events: Tuple[kernel_log.Event, ...]) -> Dict[str, Any]:
    return {
        "source": source,
        "complete": True,
        "lines": lines,
        "since_s": None,
        "events": [asdict(event) for event in events],
    }


def read_dcgm(text: str) -> Dict[str, Any]:
    """A diagnostic as plain data; ``error`` says why it cannot be read."""
    try:
        return {"error": None, **asdict(dcgm_diag.parse(text))}
    except dcgm_diag.DcgmFormatError as error:
        return {"error": str(error)}


def _readings(
    document: Optional[nvidia_smi.SmiDocument], message: Optional[str], extra: Dict[str, Any]
) -> Dict[str, Any]:
    document = document or extra.get("metrics")
    missing = {} if document is None else {path: asdict(item) for path, item in document.missing.items()}
    if document is None:
        missing["gpus"] = {"kind": "failed", "reason": message or "the capture does not show it"}
    return {
        "schema": SCHEMA,
        "simulated": False,
        "nvidia_smi": {"answered": document is not None, "message": message, "source": "capture"},
        "driver": {
            "version": document.driver_version if document is not None else None,
            "kernel_version": None,
            "library_version": None,
        },
        "attached_gpus": document.attached_gpus if document is not None else None,
        "gpus": None if document is None else [asdict(gpu) for gpu in document.gpus],
        "pci_gpus": None,
        "nvlinks": extra.get("nvlinks"),
        "topology": extra.get("topology"),
        "rdma_adapters": extra.get("rdma_adapters"),
        "host": extra.get("host"),
        "kernel_log": extra.get("kernel_log"),
        "dcgm": extra.get("dcgm"),
        "counters": None,
        "cdi_specifications": [],
        "mps_daemons": [],
        "missing": missing,
    }
