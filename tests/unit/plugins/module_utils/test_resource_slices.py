"""GPUs in ResourceSlices."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.resource_slices import Slices
from ansible_collections.baremetal.gpu.tests.support.capacity_objects import resource_slice


def counted(*slices: dict[str, Any]) -> dict[str, tuple[int, int]]:
    found = Slices()
    for each in slices:
        found.take(each)
    return {name: (int(capacity), int(allocatable)) for name, (capacity, allocatable) in found.by_node().items()}


def test_devices_are_counted_by_node() -> None:
    assert counted(resource_slice("n1", 8), resource_slice("n2", 4)) == {"n1": (8, 8), "n2": (4, 4)}


def test_a_pool_may_be_published_in_several_slices() -> None:
    assert counted(resource_slice("n1", 5), resource_slice("n1", 3)) == {"n1": (8, 8)}


@pytest.mark.parametrize("generations", [(1, 2), (2, 1)])
def test_only_the_newest_generation_of_a_pool_counts(generations: tuple[int, int]) -> None:
    slices = {1: resource_slice("n1", 8, generation=1), 2: resource_slice("n1", 7, generation=2)}
    assert counted(*(slices[generation] for generation in generations)) == {"n1": (7, 7)}


def test_a_device_that_is_tainted_is_there_and_is_not_given_out() -> None:
    assert counted(resource_slice("n1", 8, tainted=1)) == {"n1": (8, 7)}


def test_the_first_beta_has_everything_below_basic() -> None:
    assert counted(resource_slice("n1", 8, tainted=2, beta=True)) == {"n1": (8, 6)}


def test_what_mig_could_make_of_a_gpu_is_no_further_gpu() -> None:
    assert counted(resource_slice("n1", 1), resource_slice("n1", 7, kind="mig")) == {"n1": (1, 1)}


@pytest.mark.parametrize(
    "odd", [{}, {"spec": []}, {"spec": {"driver": "gpu.nvidia.com"}}, resource_slice("n1", 1, driver="other")]
)
def test_other_slices_count_for_nothing(odd: dict[str, Any]) -> None:
    assert counted(odd) == {}
