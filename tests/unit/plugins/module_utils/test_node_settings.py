"""Labels and taints of a node: ours are corrected, those of others stay."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.node_settings import (
    OWNED_LABELS,
    OWNED_TAINTS,
    Correction,
    Node,
    Taint,
    correct,
    difference,
    is_settled,
    parse_labels,
    parse_node,
    parse_taint,
)

GPU = Taint("nvidia.com/gpu", "present", "NoSchedule")
THEIRS = Taint("node.kubernetes.io/unreachable", "", "NoExecute")


def item(**changes: Any) -> dict[str, Any]:
    """A node as the API gives it, settled with one label and one taint of ours and one of each of others."""
    annotations = {OWNED_LABELS: '["accelerator"]', OWNED_TAINTS: '["nvidia.com/gpu:NoSchedule"]', "theirs": "1"}
    document: dict[str, Any] = {
        "metadata": {
            "name": "spark-01",
            "resourceVersion": "7",
            "labels": {"accelerator": "gb10", "team": "a"},
            "annotations": annotations,
        },
        "spec": {
            "taints": [
                {"key": THEIRS.key, "effect": THEIRS.effect},
                {"key": GPU.key, "value": GPU.value, "effect": GPU.effect},
            ]
        },
        "status": {
            "nodeInfo": {"machineID": "abc", "kubeletVersion": "v1"},
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
        },
    }
    document["metadata"].update(changes)
    return document


def settled() -> Node:
    return parse_node(item())


def test_a_node_as_wanted_needs_nothing() -> None:
    assert is_settled(settled(), {"accelerator": "gb10"}, [GPU])
    assert not correct(settled(), {"accelerator": "gb10"}, [GPU]).needed


def test_a_node_that_is_not_ready_is_not_settled() -> None:
    assert not is_settled(replace(settled(), ready=False), {"accelerator": "gb10"}, [GPU])


def test_a_label_with_another_value_is_corrected() -> None:
    drifted = replace(settled(), labels={"accelerator": "h100", "team": "a"})
    assert correct(drifted, {"accelerator": "gb10"}, [GPU]) == Correction({"accelerator": "gb10"}, None, {})


def test_a_label_that_is_no_longer_wanted_goes_only_if_it_was_ours() -> None:
    found = correct(settled(), {}, [GPU])
    assert found.labels == {"accelerator": None}, "team is not ours"
    assert found.annotations == {OWNED_LABELS: "[]"}


def test_a_label_that_is_already_there_becomes_ours_when_it_is_wanted() -> None:
    found = correct(settled(), {"accelerator": "gb10", "team": "a"}, [GPU])
    assert (found.labels, found.annotations) == ({}, {OWNED_LABELS: '["accelerator", "team"]'})


def test_a_missing_taint_comes_back_and_others_stay() -> None:
    found = correct(replace(settled(), taints=(THEIRS,)), {"accelerator": "gb10"}, [GPU])
    assert found.taints == (THEIRS, GPU)


def test_a_taint_that_is_no_longer_wanted_goes_and_others_stay() -> None:
    found = correct(settled(), {"accelerator": "gb10"}, [])
    assert found.taints == (THEIRS,)
    assert found.annotations == {OWNED_TAINTS: "[]"}


def test_a_taint_with_another_value_is_replaced_in_place() -> None:
    other = replace(GPU, value="yes")
    found = correct(settled(), {"accelerator": "gb10"}, [other])
    assert (found.taints, found.annotations) == ((THEIRS, other), {})


def test_the_patch_is_refused_on_a_node_that_changed_meanwhile() -> None:
    patch = correct(settled(), {}, []).patch("7")
    assert patch["metadata"]["resourceVersion"] == "7"
    assert patch["metadata"]["labels"] == {"accelerator": None}
    assert patch["spec"]["taints"] == [{"key": THEIRS.key, "effect": THEIRS.effect}]


def test_a_patch_of_labels_alone_leaves_taints_alone() -> None:
    assert "spec" not in correct(settled(), {"accelerator": "x"}, [GPU]).patch("7")


def test_the_diff_names_what_changes_and_nothing_else() -> None:
    drifted = replace(settled(), labels={"accelerator": "h100", "team": "a"})
    shown = difference(drifted, correct(drifted, {"accelerator": "gb10"}, [GPU]))
    assert shown == {"before": "label accelerator=h100\n", "after": "label accelerator=gb10\n"}


@pytest.mark.parametrize("annotation", ["not json", "{}", "7", None])
def test_an_annotation_that_cannot_be_read_owns_nothing(annotation: Any) -> None:
    node = parse_node(item(annotations={OWNED_LABELS: annotation}))
    assert node.owned_labels == frozenset()
    assert correct(node, {}, []).labels == {}, "nothing is removed on a guess"


def test_a_node_travels_in_results() -> None:
    assert Node.from_dict(json.loads(json.dumps(settled().as_dict()))) == settled()


def test_an_empty_object_is_a_node_that_is_not_ready() -> None:
    node = parse_node({})
    assert (node.ready, node.machine_id, node.heartbeat) == (False, "", "")


@pytest.mark.parametrize("text", ["gpu=present", "gpu=present:Never", ":NoSchedule", "=x:NoSchedule", ""])
def test_a_malformed_taint_is_refused(text: str) -> None:
    with pytest.raises(GpuError, match="BG-NODE-001"):
        parse_taint(text)


@pytest.mark.parametrize("text", ["role", "=x", ""])
def test_a_malformed_label_is_refused(text: str) -> None:
    with pytest.raises(GpuError, match="BG-NODE-001"):
        parse_labels([text])


_NAMES = st.sampled_from(["a", "b", "c", "d"])
_TAINTS = st.builds(Taint, _NAMES, st.sampled_from(["", "1", "2"]), st.sampled_from(["NoSchedule", "NoExecute"]))


def unique(taints: list[Taint]) -> tuple[Taint, ...]:
    return tuple({taint.identity: taint for taint in taints}.values())


@given(
    st.dictionaries(_NAMES, _NAMES),
    st.lists(_TAINTS).map(unique),
    st.dictionaries(_NAMES, _NAMES),
    st.lists(_TAINTS).map(unique),
    st.sets(_NAMES),
)
def test_one_correction_settles_any_node_and_touches_nothing_of_others(
    labels: dict[str, str],
    taints: tuple[Taint, ...],
    wanted: dict[str, str],
    wanted_taints: tuple[Taint, ...],
    owned: set[str],
) -> None:
    node = replace(settled(), labels=labels, taints=taints, owned_labels=frozenset(owned), owned_taints=frozenset())
    correction = correct(node, wanted, wanted_taints)
    after_labels = {key: value for key, value in {**labels, **correction.labels}.items() if value is not None}
    after = replace(
        node,
        labels=after_labels,
        taints=node.taints if correction.taints is None else correction.taints,
        owned_labels=frozenset(wanted),
        owned_taints=frozenset(taint.identity for taint in wanted_taints),
    )
    assert is_settled(after, wanted, wanted_taints)
    foreign = set(labels) - owned - set(wanted)
    assert {key: after_labels.get(key) for key in foreign} == {key: labels[key] for key in foreign}
    ours = {taint.identity for taint in wanted_taints}
    assert [taint for taint in after.taints if taint.identity not in ours] == [
        taint for taint in taints if taint.identity not in ours
    ]
