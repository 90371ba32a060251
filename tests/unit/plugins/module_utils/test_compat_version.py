"""Versions of drivers, containers, Kubernetes and packages have one order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.version import Version, bound, declared

NUMBERS = st.lists(st.integers(0, 999), min_size=2, max_size=4)


def dotted(numbers: list[int]) -> Version:
    return declared(".".join(map(str, numbers)))


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("580.95.05", "580.126.09"),
        ("580.142", "580.159.03"),
        ("0.17.4", "v0.18.0"),
        ("25.09", "25.10"),
        ("v1.34.4-rc1+k3s1", "v1.34.4+k3s1"),
        ("v1.34.4-alpha.2", "v1.34.4-beta.1"),
        ("4.5.3-4.8.2", "4.5.3-4.8.3"),
        ("580.178.04", "580"),
        ("580", "581.1"),
        ("9.9", "9.11"),
    ],
)
def test_order(lower: str, higher: str) -> None:
    assert declared(lower) < declared(higher)
    assert declared(higher) > declared(lower)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("v0.17.4", "0.17.4"),
        ("13.0", "13.0.0"),
        ("2.28.9-1", "2.28.9"),
        ("580.159.03-0ubuntu0.24.04.1", "580.159.3"),
        ("v1.34.4+k3s1", "v1.34.4+k3s2"),
        ("v0.15.0-ubi8", "0.15.0"),
        ("4.1.1-2-ubuntu22.04", "4.1.1"),
    ],
)
def test_what_says_nothing_about_the_order(one: str, other: str) -> None:
    assert declared(one) == declared(other)
    assert hash(declared(one)) == hash(declared(other))


@pytest.mark.parametrize(
    "text", ["", "latest", "13.", ".5", "13..0", "5:29.2.1", "580 open", 13.0, True, None, ["1.2"]]
)
def test_anything_else_is_no_version(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        declared(text)


def test_a_branch_is_its_newest_release_where_declared_and_its_beginning_in_a_row() -> None:
    assert declared("580") > declared("580.999.99")
    assert bound("580") < declared("580.1")
    assert declared(580) == declared("580")
    assert declared("580").same_release(declared("580.95.05"))
    assert not declared("580.95.05").same_release(declared("580.95.06"))


@given(NUMBERS, NUMBERS)
def test_versions_are_ordered_as_their_numbers(one: list[int], other: list[int]) -> None:
    width = max(len(one), len(other))
    padded = [numbers + [0] * (width - len(numbers)) for numbers in (one, other)]
    assert (dotted(one) < dotted(other)) == (padded[0] < padded[1])
    assert (dotted(one) == dotted(other)) == (padded[0] == padded[1])


@given(st.lists(NUMBERS.map(dotted), min_size=2, max_size=6))
def test_sorting_agrees_with_comparing(versions: list[Version]) -> None:
    found = sorted(versions)
    assert all(not later < earlier for index, earlier in enumerate(found) for later in found[index:])


@given(st.text(max_size=20))
def test_any_text_is_a_version_or_refused(text: str) -> None:
    try:
        version = declared(text)
    except ValueError:
        return
    assert version.parts
    assert version.text == text.strip()
