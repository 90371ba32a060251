"""What nodes of public reports are judged as; skipped where the captures are not beside the checkout."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.shared.test_reference_captures import SAMPLES, sample
from ansible_collections.baremetal.gpu.tests.support.capacity_faults import judged

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="reference captures are not beside this checkout")

GPU, SHARED = "nvidia.com/gpu", "nvidia.com/gpu.shared"
H100_NVL = {"n1": {"gpus": 1, "product": "NVIDIA-H100-NVL"}}


def node(name: str, capacity: dict[str, Any], allocatable: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    """A node object out of what a capture keeps of one. That it is Ready is an assumption: no capture says so."""
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {
            "capacity": capacity,
            "allocatable": allocatable,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def spark_nodes() -> dict[str, dict[str, Any]]:
    return {
        item["name"]: node(item["name"], item.get("capacity", item["allocatable"]), item["allocatable"], item["labels"])
        for item in json.loads(sample("k8s/gb10-node-facts.json"))
    }


def described(name: str) -> dict[str, Any]:
    """A node out of lines of ``kubectl describe node``: labels, then resources in capacity and again in allocatable."""
    text = sample(f"k8s/{name}")
    labels = dict(re.findall(r"^\s+(\S+)=(\S*)$", text, re.MULTILINE))
    found: dict[str, list[str]] = {}
    for resource, count in re.findall(r"^\s+(nvidia\.com/\S+):\s+(\S+)$", text, re.MULTILINE):
        found.setdefault(resource, []).append(count)
    return node(
        "n1",
        {key: counts[0] for key, counts in found.items()},
        {key: counts[1] for key, counts in found.items()},
        labels,
    )


def codes(item: dict[str, Any], declared: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in judged([item], {item["metadata"]["name"]: declared}, [])]


def test_a_spark_shared_in_four_time_slices_is_as_declared() -> None:
    item = spark_nodes()["tkspark"]
    declared = {"gpus": 1, "replicas": 4, "sharing": "time-slicing", "product": "NVIDIA-GB10"}
    assert codes(item, declared) == ["BG-CAP-001"]
    assert codes(item, {"gpus": 1, "replicas": 10, "sharing": "mps"}) == ["BG-CAP-002"]


def test_a_spark_whose_capacity_has_no_gpu_is_not_proven_by_its_allocatable() -> None:
    assert codes(spark_nodes()["gb10"], {"gpus": 1, "replicas": 3, "sharing": "time-slicing"}) == ["BG-CAP-005"]


@pytest.mark.parametrize(
    ("capacity", "declared", "expected"),
    [
        ("1", H100_NVL["n1"], ["BG-CAP-001"]),
        ("2", {GPU: 2}, ["BG-CAP-012"]),
        ("1", {"gpus": 1, "product": "NVIDIA-H100-80GB-HBM3"}, ["BG-CAP-016"]),
    ],
)
def test_labels_of_an_h100_are_held_against_its_figures(
    capacity: str, declared: dict[str, Any], expected: list[str]
) -> None:
    labels = json.loads(sample("k8s/h100-gfd-labels.json"))
    assert codes(node("n1", {GPU: capacity}, {GPU: capacity}, labels), declared) == expected


def test_four_gpus_in_four_shares_each_are_as_declared() -> None:
    item = described("node-mps-docs-t4.txt")
    assert codes(item, {"gpus": 4, "replicas": 4, "sharing": "mps", "product": "Tesla-T4"}) == ["BG-CAP-001"]
    assert codes(item, {"gpus": 1, "replicas": 16, "sharing": "mps"}) == ["BG-CAP-012"]


def test_renamed_shares_are_as_declared_under_their_name_only() -> None:
    """The old registration of whole GPUs stays as capacity 2 and offers nothing."""
    item = described("node-describe-mps-renamed-a100.txt")
    shares = {"gpus": 2, "replicas": 10, "sharing": "mps"}
    assert codes(item, {**shares, "renamed": True}) == ["BG-CAP-001"]
    assert codes(item, shares) == ["BG-CAP-014"]
