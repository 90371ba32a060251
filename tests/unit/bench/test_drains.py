"""What somebody learns from what a drain says."""

from __future__ import annotations

import json

import pytest

from lab.settings import REPOSITORY
from tools.bench import drains

PODS = ["bench-pod-000", "bench-pod-001"]


@pytest.mark.parametrize(
    ("said", "pods", "budget"),
    [
        ({"msg": f"BG-DRAIN-106: bench-pod-000, bench-pod-001: {drains.BUDGET}", "blocked": []}, 2, True),
        ({"msg": "Failed to delete pod default/bench-pod-000"}, 1, False),
        ({"result": "2 Pod(s) deleted from node.", "warnings": ["timeout reached"]}, 0, False),
        # What is gone is not what is left, and the arguments of a task say nothing.
        ({"evicted": [{"pod": "default/bench-pod-000"}], "invocation": {"name": drains.BUDGET}}, 0, False),
    ],
)
def test_a_result_names_what_stands_in_its_words(said: dict[str, object], pods: int, budget: bool) -> None:
    assert drains.heard(json.dumps(said), PODS) == {"pods_named": pods, "budget_named": budget}


def test_kubectl_names_what_stands_in_its_errors() -> None:
    said = """node/bench-node cordoned
evicting pod default/bench-pod-001
pod/bench-pod-001 evicted
"""
    assert drains.heard(said, PODS) == {"pods_named": 0, "budget_named": False}
    failed = f'{said}error when evicting pods/"bench-pod-000" -n "default": global timeout reached: 5s\n'
    assert drains.heard(failed, PODS) == {"pods_named": 1, "budget_named": False}


def test_every_way_of_a_playbook_has_its_playbook() -> None:
    ways = {way.removesuffix("_waits") for way in drains.WAYS if way != "kubectl"}
    assert all((REPOSITORY / f"tests/bench/drain_{way}.yml").is_file() for way in ways)
    assert all(case.kept or case.stuck for case in drains.CASES.values() if case.limit_s < 60)
