"""Versions as NVIDIA, Kubernetes and k3s write them, in one order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, total_ordering
from typing import Any, Tuple

# Digits with dots; then a candidate (-rc1), a second version (DCGM's exporter names DCGM's first) or a package's release, which says nothing here.
_VERSION = re.compile(
    r"v?(?P<parts>\d+(?:\.\d+)*)(?:-(?P<kind>alpha|beta|rc)\.?(?P<number>\d*)|-(?P<second>\d+(?:\.\d+)+))?(?:[-+~][\w.+~-]*)?"
)
_KINDS = {"alpha": 0, "beta": 1, "rc": 2}
_RELEASE = 3
# Above every number that a version has.
_NEWEST = 10**9


@total_ordering
@dataclass(frozen=True, eq=False)
class Version:
    """A version: its text, its place in the order, and its numbers.

    ``branch`` says that only the first number is known (driver 580). It stands for the newest release of that branch.
    """

    text: str
    order: Tuple[Tuple[int, ...], int, int, Tuple[int, ...]]
    parts: Tuple[int, ...]
    branch: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self.order == other.order

    def __lt__(self, other: Version) -> bool:
        return self.order < other.order

    def __hash__(self) -> int:
        return hash(self.order)

    def __str__(self) -> str:
        return self.text

    @property
    def line(self) -> Tuple[int, ...]:
        """Major and minor number."""
        return (*self.parts, 0, 0)[:2]

    def same_release(self, other: Version) -> bool:
        """Whether both may be one release: equal, or of one branch where one names no more than that."""
        if self.branch or other.branch:
            return self.parts[0] == other.parts[0]
        return self.order == other.order


def declared(text: Any) -> Version:
    """A version that somebody declares; a single number is a branch. Raises ``ValueError`` for anything else."""
    if isinstance(text, bool) or not isinstance(text, (str, int)):
        raise ValueError("it is of type {0}, and must be text in quotes".format(type(text).__name__))
    return _parsed(str(text).strip(), True)


def bound(text: str) -> Version:
    """A version as the table's rows name it: a single number is where the branch begins. Raises ``ValueError``."""
    return _parsed(text, False)


@cache
def _parsed(text: str, is_declared: bool) -> Version:
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError("it is no version")
    parts = tuple(map(int, match.group("parts").split(".")))
    branch = is_declared and len(parts) == 1
    significant = parts
    while len(significant) > 1 and significant[-1] == 0:
        significant = significant[:-1]
    kind = _KINDS.get(match.group("kind") or "", _RELEASE)
    second = tuple(map(int, (match.group("second") or "").split("."))) if match.group("second") else ()
    number = int(match.group("number") or 0)
    return Version(text, ((*significant, _NEWEST) if branch else significant, kind, number, second), parts, branch)
