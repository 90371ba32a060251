"""Reads what DCGM's exporter says about GPUs (``DCGM_FI_DEV_*`` in Prometheus' text format). Pure; raises ``DcgmMetricsError``."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import Field, Gpu, normal_bus_id, read_values
from ansible_collections.baremetal.gpu.plugins.module_utils.kernel_log import XID, Event
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import MissingLog
from ansible_collections.baremetal.gpu.plugins.module_utils.nvidia_smi import SmiDocument
from ansible_collections.baremetal.gpu.plugins.module_utils.plain_text import plain

SOURCE = "DCGM exporter"

_SAMPLE = re.compile(r"^(DCGM_FI_DEV_\w{1,80})\{(.*)\}\s+(\S{1,40})(?:\s+\d{1,20})?\s*$")
_LABEL = re.compile(r'([A-Za-z_]\w{0,63})="((?:[^"\\]|\\.){0,400})"')
_VALUE = re.compile(r"^[0-9]{1,18}(?:\.[0-9]{1,9})?(?:[eE]\+?[0-9]{1,2})?$")

# DCGM's families under the names of gpu_fields, and how their numbers are written there.
_FAMILIES: Dict[str, Tuple[str, Callable[[float], str]]] = {
    "DCGM_FI_DEV_GPU_TEMP": ("temperature.gpu_c", lambda value: str(int(value))),
    "DCGM_FI_DEV_POWER_USAGE": ("power.draw_w", "{0:.2f}".format),
    "DCGM_FI_DEV_SM_CLOCK": ("clocks.sm_mhz", lambda value: str(int(value))),
    "DCGM_FI_DEV_GPU_UTIL": ("utilization_percent", lambda value: str(int(value))),
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": ("pcie.replays", lambda value: str(int(value))),
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": ("ecc.volatile.uncorrectable_total", lambda value: str(int(value))),
    "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL": ("ecc.aggregate.uncorrectable_total", lambda value: str(int(value))),
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": ("remapped_rows.correctable", lambda value: str(int(value))),
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": ("remapped_rows.uncorrectable", lambda value: str(int(value))),
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": ("remapped_rows.failure", lambda value: "Yes" if value else "No"),
    "DCGM_FI_DEV_ROW_REMAP_PENDING": ("remapped_rows.pending", lambda value: "Yes" if value else "No"),
}
_LAST_XID = "DCGM_FI_DEV_XID_ERRORS"


class DcgmMetricsError(ValueError):
    """The text has no series of DCGM about a GPU."""


def parse(text: str) -> Tuple[SmiDocument, Tuple[Event, ...]]:
    """GPUs and their last Xids. Raises ``DcgmMetricsError`` when there is no series about a GPU."""
    texts: Dict[str, Dict[str, str]] = {}
    xids: List[Event] = []
    driver = None
    for line in plain(text).split("\n"):
        sample = _SAMPLE.match(line)
        if sample is None:
            continue
        labels = dict(_LABEL.findall(sample.group(2)))
        name = labels.get("UUID") or labels.get("gpu")
        if name is None:
            continue
        driver = labels.get("DCGM_FI_DRIVER_VERSION") or driver
        gpu = texts.setdefault(name, {})
        for label, field in (("UUID", "uuid"), ("modelName", "product_name"), ("pci_bus_id", "bus_id")):
            if labels.get(label):
                gpu[field] = labels[label]
        if not _VALUE.match(sample.group(3)):
            continue
        value = float(sample.group(3))
        if sample.group(1) in _FAMILIES:
            field, written = _FAMILIES[sample.group(1)]
            gpu[field] = written(value)
        elif sample.group(1) == _LAST_XID and value > 0:
            xids.append(Event(XID, _bus(gpu), int(value), line.strip()[:300], details={"uuid": gpu.get("uuid")}))
    if not texts:
        raise DcgmMetricsError("there is no series DCGM_FI_DEV_* of a GPU")
    log = MissingLog()
    gpus = tuple(_gpu(index, item, log) for index, item in enumerate(texts.values()))
    return SmiDocument(driver, None, None, gpus, log.entries), tuple(xids)


def _bus(texts: Dict[str, str]) -> Any:
    try:
        return normal_bus_id(texts.get("bus_id", ""))
    except ValueError:
        return None


def _gpu(index: int, texts: Dict[str, str], log: MissingLog) -> Gpu:
    def lookup(field: Field) -> List[str]:
        return [texts[field.name]] if field.name in texts else []

    return Gpu(index=index, bus_id=_bus(texts), **read_values(lookup, SOURCE, "gpus[{0}].".format(index), log))
