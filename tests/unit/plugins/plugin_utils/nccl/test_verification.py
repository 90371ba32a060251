"""Running and isolating, on an executor that answers with output of nccl-tests."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.idle import Obstacle
from ansible_collections.baremetal.gpu.plugins.modules.nccl_health import ARGUMENTS
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import data, isolation, runs, verification
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.outcomes import CULPRITS, Judge, subjects_of
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_pictures import matrix
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.fake_executor import (
    FakeExecutor,
    Log,
    outcome,
    output,
)

JUDGE = Judge(data.signatures())
NODES = tuple(f"onyx-g{number}" for number in range(8))
GIB = 1 << 30


def arguments(mode: str = "run", **given: Any) -> dict[str, Any]:
    defaults = {name: option.get("default") for name, option in ARGUMENTS.items()}
    return {**defaults, "mode": mode, "run": True, "gpus_per_node": 8, **given}


def request(mode: str = "run", nodes: tuple[str, ...] = NODES, **given: Any) -> verification.Request:
    given.setdefault("topology", "h100-sxm-8-pair")
    thresholds = data.thresholds(given["topology"]) if given["topology"] else {}
    return verification.request(arguments(mode, **given), nodes, thresholds, "0a")


def unlimited() -> verification.Deadline:
    return verification.Deadline(10**6, 1)


def run(wanted: verification.Request, executor: FakeExecutor) -> list[Finding]:
    return verification.run(wanted, executor, JUDGE, "onyx", unlimited())[0]


def isolate(log: Log, nodes: tuple[str, ...] = NODES, **given: Any) -> tuple[list[Finding], FakeExecutor]:
    executor = FakeExecutor(log)
    conclusion = verification.isolate(request("isolate", nodes, **given), executor, JUDGE, unlimited())
    return JUDGE.conclusion(conclusion, "onyx"), executor


def slow(*bad: str) -> Log:
    return lambda run: output(run, 210.0 if not set(bad).isdisjoint(run.nodes) else 350.0)


def statuses(findings: list[Finding]) -> dict[str, str]:
    return {finding.code: finding.status for finding in findings}


@pytest.mark.parametrize("mode", ["run", "isolate"])
def test_without_the_permission_nothing_is_run(mode: str) -> None:
    with pytest.raises(GpuError, match="BG-NCCL-104"):
        request(mode, run=False)


def test_a_run_over_all_nodes_is_judged_by_what_was_asked_for() -> None:
    found = run(request(nodes=NODES[:2]), FakeExecutor())
    assert statuses(found) == dict.fromkeys(
        ("BG-NCCL-020", "BG-NCCL-001", "BG-NCCL-002", "BG-NCCL-003", "BG-NCCL-004"), "ok"
    )


def test_collectives_run_one_after_the_other() -> None:
    executor = FakeExecutor()
    found = run(request(nodes=NODES[:2], collectives=["all_reduce", "all_gather"]), executor)
    assert [[each.test.collective for each in side] for side in executor.rounds] == [["all_reduce"], ["all_gather"]]
    assert [finding.status for finding in found if finding.code == "BG-NCCL-002"] == ["ok", "unknown"]


@pytest.mark.parametrize(
    ("paths", "subjects"),
    [
        (["/a/run.log"], ["onyx"]),
        (["/a/one.log", "/a/two.log"], ["onyx one.log", "onyx two.log"]),
        (["/a/run.log", "/b/run.log"], ["onyx /a/run.log", "onyx /b/run.log"]),
    ],
)
def test_findings_about_several_files_do_not_replace_each_other(paths: list[str], subjects: list[str]) -> None:
    assert subjects_of(paths, "onyx") == subjects


def test_findings_about_several_collectives_do_not_replace_each_other() -> None:
    found = run(request(nodes=NODES[:2], collectives=["all_reduce", "all_gather"]), FakeExecutor())
    about = [(finding.code, finding.subject) for finding in found]
    assert len(set(about)) == len(about)
    assert ("BG-NCCL-002", "onyx all_gather") in about


def test_fewer_ranks_than_asked_for_are_a_failure() -> None:
    def short(run: runs.Run) -> str:
        return output(runs.Run(run.name, run.nodes[:1], run.test, run.environment))

    assert statuses(run(request(nodes=NODES[:2]), FakeExecutor(short)))["BG-NCCL-004"] == "fail"


@pytest.mark.parametrize(("ended", "status"), [("by-itself", "ok"), ("deadline", "fail"), ("not-started", "unknown")])
def test_how_a_run_ended_is_a_finding(ended: str, status: str) -> None:
    planned = request(nodes=NODES[:2])
    (each,) = verification.planned_runs(planned)
    found = JUDGE.findings(outcome(each, "", ended), planned.expectation(each), "onyx")
    assert statuses(found)["BG-NCCL-020"] == status


def test_what_a_run_over_its_limit_printed_is_judged_too() -> None:
    planned = request(nodes=NODES[:2])
    (each,) = verification.planned_runs(planned)
    found = JUDGE.findings(
        outcome(each, "onyx-g1: Test timeout (300s) common.cu:640\n", "deadline"), planned.expectation(each), "o"
    )
    assert statuses(found)["BG-NCCL-011"] == "fail"


def test_on_simulated_gpus_every_finding_is_marked() -> None:
    planned = request(nodes=NODES[:2])
    (each,) = verification.planned_runs(planned)
    judge = Judge(data.signatures(), simulated=True)
    assert {item.simulated for item in judge.findings(outcome(each, output(each)), planned.expectation(each), "o")} == {
        True
    }


def test_ranks_in_pods_ran_on_the_nodes_of_these() -> None:
    planned = request(nodes=NODES[:2])
    (each,) = verification.planned_runs(planned)
    in_pods = runs.Run(each.name, ("w-0", "w-1"), each.test, each.environment)
    ended = {**outcome(each, output(in_pods)), "pods": {"w-0": NODES[0], "w-1": NODES[1]}}
    found = {item.code: item for item in JUDGE.findings(ended, planned.expectation(each), "onyx")}
    assert found["BG-NCCL-004"].evidence["hosts"] == list(NODES[:2])


def test_messages_that_froze_machines_are_refused_there() -> None:
    with pytest.raises(GpuError, match="BG-NCCL-105: messages of 17179869184 bytes"):
        request(topology="gb10-pair", max_bytes="16G")
    assert request(topology="gb10-pair").tests[0].max_bytes == 4 * GIB


@pytest.mark.parametrize(
    "given",
    [
        {"collectives": ["all_reduce_perf; id"]},
        {"min_bytes": "8G", "max_bytes": "1G"},
        {"max_bytes": "many"},
        {"name": "Upper Case"},
    ],
)
def test_options_that_make_no_run_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(GpuError, match="BG-NCCL-105"):
        request(**given)


def test_isolation_needs_a_minimum() -> None:
    """Else a cluster that is slow everywhere would look healthy."""
    with pytest.raises(GpuError, match="BG-NCCL-105: there is no minimum"):
        request("isolate", topology=None)
    assert verification.minimum(request("isolate", topology=None, minimum_busbw_gb_per_s=300.0)) == 300.0


@pytest.mark.parametrize(
    ("code", "advice"), [("BG-NCCL-109", "sharing"), ("BG-NCCL-110", "drain"), ("BG-NCCL-111", "correct")]
)
def test_a_node_that_is_not_free_refuses_before_anything_is_run(code: str, advice: str) -> None:
    executor = FakeExecutor(obstacles=[Obstacle(code, "onyx-g1", "it is so")])
    with pytest.raises(GpuError, match=f"{code}: onyx-g1: it is so.*{advice}"):
        verification.look(executor, request())
    assert executor.rounds == []


def test_no_run_begins_that_could_not_end_in_the_task_s_time() -> None:
    now = iter([0.0, 100.0, 450.0])
    deadline = verification.Deadline(1000, 600, clock=lambda: next(now))
    deadline.check(0)
    with pytest.raises(GpuError, match="BG-NCCL-114: after 3 rounds"):
        deadline.check(3)


def test_healthy_nodes_need_one_round() -> None:
    found, executor = isolate(slow())
    assert statuses(found) == {"BG-NCCL-030": "ok"}
    assert [len(side) for side in executor.rounds] == [4]


def test_the_bad_node_is_named_with_every_measurement_about_it() -> None:
    found, executor = isolate(slow("onyx-g3"))
    _all, culprit = found
    assert (culprit.code, culprit.subject, culprit.status) == ("BG-NCCL-031", "onyx-g3", "fail")
    assert [item["bad"] for item in culprit.evidence["measurements"]] == [True, True, True]
    assert all("onyx-g3" in (item["first"], item["second"]) for item in culprit.evidence["measurements"])
    assert len(executor.rounds) == 3


def test_every_measurement_is_drawn_as_one_matrix() -> None:
    found, executor = isolate(slow("onyx-g3"))
    assert len(found[0].evidence["pairs"]) == sum(len(side) for side in executor.rounds)
    drawn = matrix(found[0].evidence)
    assert drawn is not None
    assert drawn.bad


def test_a_link_between_two_healthy_nodes_is_named() -> None:
    found, _executor = isolate(lambda run: output(run, 210.0 if set(run.nodes) == {"onyx-g2", "onyx-g3"} else 350.0))
    assert (found[1].code, found[1].status, found[1].subject) == ("BG-NCCL-033", "fail", "onyx-g2-onyx-g3")


def test_links_between_classes_are_named() -> None:
    classes = {node: f"leaf{index // 4}" for index, node in enumerate(NODES)}
    found, _executor = isolate(
        lambda run: output(run, 210.0 if len({classes[node] for node in run.nodes}) == 2 else 350.0), classes=classes
    )
    assert (found[1].code, found[1].status, found[1].subject) == ("BG-NCCL-034", "fail", "leaf0-leaf1")


def test_a_pair_that_was_slow_once_is_a_warning() -> None:
    seen: list[tuple[str, ...]] = []

    def once(run: runs.Run) -> str:
        seen.append(run.nodes)
        return output(run, 210.0 if len(seen) == 1 else 350.0)

    found, _executor = isolate(once)
    assert statuses(found) == {"BG-NCCL-030": "warn", "BG-NCCL-036": "warn"}


def test_a_pair_is_measured_at_one_large_message() -> None:
    _found, executor = isolate(slow())
    test = executor.rounds[0][0].test
    assert (test.min_bytes, test.max_bytes) == (8 * GIB, 8 * GIB)


def test_names_of_runs_are_never_used_twice() -> None:
    _found, executor = isolate(slow("onyx-g3"))
    names = [each.name for side in executor.rounds for each in side]
    assert len(set(names)) == len(names)


def test_rails_of_the_bad_node_are_tested_one_gpu_and_one_adapter_at_a_time() -> None:
    def log(run: runs.Run) -> str:
        rail = run.environment.get("CUDA_VISIBLE_DEVICES")
        usual = 350.0 if rail is None else 45.0
        return output(run, usual * (0.6 if "onyx-g3" in run.nodes and rail in (None, "1") else 1.0))

    found, executor = isolate(log, rails=["mlx5_0", "mlx5_3"])
    assert (found[1].code, found[1].subject) == ("BG-NCCL-032", "onyx-g3 rails 1")
    of_rail = [each for side in executor.rounds for each in side if "CUDA_VISIBLE_DEVICES" in each.environment]
    assert {(each.environment["NCCL_IB_HCA"], each.test.gpus_per_node) for each in of_rail} == {
        ("=mlx5_0", 1),
        ("=mlx5_3", 1),
    }


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(lambda run: "", id="nothing printed"),
        pytest.param(lambda run: output(run, wrong=3), id="wrong data"),
        pytest.param(lambda run: output(run, wrong="N/A"), id="not checked"),
        pytest.param(lambda run: output(run).partition("# Out")[0], id="cut"),
        pytest.param(lambda run: output(run, float("nan")), id="no number"),
        pytest.param(lambda run: output(run).replace("Rank  1 ", "Rank  0 "), id="jobs of one rank"),
    ],
)
def test_a_pair_whose_run_is_no_proof_counts_as_bad_with_its_reason(log: Log) -> None:
    found, _executor = isolate(lambda run: log(run) if "onyx-g3" in run.nodes else output(run))
    assert (found[1].code, found[1].subject) == ("BG-NCCL-031", "onyx-g3")
    assert all(item["busbw_gb_per_s"] is None and item["failure"] for item in found[1].evidence["measurements"])


def test_two_nodes_cannot_be_told_apart() -> None:
    found, _executor = isolate(lambda run: output(run, 12.0), NODES[:2], topology="gb10-pair", gpus_per_node=1)
    assert statuses(found) == {"BG-NCCL-030": "unknown", "BG-NCCL-037": "unknown"}
    assert "each half of the link" in found[1].reason


def test_a_cluster_that_is_slow_everywhere_blames_no_node() -> None:
    found, _executor = isolate(slow(*NODES))
    assert (statuses(found), found[1].subject) == ({"BG-NCCL-030": "fail", "BG-NCCL-035": "fail"}, "onyx")


def test_classes_of_nodes_are_paired_within() -> None:
    classes = {node: "leaf0" if index % 2 else "leaf1" for index, node in enumerate(NODES)}
    _found, executor = isolate(slow(), classes=classes)
    assert all(len({classes[node] for node in each.nodes}) == 1 for each in executor.rounds[0])


def test_the_plan_shows_the_rounds_of_a_healthy_cluster() -> None:
    executor = FakeExecutor()
    rounds = verification.plan_of_rounds(request("isolate", NODES[:5]), executor)
    assert [(entry["round"], entry["stage"], len(entry["runs"])) for entry in rounds] == [(1, 2, 2), (2, 2, 1)]
    assert executor.rounds == []


def test_every_kind_of_culprit_has_its_code() -> None:
    kinds = {
        isolation.NODE,
        isolation.RAIL,
        isolation.LINK,
        isolation.CLASS_LINK,
        isolation.CLUSTER_WIDE,
        isolation.TRANSIENT,
        isolation.UNDECIDED,
    }
    assert set(CULPRITS) == kinds
    assert len({code for code, _status, _remedy in CULPRITS.values()}) == len(kinds)
