"""Many names of hosts in few words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)


def folded(names: Iterable[str], most: int = 12) -> str:
    """Names with runs of numbers in brackets: ``gpu-[001-016], gpu-020``. After ``most`` pieces it says how many names are left out.

    A number is folded only with those that are written as wide, so that each name can be told from the text.
    """
    listed = sorted(set(names))
    groups: dict[tuple[str, str, int], list[int]] = {}
    pieces: list[tuple[str, int]] = []
    for name in listed:
        match = _LAST_NUMBER.fullmatch(name)
        if match is None or len(match[2]) > 18:
            pieces.append((name, 1))
        else:
            # Beyond the width of its group a number is not padded: 9 and 10 belong together, 09 and 9 do not.
            width = len(match[2]) if match[2].startswith("0") else 0
            groups.setdefault((match[1], match[3], width), []).append(int(match[2]))
    for (before, after, width), numbers in _joined(groups).items():
        pieces += [(f"{before}{text}{after}", count) for text, count in _runs(sorted(numbers), width)]
    pieces.sort()
    left = sum(count for _text, count in pieces[most:])
    return ", ".join([*(text for text, _count in pieces[:most]), *([f"and {left} more"] if left else [])])


def _joined(groups: dict[tuple[str, str, int], list[int]]) -> dict[tuple[str, str, int], list[int]]:
    """Let padded numbers take those of their width that need no padding: 009 and 010."""
    found = {key: list(numbers) for key, numbers in groups.items() if key[2]}
    for (before, after, width), numbers in groups.items():
        if width:
            continue
        for number in numbers:
            own = (before, after, len(str(number)))
            found.setdefault(own if own in groups else (before, after, 0), []).append(number)
    return found


def _runs(numbers: list[int], width: int) -> list[tuple[str, int]]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [
        (f"{low:0{width}d}", 1) if low == high else (f"[{low:0{width}d}-{high:0{width}d}]", high - low + 1)
        for low, high in runs
    ]
