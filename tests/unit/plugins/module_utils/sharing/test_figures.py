"""Figures of a share follow from the hardware profile and the replicas; a tier never gets more than the daemon lets it have."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import Sharing
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.figures import (
    GB,
    GpuMemory,
    require_in_full,
    share_of,
    tier_share,
    ways_out,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.limits import GIB, MIB
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.tiers import (
    Tier,
    environment,
    resources,
    tier_or_limits,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.sharing_data import load_tiers, memory_of_profile

GB10, H100 = memory_of_profile("gb10"), memory_of_profile("h100-sxm-8")
TIERS = load_tiers()


@pytest.mark.requirement("MPS-05", part="the tiers as data")
def test_the_tiers_are_those_of_the_specification() -> None:
    found = {name: (int(tier.thread_percent), tier.memory_bytes, tier.shares) for name, tier in TIERS.items()}
    assert found == {"small": (10, 8 * GIB, 1), "medium": (25, 32 * GIB, 1), "large": (50, 64 * GIB, 1)}


@pytest.mark.requirement("MPS-03", part="the figures, from the profile and the replicas")
def test_a_tenth_of_a_spark_is_12_8_gb_and_10_percent() -> None:
    share = share_of(Sharing("mps", 10), GB10)
    assert (share.memory_bytes, share.thread_percent) == (12_800_000_000, Decimal(10))


def test_nothing_limits_memory_on_gb10() -> None:
    """NVIDIA's plugin leaves out the daemon's limit for a GPU without a figure for its memory."""
    assert GpuMemory(128 * GB, reported=False) == GB10
    assert share_of(Sharing("mps", 10), GB10).memory_cap_bytes is None


def test_a_reported_memory_is_limited_to_whole_mib_as_the_plugin_does() -> None:
    assert GpuMemory(81559 * MIB, reported=True) == H100
    assert share_of(Sharing("mps", 10), H100).memory_cap_bytes == 8155 * MIB


@pytest.mark.parametrize("strategy", ["none", "time-slicing", "mig"])
def test_without_mps_nothing_is_limited(strategy: str) -> None:
    share = share_of(Sharing(strategy, 1), H100)
    assert (share.thread_cap, share.memory_cap_bytes) == (None, None)


def test_unknown_memory_stays_unknown() -> None:
    share = share_of(Sharing("mps", 10), None)
    assert (share.memory_bytes, share.memory_cap_bytes) == (None, None)
    assert memory_of_profile("") is None


@pytest.mark.parametrize(
    ("replicas", "cap", "given"),
    [
        (10, None, {"small": 10, "medium": 10, "large": 10}),
        (4, None, {"small": 10, "medium": 25, "large": 25}),
        (2, None, {"small": 10, "medium": 25, "large": 50}),
        (10, 100, {"small": 10, "medium": 25, "large": 50}),
        (10, 30, {"small": 10, "medium": 25, "large": 30}),
    ],
)
def test_what_each_tier_gets_of_the_threads(replicas: int, cap: int | None, given: dict[str, int]) -> None:
    sharing = Sharing("mps", replicas, thread_cap=cap)
    shares = {name: tier_share(tier, sharing, GB10) for name, tier in TIERS.items()}
    assert {name: share.thread_percent for name, share in shares.items()} == given
    for name, share in shares.items():
        codes = [fault.code for fault in share.faults]
        assert codes == ([] if given[name] == TIERS[name].thread_percent else ["BG-SHARE-006"])


@pytest.mark.parametrize(
    ("percent", "told"), [(25, "at most 4"), (50, "at most 2"), (34, "at most 2"), (51, "do not share")]
)
def test_there_are_three_ways_out(percent: int, told: str) -> None:
    ways = ways_out(Decimal(percent)).split("; or ")
    assert len(ways) == 3
    assert told in ways[0]
    assert "by hand" in ways[1]
    assert "device plugin" in ways[2]


@given(st.integers(1, 100), st.integers(2, 48))
def test_the_first_way_out_is_one(percent: int, replicas: int) -> None:
    most = 100 // percent
    if most >= 2:
        assert Sharing("mps", most).cap >= percent  # type: ignore[operator]
        assert Sharing("mps", most + 1).cap < percent  # type: ignore[operator]


@given(
    st.integers(1, 100),
    st.integers(1, 200 * 1024),
    st.integers(2, 48),
    st.none() | st.integers(1, 100),
    st.sampled_from([GB10, H100, None]),
)
def test_a_pod_never_gets_more_than_it_asks_for_or_the_daemon_lets_it_have(
    percent: int, mib: int, replicas: int, cap: int | None, memory: GpuMemory | None
) -> None:
    tier, sharing = Tier("any", Decimal(percent), mib * MIB, 1), Sharing("mps", replicas, thread_cap=cap)
    share, given = share_of(sharing, memory), tier_share(tier, sharing, memory)
    assert given.thread_percent == min(percent, sharing.cap or 100)
    assert given.memory_bytes is not None
    assert given.memory_bytes <= tier.memory_bytes
    assert share.memory_cap_bytes is None or given.memory_bytes <= share.memory_cap_bytes
    assert bool(given.faults) == (given.thread_percent < percent or given.memory_bytes < tier.memory_bytes)


def test_a_tier_whose_memory_the_daemon_does_not_give_is_told() -> None:
    (fault,) = tier_share(TIERS["large"], Sharing("mps", 2), H100).faults
    assert fault.code == "BG-SHARE-007"
    assert "64G" in fault.what
    assert "40779M" in fault.what


def test_more_memory_than_a_gpu_has_is_told() -> None:
    tier = Tier("vast", Decimal(10), 120 * GIB, 1)
    (fault,) = tier_share(tier, Sharing("mps", 10), GB10).faults
    assert fault.code == "BG-SHARE-007"
    assert "a GPU has 122070M" in fault.what


def test_a_tier_without_mps_gets_no_limit_and_is_refused() -> None:
    share = tier_share(TIERS["small"], Sharing("time-slicing", 4), GB10)
    assert (share.thread_percent, share.memory_bytes, share.faults[0].code) == (None, None, "BG-SHARE-008")


def test_in_full_or_not_at_all() -> None:
    require_in_full(TIERS["small"], Sharing("mps", 10), GB10)
    with pytest.raises(GpuError, match="BG-SHARE-006"):
        require_in_full(TIERS["medium"], Sharing("mps", 10), GB10)


def test_a_container_s_environment_and_resources() -> None:
    assert environment(TIERS["medium"]) == [
        {"name": "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "value": "25"},
        {"name": "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "value": "0=32G"},
    ]
    assert environment(TIERS["small"], ["0", "1"])[1]["value"] == "0=8G,1=8G"
    found = resources(TIERS["large"], "nvidia.com/gpu")
    assert found["requests"] == found["limits"] == {"nvidia.com/gpu": "1"}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("huge", "BG-SHARE-005"),
        (None, "BG-SHARE-005"),
        ({"thread_percent": 5}, "BG-SHARE-005"),
        ({"thread_percent": 5, "memory": "16G"}, "BG-SHARE-005"),
        ({"thread_percent": 5, "memory_limit": "16G", "gpus": 1}, "BG-SHARE-005"),
        ({"thread_percent": 0, "memory_limit": "16G"}, "BG-SHARE-001"),
        ({"thread_percent": 5, "memory_limit": "16Gi"}, "BG-SHARE-002"),
    ],
)
def test_limits_that_cannot_be_used_are_refused(given: object, code: str) -> None:
    with pytest.raises(GpuError) as caught:
        tier_or_limits(given, TIERS)
    assert caught.value.code == code


def test_limits_of_one_s_own() -> None:
    tier = tier_or_limits({"thread_percent": "2.5", "memory_limit": "16G"}, TIERS)
    assert [each["value"] for each in environment(tier)] == ["2.5", "0=16G"]
    with pytest.raises(GpuError, match="did you mean small"):
        tier_or_limits("smol", TIERS)
