"""Operand pods, and what pods hold of a node's GPUs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_pods import parse_operand, requests
from ansible_collections.baremetal.gpu.tests.support.capacity_objects import GPU, gpu_pod, operand


@pytest.mark.parametrize(
    ("container", "role"),
    [
        ("nvidia-device-plugin", "device plugin"),
        ("nvidia-device-plugin-ctr", "device plugin"),
        ("gpu-feature-discovery", "GPU feature discovery"),
        ("mps-control-daemon-ctr", "MPS control daemon"),
        ("nvidia-mps-control-daemon", "MPS control daemon"),
        ("nvidia-mig-manager", "MIG manager"),
    ],
)
def test_an_operand_is_known_by_its_containers(container: str, role: str) -> None:
    found = parse_operand(operand("n1", container))
    assert found is not None
    assert (found.role, found.node, found.ready) == (role, "n1", True)


def test_another_pod_is_no_operand() -> None:
    assert parse_operand(operand("n1", "coredns")) is None


def test_a_pod_that_is_not_scheduled_belongs_to_the_node_it_is_for() -> None:
    found = parse_operand(operand("n1", ready=False, scheduled=False))
    assert found is not None
    assert (found.node, found.ready) == ("n1", False)


def test_a_pod_that_restarts_says_why() -> None:
    found = parse_operand(operand("n1", ready=False, waiting="CrashLoopBackOff"))
    assert found is not None
    assert (found.state, found.restarts) == ("CrashLoopBackOff", 2)


def pod(*containers: dict[str, Any], before: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"spec": {"nodeName": "n1", "containers": list(containers), "initContainers": before or []}, "status": {}}


def wants(count: int, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {GPU: str(count), "cpu": "1"}}, **more}


@pytest.mark.parametrize(
    ("item", "held"),
    [
        (gpu_pod("n1", 1, 2), {GPU: Decimal(3)}),
        (gpu_pod("n1", 1, phase="Pending"), {GPU: Decimal(1)}),
        (gpu_pod("n1", 1, phase="Succeeded"), {}),
        (gpu_pod("n1", 1, phase="Failed"), {}),
        (pod({}), {}),
        # Containers together, or one init container, whichever is more; a sidecar counts with both.
        (pod(wants(2), before=[wants(4)]), {GPU: Decimal(4)}),
        (pod(wants(2), before=[wants(1), wants(1)]), {GPU: Decimal(2)}),
        (pod(wants(2), before=[wants(1, restartPolicy="Always")]), {GPU: Decimal(3)}),
        (pod(wants(1), before=[wants(1, restartPolicy="Always"), wants(4)]), {GPU: Decimal(5)}),
    ],
)
def test_a_pod_holds_what_the_scheduler_counts(item: dict[str, Any], held: dict[str, Decimal]) -> None:
    assert requests(item) == ("n1", held)


@pytest.mark.parametrize("item", [{}, {"spec": None, "status": []}, {"spec": {"nodeName": "", "containers": {}}}])
def test_an_odd_pod_holds_nothing(item: dict[str, Any]) -> None:
    assert requests(item)[1] == {}
    assert parse_operand(item) is None
