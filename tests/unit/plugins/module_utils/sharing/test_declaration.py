"""A declaration of how GPUs are shared is usable, or everything that is wrong with it is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import (
    Sharing,
    not_built,
    parse_sharing,
    replicas_out_of_range,
    require_sharing,
)

MPS = {"strategy": "mps", "replicas": 10}


@pytest.mark.parametrize(
    ("declared", "sharing"),
    [
        (MPS, Sharing("mps", 10)),
        ({"strategy": "mps", "replicas": "10"}, Sharing("mps", 10)),
        ({**MPS, "rename": False}, Sharing("mps", 10)),
        ({**MPS, "rename": "yes"}, Sharing("mps", 10, rename=True)),
        ({**MPS, "thread_cap": 100}, Sharing("mps", 10, thread_cap=100)),
        ({**MPS, "tiers": ["small"]}, Sharing("mps", 10, tiers=("small",))),
        ({"strategy": "time-slicing", "replicas": 64}, Sharing("time-slicing", 64)),
        ({"strategy": "none"}, Sharing("none")),
        ({"strategy": "none", "replicas": 1}, Sharing("none")),
        ({"strategy": "mig"}, Sharing("mig")),
    ],
)
def test_a_usable_declaration(declared: Any, sharing: Sharing) -> None:
    assert parse_sharing(declared) == (sharing, [])


@pytest.mark.parametrize(
    ("declared", "codes"),
    [
        ("mps", ["BG-SHARE-003"]),
        (None, ["BG-SHARE-003"]),
        ({}, ["BG-SHARE-003"]),
        ({"strategy": "MPS", "replicas": 10}, ["BG-SHARE-003"]),
        ({"strategy": "time_slicing", "replicas": 10}, ["BG-SHARE-003"]),
        ({"strategy": "mps"}, ["BG-SHARE-003"]),
        ({**MPS, "replica": 4}, ["BG-SHARE-003"]),
        ({**MPS, "rename": "perhaps"}, ["BG-SHARE-003"]),
        ({"strategy": "none", "rename": True}, ["BG-SHARE-003"]),
        ({**MPS, "tiers": "small"}, ["BG-SHARE-003"]),
        ({**MPS, "tiers": ["small", "small"]}, ["BG-SHARE-003"]),
        ({"strategy": "mps", "replicas": 1}, ["BG-INV-002"]),
        ({"strategy": "mps", "replicas": 49}, ["BG-INV-002"]),
        ({"strategy": "mps", "replicas": True}, ["BG-INV-002"]),
        ({"strategy": "mps", "replicas": "ten"}, ["BG-INV-002"]),
        ({"strategy": "time-slicing", "replicas": 0}, ["BG-INV-002"]),
        ({"strategy": "none", "replicas": 2}, ["BG-INV-002"]),
        ({"strategy": "mig", "replicas": 2}, ["BG-INV-002"]),
        ({**MPS, "thread_cap": 0}, ["BG-SHARE-004"]),
        ({**MPS, "thread_cap": 101}, ["BG-SHARE-004"]),
        ({**MPS, "thread_cap": "10 %"}, ["BG-SHARE-004"]),
        ({"strategy": "time-slicing", "replicas": 4, "thread_cap": 25}, ["BG-SHARE-004"]),
        ({"strategy": "time-slicing", "replicas": 4, "tiers": ["small"]}, ["BG-SHARE-008"]),
        ({"strategy": "mps", "replicas": 49, "thread_cap": 0, "x": 1}, ["BG-SHARE-003", "BG-INV-002", "BG-SHARE-004"]),
    ],
)
def test_everything_that_is_wrong_is_told(declared: Any, codes: list[str]) -> None:
    sharing, faults = parse_sharing(declared)
    assert sharing is None
    assert [fault.code for fault in faults] == codes
    assert all(fault.what for fault in faults)
    with pytest.raises(GpuError) as caught:
        require_sharing(declared)
    assert caught.value.code == codes[0]


def test_a_misspelt_key_is_told_with_the_one_that_was_meant() -> None:
    assert parse_sharing({**MPS, "thread_caps": 10})[1][0].hint == "did you mean thread_cap?"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=4), lambda x: st.lists(x, max_size=3)))
def test_no_value_of_a_key_breaks_it(value: Any) -> None:
    for key in ("strategy", "replicas", "rename", "thread_cap", "tiers", "other"):
        sharing, faults = parse_sharing({**MPS, key: value})
        assert (sharing is None) == bool(faults)


@pytest.mark.parametrize(("replicas", "cap"), [(2, 50), (3, 33), (4, 25), (10, 10), (30, 3), (48, 2)])
def test_the_plugin_s_own_cap_is_100_divided_by_replicas_rounded_down(replicas: int, cap: int) -> None:
    sharing = Sharing("mps", replicas)
    assert (sharing.own_cap, sharing.cap) == (cap, cap)


@pytest.mark.parametrize("strategy", ["none", "time-slicing", "mig"])
def test_nothing_but_mps_caps_threads(strategy: str) -> None:
    assert Sharing(strategy, 4).cap is None


def test_a_cap_of_one_s_own_takes_the_place_of_the_plugin_s() -> None:
    assert Sharing("mps", 10, thread_cap=100).cap == 100


@pytest.mark.parametrize(
    ("sharing", "told"),
    [
        (Sharing("mps", 10, thread_cap=100), "thread_cap is 100, and what the device plugin sets is 10"),
        (Sharing("mps", 10, thread_cap=5), "thread_cap is 5"),
        (Sharing("mps", 10, rename=True), "rename"),
    ],
)
def test_what_nothing_applies_is_refused_not_believed(sharing: Sharing, told: str) -> None:
    (fault,) = not_built(sharing)
    assert fault.code == "BG-SHARE-010"
    assert told in fault.what


def test_a_cap_that_the_plugin_sets_anyway_may_be_declared() -> None:
    assert not_built(Sharing("mps", 10, thread_cap=10)) == []
    assert require_sharing({**MPS, "thread_cap": 10}).cap == 10
    with pytest.raises(GpuError, match="BG-SHARE-010"):
        require_sharing({**MPS, "thread_cap": 100})


def test_an_unknown_kind_of_sharing_is_somebody_else_s_to_refuse() -> None:
    assert replicas_out_of_range("sharing", "MPS", 10) == ""
    assert "at least 2" in replicas_out_of_range("sharing", "time_slicing", 1)
