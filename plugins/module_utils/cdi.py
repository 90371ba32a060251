"""Reads Container Device Interface (CDI) specifications, as ``nvidia-ctk cdi generate`` writes them. Pure.

Managed hosts may lack PyYAML, so YAML is not parsed but scanned: top-level keys and the names below ``devices`` in
block style, which is what nvidia-ctk writes. JSON is parsed. A file that the scan cannot read is reported as such.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

# Libraries of the driver end in its version: /usr/lib/x86_64-linux-gnu/libcuda.so.550.90.07
_DRIVER_VERSION = re.compile(r"\.so\.(\d{3,4}\.\d{1,4}(?:\.\d{1,4})?)(?![\w.])")
_TOP_LEVEL = re.compile(r"^([A-Za-z]\w*):\s*(.*)$")
_ITEM = re.compile(r"^(\s*)-\s+(.*)$")
_NAME = re.compile(r"^(\s*)name:\s*(.*)$")


class CdiFormatError(ValueError):
    """The text is not a CDI specification that this scan understands."""


@dataclass(frozen=True)
class CdiSpecification:
    """What a specification offers. ``driver_versions`` are the versions in the names of the libraries it mounts."""

    version: Optional[str]
    kind: str
    devices: Tuple[str, ...]
    driver_versions: Tuple[str, ...]


def parse(text: str) -> CdiSpecification:
    """Read a specification in JSON or in block-style YAML. Raises ``CdiFormatError``."""
    if text.lstrip().startswith("{"):
        version, kind, devices = _from_json(text)
    else:
        version, kind, devices = _from_yaml(text)
    if not kind or "/" not in kind:
        raise CdiFormatError("no kind such as nvidia.com/gpu was found")
    return CdiSpecification(
        version=version or None,
        kind=kind,
        devices=tuple(devices),
        driver_versions=tuple(sorted(set(_DRIVER_VERSION.findall(text)))),
    )


def _from_json(text: str) -> Tuple[str, str, List[str]]:
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CdiFormatError("not JSON: {0}".format(error)) from error
    devices = data.get("devices")
    if not isinstance(devices, list):
        raise CdiFormatError("no list of devices was found")
    names = [str(device["name"]) for device in devices if isinstance(device, dict) and "name" in device]
    return str(data.get("cdiVersion") or ""), str(data.get("kind") or ""), names


def _from_yaml(text: str) -> Tuple[str, str, List[str]]:
    scalars: Dict[str, str] = {}
    devices: List[str] = []
    section = ""
    item_indent: Optional[int] = None
    for line in text.splitlines():
        top = _TOP_LEVEL.match(line)
        if top is not None:
            section, item_indent = top.group(1), None
            scalars[section] = _scalar(top.group(2))
            continue
        if section != "devices":
            continue
        item = _ITEM.match(line)
        # The first item sets the indent of the list; deeper items belong to a device's own lists.
        if item is not None and (item_indent is None or len(item.group(1)) == item_indent):
            item_indent = len(item.group(1))
            line = "{0}  {1}".format(item.group(1), item.group(2))
        name = _NAME.match(line)
        if name is not None and item_indent is not None and len(name.group(1)) == item_indent + 2:
            devices.append(_scalar(name.group(2)))
    return scalars.get("cdiVersion", ""), scalars.get("kind", ""), devices


def _scalar(text: str) -> str:
    stripped = text.strip()
    if len(stripped) >= 2 and stripped[0] == stripped[-1] and stripped[0] in "\"'":
        return stripped[1:-1]
    return stripped
