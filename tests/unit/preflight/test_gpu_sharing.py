"""The declaration ``gpu_sharing``: refused on the controller where it is not usable, not what is configured, or more than nodes give."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.checks import refusals
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files

MPS = {"strategy": "mps", "replicas": 10}


def codes(inventory: Inventory) -> list[str]:
    return [refusal.code for refusal in refusals(inventory)]


@pytest.mark.parametrize(
    "changes",
    [
        {"gpu_sharing": MPS},
        {"gpu_sharing": {**MPS, "tiers": ["small"], "thread_cap": 10, "rename": False}},
        {"gpu_sharing": {"strategy": "mps", "replicas": "10"}},
        {
            "gpu_sharing": {"strategy": "mps", "replicas": 2, "tiers": ["small", "medium", "large"]},
            "nvidia_device_plugin_replicas": 2,
            "gpu_verify_replicas": 2,
        },
        {
            "gpu_sharing": {"strategy": "time-slicing", "replicas": 10},
            "nvidia_device_plugin_sharing": "time_slicing",
            "gpu_verify_expect_mps": False,
        },
        {
            "gpu_sharing": {"strategy": "none"},
            "nvidia_device_plugin_sharing": "none",
            "nvidia_device_plugin_replicas": 1,
            "gpu_verify_replicas": 1,
            "gpu_verify_expect_mps": False,
        },
    ],
)
def test_a_declaration_that_is_what_is_configured_is_accepted(spoil: Any, changes: dict[str, Any]) -> None:
    assert refusals(spoil("spark-01", **changes)) == []


@pytest.mark.parametrize(
    ("declared", "expected", "told"),
    [
        ("mps", ["BG-SHARE-003"], "no mapping"),
        ({**MPS, "replica": 1}, ["BG-SHARE-003"], "did you mean replicas?"),
        ({"strategy": "mps", "replicas": 49}, ["BG-INV-002"], "at most 48"),
        ({**MPS, "thread_cap": 0}, ["BG-SHARE-004"], "thread_cap is 0"),
        ({**MPS, "thread_cap": 100}, ["BG-SHARE-010"], "what the device plugin sets is 10"),
        ({**MPS, "rename": True}, ["BG-SHARE-010"], "no role renames"),
        ({**MPS, "tiers": ["smalls"]}, ["BG-SHARE-005"], "did you mean small?"),
        ({**MPS, "tiers": ["medium"]}, ["BG-SHARE-006"], "share each GPU by at most 4; or raise"),
        ({**MPS, "tiers": ["small", "medium", "large"]}, ["BG-SHARE-006", "BG-SHARE-006"], "tier large"),
        ({"strategy": "mps", "replicas": 4}, ["BG-SHARE-009"], "its replicas are 4"),
        ({"strategy": "time-slicing", "replicas": 10}, ["BG-SHARE-009"], "nvidia_device_plugin_sharing is mps"),
        (
            {"strategy": "time-slicing", "replicas": 10, "tiers": ["small"]},
            ["BG-SHARE-008"],
            "with strategy time-slicing",
        ),
        ({"strategy": "none"}, ["BG-SHARE-009", "BG-SHARE-009"], "nvidia_device_plugin_replicas is 10"),
    ],
)
def test_a_declaration_that_cannot_be_so_is_refused(spoil: Any, declared: Any, expected: list[str], told: str) -> None:
    found = refusals(spoil("spark-01", gpu_sharing=declared))
    assert [refusal.code for refusal in found] == expected
    assert {refusal.variable for refusal in found} == {"gpu_sharing"}
    assert told in " ".join(f"{refusal.what} {refusal.hint}" for refusal in found)


def test_mig_is_refused_on_gb10_once_however_it_is_said(spoil: Any) -> None:
    plain = {"nvidia_device_plugin_sharing": "none", "nvidia_device_plugin_replicas": 1, "gpu_verify_replicas": 1}
    plain["gpu_verify_expect_mps"] = False
    declared = spoil("spark-01", gpu_sharing={"strategy": "mig"}, **plain)
    assert sorted(codes(declared)) == ["BG-INV-003", "BG-SHARE-009"]
    both = spoil("spark-01", gpu_sharing={"strategy": "mig"}, nvidia_device_plugin_mig_strategy="single", **plain)
    assert codes(both) == ["BG-INV-003"]


def test_mps_with_mig_keeps_its_code(spoil: Any) -> None:
    found = codes(spoil("spark-01", gpu_sharing=MPS, nvidia_device_plugin_mig_strategy="single"))
    assert sorted(found) == ["BG-INV-003", "BG-INV-022", "BG-SHARE-009"]


def test_a_declaration_that_no_role_applies_is_refused(spoil: Any) -> None:
    (refusal,) = refusals(spoil("onyx-g1", gpu_sharing=MPS))
    assert (refusal.code, refusal.subject) == ("BG-SHARE-009", "onyx-g1")
    assert "nvidia_device_plugin" in refusal.hint


def test_memory_that_the_daemon_does_not_give_is_refused_where_it_limits_memory(spoil: Any) -> None:
    """On H100 the daemon has a tenth of 81559 MiB for each client."""
    changes = {"gpu_sharing": {**MPS, "tiers": ["small"]}, "gpu_verify_hardware_profile": "h100-sxm-8"}
    found = [refusal for refusal in refusals(spoil("spark-01", **changes)) if refusal.code.startswith("BG-SHARE")]
    assert [refusal.code for refusal in found] == ["BG-SHARE-007"]
    assert "8155M" in found[0].what


def test_a_misspelt_name_is_told(spoil: Any) -> None:
    (refusal,) = refusals(spoil("spark-01", gpu_sharng=MPS))
    assert (refusal.code, refusal.hint) == ("BG-INV-016", "did you mean gpu_sharing?")


def test_each_refusal_has_a_reason_and_a_remedy() -> None:
    registry = data_files.codes()
    mine = [code for code in registry if code.startswith("BG-SHARE-")]
    assert mine == [f"BG-SHARE-{number:03}" for number in range(1, len(mine) + 1)]
    assert all(registry[code]["reason"] and registry[code]["remedy"] for code in mine)
