"""Names that were meant when another one was written."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Iterable, Tuple


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """``did you mean gb10?``, or the known names when none is near."""
    choices = tuple(sorted(known))
    near = nearest(name, choices, cutoff)
    if near:
        return "did you mean {0}?".format(near)
    return "known are {0}".format(", ".join(choices) or "none")


@cache
def nearest(name: str, known: Tuple[str, ...], cutoff: float) -> str:
    """The known name nearest to ``name``; empty when none is near. Hosts share their names, so each is looked up once."""
    found = difflib.get_close_matches(name.lower(), known, n=1, cutoff=cutoff)
    return found[0] if found else ""
