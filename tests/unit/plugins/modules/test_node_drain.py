"""The module node_drain against a server that speaks the API's wire format and injects faults."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import drain, followed_objects, node_list
from ansible_collections.baremetal.gpu.plugins.modules import node_drain
from ansible_collections.baremetal.gpu.tests.unit.plugins.fake_api import serving, write_kubeconfig
from ansible_collections.baremetal.gpu.tests.unit.plugins.fake_nodes import BUDGETS, FakeNodes, budget, gpu_job, pod
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import run_module


@pytest.fixture
def api() -> FakeNodes:
    node = {"metadata": {"name": "n1"}, "spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    return FakeNodes(nodes={"n1": node})


@pytest.fixture
def kubeconfig(api: FakeNodes, tmp_path: Path) -> Iterator[str]:
    with serving(api) as address:
        yield write_kubeconfig(tmp_path, address)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked again is asked soon."""
    for module in (drain, node_list):
        monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.02)
        monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(followed_objects, "_PAUSE_S", 0.02)


def run(kubeconfig: str, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    return run_module(
        node_drain, {"kubeconfig": kubeconfig, "name": "n1", "timeout_s": 5, **arguments}, check_mode=check_mode
    )


def names(pods: list[dict[str, Any]]) -> list[str]:
    return sorted(each["pod"].removeprefix("team/") for each in pods)


def gone(result: dict[str, Any]) -> list[str]:
    """What a drain that succeeded has evicted."""
    assert not result.get("failed"), result
    return names(result["evicted"])


# ---- A drain that succeeds ----


def test_all_pods_are_gone_and_the_node_is_cordoned(api: FakeNodes, kubeconfig: str) -> None:
    api.pods = [pod(f"web-{number}") for number in range(20)]
    result = run(kubeconfig)
    assert (result["changed"], result["cordoned"], result["cordon_is_ours"]) == (True, True, True)
    assert (len(result["evicted"]), result["blocked"], api.pods) == (20, [], [])
    assert api.cordoned()


def test_an_empty_cordoned_node_is_left_as_it_is(api: FakeNodes, kubeconfig: str) -> None:
    api.nodes["n1"]["spec"]["unschedulable"] = True
    result = run(kubeconfig)
    assert (result["changed"], result["cordoned"], result["cordon_is_ours"], api.written) == (False, True, False, [])


def test_what_a_drain_leaves_on_purpose_is_named_with_its_reason(api: FakeNodes, kubeconfig: str) -> None:
    mirror = pod("static", "Node/n1")
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    done = pod("done", "Job/j")
    done["status"]["phase"] = "Succeeded"
    api.pods = [pod("agent", "DaemonSet/agent"), mirror, done, pod("web")]
    result = run(kubeconfig)
    assert (gone(result), names(result["skipped"])) == (["web"], ["agent", "done", "static"])
    assert all(each["reason"] for each in result["skipped"])


def test_a_pod_that_has_ended_is_evicted_although_its_object_stays_a_little_longer(
    api: FakeNodes, kubeconfig: str
) -> None:
    """A kubelet first says that nothing of the pod runs any more, then confirms the deletion."""
    web = pod("web")
    api.pods, api.ends_after_s = [web], None

    def end() -> None:
        web["status"]["phase"] = "Succeeded"
        api._event("MODIFIED", web)

    api.on_eviction = [lambda: api.later(0.1, end)]
    result = run(kubeconfig)
    assert (gone(result), result["skipped"], result["changed"]) == (["web"], [], True)
    assert result["evicted"][0]["seconds"] > 0


def test_a_pod_that_was_scheduled_between_the_list_and_the_cordon_is_evicted(api: FakeNodes, kubeconfig: str) -> None:
    api.on_cordon = [lambda: api.add(pod("late"))]
    assert gone(run(kubeconfig)) == ["late"]


def test_a_pod_that_comes_while_others_end_is_evicted(api: FakeNodes, kubeconfig: str) -> None:
    api.pods = [pod("web")]
    api.on_eviction = [lambda: api.add(pod("late"))]
    assert gone(run(kubeconfig)) == ["late", "web"]


def test_a_budget_that_frees_after_a_while_is_waited_for(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.budgets = [pod("web")], [budget(0)]
    api.later(0.2, lambda: api.budgets.__setitem__(0, budget(1)))
    result = run(kubeconfig)
    assert (gone(result), result["cordoned"]) == (["web"], True)
    assert result["in_turns"] == [{"budget": "team/web", "pods": 1, "disruptions_allowed": 0}]


def test_a_pod_that_ends_already_is_waited_for_and_not_called_evicted(api: FakeNodes, kubeconfig: str) -> None:
    ending = pod("ending", "")
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    api.pods = [ending]
    api.later(0.2, lambda: api.end("ending"))
    result = run(kubeconfig)
    assert (result["evicted"], result["blocked"], api.evictions, api.pods) == ([], [], [], [])


def test_a_grace_period_is_the_pod_s_own_unless_one_is_given(api: FakeNodes, kubeconfig: str) -> None:
    api.pods = [pod("web")]
    run(kubeconfig)
    api.pods = [pod("other")]
    run(kubeconfig, grace_period_s=7)
    own, given = (body["deleteOptions"] for _name, body in api.evictions)
    assert ("gracePeriodSeconds" in own, given["gracePeriodSeconds"]) == (False, 7)


# ---- Faults of the API ----


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_an_eviction_that_is_not_served_is_asked_for_again(api: FakeNodes, kubeconfig: str, status: int) -> None:
    api.pods = [pod("web-0"), pod("web-1")]
    api.write_faults = [("web-0", status, False)]
    assert gone(run(kubeconfig)) == ["web-0", "web-1"]


def test_an_eviction_that_is_served_without_an_answer_counts_as_ours(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.ends_after_s = [pod("web")], None
    api.write_faults = [("web", 0, True)]
    result = run(kubeconfig, timeout_s=0.3)
    assert (result["code"], result["cordoned"], api.cordoned()) == ("BG-DRAIN-107", True, True)


@pytest.mark.parametrize("status", [500, 0])
@pytest.mark.parametrize("served", [True, False])
def test_a_cordon_whose_answer_is_lost_is_set_again(api: FakeNodes, kubeconfig: str, status: int, served: bool) -> None:
    api.pods = [pod("web")]
    api.write_faults = [("nodes/n1", status, served)]
    result = run(kubeconfig)
    assert (gone(result), result["cordoned"]) == (["web"], True)


def test_a_list_that_fails_is_read_again(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.errors = [pod("web")], [500, 429, 503]
    assert gone(run(kubeconfig)) == ["web"]


def test_a_watch_that_is_lost_or_expired_is_taken_up_again(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.watch_errors, api.ends_after_s = [pod("web")], [410, 0, 500], 0.2
    assert gone(run(kubeconfig)) == ["web"]


def test_an_api_that_never_serves_evictions_is_named_and_the_cordon_taken_back(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.write_faults = [pod("web")], [("eviction", 500, False)] * 100
    result = run(kubeconfig, timeout_s=0.3)
    assert (result["failed"], result["code"], result["cordoned"], api.cordoned()) == (
        True,
        "BG-DRAIN-108",
        False,
        False,
    )
    assert "HTTP 500: injected" in result["blocked"][0]["reason"]


def test_requests_that_take_too_long_end_as_no_answer(api: FakeNodes, kubeconfig: str) -> None:
    api.pods = [pod("web")]
    api.on_eviction = [lambda: time.sleep(0.5)]
    result = run(kubeconfig, request_timeout_s=0.2)
    assert gone(result) == ["web"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_server_that_hangs_is_not_asked_beyond_the_deadline(
    api: FakeNodes, kubeconfig: str, check_mode: bool
) -> None:
    api.pods = [pod(f"web-{number}") for number in range(60)]
    api.on_eviction = [lambda: time.sleep(0.3)] * 60
    result = run(kubeconfig, check_mode, request_timeout_s=0.2, timeout_s=0.3)
    asked = [path for path, _query in api.requests if path.endswith("/eviction")]
    assert (len(asked) < 60, len(result["blocked"]) > 0) == (True, True)
    assert "no eviction was asked for" in {each["reason"] for each in result["blocked"]}


def test_a_cordon_that_cannot_be_taken_back_is_said(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.budgets = [pod("web")], [budget(0)]
    api.on_eviction = [lambda: api.write_faults.extend([("nodes/n1", 500, False)] * 100)]
    result = run(kubeconfig, timeout_s=0.3)
    assert (result["code"], result["cordoned"], api.cordoned()) == ("BG-DRAIN-106", None, True)
    assert "could not be taken back" in result["msg"]


# ---- What stands in the way ----


def test_a_budget_that_never_allows_is_named_with_its_figures_and_the_cordon_taken_back(
    api: FakeNodes, kubeconfig: str
) -> None:
    api.pods, api.budgets = [pod("web")], [budget(0)]
    result = run(kubeconfig, timeout_s=0.3)
    assert (result["failed"], result["code"], result["changed"]) == (True, "BG-DRAIN-106", False)
    assert (result["cordoned"], api.cordoned(), "the cordon is taken back" in result["msg"]) == (False, False, True)
    figures = {"name": "team/web", "current_healthy": 2, "desired_healthy": 2, "disruptions_allowed": 0}
    assert [(each["pod"], each["budgets"]) for each in result["blocked"]] == [("team/web", [figures])]
    assert "team/web: disruption budget web (2 healthy, 2 needed)" in result["msg"]


def test_the_cordon_stays_when_one_of_two_pods_was_evicted(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.budgets = [pod("web-0"), pod("web-1")], [budget(1)]
    result = run(kubeconfig, timeout_s=0.3)
    assert (result["code"], result["changed"], api.cordoned()) == ("BG-DRAIN-106", True, True)
    assert (len(result["evicted"]), len(result["blocked"])) == (1, 1)
    assert "stays cordoned, because pods were evicted" in result["msg"]


def test_a_cordon_of_somebody_else_is_never_taken_back(api: FakeNodes, kubeconfig: str) -> None:
    api.nodes["n1"]["spec"]["unschedulable"] = True
    api.pods, api.budgets = [pod("web")], [budget(0)]
    result = run(kubeconfig, timeout_s=0.3)
    assert (result["cordoned"], result["cordon_is_ours"], api.cordoned()) == (True, False, True)


def test_without_the_right_to_list_budgets_the_server_s_words_are_the_reason(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.budgets, api.refused = [pod("web")], [budget(0)], {BUDGETS: 403}
    result = run(kubeconfig, timeout_s=0.3)
    assert (result["code"], result["blocked"][0]["budgets"]) == ("BG-DRAIN-106", [])
    assert "The disruption budget needs more healthy pods" in result["blocked"][0]["reason"]


def test_a_pod_stuck_while_ending_is_no_success(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.ends_after_s = [pod("web", terminationGracePeriodSeconds=60)], None
    result = run(kubeconfig, timeout_s=0.3)
    assert (result["code"], result["evicted"], result["cordoned"]) == ("BG-DRAIN-107", [], True)
    assert result["blocked"][0]["reason"] == "it is ending but has not ended (may take 60 s)"


def test_on_a_dead_node_it_is_said_that_no_kubelet_confirms(api: FakeNodes, kubeconfig: str) -> None:
    api.nodes["n1"]["status"]["conditions"][0]["status"] = "Unknown"
    api.pods, api.ends_after_s = [pod("web")], None
    assert "no kubelet confirms" in run(kubeconfig, timeout_s=0.3)["msg"]


def test_an_eviction_that_is_refused_for_good_is_not_waited_for(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.write_faults, api.ends_after_s = [pod("web-0"), pod("web-1")], [("web-0", 422, False)], 0.3
    result = run(kubeconfig, timeout_s=60)
    assert (result["code"], names(result["evicted"]), names(result["blocked"])) == (
        "BG-DRAIN-111",
        ["web-1"],
        ["web-0"],
    )
    assert result["seconds"] < 30


def test_a_cordon_that_somebody_takes_away_meanwhile_is_no_success(api: FakeNodes, kubeconfig: str) -> None:
    api.pods = [pod("web")]
    api.on_eviction = [lambda: api.nodes["n1"]["spec"].update(unschedulable=None)]
    result = run(kubeconfig)
    assert (result["code"], result["cordoned"], names(result["evicted"])) == ("BG-DRAIN-110", False, ["web"])


def test_another_pod_of_the_same_name_is_not_evicted_in_its_place(api: FakeNodes, kubeconfig: str) -> None:
    api.pods = [pod("db-0", "StatefulSet/db")]
    successor = pod("db-0", "StatefulSet/db", nodeName="n2")
    successor["metadata"]["uid"] = "another"

    def move() -> None:
        api.end("db-0")
        api.elsewhere.append(successor)

    api.on_eviction = [move]
    result = run(kubeconfig)
    assert (result["cordoned"], "deletionTimestamp" in successor["metadata"]) == (True, False)


# ---- Refused before the first change ----


@pytest.mark.parametrize(
    ("pods", "arguments", "code"),
    [
        ([pod("bare", "")], {}, "BG-DRAIN-103"),
        ([pod("scratch", volumes=[{"name": "v", "emptyDir": {}}])], {}, "BG-DRAIN-103"),
        ([pod("agent", "DaemonSet/agent")], {"daemonset": "refuse"}, "BG-DRAIN-103"),
        ([gpu_job("train")], {}, "BG-DRAIN-109"),
        ([], {"name": "n2"}, "BG-DRAIN-102"),
        ([], {"name": "a/b"}, "BG-DRAIN-101"),
        ([], {"timeout_s": -1}, "BG-DRAIN-101"),
        ([], {"grace_period_s": -1}, "BG-DRAIN-101"),
        ([], {"gpu_jobs_wait_s": "nan"}, "BG-DRAIN-101"),
    ],
)
def test_it_is_refused_before_the_first_change(
    api: FakeNodes, kubeconfig: str, pods: list[Any], arguments: dict[str, Any], code: str
) -> None:
    api.pods = pods
    result = run(kubeconfig, **arguments)
    assert (result["failed"], result["changed"], result["code"], api.written) == (True, False, code, [])
    assert all(each["metadata"]["name"] in result["msg"] for each in pods)


@pytest.mark.parametrize("right", ["patch/nodes", "watch/pods", "create/pods/eviction"])
def test_a_missing_right_is_named_before_the_first_change(api: FakeNodes, kubeconfig: str, right: str) -> None:
    api.pods, api.forbidden = [pod("web")], {right}
    result = run(kubeconfig)
    assert (result["code"], api.written) == ("BG-DRAIN-104", [])
    assert right.replace("/", " ", 1) in result["msg"]


def test_a_user_who_may_not_list_pods_is_refused(api: FakeNodes, kubeconfig: str) -> None:
    api.refused = {"/api/v1/pods": 403}
    result = run(kubeconfig)
    assert (result["code"], api.written) == ("BG-CAP-102", [])


def test_a_pod_under_two_budgets_is_refused_because_it_is_never_evicted(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.budgets = [pod("web")], [budget(1), budget(1, name="second")]
    result = run(kubeconfig)
    assert (result["code"], api.written, "web, second" in result["msg"]) == ("BG-DRAIN-105", [], True)


@pytest.mark.parametrize("policy", ["bare", "emptydir", "gpu_jobs"])
def test_what_a_policy_allows_is_evicted(api: FakeNodes, kubeconfig: str, policy: str) -> None:
    pods = {
        "bare": pod("p", ""),
        "emptydir": pod("p", volumes=[{"name": "v", "emptyDir": {}}]),
        "gpu_jobs": gpu_job("p"),
    }
    api.pods = [pods[policy]]
    assert gone(run(kubeconfig, False, **{policy: "evict"})) == ["p"]


# ---- GPU jobs ----


def test_a_gpu_job_that_ends_in_time_is_not_evicted(api: FakeNodes, kubeconfig: str) -> None:
    api.pods = [gpu_job("train"), pod("web")]
    api.later(0.2, lambda: api.end("train"))
    result = run(kubeconfig, gpu_jobs_wait_s=5)
    assert (gone(result), names(result["gpu_jobs"])) == (["web"], ["train"])
    assert result["gpu_jobs"][0] == {"pod": "team/train", "owner": "Job/train", "gpus": {"nvidia.com/gpu": "1"}}


def test_a_gpu_job_that_does_not_end_stops_the_drain_before_any_eviction(api: FakeNodes, kubeconfig: str) -> None:
    api.pods = [gpu_job("train"), pod("web")]
    result = run(kubeconfig, gpu_jobs_wait_s=0.2)
    assert (result["code"], api.evictions, api.cordoned()) == ("BG-DRAIN-109", [], False)


def test_a_gpu_job_is_evicted_after_the_wait_when_that_is_said(api: FakeNodes, kubeconfig: str) -> None:
    api.pods = [gpu_job("train")]
    assert gone(run(kubeconfig, gpu_jobs_wait_s=0.2, gpu_jobs="evict")) == ["train"]


# ---- Check mode, and the way back ----


def test_check_mode_says_what_would_go_and_what_would_block_and_changes_nothing(
    api: FakeNodes, kubeconfig: str
) -> None:
    other = pod("free")
    other["metadata"]["labels"] = {}
    api.pods, api.budgets = [pod("web"), other], [budget(0)]
    result = run(kubeconfig, check_mode=True)
    assert (result["changed"], names(result["evicted"]), names(result["blocked"])) == (True, ["free"], ["web"])
    assert (api.cordoned(), len(api.pods)) == (False, 2)
    assert [path for path in api.written if not path.endswith("/eviction")] == []


def test_check_mode_says_which_budgets_let_pods_go_in_turns_only(api: FakeNodes, kubeconfig: str) -> None:
    api.pods, api.budgets = [pod(f"web-{number}") for number in range(3)], [budget(1)]
    result = run(kubeconfig, check_mode=True)
    assert result["in_turns"] == [{"budget": "team/web", "pods": 3, "disruptions_allowed": 1}]


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("cordoned", [False, True])
def test_uncordoning_changes_a_cordoned_node_only(
    api: FakeNodes, kubeconfig: str, cordoned: bool, check_mode: bool
) -> None:
    api.nodes["n1"]["spec"]["unschedulable"] = cordoned
    result = run(kubeconfig, check_mode=check_mode, state="uncordoned")
    assert (result["changed"], api.cordoned()) == (cordoned, cordoned and check_mode)
