"""Declarations of what nodes must offer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import parse_expected
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

GPU = "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("declared", "resources"),
    [
        ({GPU: "8"}, {GPU: 8}),
        ({"gpus": 8}, {GPU: 8}),
        ({"gpus": 0}, {GPU: 0}),
        ({"gpus": 8, "dra": True}, {"resourceslices/gpu.nvidia.com": 8}),
        ({"gpus": 2, "replicas": 10, "sharing": "time-slicing"}, {GPU: 20}),
        ({"gpus": 2, "replicas": 10, "sharing": "mps", "renamed": True}, {"nvidia.com/gpu.shared": 20}),
        ({"gpus": 8, "mig": {"1g.10gb": 56}, "mig_strategy": "single"}, {GPU: 56}),
        (
            {"gpus": 8, "mig": {"1g.10gb": 24, "3g.40gb": 8}, "mig_strategy": "mixed"},
            {"nvidia.com/mig-1g.10gb": 24, "nvidia.com/mig-3g.40gb": 8, GPU: 0},
        ),
        (
            {"gpus": 8, "mig": {"mig-7g.80gb": 4}, "mig_strategy": "mixed", "whole_gpus": 4},
            {"nvidia.com/mig-7g.80gb": 4, GPU: 4},
        ),
        ({"mig": {"1g.10gb+me": 1}, "mig_strategy": "mixed"}, {"nvidia.com/mig-1g.10gb.me": 1, GPU: 0}),
        (
            {"mig": {"1g.10gb": 7}, "mig_strategy": "mixed", "replicas": 2, "sharing": "time-slicing", "renamed": True},
            {"nvidia.com/mig-1g.10gb.shared": 14, GPU: 0},
        ),
    ],
)
def test_counts_follow_from_gpus_and_how_they_are_split(declared: dict[str, Any], resources: dict[str, int]) -> None:
    assert parse_expected({"n1": declared})["n1"].resources == resources


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({}, "declares no resource"),
        (8, "declares no resource"),
        ({GPU: -1}, "not a count"),
        ({GPU: True}, "not a count"),
        ({GPU: "x"}, "not a count"),
        ({GPU: None}, "not a count"),
        ({GPU: 1.5}, "not a count"),
        ({"gpus": 1, "replicas": -10}, "not a count"),
        ({"gpus": 1, "replicas": 0}, "0 replicas"),
        ({"gpus": 1, "replicas": 10, "sharing": "none"}, "no sharing"),
        ({"gpus": 1, "replicas": 10, "sharing": "mpss"}, "unknown sharing 'mpss'"),
        ({"gpus": 1, "replicas": 2, "dra": True}, "2 replicas of what claims allocate"),
        ({"mig": {"1g.10gb": 1}, "mig_strategy": "mixed", "dra": True}, "mig of what claims allocate"),
        ({"gpus": 1, "dra": "x"}, "neither true nor false"),
        ({"gpus": 1, "renamed": True}, "renamed resource and no sharing"),
        ({"gpus": 1, "replicas": 2, "renamed": "yes"}, "neither true nor false"),
        ({"gpu": 8}, "declares gpu, which is neither"),
        ({GPU: 8, "gpus": 8}, "declares resources and gpus"),
        ({"replicas": 10}, "neither gpus nor a resource"),
        ({"gpus": 8, "mig": {"9g.10gb": 1}, "mig_strategy": "single"}, "unknown MIG profile '9g.10gb'"),
        ({"gpus": 8, "mig": {"small": 1}, "mig_strategy": "single"}, "unknown MIG profile 'small'"),
        ({"gpus": 8, "mig": {"1g.10gb": 1}}, "no mig_strategy"),
        ({"gpus": 8, "mig": ["1g.10gb"], "mig_strategy": "single"}, "no map of profiles"),
        ({"gpus": 8, "mig": {"1g.10gb": 7, "2g.20gb": 3}, "mig_strategy": "single"}, "2 profiles"),
        ({"gpus": 8, "mig": {"1g.10gb": 57}, "mig_strategy": "single"}, "57 slices on 8 GPUs"),
        ({"gpus": 8, "mig_strategy": "single"}, "mig_strategy without mig"),
        ({"mig": {"1g.10gb": 7}, "mig_strategy": "single", "replicas": 2, "sharing": "mps"}, "shared by MPS"),
    ],
)
def test_a_declaration_that_is_none_is_refused(declared: Any, said: str) -> None:
    with pytest.raises(GpuError, match=r"^BG-CAP-104") as raised:
        parse_expected({"n1": declared})
    assert said in raised.value.message


def test_a_group_declares_the_same_for_each_of_its_nodes() -> None:
    found = parse_expected({"n1": {"gpus": 1}}, [{"nodes": ["n2", "n3"], "expect": {"gpus": 8}}])
    assert {name: each.resources for name, each in found.items()} == {"n1": {GPU: 1}, "n2": {GPU: 8}, "n3": {GPU: 8}}


@pytest.mark.parametrize(
    ("own", "groups"),
    [
        ({"n1": {GPU: 8}}, [{"name": "a", "nodes": ["n1"], "expect": {GPU: 8}}]),
        ({}, [{"nodes": ["n1"], "expect": {GPU: 8}}, {"nodes": ["n1"], "expect": {GPU: 4}}]),
        ({"n1": {GPU: 8}, "N1": {GPU: 4}}, []),
    ],
)
def test_two_expectations_of_one_node_are_refused(own: dict[str, Any], groups: list[Any]) -> None:
    with pytest.raises(GpuError, match=r"^BG-CAP-107.*two expectations"):
        parse_expected(own, groups)


@pytest.mark.parametrize(
    ("own", "groups"),
    [
        ({}, []),
        ({}, [{"nodes": [], "expect": {GPU: 1}}]),
        ({}, [{"expect": {GPU: 1}}]),
        ({}, [{"nodes": [1]}]),
        ({}, [1]),
    ],
)
def test_nobody_or_no_list_of_nodes_is_refused(own: dict[str, Any], groups: list[Any]) -> None:
    with pytest.raises(GpuError, match=r"^BG-CAP-104"):
        parse_expected(own, groups)


values = st.none() | st.booleans() | st.integers(-9, 99) | st.text(max_size=4) | st.lists(st.integers(), max_size=2)
keys = st.sampled_from(["gpus", "replicas", "sharing", "renamed", "mig", "mig_strategy", "whole_gpus", "product", GPU])


@settings(max_examples=80)
@given(st.dictionaries(keys, values | st.dictionaries(st.text(max_size=4), values, max_size=2)))
def test_anything_is_a_declaration_or_refused(declared: dict[str, Any]) -> None:
    with suppress(GpuError):
        assert all(count >= 0 for count in parse_expected({"n1": declared})["n1"].resources.values())
