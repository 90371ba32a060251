"""Reads the CSV of ``nvidia-smi --query-gpu``. Pure; raises nothing but ``NvidiaSmiFormatError``."""

from __future__ import annotations

import csv
import re
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import (
    EVENT_BITS,
    FIELDS,
    Field,
    Gpu,
    normal_bus_id,
    read_field,
    read_values,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import Missing, MissingLog, classify, no_field
from ansible_collections.baremetal.gpu.plugins.module_utils.nvidia_smi import NvidiaSmiFormatError, SmiDocument
from ansible_collections.baremetal.gpu.plugins.module_utils.plain_text import plain

SOURCE = "nvidia-smi --query-gpu"

# Asked for where the XML cannot be read. A column that a driver does not know makes it refuse the whole query, so these are
# columns that every branch from 535 on has.
QUERY = (
    "index,uuid,name,pci.bus_id,driver_version,count,compute_cap,vbios_version,memory.total,memory.used,mig.mode.current,"
    "mig.mode.pending,compute_mode,persistence_mode,ecc.mode.current,ecc.mode.pending,pstate,pcie.link.gen.current,"
    "pcie.link.gen.max,pcie.link.width.current,pcie.link.width.max,ecc.errors.corrected.volatile.sram,"
    "ecc.errors.corrected.volatile.dram,ecc.errors.uncorrected.volatile.dram,ecc.errors.uncorrected.volatile.sram,"
    "ecc.errors.uncorrected.volatile.total,ecc.errors.uncorrected.aggregate.sram,ecc.errors.uncorrected.aggregate.total,"
    "temperature.gpu,temperature.memory,power.draw,power.limit,power.default_limit,power.max_limit,clocks.sm,clocks.max.sm"
)

_KNOWN = {column for field in FIELDS for column in field.csv} | {"index", "pci.bus_id", "count", "driver_version"}
_UNIT = re.compile(r"\s*\[[^\]]*\]$")
_COMMAND = re.compile(r"--query-gpu=(\S+)")

Row = Dict[str, str]


def parse_all(text: str) -> List[SmiDocument]:
    """One document for each table in a text. Raises ``NvidiaSmiFormatError`` when there is no table with a GPU.

    A table has a line of column names, or (``noheader``) the command that names them stands before it.
    """
    documents = [document(rows) for rows in _tables(plain(text)) if rows]
    if not documents:
        raise NvidiaSmiFormatError("the answer is no table of nvidia-smi --query-gpu")
    return documents


def _tables(text: str) -> Iterator[List[Row]]:
    columns: List[str] = []
    rows: List[Row] = []
    for line in text.split("\n"):
        command = _COMMAND.search(line)
        cells = _cells(line)
        names = [_UNIT.sub("", cell) for cell in cells]
        if command is not None or _is_header(names):
            yield rows
            rows = []
            columns = command.group(1).split(",") if command is not None else names
        elif columns and len(cells) == len(columns) and not line.startswith("#"):
            rows.append(dict(zip(columns, cells)))
        elif line.strip() and rows:
            yield rows
            columns, rows = [], []
    yield rows


def _cells(line: str) -> List[str]:
    try:
        return [cell.strip() for row in csv.reader([line], skipinitialspace=True) for cell in row]
    except csv.Error:
        return []


def _is_header(names: List[str]) -> bool:
    known = sum(name in _KNOWN for name in names)
    return known >= 1 and ("name" in names or "uuid" in names or "gpu_uuid" in names or known >= 3)


def document(rows: List[Row]) -> SmiDocument:
    """The GPUs of one table, whose rows are texts by column name. At least one row."""
    log = MissingLog()
    driver, missing = _column(rows[0], "driver_version")
    if missing is not None:
        log.add("driver_version", missing)
    log.add("cuda_version", no_field(SOURCE))
    count = rows[0].get("count", "")
    attached = int(count) if re.match(r"^[0-9]{1,4}$", count) else None
    if attached is None:
        log.add("attached_gpus", no_field(SOURCE))
    return SmiDocument(
        driver_version=driver,
        cuda_version=None,
        attached_gpus=attached,
        gpus=tuple(_gpu(index, row, log) for index, row in enumerate(rows)),
        missing=log.entries,
    )


def _column(row: Row, name: str) -> Tuple[Any, Optional[Missing]]:
    return read_field([row[name]] if name in row else [], str, SOURCE)


def _gpu(index: int, row: Row, log: MissingLog) -> Gpu:
    prefix = "gpus[{0}].".format(index)
    events = _events(row)

    def lookup(field: Field) -> List[str]:
        texts = [row[column] for column in field.csv if column in row]
        event = field.name.rpartition(".")[2]
        if field.name.startswith("clock_events.") and event in events:
            texts.append(events[event])
        return texts

    bus, missing = read_field([row["pci.bus_id"]] if "pci.bus_id" in row else [], normal_bus_id, SOURCE)
    if missing is not None:
        log.add(prefix + "bus_id", missing)
    return Gpu(index=index, bus_id=bus, **read_values(lookup, SOURCE, prefix, log))


def _events(row: Row) -> Dict[str, str]:
    """Clock events out of the mask that stands for all of them."""
    for name in ("clocks_event_reasons.active", "clocks_throttle_reasons.active"):
        mask = _mask(row.get(name))
        if mask is not None:
            return {event: "Active" if mask & bit else "Not Active" for event, bit in EVENT_BITS.items()}
    return {}


def _mask(text: Optional[str]) -> Optional[int]:
    if text is None or classify(text, SOURCE) is not None or not re.match(r"^0x[0-9a-fA-F]{1,16}$", text):
        return None
    return int(text, 16)
