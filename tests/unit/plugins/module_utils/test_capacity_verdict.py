"""Declared resources against nodes, row by row of the kubelet's arithmetic."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils import capacity_verdict
from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import parse_expected
from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_verdict import (
    CONFIRM_S,
    LABELS_S,
    UNTIL_DEADLINE,
    NodeVerdict,
    judge,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, UNKNOWN, WARN
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import parse_node
from ansible_collections.baremetal.gpu.tests.support.capacity_faults import (
    CONTEXT,
    EIGHT,
    GB10_MPS,
    H100,
    TEN_SHARES,
    faults,
    healthy,
    judged,
    view,
)
from ansible_collections.baremetal.gpu.tests.support.capacity_objects import GPU, NOW, SHARED, node, operand
from ansible_collections.baremetal.gpu.tests.support.seeded_faults import SeededFault


def verdict(
    item: dict[str, Any] | None, expected: dict[str, Any] = EIGHT, pods: list[dict[str, Any]] | None = None
) -> NodeVerdict:
    """The verdict about n1."""
    seen = view([item] if item else [], expected, pods)
    return judge(parse_expected(expected), seen, CONTEXT)["n1"]


@pytest.mark.requirement("MPS-09")
@pytest.mark.requirement("ONYX-R057", part="capacity and allocatable of every declared node")
@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.name)
def test_each_fault_has_its_code_and_no_other(fault: SeededFault) -> None:
    bad = [finding["code"] for finding in fault.findings() if finding["status"] != OK]
    assert bad == [fault.expected]


@pytest.mark.parametrize("variant", healthy(), ids=lambda variant: variant.name)
def test_what_is_as_declared_is_ok(variant: SeededFault) -> None:
    assert [(finding["code"], finding["status"]) for finding in variant.findings()] == [("BG-CAP-001", OK)]


def test_every_finding_that_is_not_ok_says_what_to_do() -> None:
    findings = [finding for fault in faults() for finding in fault.findings()]
    assert [finding["code"] for finding in findings if finding["status"] != OK and not finding["remedy"]] == []


@pytest.mark.parametrize(
    ("item", "pods", "name"),
    [
        (node("n1", {GPU: "8"}), None, "ok"),
        (node("n1", {GPU: "7"}), [operand("n1")], "short"),
        (node("n1", {GPU: "8"}, {GPU: "7"}), [operand("n1")], "degraded"),
        (node("n1", {GPU: "8"}, labels={**H100, "gpu.count": "7"}), None, "degraded"),
        (node("n1", {GPU: "8"}, {GPU: "0"}), [], "settling"),
        (node("n1", {GPU: "16"}), [operand("n1")], "surplus"),
        (node("n1", {GPU: "8", SHARED: "4"}), None, "surplus"),
        (node("n1", {GPU: "8"}, ready="False"), None, "unknown"),
        (node("n1", {GPU: "x"}), None, "unknown"),
        (None, None, "missing"),
    ],
)
def test_a_node_has_one_verdict(item: dict[str, Any] | None, pods: list[dict[str, Any]] | None, name: str) -> None:
    assert verdict(item, pods=pods).verdict == name
    assert name in capacity_verdict.VERDICTS


@pytest.mark.parametrize(
    ("item", "pods", "seconds"),
    [
        (node("n1", {GPU: "8"}), None, 0),
        (node("n1", {GPU: "8"}, cordoned=True), None, 0),
        (node("n1", {GPU: "8"}, labels={**H100, "gpu.replicas": "2"}), None, 0),
        # Two reports of the kubelet show that it is no passing state.
        (node("n1", {GPU: "7"}), [operand("n1")], CONFIRM_S),
        (node("n1", {GPU: "8"}, {GPU: "7"}), [operand("n1")], CONFIRM_S),
        (node("n1", {GPU: "0"}), [operand("n1")], CONFIRM_S),
        (node("n1", {GPU: "0"}), [], CONFIRM_S),
        (node("n1", {GPU: "8"}, ready="False", ready_for_s=3600), None, CONFIRM_S),
        (None, None, CONFIRM_S),
        (node("n1", {GPU: "8"}, labels={**H100, "gpu.count": "7"}), None, LABELS_S),
        # What comes by itself is waited for.
        (node("n1", {GPU: "8"}, {GPU: "0"}), [], UNTIL_DEADLINE),
        (node("n1", {}), [], UNTIL_DEADLINE),
        (node("n1", {GPU: "7"}), [operand("n1", ready=False)], UNTIL_DEADLINE),
        (node("n1", {GPU: "8"}, ready="False", ready_for_s=30), None, UNTIL_DEADLINE),
    ],
)
def test_what_can_get_better_by_itself_is_waited_for(
    item: dict[str, Any] | None, pods: list[dict[str, Any]] | None, seconds: float
) -> None:
    assert verdict(item, pods=pods).final_after_s == seconds


@pytest.mark.parametrize(
    ("pods", "settles"),
    [
        ([operand("n1", for_s=200)], True),
        ([operand("n1", for_s=400)], False),
        ([operand("n1", ready=False, waiting="ContainerCreating")], True),
        ([operand("n1", scheduled=False, ready=False)], True),
        ([operand("n1", deletionTimestamp="2026-01-01T11:59:59Z")], True),
        ([operand("n1"), operand("n1", "gpu-feature-discovery", ready=False)], False),
        ([operand("n2", ready=False)], False),
    ],
)
def test_a_node_that_offers_nothing_settles_while_its_plugin_starts(pods: list[dict[str, Any]], settles: bool) -> None:
    found = verdict(node("n1", {GPU: "0"}), pods=pods)
    assert (found.verdict == "settling") is settles


def test_a_node_with_some_of_its_gpus_settles_only_just_after_the_plugin_started() -> None:
    item = node("n1", {GPU: "8"}, {GPU: "7"})
    assert verdict(item, pods=[operand("n1", for_s=10)]).verdict == "settling"
    assert verdict(item, pods=[operand("n1", for_s=60)]).verdict == "degraded"


def test_a_node_that_did_not_settle_in_time_fails_with_the_same_code() -> None:
    item = node("n1", {GPU: "8"}, {GPU: "0"})
    once, waited = judged([item], EIGHT, [])[0], judged([item], EIGHT, [], waited_s=310)[0]
    assert (once["code"], once["status"]) == ("BG-CAP-010", UNKNOWN)
    assert (waited["code"], waited["status"]) == ("BG-CAP-010", FAIL)
    assert "did not settle within 310 s" in waited["reason"]


def test_without_the_pods_a_start_cannot_be_told_from_a_failure() -> None:
    seen = replace(view([node("n1", {GPU: "0"})], EIGHT), operands_problem="HTTP 403")
    found = judge(parse_expected(EIGHT), seen, CONTEXT)["n1"]
    assert found.verdict == "settling"
    assert "cannot be told from a failure (HTTP 403)" in found.findings[0].reason


def test_the_clock_of_a_node_may_be_ahead() -> None:
    seen = replace(view([node("n1", {GPU: "0"})], EIGHT, [operand("n1", for_s=0)]), now=NOW - timedelta(seconds=90))
    assert judge(parse_expected(EIGHT), seen, CONTEXT)["n1"].verdict == "settling"


def test_undeclared_nodes_are_warnings_about_what_they_have() -> None:
    found = judged([node("n1", {GPU: "8"}), node("n2", {GPU: "4"})], EIGHT)[1]
    assert (found["code"], found["subject"], found["status"]) == ("BG-CAP-009", "n2", WARN)
    assert found["reason"] == "the node offers nvidia.com/gpu 4 and is not declared"


def test_a_finding_carries_what_was_read_where_and_when() -> None:
    taint = {"key": GPU, "value": "present", "effect": "NoSchedule"}
    found = judged(
        [node("n1", {GPU: "8"}, {GPU: "7"}, labels={"gpu.count": "8"}, taints=[taint])], EIGHT, [operand("n1")]
    )[0]
    assert found["requirements"] == ["ONYX-R057"]
    assert found["evidence"] == {
        "what": "capacity and allocatable",
        "where": "Kubernetes API, node n1",
        "expected": {GPU: 8},
        "capacity": {GPU: "8"},
        "allocatable": {GPU: "7"},
        "labels": {"nvidia.com/gpu.count": "8"},
        "taints": ["nvidia.com/gpu=present:NoSchedule"],
        "operands": [
            {
                "role": "device plugin",
                "pod": "gpu-operands/nvidia-device-plugin-n1",
                "state": "Ready",
                "restarts": 0,
            }
        ],
        "ready": True,
        "resource_version": "4711",
        "when": "2026-01-01T12:00:00Z",
    }


@pytest.mark.parametrize(
    ("labels", "expected", "codes"),
    [
        # A label that is not there says nothing.
        ({}, EIGHT, {"BG-CAP-001"}),
        ({"gpu.replicas": "1"}, EIGHT, {"BG-CAP-001"}),
        ({"gpu.count": "x"}, EIGHT, {"BG-CAP-001"}),
        # How many shares each GPU has is not known, so nothing can be said of the count.
        ({"gpu.count": "1", "gpu.product": "NVIDIA-GB10-SHARED"}, {"n1": {GPU: 8}}, {"BG-CAP-001"}),
        ({"gpu.count": "2", "gpu.replicas": "4"}, {"n1": {GPU: 8}}, {"BG-CAP-001"}),
        ({"gpu.count": "1", "gpu.replicas": "4"}, {"n1": {GPU: 8}}, {"BG-CAP-012"}),
        ({"gpu.count": "3", "gpu.replicas": "4"}, {"n1": {GPU: 8}}, {"BG-CAP-001", "BG-CAP-011"}),
        ({"gpu.count": "2", "gpu.replicas": "3"}, {"n1": {GPU: 8}}, {"BG-CAP-001", "BG-CAP-011"}),
        ({"mps.capable": "true", "gpu.sharing-strategy": "none"}, EIGHT, {"BG-CAP-001", "BG-CAP-011"}),
        ({"gpu.product": "NVIDIA-L4-SHARED", "gpu.sharing-strategy": "none"}, EIGHT, {"BG-CAP-001", "BG-CAP-011"}),
        ({**H100, "gpu.count": "9"}, EIGHT, {"BG-CAP-012"}),
    ],
)
def test_labels_are_held_against_figures_and_declaration(
    labels: dict[str, str], expected: dict[str, Any], codes: set[str]
) -> None:
    assert set(verdict(node("n1", {GPU: "8"}, labels=labels), expected).codes) == codes


@pytest.mark.parametrize(
    ("product", "ok"),
    [
        ("NVIDIA-GB10", True),
        ("NVIDIA-GB10-SHARED", True),
        ("NVIDIA-GB10-MIG-1g.10gb-SHARED", True),
        ("NVIDIA-GB100", False),
    ],
)
def test_the_model_is_compared_without_the_endings_of_sharing_and_mig(product: str, ok: bool) -> None:
    expected = {"n1": {GPU: 8, "product": "NVIDIA-GB10"}}
    assert ("BG-CAP-016" not in verdict(node("n1", {GPU: "8"}, labels={"gpu.product": product}), expected).codes) is ok


def test_labels_of_a_node_that_is_not_as_declared_add_nothing() -> None:
    labels = {**GB10_MPS, "gpu.count": "3"}
    assert verdict(node("n1", {GPU: "1"}, labels=labels), TEN_SHARES, [operand("n1")]).codes == ("BG-CAP-002",)


@settings(max_examples=60)
@given(st.integers(0, 64), st.integers(0, 64), st.integers(0, 64))
def test_ok_means_that_both_figures_equal_the_declaration(expected: int, capacity: int, allocatable: int) -> None:
    found = verdict(node("n1", {GPU: str(capacity)}, {GPU: str(allocatable)}), {"n1": {GPU: expected}}, [operand("n1")])
    as_declared = allocatable == expected and (capacity == expected or (expected == 0 and allocatable == 0))
    assert (found.verdict == "ok") is as_declared


odd_objects = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["status", "capacity", "conditions", "metadata", "spec", "type", "taints", "labels"]), inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(["status", "metadata", "spec"]), odd_objects))
def test_an_odd_node_object_is_a_node_that_reports_nothing(item: dict[str, Any]) -> None:
    reading = parse_node(item)
    assert reading.ready is None
    assert reading.capacity == {}
