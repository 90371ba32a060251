"""Reads the table that ``nvidia-smi`` prints by itself, as people paste it. Pure; raises nothing but ``NvidiaSmiFormatError``."""

from __future__ import annotations

import re
from typing import Dict, List, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import Field, Gpu, normal_bus_id, read_values
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import MissingLog, no_field
from ansible_collections.baremetal.gpu.plugins.module_utils.nvidia_smi import NvidiaSmiFormatError, SmiDocument
from ansible_collections.baremetal.gpu.plugins.module_utils.plain_text import plain

SOURCE = "nvidia-smi"

_VERSIONS = re.compile(r"Driver Version:\s*(\S+)(?:\s+CUDA Version:\s*(\S+))?")
_FIRST = re.compile(
    r"^\|\s*(\d+)\s+(\S.*?)\s+(On|Off|N/A|ERR!)\s*\|\s*([0-9A-Fa-f]{4,8}:[0-9A-Fa-f:.]+)\s+\S+\s*\|\s*(\S+)\s*\|"
)
_SECOND = re.compile(r"^\|\s*(\S+)\s+(\S+)\s+(P\d+|N/A|\S+)\s+(\S+)\s*/\s*(\S+)\s*\|\s*(.*?)\s*\|\s*(\S+)\s+(.*?)\s*\|")
_THIRD = re.compile(r"^\|\s*\|\s*\|\s*(\S.*?)\s*\|")
_TEMPERATURE = re.compile(r"^(\d+)C$")
_USAGE = re.compile(r"^(\d+MiB)\s*/\s*(\d+MiB)$")


def parse(text: str) -> SmiDocument:
    """Every GPU of the table. Raises ``NvidiaSmiFormatError`` when there is none."""
    lines = plain(text).split("\n")
    log = MissingLog()
    versions = next((match for match in map(_VERSIONS.search, lines) if match is not None), None)
    driver, cuda = (versions.group(1), versions.group(2)) if versions is not None else (None, None)
    for name, value in (("driver_version", driver), ("cuda_version", cuda), ("attached_gpus", None)):
        if value is None:
            log.add(name, no_field(SOURCE))
    gpus: List[Gpu] = []
    for number, line in enumerate(lines):
        first = _FIRST.match(line)
        if first is not None:
            try:
                bus = normal_bus_id(first.group(4))
            except ValueError:
                continue
            gpus.append(_gpu(len(gpus), bus, _texts(first, lines[number + 1 : number + 3]), log))
    if not gpus:
        raise NvidiaSmiFormatError("the answer is no table of nvidia-smi")
    return SmiDocument(driver, cuda, None, tuple(gpus), log.entries)


def _texts(first: re.Match[str], following: List[str]) -> Dict[str, str]:
    """The cells of a GPU's three lines, named as ``gpu_fields`` names them."""
    _number, name, persistence, _bus, errors = first.groups()
    texts = {"persistence_mode": {"On": "Enabled", "Off": "Disabled"}.get(persistence, persistence)}
    # A long name is cut, and a cut one says nothing certain.
    texts["product_name"] = "ERR!" if name.endswith("...") else name
    texts["ecc.volatile.uncorrectable_total"] = {"Off": "N/A"}.get(errors, errors)
    second = _SECOND.match(following[0]) if following else None
    if second is not None:
        _fan, temperature, state, draw, limit, memory, load, mode = second.groups()
        degrees = _TEMPERATURE.match(temperature)
        usage = _USAGE.match(memory)
        texts.update(
            {
                "temperature.gpu_c": degrees.group(1) if degrees is not None else temperature,
                "performance_state": state,
                "power.draw_w": _spaced(draw),
                "power.limit_w": _spaced(limit),
                "memory_used_bytes": _spaced(usage.group(1)) if usage is not None else memory,
                "memory_total_bytes": _spaced(usage.group(2)) if usage is not None else memory,
                "utilization_percent": load,
                "compute_mode": mode,
            }
        )
    third = _THIRD.match(following[1]) if len(following) > 1 else None
    if third is not None:
        texts["mig_mode"] = third.group(1).rstrip("*")
        if third.group(1).endswith("*"):
            texts["mig_mode_pending"] = "Disabled" if texts["mig_mode"] == "Enabled" else "Enabled"
        else:
            texts["mig_mode_pending"] = texts["mig_mode"]
    return texts


def _spaced(text: str) -> str:
    """``700W`` as ``700 W``, which is how the other answers write it."""
    match = re.match(r"^(\d+)(W|MiB)$", text)
    return "{0} {1}".format(*match.groups()) if match is not None else text


def _gpu(index: int, bus: Optional[str], texts: Dict[str, str], log: MissingLog) -> Gpu:
    def lookup(field: Field) -> List[str]:
        return [texts[field.name]] if field.name in texts else []

    values = read_values(lookup, SOURCE, "gpus[{0}].".format(index), log)
    return Gpu(index=index, bus_id=bus, **values)
