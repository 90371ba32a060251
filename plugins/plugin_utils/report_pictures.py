"""Which evidence of findings is drawn, and as what. Pure; the page's template draws what is computed here.

These keys of a finding's ``evidence`` are pictures, whatever the finding's code is:

``rows``
    Bus bandwidth by message size: a list of ``[size in bytes, GB/s or null]``. ``minimum_gb_per_s`` beside it is the threshold, null or
    absent where none is known. ``nccl_health`` gives them for each collective.
``pairs``
    Measurements between two nodes: a list of mappings with ``first``, ``second``, ``busbw_gb_per_s`` (GB/s, or null when the test failed,
    then ``failure`` says how), ``minimum_gb_per_s`` and ``bad``; ``rail``, ``stage`` and ``round`` where they apply. ``pairs_of`` makes
    them of what an isolation measured.

Evidence of another form is not drawn; it is shown as text as any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.isolation import Evidence

ROWS = "rows"
MINIMUM = "minimum_gb_per_s"
PAIRS = "pairs"
DRAWN = (ROWS, PAIRS)

WIDTH, HEIGHT = 340, 210
"""Of a picture in units that are pixels on a narrow phone, so that its text can be read there."""
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 14, 34

MOST_NODES = 256
"""Beyond it a cell of the matrix would be too small to be seen."""
MOST_NAMES = 20
"""Nodes up to which the matrix names each of its lines."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where it stands, and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Point:
    """One measured size in the picture, and in words."""

    x: float
    y: float
    label: str
    below: bool
    """Whether it is slower than the threshold. It is a failure at the largest size only; small messages are slow anywhere."""


