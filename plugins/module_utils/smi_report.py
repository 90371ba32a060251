"""Reads the text report of ``nvidia-smi -q``. Pure; raises nothing but ``NvidiaSmiFormatError``.

The report is a tree by indentation; the column of the colons differs between branches (42 to 52), so it is not used.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import (
    Field,
    Gpu,
    GpuProcess,
    in_bytes,
    integer,
    normal_bus_id,
    read_field,
    read_values,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import Missing, MissingLog
from ansible_collections.baremetal.gpu.plugins.module_utils.nvidia_smi import NvidiaSmiFormatError, SmiDocument
from ansible_collections.baremetal.gpu.plugins.module_utils.plain_text import plain

SOURCE = "nvidia-smi -q"
MARK = "NVSMI LOG"
"""The words of the line that begins a report."""

_LINE = re.compile(r"^( *)(\S.*?)(?:\s+:(?:\s+(.*?))?|\s*)$")
_GPU = re.compile(r"^GPU ([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])\s*$")

Rows = List[Tuple[str, str]]


def parse_all(text: str) -> List[SmiDocument]:
    """Every report in a text, which may hold several. Raises ``NvidiaSmiFormatError`` when there is none with a GPU."""
    parts = re.split(r"^=+ *" + MARK + r" *=+ *$", plain(text), flags=re.MULTILINE)
    documents = [_report(part) for part in parts[1:]]
    if not documents:
        raise NvidiaSmiFormatError("the answer is not a report of nvidia-smi -q")
    if not any(document.gpus for document in documents):
        raise NvidiaSmiFormatError("the report of nvidia-smi -q describes no GPU")
    return documents


def _report(text: str) -> SmiDocument:
    log = MissingLog()
    blocks: List[Tuple[Optional[str], List[str]]] = [(None, [])]
    for line in text.split("\n"):
        match = _GPU.match(line)
        if match is not None:
            blocks.append((match.group(1), []))
        elif line.startswith("#"):
            break  # what follows in a file of several captures
        else:
            blocks[-1][1].append(line)
    head = dict(_rows(blocks[0][1]))
    values = {}
    for name, label in (("driver_version", "Driver Version"), ("cuda_version", "CUDA Version")):
        values[name], missing = _read(head, label, str)
        if missing is not None:
            log.add(name, missing)
    attached, missing = _read(head, "Attached GPUs", integer)
    if missing is not None:
        log.add("attached_gpus", missing)
    return SmiDocument(
        driver_version=values["driver_version"],
        cuda_version=values["cuda_version"],
        attached_gpus=attached,
        gpus=tuple(_gpu(index, bus or "", lines, log) for index, (bus, lines) in enumerate(blocks[1:])),
        missing=log.entries,
    )


def _read(rows: Dict[str, str], label: str, convert: Callable[[str], Any]) -> Tuple[Any, Optional[Missing]]:
    return read_field([rows[label]] if label in rows else [], convert, SOURCE)


def _rows(lines: List[str]) -> Rows:
    """Each line as path and value; the path joins the labels that a line is indented below."""
    rows: Rows = []
    open_labels: List[Tuple[int, str]] = []
    for line in lines:
        match = _LINE.match(line.replace("\t", "    ").rstrip())
        if match is None:
            continue
        depth, label, value = len(match.group(1)), match.group(2).strip(), match.group(3)
        open_labels = [*((at, name) for at, name in open_labels if at < depth), (depth, label)]
        if value is not None:
            rows.append(("/".join(name for _at, name in open_labels), value))
    return rows


def _gpu(index: int, bus: str, lines: List[str], log: MissingLog) -> Gpu:
    prefix = "gpus[{0}].".format(index)
    rows = _rows(lines)
    # The first of equal paths counts: later ones belong to processes and MIG devices.
    first: Dict[str, str] = {}
    for path, value in rows:
        first.setdefault(path, value)

    def lookup(field: Field) -> List[str]:
        return [text for text in (_at(first, path) for path in field.text) if text is not None]

    values = read_values(lookup, SOURCE, prefix, log)
    return Gpu(index=index, bus_id=normal_bus_id(bus), processes=_processes(rows), **values)


def _at(rows: Dict[str, str], path: str) -> Optional[str]:
    """The value at a path; where a whole block is one word (``Remapped Rows : N/A``), that word."""
    parts = path.split("/")
    for length in range(len(parts), 0, -1):
        value = rows.get("/".join(parts[:length]))
        if value is not None:
            return value
    return None


def _processes(rows: Rows) -> Tuple[GpuProcess, ...]:
    found: Dict[int, GpuProcess] = {}
    item: Dict[str, str] = {}
    for path, value in [*rows, ("Processes/Process ID", "")]:
        parts = path.split("/")
        if parts[0] != "Processes":
            continue
        if parts[-1] == "Process ID" and item:
            _add_process(found, item)
            item = {}
        item[parts[-1]] = value
    return tuple(found[pid] for pid in sorted(found))


def _add_process(found: Dict[int, GpuProcess], item: Dict[str, str]) -> None:
    pid, _missing = read_field([item.get("Process ID", "")], integer, SOURCE)
    if pid is None:
        return
    kinds = set(item.get("Type", "").split("+")) - {""}
    memory, _missing = read_field([item.get("Used GPU Memory", "")], in_bytes, SOURCE)
    earlier = found.get(pid)
    found[pid] = GpuProcess(
        pid=pid,
        kinds=tuple(sorted(kinds | set(earlier.kinds if earlier else ()))),
        name=item.get("Name") or None,
        memory_bytes=memory,
    )
