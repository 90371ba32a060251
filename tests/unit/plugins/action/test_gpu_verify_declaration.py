"""What the role gpu_verify declares of a host's node, from its variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import parse_node_expectation
from ansible_collections.baremetal.gpu.tests.unit.plugins.action.test_plays import play

ROLE = Path(__file__).resolve().parents[4] / "roles/gpu_verify"
GPU = "nvidia.com/gpu"
PLAIN: dict[str, Any] = {
    "gpu_verify_hardware_profile": "h100-sxm-8",
    "gpu_verify_resource": GPU,
    "gpu_verify_replicas": 1,
    "gpu_verify_sharing": "none",
    "gpu_verify_mig_devices": {},
}
CASES: list[tuple[dict[str, Any], dict[str, Any], dict[str, int]]] = [
    ({}, {"gpus": 8, "replicas": 1}, {GPU: 8}),
    ({"gpu_verify_hardware_profile": ""}, {GPU: 0}, {GPU: 0}),
    (
        {"gpu_verify_replicas": "10", "gpu_verify_sharing": "mps"},
        {"gpus": 8, "replicas": 10, "sharing": "mps"},
        {GPU: 80},
    ),
    (
        {"gpu_verify_replicas": 2, "gpu_verify_resource": f"{GPU}.shared", "gpu_verify_sharing": "time-slicing"},
        {f"{GPU}.shared": 16},
        {f"{GPU}.shared": 16},
    ),
    (
        {"gpu_verify_sharing": "mig", "gpu_verify_mig_devices": {"1g.10gb": 56}},
        {"gpus": 8, "mig": {"1g.10gb": 56}, "mig_strategy": "single"},
        {GPU: 56},
    ),
    (
        {"gpu_verify_sharing": "mig", "gpu_verify_mig_devices": {"1g.10gb": 24, "3g.40gb": 8}},
        {"gpus": 8, "mig": {"1g.10gb": 24, "3g.40gb": 8}, "mig_strategy": "mixed"},
        {"nvidia.com/mig-1g.10gb": 24, "nvidia.com/mig-3g.40gb": 8, GPU: 0},
    ),
]


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each case declares, from one run."""
    read = {"name": "Read the role's variables", "ansible.builtin.include_vars": str(ROLE / "vars/main.yml")}
    tasks = [
        {
            "name": "Declare",
            "ansible.builtin.set_fact": {"declared": "{{ __gpu_verify_declared }}"},
            "vars": {**PLAIN, **changes},
        }
        for changes, _declared, _resources in CASES
    ]
    results = play(tmp_path_factory.mktemp("declaration"), read, *tasks)
    return [result["ansible_facts"]["declared"] for result in results[1:]]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_host_declares_its_gpus_and_how_they_are_shared(declared: list[dict[str, Any]], number: int) -> None:
    _changes, expected, resources = CASES[number]
    assert declared[number] == expected
    assert parse_node_expectation("n1", declared[number]).resources == resources
