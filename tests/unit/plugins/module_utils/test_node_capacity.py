"""Declared resources against nodes, row by row of the kubelet's arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils import parse_quantity

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import (
    Context,
    is_settled,
    judge,
    parse_expectation,
    parse_node,
)

CONTEXT = Context(read_at="2026-01-01T00:00:00Z", requirements=("ONYX-R057",), simulated=True)
GPU = "nvidia.com/gpu"
SHARED = "nvidia.com/gpu.shared"


def node(name: str = "n1", ready: str | None = "True", cordoned: bool = False, **resources: Any) -> dict[str, Any]:
    """A node object; ``capacity`` and ``allocatable`` are the GPU resources beside the usual ones."""
    usual = {"cpu": "2", "memory": "131072000Ki", "pods": "110", "hugepages-1Gi": "0"}
    conditions = [{"type": "MemoryPressure", "status": "False"}]
    if ready is not None:
        conditions.append({"type": "Ready", "status": ready, "reason": "KubeletReady", "message": "posting status"})
    return {
        "metadata": {"name": name, "resourceVersion": "4711"},
        "spec": {"unschedulable": True} if cordoned else {},
        "status": {
            "capacity": {**usual, **resources.get("capacity", {})},
            "allocatable": {**usual, **resources.get("allocatable", {})},
            "conditions": conditions,
        },
    }


def verdict(items: list[dict[str, Any]], expected: dict[str, Any]) -> list[Finding]:
    return judge(parse_expectation(expected), [parse_node(item, parse_quantity) for item in items], CONTEXT)


def offers(capacity: dict[str, str], allocatable: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    return node(capacity=capacity, allocatable=capacity if allocatable is None else allocatable, **options)


@pytest.mark.parametrize(
    ("item", "expected", "codes"),
    [
        (offers({GPU: "8"}), {GPU: 8}, {"BG-CAP-001": OK}),
        (offers({GPU: "1k"}), {GPU: 1000}, {"BG-CAP-001": OK}),
        (offers({GPU: "8"}), {GPU: "8"}, {"BG-CAP-001": OK}),
        # one GPU unhealthy; plugin stopped under five minutes; MPS x10 with one Xid
        (offers({GPU: "8"}, {GPU: "7"}), {GPU: 8}, {"BG-CAP-003": FAIL}),
        (offers({GPU: "8"}, {GPU: "0"}), {GPU: 8}, {"BG-CAP-003": FAIL}),
        (offers({GPU: "10"}, {GPU: "9"}), {GPU: 10}, {"BG-CAP-003": FAIL}),
        (offers({GPU: "8"}, {}), {GPU: 8}, {"BG-CAP-003": FAIL}),
        # GPU lost before the plugin started; plugin stopped over five minutes; sharing not applied
        (offers({GPU: "7"}), {GPU: 8}, {"BG-CAP-002": FAIL}),
        (offers({GPU: "0"}), {GPU: 8}, {"BG-CAP-002": FAIL}),
        (offers({GPU: "1"}), {GPU: 10}, {"BG-CAP-002": FAIL}),
        (offers({GPU: "0", SHARED: "10"}), {GPU: 10}, {"BG-CAP-002": FAIL}),
        # plugin never ran; resource renamed; quantity that is none
        (offers({}), {GPU: 8}, {"BG-CAP-005": FAIL}),
        (offers({SHARED: "10"}), {GPU: 10}, {"BG-CAP-005": FAIL}),
        (offers({GPU: "eight"}), {GPU: 8}, {"BG-CAP-005": UNKNOWN}),
        (offers({GPU: "16"}), {GPU: 8}, {"BG-CAP-004": FAIL}),
        (offers({GPU: "8", SHARED: "10"}), {GPU: 8}, {"BG-CAP-004": WARN}),
        (offers({}), {GPU: 0}, {"BG-CAP-001": OK}),
        # allocatable above capacity is no state of a kubelet, and not the declared one
        (offers({GPU: "8"}, {GPU: "9"}), {GPU: 8}, {"BG-CAP-003": FAIL}),
        (offers({GPU: "8"}, ready="False"), {GPU: 8}, {"BG-CAP-007": UNKNOWN}),
        (offers({GPU: "8"}, ready="Unknown"), {GPU: 8}, {"BG-CAP-007": UNKNOWN}),
        (offers({GPU: "8"}, ready=None), {GPU: 8}, {"BG-CAP-007": UNKNOWN}),
        (offers({GPU: "8"}, cordoned=True), {GPU: 8}, {"BG-CAP-001": OK, "BG-CAP-008": WARN}),
        (offers({GPU: "7"}, cordoned=True), {GPU: 8}, {"BG-CAP-002": FAIL, "BG-CAP-008": WARN}),
    ],
)
def test_each_state_of_a_node_has_its_code(
    item: dict[str, Any], expected: dict[str, Any], codes: dict[str, str]
) -> None:
    assert {finding.code: finding.status for finding in verdict([item], {"n1": expected})} == codes


def test_a_declared_node_that_is_not_there_fails() -> None:
    assert [(f.code, f.subject, f.status) for f in verdict([], {"n1": {GPU: 8}})] == [("BG-CAP-006", "n1", FAIL)]


def test_an_undeclared_node_with_gpus_is_a_warning_and_one_without_is_nothing() -> None:
    items = [offers({GPU: "8"}), offers({GPU: "8"}, name="n2"), offers({}, name="n3"), offers({GPU: "0"}, name="n4")]
    assert [(f.code, f.subject) for f in verdict(items, {"n1": {GPU: 8}})] == [
        ("BG-CAP-001", "n1"),
        ("BG-CAP-009", "n2"),
    ]


def test_mig_devices_are_compared_per_profile() -> None:
    mig = {"nvidia.com/mig-1g.10gb": 7, "nvidia.com/gpu": 0}
    assert verdict([offers({"nvidia.com/mig-1g.10gb": "7", GPU: "0"})], {"n1": mig})[0].status == OK
    short = verdict([offers({"nvidia.com/mig-1g.10gb": "6", GPU: "0"})], {"n1": mig})[0]
    assert short.reason == "capacity is nvidia.com/mig-1g.10gb 6 instead of 7"


def test_a_finding_carries_what_was_read_where_and_when() -> None:
    finding = verdict([offers({GPU: "8"}, {GPU: "7"})], {"n1": {GPU: 8}})[0]
    assert finding.simulated
    assert finding.requirements == ("ONYX-R057",)
    assert finding.evidence == {
        "what": "capacity and allocatable",
        "where": "Kubernetes API, node n1",
        "expected": {GPU: 8},
        "capacity": {GPU: "8"},
        "allocatable": {GPU: "7"},
        "ready": True,
        "resource_version": "4711",
        "when": "2026-01-01T00:00:00Z",
    }


def test_a_renamed_resource_is_named() -> None:
    reason = verdict([offers({GPU: "0", SHARED: "10"})], {"n1": {GPU: 10}})[0].reason
    assert reason == "capacity is nvidia.com/gpu 0 instead of 10; it offers nvidia.com/gpu.shared 10 instead"


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"n1": {}},
        {"n1": {GPU: -1}},
        {"n1": {GPU: True}},
        {"n1": {GPU: "x"}},
        {"n1": 8},
        {"n1": {GPU: None}},
        {"n1": {GPU: 1.5}},
    ],
)
def test_an_expectation_that_is_none_is_refused(expected: dict[str, Any]) -> None:
    with pytest.raises(GpuError, match=r"^BG-CAP-104"):
        parse_expectation(expected)


def test_waiting_ends_at_warnings() -> None:
    assert is_settled(verdict([offers({GPU: "8"}, cordoned=True)], {"n1": {GPU: 8}}))
    assert not is_settled(verdict([offers({GPU: "8"}, ready="False")], {"n1": {GPU: 8}}))


@given(st.integers(0, 64), st.integers(0, 64), st.integers(0, 64))
def test_ok_means_that_both_figures_equal_the_declaration(expected: int, capacity: int, allocatable: int) -> None:
    finding = verdict([offers({GPU: str(capacity)}, {GPU: str(allocatable)})], {"n1": {GPU: expected}})[0]
    assert (finding.code == "BG-CAP-001") is (capacity == allocatable == expected)


odd_objects = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["status", "capacity", "conditions", "metadata", "spec", "type"]), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["status", "metadata", "spec"]), odd_objects))
def test_an_odd_node_object_is_a_node_that_reports_nothing(item: dict[str, Any]) -> None:
    reading = parse_node(item, parse_quantity)
    assert reading.ready is None
    assert reading.capacity == {}
