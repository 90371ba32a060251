"""The large cluster of the benchmark: its objects, and that the two ways are compared node by node."""

from __future__ import annotations

import json

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_pods import parse_operand, requests
from ansible_collections.baremetal.gpu.tests.support.capacity_faults import judged
from tools.bench import fleet_objects, large_cluster, run_module


def test_nodes_have_the_size_of_real_ones() -> None:
    assert 20_000 < len(json.dumps(fleet_objects.node(0))) < 35_000


def test_every_hundred_nodes_one_of_each_fault_is_built() -> None:
    verdicts = list(fleet_objects.verdicts(200).values())
    assert {name: verdicts.count(name) for name in set(verdicts)} == {
        "ok": 190,
        "short": 2,
        "degraded": 2,
        "surplus": 2,
        "unknown": 2,
        "missing": 2,
    }
    assert len(fleet_objects.nodes(200)) == 198


def test_what_is_built_is_what_is_judged() -> None:
    findings = judged(fleet_objects.nodes(100), fleet_objects.expected(100))
    bad = {finding["subject"]: finding["code"] for finding in findings if finding["status"] != "ok"}
    assert bad == {
        "gpu-00007": "BG-CAP-002",
        "gpu-00019": "BG-CAP-003",
        "gpu-00041": "BG-CAP-004",
        "gpu-00063": "BG-CAP-007",
        "gpu-00088": "BG-CAP-006",
    }


def test_every_fourth_pod_is_a_device_plugin_and_the_others_hold_a_gpu() -> None:
    pods = [fleet_objects.pod(number, 0) for number in range(8)]
    assert sum(parse_operand(pod) is not None for pod in pods) == 2
    assert sum(bool(requests(pod)[1]) for pod in pods) == 6


def test_a_different_verdict_stops_the_benchmark() -> None:
    large_cluster.require_equal({"a": "ok"}, {"a": "ok"}, "module")
    with pytest.raises(RuntimeError, match=r"module says something else of 2 nodes.*'a': \('ok', 'short'\)"):
        large_cluster.require_equal({"a": "ok", "b": "ok"}, {"a": "short"}, "module")


def test_the_memory_of_the_module_is_its_own_peak() -> None:
    assert run_module.peak_bytes("Name:\tpython\nVmPeak:\t  300000 kB\nVmHWM:\t  114000 kB\n") == 114000 * 1024
