"""What a drain decides about each pod, and which budgets it is held against."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils import eviction
from ansible_collections.baremetal.gpu.plugins.module_utils.drain_plan import (
    EVICT,
    REFUSE,
    Budget,
    Pod,
    Policies,
    budgets_of,
    in_turns,
    make_plan,
    never_evictable,
    parse_budget,
    parse_pod,
    selects,
)

POD = Pod("team", "web", "u1", owner="ReplicaSet/web", labels={"app": "web", "tier": "front"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["name", "labels", "ownerReferences", "volumes", "containers", "phase", "selector"])
OBJECTS = st.fixed_dictionaries(
    {key: JSON | st.dictionaries(FIELDS, JSON, max_size=4) for key in ("metadata", "spec", "status")}
)


@pytest.mark.parametrize(
    ("change", "evicted", "skipped", "refused"),
    [
        ({}, 1, 0, 0),
        ({"owner": ""}, 0, 0, 1),
        ({"owner": "", "phase": "Succeeded"}, 0, 1, 0),
        ({"emptydir": True}, 0, 0, 1),
        ({"emptydir": True, "phase": "Failed"}, 0, 1, 0),
        ({"emptydir": True, "owner": "", "deleting": True}, 1, 0, 0),
        ({"mirror": True, "owner": "Node/n1"}, 0, 1, 0),
        ({"owner": "DaemonSet/agent", "emptydir": True}, 0, 1, 0),
    ],
)
def test_each_kind_of_pod_has_its_policy(change: dict[str, Any], evicted: int, skipped: int, refused: int) -> None:
    plan = make_plan([replace(POD, **change)], Policies())
    assert (len(plan.evict), len(plan.skip), len(plan.refused)) == (evicted, skipped, refused)


@pytest.mark.parametrize("change", [{"owner": ""}, {"emptydir": True}])
def test_a_policy_lets_pods_go(change: dict[str, Any]) -> None:
    plan = make_plan([replace(POD, **change)], Policies(emptydir=EVICT, bare=EVICT))
    assert (len(plan.evict), plan.refused) == (1, ())


def test_a_policy_refuses_what_would_be_left() -> None:
    pods = [replace(POD, owner="DaemonSet/agent"), replace(POD, name="static", mirror=True)]
    assert len(make_plan(pods, Policies(daemonset=REFUSE, static=REFUSE)).refused) == 2


@given(
    st.lists(
        st.builds(
            replace,
            st.just(POD),
            uid=st.uuids().map(str),
            owner=st.sampled_from(["", "Job/j", "DaemonSet/d"]),
            emptydir=st.booleans(),
            mirror=st.booleans(),
            deleting=st.booleans(),
            phase=st.sampled_from(["Running", "Failed"]),
        ),
        max_size=8,
    ),
    st.builds(Policies, emptydir=st.sampled_from([EVICT, REFUSE]), bare=st.sampled_from([EVICT, REFUSE])),
)
@settings(max_examples=60)
def test_every_pod_has_exactly_one_decision(pods: list[Pod], policies: Policies) -> None:
    plan = make_plan(pods, policies)
    decided = [*plan.evict, *(pod for pod, _why in plan.skip), *(pod for pod, _why in plan.refused)]
    assert sorted(pod.uid for pod in decided) == sorted(pod.uid for pod in pods)


@given(OBJECTS)
@settings(max_examples=80)
def test_any_object_is_read_without_an_error(item: dict[str, Any]) -> None:
    pod, budget = parse_pod(item), parse_budget(item)
    assert isinstance(budget.covers(pod), bool)


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "db"}}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["front"]}]}, False),
        ({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}, True),
        ({"matchExpressions": [{"key": "zone", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}, True),
        ({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "Nonsense"}]}, False),
    ],
)
def test_a_label_selector_selects_as_the_api_does(selector: dict[str, Any], selected: bool) -> None:
    assert selects(selector, POD.labels) is selected


def budget(allowed: int | None = 0, **change: Any) -> Budget:
    return replace(Budget("team", "web", {}, 2, 2, allowed), **change)


def test_a_budget_without_a_selector_or_of_another_namespace_covers_nothing() -> None:
    assert [each.covers(POD) for each in (budget(), budget(selector=None), budget(namespace="x"))] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("change", [{"phase": "Pending"}, {"deleting": True}])
def test_a_pod_that_does_not_run_or_ends_is_held_against_no_budget(change: dict[str, Any]) -> None:
    assert (budgets_of(POD, [budget()]), budgets_of(replace(POD, **change), [budget()])) == ((budget(),), ())


def test_a_pod_under_two_budgets_is_never_evictable() -> None:
    two = [budget(), budget(name="second")]
    assert (len(never_evictable([POD], two)), never_evictable([POD], two[:1])) == (1, ())


def test_budgets_that_allow_fewer_than_their_pods_here_let_them_go_in_turns() -> None:
    pods = [replace(POD, uid=str(number)) for number in range(3)]
    assert in_turns(pods, [budget(2)]) == {"team/web": (3, 2)}
    assert (in_turns(pods, [budget(3)]), in_turns(pods, [budget(None)])) == ({}, {"team/web": (3, 0)})


def test_a_budget_s_missing_figure_is_unknown_and_never_nought() -> None:
    found = parse_budget({"metadata": {"name": "web"}, "spec": {"selector": {}}})
    assert (found.current_healthy, str(found)) == (None, "web (unknown healthy, unknown needed)")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (201, {}, eviction.ACCEPTED),
        (404, {}, eviction.GONE),
        (409, {}, eviction.PASSING),
        (429, {"details": {"causes": [{"reason": "DisruptionBudget"}]}}, eviction.BUDGET),
        (429, {"message": "too many requests"}, eviction.PASSING),
        (500, {"message": "This pod has more than one PodDisruptionBudget, which is not supported"}, eviction.REFUSED),
        (500, {}, eviction.PASSING),
        (403, {"details": {"causes": [{"reason": "NamespaceTerminating"}]}}, eviction.PASSING),
        (403, {"message": "admission webhook denied"}, eviction.REFUSED),
        (422, {}, eviction.REFUSED),
    ],
)
def test_an_answer_to_an_eviction_has_one_meaning(status: int, body: dict[str, Any], kind: str) -> None:
    assert eviction.classify(status, body).kind == kind
