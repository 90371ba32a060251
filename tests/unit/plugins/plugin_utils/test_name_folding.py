"""Names of hosts in few words: each name can still be told from them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.plugin_utils.name_folding import folded


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["calypso"], "calypso"),
        (["g1", "g2", "g3", "g9", "g10"], "g[1-3], g[9-10]"),
        (["g009", "g010", "g011"], "g[009-011]"),
        (["g-01-a", "g-02-a", "g-02-b"], "g-02-b, g-[01-02]-a"),
        (["b", "a", "a"], "a, b"),
        (["4" * 30], "4" * 30),
    ],
)
def test_runs_of_numbers_are_folded(names: list[str], text: str) -> None:
    assert folded(names) == text


def test_what_is_left_out_is_counted_by_names() -> None:
    assert folded(["a1", "a3", "a5", "a6", "a7"], most=2) == "a1, a3, and 3 more"


def unfolded(text: str) -> set[str]:
    names = set()
    for piece in filter(None, text.split(", ")):
        match = re.fullmatch(r"(.*)\[(\d+)-(\d+)\](.*)", piece)
        if match is None:
            names.add(piece)
        else:
            before, low, high, after = match.groups()
            names |= {f"{before}{number:0{len(low)}d}{after}" for number in range(int(low), int(high) + 1)}
    return names


@settings(max_examples=60)
@given(st.sets(st.from_regex(r"[ab]?-?[0-9]{0,3}[a-z]?", fullmatch=True).filter(bool), max_size=30))
def test_every_name_can_be_read_back(names: set[str]) -> None:
    assert unfolded(folded(names, most=100)) == names
