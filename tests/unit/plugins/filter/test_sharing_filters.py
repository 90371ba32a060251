"""The filters about shared GPUs. How they do in a playbook is in ``tests/unit/preflight/test_sharing_examples.py``."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.filter.mps_environment import mps_environment as environment_of
from ansible_collections.baremetal.gpu.plugins.filter.pod_sharing_faults import pod_sharing_faults as faults_of
from ansible_collections.baremetal.gpu.plugins.filter.sharing_figures import sharing_figures as figures_of
from ansible_collections.baremetal.gpu.plugins.filter.tier_resources import tier_resources as resources_of

MPS = {"strategy": "mps", "replicas": 10}
TWO = {"strategy": "mps", "replicas": 2}


@pytest.mark.requirement("MPS-04", part="the filter that renders both limits")
def test_an_environment_of_a_tier_and_of_limits_of_one_s_own() -> None:
    assert environment_of("small", MPS, "gb10") == [
        {"name": "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "value": "10"},
        {"name": "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "value": "0=8G"},
    ]
    own = environment_of({"thread_percent": 5, "memory_limit": "16G"}, MPS, "gb10", devices=["1"])
    assert [each["value"] for each in own] == ["5", "1=16G"]


@pytest.mark.parametrize(
    ("tier", "sharing", "profile", "code"),
    [
        ("medium", MPS, "gb10", "BG-SHARE-006"),
        ("small", MPS, "h100-sxm-8", "BG-SHARE-007"),
        ("small", {"strategy": "none"}, "gb10", "BG-SHARE-008"),
        ("huge", MPS, "gb10", "BG-SHARE-005"),
        ("small", {**MPS, "thread_cap": 100}, "gb10", "BG-SHARE-010"),
        ("small", {"strategy": "mps", "replicas": 1}, "gb10", "BG-INV-002"),
        ("small", MPS, "gb11", "BG-GPU-101"),
        ({"thread_percent": "5%", "memory_limit": "16G"}, MPS, "gb10", "BG-SHARE-001"),
        ({"thread_percent": 5, "memory_limit": "0=16G"}, MPS, "gb10", "BG-SHARE-002"),
    ],
)
def test_an_environment_that_would_not_be_kept_is_refused(tier: Any, sharing: Any, profile: str, code: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"mps_environment: {code}"):
        environment_of(tier, sharing, profile)


def test_resources_of_a_tier() -> None:
    one = {"nvidia.com/gpu": "1"}
    assert resources_of("large", TWO) == {"requests": one, "limits": one}
    with pytest.raises(AnsibleFilterError, match="BG-SHARE-005"):
        resources_of("huge", MPS)
    with pytest.raises(AnsibleFilterError, match="BG-SHARE-010"):
        resources_of("small", {**MPS, "rename": True})


def test_figures_of_a_spark() -> None:
    figures = figures_of(MPS, "gb10")
    tiers = figures.pop("tiers")
    assert figures == {
        "strategy": "mps",
        "replicas": 10,
        "gpus": 1,
        "resource": "nvidia.com/gpu",
        "shares": 10,
        "thread_percent": 10,
        "memory_gb": 12.8,
        "memory_limit": "12207M",
        "thread_cap": 10,
        "memory_cap": None,
    }
    assert {name: (tier["thread_percent"], tier["in_full"]) for name, tier in tiers.items()} == {
        "small": (10, True),
        "medium": (10, False),
        "large": (10, False),
    }
    assert all(tier["faults"][0]["remedy"] for tier in tiers.values() if not tier["in_full"])


def test_figures_of_eight_h100() -> None:
    figures = figures_of({"strategy": "mps", "replicas": 3}, "h100-sxm-8")
    assert (figures["shares"], figures["thread_cap"], figures["memory_cap"]) == (24, 33, "27186M")
    assert figures["thread_percent"] == pytest.approx(33.333333)
    mig = figures_of({"strategy": "mig"}, "h100-sxm-8")
    assert (mig["shares"], mig["thread_cap"], mig["tiers"]["small"]["memory_limit"]) == (None, None, None)


def test_figures_of_what_is_not_applied_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="sharing_figures: BG-SHARE-010"):
        figures_of({**MPS, "thread_cap": 100}, "gb10")
    with pytest.raises(AnsibleFilterError, match="BG-GPU-101"):
        figures_of(MPS, "gb11")


def pod(**changes: Any) -> dict[str, Any]:
    container = {"name": "c", "env": environment_of("small", MPS), "resources": resources_of("small", MPS), **changes}
    spec = {"securityContext": {"runAsUser": 1000}, "containers": [container]}
    return {"kind": "Pod", "metadata": {"name": "a", "namespace": "ai"}, "spec": spec}


def test_faults_of_pods_say_what_why_and_what_to_do() -> None:
    assert faults_of([pod()], MPS, "gb10") == []
    (fault,) = faults_of([pod(resources={"limits": {"nvidia.com/gpu": 2}})], MPS, "gb10")
    assert fault["code"] == "BG-SHARE-011"
    assert fault["subject"] == "Pod/ai/a"
    assert "requests 2 nvidia.com/gpu" in fault["what"]
    assert "UnexpectedAdmissionError" in fault["reason"]
    assert "request 1" in fault["remedy"]


@pytest.mark.parametrize("manifests", [pod(), "kind: Pod", ["kind: Pod"]])
def test_what_is_no_list_of_manifests_is_refused(manifests: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="BG-SHARE-017"):
        faults_of(manifests, MPS)
