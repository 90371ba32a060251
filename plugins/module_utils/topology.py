"""Reads how GPUs are connected, from ``nvidia-smi topo -m``. Pure; raises nothing."""

from __future__ import annotations

import re
from typing import Dict, List

from ansible_collections.baremetal.gpu.plugins.module_utils.plain_text import plain

_GPU = re.compile(r"^GPU(\d{1,3})$")
_LINK = re.compile(r"^(?:NV\d{1,3}|PIX|PXB|PHB|NODE|SYS|SOC)$")


def parse(text: str) -> Dict[str, str]:
    """The connection of each pair of GPUs (``GPU0-GPU1``: ``NV18``, ``PIX``, ``SYS``), the lower number first.

    Empty for a single GPU, and for a text that is no such matrix.
    """
    pairs: Dict[str, str] = {}
    columns: List[str] = []
    for line in plain(text).split("\n"):
        cells = line.split()
        if not cells or _GPU.match(cells[0]) is None:
            continue
        # The line of column names begins with a GPU as well, but not with a connection after it.
        if len(cells) < 2 or not (cells[1] == "X" or _LINK.match(cells[1])):
            columns = [cell for cell in cells if _GPU.match(cell)]
            continue
        for other, cell in zip(columns, cells[1:]):
            if _LINK.match(cell) and _number(cells[0]) < _number(other):
                pairs["{0}-{1}".format(cells[0], other)] = cell
    return pairs


def is_matrix(text: str) -> bool:
    """Whether a text has the matrix's rows at all, also that of a single GPU."""
    return re.search(r"^GPU0\s+X\s", plain(text), re.MULTILINE) is not None


def _number(name: str) -> int:
    match = _GPU.match(name)
    return int(match.group(1)) if match is not None else -1
