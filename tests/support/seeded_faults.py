"""The shape of a seeded fault: one named defect in an otherwise healthy reading, and the code that must name it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SeededFault:
    """One defect and what must be said about it.

    ``area`` groups rows of the table (``host``, ``capacity``, ``nccl``). ``expected`` is the code of the finding that must be
    bad (``fail`` or ``warn``, or ``unknown`` where the fault is that something cannot be seen); it is empty for a healthy variant,
    of which no finding may be bad. ``findings`` judges the reading and returns findings as ``Finding.as_dict`` makes them.
    """

    name: str
    area: str
    expected: str
    findings: Callable[[], list[dict[str, Any]]]
