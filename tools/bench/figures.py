"""Statistics of repeated measurements. A single figure says nothing on a shared machine, so everything is a spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Minimum, median and maximum of repeated measurements, all in the unit of the samples."""

    minimum: float
    median: float
    maximum: float
    count: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Raises ValueError without samples: nothing measured is not zero."""
        if not samples:
            raise ValueError("no samples")
        return cls(min(samples), statistics.median(samples), max(samples), len(samples))

    def text(self, digits: int = 1) -> str:
        """`median (minimum to maximum)`, or the one figure there is."""
        if self.count == 1:
            return f"{self.median:.{digits}f}"
        return f"{self.median:.{digits}f} ({self.minimum:.{digits}f} to {self.maximum:.{digits}f})"


def pairwise_ratios(measured: Sequence[float], yardstick: Sequence[float]) -> list[float]:
    """`measured / yardstick` pair by pair: what drifts between pairs (the machine's speed) cancels out within one.

    Raises ValueError when the samples do not form pairs.
    """
    return [a / b for a, b in zip(measured, yardstick, strict=True)]


def pairwise_differences(measured: Sequence[float], yardstick: Sequence[float]) -> list[float]:
    """`measured - yardstick` pair by pair. Raises ValueError when the samples do not form pairs."""
    return [a - b for a, b in zip(measured, yardstick, strict=True)]


@dataclass(frozen=True)
class Line:
    """A straight line `y = intercept + slope * x`, and the part of the samples' variance that it explains."""

    slope: float
    intercept: float
    r_squared: float

    @classmethod
    def fit(cls, points: Sequence[tuple[float, float]]) -> Line:
        """Ordinary least squares. Raises ValueError with fewer than two different x: no slope can be seen."""
        if len({x for x, _y in points}) < 2:
            raise ValueError("a slope needs measurements at two places or more")
        xs, ys = [x for x, _y in points], [y for _x, y in points]
        slope, intercept = statistics.linear_regression(xs, ys)
        mean = statistics.fmean(ys)
        total = sum((y - mean) ** 2 for y in ys)
        residual = sum((y - intercept - slope * x) ** 2 for x, y in points)
        return cls(slope, intercept, 1.0 if total == 0 else 1.0 - residual / total)

    def at(self, x: float) -> float:
        return self.intercept + self.slope * x