@dataclass(frozen=True)
class Curve:
    """Bus bandwidth by message size. ``lines`` are runs of points without a gap, ``threshold`` is its height in the picture."""

    points: tuple[Point, ...]
    lines: tuple[str, ...]
    missing: tuple[str, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    threshold: Tick | None
    summary: str


@dataclass(frozen=True)
class Cell:
    """The measurements between two nodes; ``grade`` is 0 (failed or slow) to 4 (fast)."""

    x: float
    y: float
    grade: int
    bad: bool
    label: str


@dataclass(frozen=True)
class Matrix:
    """Measured pairs of nodes: the lower half of a square, because a pair has no direction."""

    nodes: tuple[str, ...]
    cells: tuple[Cell, ...]
    size: float
    """Width of a cell."""
    origin: float
    """Where the square begins, beside and above the nodes' numbers."""
    numbered: bool
    bad: tuple[str, ...]
    summary: str


def pairs_of(measured: Iterable[Evidence]) -> list[dict[str, Any]]:
    """The measurements of an isolation, in order, as evidence of a finding."""
    return [
        {
            "first": item.measurement.pair.first,
            "second": item.measurement.pair.second,
            "rail": item.measurement.pair.rail,
            "busbw_gb_per_s": item.measurement.busbw_gb_per_s,
            MINIMUM: item.minimum_gb_per_s,
            "failure": item.measurement.failure,
            "bad": item.bad,
            "stage": item.stage,
            "round": item.round_number,
        }
        for item in measured
    ]


def curve(evidence: Mapping[str, Any]) -> Curve | None:
    """The curve of a finding's evidence; None where there are no rows that can be drawn."""
    rows = _rows(evidence.get(ROWS))
    known = [(size, value) for size, value in rows if value is not None]
    if not known:
        return None
    minimum = _number(evidence.get(MINIMUM))
    top = _nice(max([value for _size, value in known] + ([minimum] if minimum is not None else [])))
    low, high = math.log2(rows[0][0]), math.log2(rows[-1][0])

    def x_of(size: float) -> float:
        span = high - low
        return round(LEFT + (WIDTH - LEFT - RIGHT) * ((math.log2(size) - low) / span if span else 0.5), 1)

    def y_of(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)

    points = tuple(
        Point(x_of(size), y_of(value), f"{bytes_said(size)}: {value:g} GB/s", minimum is not None and value < minimum)
        for size, value in known
    )
    size, value = known[-1]
    against = "no threshold is known" if minimum is None else f"threshold {minimum:g} GB/s"
    return Curve(
        points=points,
        lines=_lines(rows, x_of, y_of),
        missing=tuple(bytes_said(size) for size, value in rows if value is None),
        x_ticks=tuple(Tick(x_of(size), bytes_said(size)) for size in _sizes(rows[0][0], rows[-1][0])),
        y_ticks=tuple(Tick(y_of(top * part / 4), f"{top * part / 4:g}") for part in range(5)),
        threshold=None if minimum is None else Tick(y_of(minimum), f"{minimum:g}"),
        summary=f"{value:g} GB/s at {bytes_said(size)}, {against}",
    )


def matrix(evidence: Mapping[str, Any]) -> Matrix | None:
    """The matrix of a finding's evidence; None where there are no pairs that can be drawn."""
    measured = [item for item in _listed(evidence.get(PAIRS)) if isinstance(item, Mapping) and _named(item)]
    nodes = tuple(dict.fromkeys(str(item[key]) for item in measured for key in ("first", "second")))
    if not measured or len(nodes) > MOST_NODES:
        return None
    by_pair: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for item in measured:
        one, other = sorted((nodes.index(str(item["first"])), nodes.index(str(item["second"]))))
        by_pair.setdefault((one, other), []).append(item)
    numbered = len(nodes) <= MOST_NAMES
    origin = 22.0 if numbered else 4.0
    size = min(28.0, (WIDTH - origin - 4) / len(nodes))
    cells = tuple(
        _cell(items, round(origin + one * size, 2), round(origin + other * size, 2))
        for (one, other), items in sorted(by_pair.items())
    )
    bad = tuple(_pair_said(item) for item in measured if _is_bad(item))
    return Matrix(
        nodes=nodes,
        cells=cells,
        size=round(size, 2),
        origin=origin,
        numbered=numbered,
        bad=bad,
        summary=f"{len(measured)} measurements of {len(by_pair)} pairs among {len(nodes)} nodes, {len(bad)} bad",
    )


def bytes_said(size: float) -> str:
    """A size in the largest unit that it is a whole number of, as nccl-tests take them: ``1 GiB``."""
    power = 0
    while size >= 1024 and size % 1024 == 0 and power < len(_UNITS) - 1:
        size, power = size / 1024, power + 1
    return f"{size:g} {_UNITS[power]}"


def _rows(given: Any) -> list[tuple[float, float | None]]:
    """Rows in order of size, one per size. What is no row is left out."""
    rows: dict[float, float | None] = {}
    for row in _listed(given):
        if isinstance(row, (list, tuple)) and len(row) == 2:
            size = _number(row[0])
            if size:
                rows[size] = _number(row[1])
    return sorted(rows.items())


def _lines(rows: Sequence[tuple[float, float | None]], x_of: Any, y_of: Any) -> tuple[str, ...]:
    """Coordinates of each run of rows without a gap."""
    runs: list[list[str]] = [[]]
    for size, value in rows:
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{x_of(size)},{y_of(value)}")
    return tuple(" ".join(run) for run in runs if len(run) > 1)


def _sizes(lowest: float, highest: float, most: int = 6) -> list[float]:
    """Powers of two within the axis, at even distances, at most ``most`` of them; its left end where there is none."""
    first, last = math.ceil(math.log2(lowest)), math.floor(math.log2(highest))
    step = max(1, math.ceil((last - first + 1) / most))
    return [2.0**power for power in range(first, last + 1, step)] or [lowest]


def _nice(highest: float) -> float:
    """The end of an axis: 1, 2, 4, 6 or 8 times a power of ten, not below ``highest``."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next((factor * power for factor in (1, 2, 4, 6, 8) if factor * power >= highest), 10 * power)


def _cell(items: Sequence[Mapping[str, Any]], x: float, y: float) -> Cell:
    return Cell(
        x=x,
        y=y,
        grade=min(_grade(item) for item in items),
        bad=any(_is_bad(item) for item in items),
        label="; ".join(_pair_said(item) for item in items),
    )


def _grade(item: Mapping[str, Any]) -> int:
    """0 when it failed or is bad, else by how far it lies above its minimum: up to 5, 10, 15 % and more."""
    value, minimum = _number(item.get("busbw_gb_per_s")), _number(item.get(MINIMUM))
    if value is None or _is_bad(item):
        return 0
    if not minimum:
        return 4
    return 1 + min(3, max(0, int((value / minimum - 1) / 0.05)))


def _is_bad(item: Mapping[str, Any]) -> bool:
    """Whether the isolation called it bad; without its word, a test that failed is bad."""
    bad = item.get("bad")
    return bad if isinstance(bad, bool) else _number(item.get("busbw_gb_per_s")) is None


def _pair_said(item: Mapping[str, Any]) -> str:
    value, minimum = _number(item.get("busbw_gb_per_s")), _number(item.get(MINIMUM))
    result = str(item.get("failure") or "no result") if value is None else f"{value:g} GB/s"
    against = f", at least {minimum:.4g} is due" if minimum else ""
    rail = f" rail {item['rail']}" if item.get("rail") is not None else ""
    return f"{item['first']} with {item['second']}{rail}: {result}{against}"


def _named(item: Mapping[str, Any]) -> bool:
    return bool(item.get("first")) and bool(item.get("second")) and item["first"] != item["second"]


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _number(value: Any) -> float | None:
    """A finite number that is not negative; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
