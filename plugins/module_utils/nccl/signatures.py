"""Searches the lines of a log for known signatures of failures.

The signatures are data of the controller (``data/signatures/nccl.yml``); a host is given what it needs of them:
``id``, ``regex`` and ``needles``. A line is tried against an expression only when it has one of the signature's needles,
which keeps logs of millions of ordinary lines cheap.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

MAXIMUM_TEXT = 400
"""Characters of a matching line that are kept as evidence."""


def is_needle(text: str) -> bool:
    """Lower case and without digits: lines that differ in digits alone then have the same needles, which readers make use of."""
    return bool(text.strip()) and text == text.lower() and not any(letter.isdigit() for letter in text)


@dataclass
class Match:
    """Where a signature was seen first, and how often in all. Lines count from 1."""

    id: str
    line: int
    text: str
    count: int = 1

    def as_dict(self) -> Dict[str, Any]:
        return {"id": self.id, "line": self.line, "text": self.text, "count": self.count}


class Scanner:
    """Collects the matches of a log, line by line."""

    def __init__(self, signatures: Iterable[Mapping[str, Any]]) -> None:
        """Raises ``re.error``, ``KeyError`` or ``ValueError`` on a signature that cannot be used."""
        self._expressions: List[Tuple[str, Any]] = []
        by_needle: Dict[str, List[int]] = {}
        for index, signature in enumerate(signatures):
            needles = [str(needle) for needle in signature["needles"]]
            if not needles or not all(is_needle(needle) for needle in needles):
                raise ValueError("signature {0}: {1!r} are no needles".format(signature["id"], needles))
            self._expressions.append((str(signature["id"]), re.compile(signature["regex"])))
            for needle in needles:
                by_needle.setdefault(needle, []).append(index)
        self._needles = tuple(by_needle.items())
        self._found: Dict[str, Match] = {}

    def wanted(self, line: str) -> Tuple[int, ...]:
        """Which signatures a cleaned line is to be tried against: those of which it has a needle."""
        lowered = line.lower()
        return tuple(
            sorted({index for needle, indexes in self._needles if needle in lowered for index in indexes}),
        )

    def feed(self, number: int, line: str, wanted: Optional[Iterable[int]] = None) -> None:
        """Look at one cleaned line. ``wanted`` is given by whoever has it from a line of the same shape."""
        for index in self.wanted(line) if wanted is None else wanted:
            identifier, expression = self._expressions[index]
            if expression.search(line):
                known = self._found.get(identifier)
                if known is None:
                    self._found[identifier] = Match(identifier, number, line.strip()[:MAXIMUM_TEXT])
                else:
                    known.count += 1

    def matches(self) -> List[Match]:
        """One match per signature, in the order of lines, then of the signatures."""
        order = {identifier: index for index, (identifier, _expression) in enumerate(self._expressions)}
        return sorted(self._found.values(), key=lambda match: (match.line, order[match.id]))
