"""Objects and workloads of a cluster against their manifests: each good case beside its faults."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, UNKNOWN, WARN
from ansible_collections.baremetal.gpu.plugins.module_utils.server_side_apply import (
    CHANGED,
    CREATED,
    UNCHANGED,
    Applied,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.object_judgement import (
    Rollout,
    Waiting,
    differences,
    judge_objects,
    judge_rollouts,
    rollout,
    settled,
    unknown,
    waiting,
)

CODES = data_files.codes()
PLUGIN = "DaemonSet gpu/plugin"


def daemon_set(**status: Any) -> dict[str, Any]:
    counts = {
        "observedGeneration": 2,
        "desiredNumberScheduled": 2,
        "updatedNumberScheduled": 2,
        "numberReady": 2,
        **status,
    }
    return {
        "kind": "DaemonSet",
        "metadata": {"name": "plugin", "namespace": "gpu", "generation": 2},
        "spec": {"selector": {"matchLabels": {"app": "plugin"}}},
        "status": counts,
    }


def deployment(replicas: int | None, /, **status: Any) -> dict[str, Any]:
    spec = {} if replicas is None else {"replicas": replicas}
    return {
        "kind": "Deployment",
        "metadata": {"name": "master", "namespace": "gpu", "generation": 1},
        "spec": spec,
        "status": {"observedGeneration": 1, **status},
    }


@pytest.mark.parametrize(
    ("live", "done"),
    [
        (daemon_set(), True),
        (daemon_set(numberReady=1), False),
        (daemon_set(updatedNumberScheduled=1), False),
        (daemon_set(observedGeneration=1), False),
        ({**daemon_set(), "status": {}}, False),
        (daemon_set(desiredNumberScheduled=0, updatedNumberScheduled=0, numberReady=0), True),
        (deployment(1, updatedReplicas=1, readyReplicas=1), True),
        (deployment(None, updatedReplicas=1, readyReplicas=1), True),
        (deployment(None), False),
        (deployment(2, updatedReplicas=2, readyReplicas=1), False),
        (deployment(0), True),
        # The new pod does not get ready, and the one before it stays.
        (deployment(1, replicas=2, updatedReplicas=1, readyReplicas=1), False),
        (deployment(1, replicas=1, updatedReplicas=0, readyReplicas=1), False),
    ],
)
def test_a_workload_is_rolled_out_when_its_controller_has_counted_all_pods(live: dict[str, Any], done: bool) -> None:
    assert rollout(live).done is done


def pod(node: str = "n1", ready: bool = False, **status: Any) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "metadata": {"name": "plugin-x"},
        "spec": {"nodeName": node},
        "status": {"phase": "Pending", "conditions": [condition], **status},
    }


def container(reason: str) -> dict[str, Any]:
    return {"containerStatuses": [{"state": {"waiting": {"reason": reason}}}]}


@pytest.mark.parametrize(
    ("found", "why", "hopeless"),
    [
        (pod(**container("CrashLoopBackOff")), "CrashLoopBackOff", False),
        (pod(**container("ImagePullBackOff")), "ImagePullBackOff", False),
        (pod(**container("ErrImageNeverPull")), "ErrImageNeverPull", True),
        (pod(initContainerStatuses=container("CreateContainerConfigError")["containerStatuses"]), "CreateContainerConfigError", True),
        (pod(), "Pending", False),
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}]),
            "Unschedulable: no room",
            False,
        ),
        ({}, "no phase", False),
    ],
)  # fmt: skip
def test_why_a_pod_is_not_ready_is_told(found: dict[str, Any], why: str, hopeless: bool) -> None:
    seen = waiting(found, {"n1": True})
    assert seen is not None
    assert (seen.why, seen.hopeless) == (why, hopeless)


def test_a_ready_pod_is_not_waited_for() -> None:
    assert waiting(pod(ready=True), {}) is None


def counted(wanted: int, ready: int, observed: bool = True) -> Rollout:
    return Rollout("DaemonSet", "gpu", "plugin", wanted, wanted, ready, wanted, observed, {})


def lacking(why: str = "CrashLoopBackOff", hopeless: bool = False, node_ready: bool = True) -> Waiting:
    return Waiting("plugin-x", "n1", why, hopeless, node_ready)


@pytest.mark.parametrize(
    ("rollouts", "pods", "needed", "over"),
    [
        ([counted(1, 1)], {}, [], True),
        ([counted(1, 1)], {}, ["plugin"], True),
        ([counted(0, 0)], {}, [], True),
        ([counted(0, 0)], {PLUGIN: []}, ["plugin"], False),
        ([counted(2, 1)], {PLUGIN: [lacking()]}, [], False),
        ([counted(2, 1)], {PLUGIN: [lacking("InvalidImageName", hopeless=True)]}, [], True),
        ([counted(2, 1)], {PLUGIN: [lacking(node_ready=False)]}, [], True),
        ([counted(3, 1)], {PLUGIN: [lacking(node_ready=False), lacking()]}, [], False),
        ([counted(2, 1)], {PLUGIN: []}, [], False),
    ],
)
def test_waiting_ends_when_it_changes_nothing(
    rollouts: list[Rollout], pods: dict[str, list[Waiting]], needed: list[str], over: bool
) -> None:
    assert settled(rollouts, pods, needed) is over


@pytest.mark.parametrize(
    ("rollouts", "pods", "needed", "status", "reason"),
    [
        ([counted(2, 2)], {}, ["plugin"], OK, "1 workloads are rolled out"),
        ([counted(0, 0)], {}, [], OK, "rolled out"),
        ([counted(0, 0)], {}, ["plugin"], FAIL, f"{PLUGIN} is meant for no node"),
        ([], {}, ["plugin"], FAIL, "plugin is not there"),
        ([counted(2, 1)], {PLUGIN: [lacking()]}, [], FAIL, "1 of 2 pods ready, 2 of the present template (plugin-x on n1: CrashLoopBackOff)"),
        ([counted(2, 2, observed=False)], {}, [], FAIL, "its controller has not looked at it"),
        ([counted(2, 1)], {PLUGIN: [lacking(node_ready=False)]}, [], WARN, "1 of 2 pods ready"),
        ([counted(3, 1)], {PLUGIN: [lacking(node_ready=False)]}, [], FAIL, "1 of 3 pods ready"),
        ([counted(2, 0)], {PLUGIN: [lacking(node_ready=False), lacking()]}, [], FAIL, "0 of 2 pods ready"),
        ([counted(2, 1)], {}, [], FAIL, "1 of 2 pods ready"),
    ],
)  # fmt: skip
def test_a_workload_that_is_not_rolled_out_is_told(
    rollouts: list[Rollout], pods: dict[str, list[Waiting]], needed: list[str], status: str, reason: str
) -> None:
    finding = judge_rollouts(rollouts, pods, needed, "BG-DP-003", "GPU operands", CODES["BG-DP-003"])
    assert (finding.code, finding.status, finding.subject) == ("BG-DP-003", status, "GPU operands")
    assert reason in finding.reason
    assert bool(finding.remedy) == (status != OK)
    assert finding.action == ("restart_app" if status == FAIL else "none")


def applied(outcome: str, before: Any, after: Any) -> Applied:
    return Applied("DaemonSet", "gpu", "plugin", outcome, before, after)


@pytest.mark.parametrize(
    ("objects", "status", "reason"),
    [
        ([applied(UNCHANGED, {"spec": 1}, {"spec": 1})], OK, "1 objects are as declared"),
        ([applied(CREATED, None, {"spec": 1})], FAIL, f"{PLUGIN}: is not there"),
        (
            [applied(CHANGED, {"spec": {"image": "mine"}}, {"spec": {"image": "declared"}})],
            FAIL,
            f"{PLUGIN}: spec.image is mine, declared is declared",
        ),
        ([applied(CHANGED, {}, {})], FAIL, f"{PLUGIN}: differs"),
        ([applied(CHANGED, {str(n): 1 for n in range(9)}, {})], FAIL, "and 4 more"),
    ],
)
def test_an_object_that_is_otherwise_is_named_with_its_fields(objects: list[Applied], status: str, reason: str) -> None:
    finding = judge_objects(objects, "BG-DP-002", "GPU operands", CODES["BG-DP-002"])
    assert (finding.code, finding.status) == ("BG-DP-002", status)
    assert reason in finding.reason
    assert finding.action == ("fix_configuration" if status == FAIL else "none")


def test_what_cannot_be_asked_is_unknown() -> None:
    finding = unknown("BG-K8S-011", "pod network", "BG-CAP-101: no answer", CODES["BG-K8S-011"])
    assert (finding.status, finding.reason, finding.requirements) == (UNKNOWN, "BG-CAP-101: no answer", ("ONYX-R051",))


VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_only_equal_values_have_no_difference(before: Any, after: Any) -> None:
    assert list(differences(before, before)) == []
    assert bool(list(differences(before, after))) == (before != after)
