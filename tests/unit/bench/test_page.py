"""Results as tables and as a graph."""

from __future__ import annotations

import copy
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bench import graph, page, results

LOAD = {"runnable": 0.4, "busy": 71.0, "stolen": 3.0}
DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "measured": "2026-01-02T03:04:05Z",
    "commit": "abc123",
    "machine": {"cores": 2, "memory_gib": 23.4, "processor": "Some CPU", "kernel": "6.1"},
    "parts": {
        "nccl": {
            "bytes": 50_000_000,
            "runs": [{"wall_s": 2.0, "cpu_s": 1.9, "peak_mb": 36.0}, {"wall_s": 2.4, "cpu_s": 2.1, "peak_mb": 37.0}],
            "load": LOAD,
        },
        "capacity": {"seconds": {"playbook": [60.0, 66.0], "floor": [50.0, 60.0]}, "load": LOAD},
        "no_change": {
            "runs": {
                "playbook": [{"cpu_s": 6.0, "wall_s": 20.0}, {"cpu_s": 7.0, "wall_s": 22.0}],
                "ping": [{"cpu_s": 5.0, "wall_s": 15.0}, {"cpu_s": 5.0, "wall_s": 15.0}],
            },
            "tasks": {"calypso": 6, "spark-01": 40},
            "roles": {
                "k3s_agent": {"spark-01": 9},
                "gpu_verify": {"calypso": 5, "spark-01": 6},
                "(playbook)": {"spark-01": 30},
            },
            "statuses": {"ok": 46},
            "load": LOAD,
        },
        "fleet": {
            "runs": {"1": [{"cpu_s": 2.0, "wall_s": 4.0}], "5": [{"cpu_s": 8.0, "wall_s": 12.0}]},
            "pings": {"1": [{"cpu_s": 1.5, "wall_s": 3.0}], "5": [{"cpu_s": 6.3, "wall_s": 9.0}]},
            "tasks_per_host": 12,
            "boot_s": 53.0,
            "load": LOAD,
        },
        "report": {
            "hosts": 1000,
            "findings": 40,
            "cpu_s": {"json": [0.2, 0.4], "junit": [1.1, 1.2], "page": [0.7, 0.9]},
            "bytes": {"json": 20_000_000, "junit": 12_000_000, "page": 880_000},
            "load": LOAD,
        },
        "cluster": {
            "nodes": 5000,
            "pods": 20000,
            "bytes": 140_000_000,
            "runs": {
                "module": [
                    {"wall_s": 8.0, "cpu_s": 6.0},
                    {"wall_s": 9.0, "cpu_s": 6.0},
                ],
                "k8s_info": [
                    {"wall_s": 96.0, "cpu_s": 60.0},
                    {"wall_s": 99.0, "cpu_s": 61.0},
                ],
                "alone": [
                    {"wall_s": 4.0, "cpu_s": 3.0},
                    {"wall_s": 4.0, "cpu_s": 3.0},
                ],
                "floor": [
                    {"wall_s": 1.3, "cpu_s": 0.5},
                    {"wall_s": 1.4, "cpu_s": 0.5},
                ],
            },
            "peak_mb": [120.0, 121.0],
            "verdicts": {"ok": 4750, "short": 250},
            "load": LOAD,
        },
    },
}


DRAINED = {"wall_s": 3.0, "succeeded": True, "pods_named": 0, "budget_named": False, "cordoned": True, "left": 0}
DOCUMENT["parts"]["drain"] = {
    "pods": {"free": 100, "budget": 2},
    "cases": {
        "free": {
            "node_drain": [DRAINED, {**DRAINED, "wall_s": 5.0}],
            "kubectl": [{**DRAINED, "wall_s": wall_s} for wall_s in (20.0, 21.0)],
        },
        "budget": {
            "node_drain": [
                {**DRAINED, "succeeded": False, "pods_named": 2, "budget_named": True, "cordoned": False, "left": 2}
            ],
        },
    },
    "start_s": [1.0, 2.0],
    "load": LOAD,
}


def result(label: str = "now", **changes: object) -> results.Result:
    return results.parse({**copy.deepcopy(DOCUMENT), **changes}, label)


def only(*names: str) -> results.Result:
    return result(parts={name: DOCUMENT["parts"][name] for name in names})


def test_ratio_and_overhead_come_from_pairs():
    capacity = result().capacity
    assert capacity is not None
    assert capacity.ratio.text(2) == "1.15 (1.10 to 1.20)"
    assert capacity.overhead_s.text() == "8.0 (6.0 to 10.0)"


def test_processor_time_is_told_per_host():
    part = result().no_change
    assert part is not None
    assert part.cpu_per_host_s.text(2) == "3.25 (3.00 to 3.50)"


def test_the_fleet_s_slope_is_seconds_per_host():
    part = result().fleet
    assert part is not None
    assert part.line.slope == pytest.approx(2.0)


def test_one_more_host_is_held_against_one_more_pinged() -> None:
    rows = {row[0]: row[1] for row in page.summary_rows(result(), None)}
    assert rows["CPU of one more host, as ratio to pings"] == "1.25"


def test_a_part_that_was_not_measured_says_so_and_is_no_zero():
    rows = page.summary_rows(only("fleet"), None)
    assert rows[0] == ["bare → capacity, ratio to the steps by hand", page.NOT_MEASURED, "≤ 1.2", page.NOT_MEASURED]
    assert {row[0]: row[1] for row in rows}["wall time of one more host"] == "2.00 s"


def test_a_large_cluster_is_told_as_times_faster_pair_by_pair_and_as_memory_of_the_module() -> None:
    rows = {row[0]: row[1:3] for row in page.summary_rows(result(), None)}
    assert rows["verdict about a large cluster, times faster than k8s_info"] == ["11.5 (11.0 to 12.0)", "≥ 10"]
    assert rows["verdict about a large cluster, peak memory"] == ["120 (120 to 121) MB", "≤ 150 MB"]


def test_the_page_shows_the_floor_below_a_large_cluster_s_verdict() -> None:
    text = page.markdown([only("cluster")])
    assert "| raw paged GET | 1.4 (1.3 to 1.4) |" in text
    assert "a node's JSON is 28 kB" in text
    assert "Verdicts of both: ok 4750, short 250." in text


def test_drains_are_told_with_what_they_named_and_how_they_left_the_node() -> None:
    text = page.markdown([only("drain")])
    assert (
        "| 100 pods, nothing blocks | `node_drain` | 4.0 (3.0 to 5.0) | succeeds | nothing | cordoned, no pods left |"
        in text
    )
    blocked = "| 2 pods under a budget that allows none | `node_drain` | 3.0 | fails | 2 of 2 pods and the budget | not cordoned, 2 pods left |"
    assert blocked in text
    assert "A playbook with one ping takes 1.5 (1.0 to 2.0) s." in text


def test_a_way_that_ends_otherwise_each_time_is_no_result() -> None:
    part = copy.deepcopy(DOCUMENT["parts"]["drain"])
    part["cases"]["free"]["kubectl"][1]["left"] = 1
    with pytest.raises(ValueError, match="kubectl did not do the same each time in the case free"):
        result(parts={"drain": part})


def test_a_part_of_another_time_says_so() -> None:
    origin = {"measured": "2025-12-31T00:00:00Z", "commit": "older", "machine": {"kernel": "6.0"}}
    now = {key: DOCUMENT[key] for key in results.ORIGIN}
    parts = {
        "report": {**DOCUMENT["parts"]["report"], "origin": origin},
        "drain": {**DOCUMENT["parts"]["drain"], "origin": now},
    }
    text = page.markdown([result(parts=parts)])
    assert "Measured at another time: `report`: 2025-12-31, commit older, Linux 6.0." in text
    assert "another time" not in page.markdown([result()])


def test_the_result_before_stands_beside():
    rows = page.summary_rows(only("fleet"), only("capacity"))
    assert rows[0][1:] == [page.NOT_MEASURED, "≤ 1.2", "1.15 (1.10 to 1.20)"]


def test_tasks_of_playbooks_are_no_role_s():
    part = result().no_change
    assert part is not None
    assert page.role_counts(part) == {"k3s_agent": 9, "gpu_verify": 6}
    assert page.summary_rows(result(), None)[6][1] == "9 (k3s_agent)"


def test_the_page_shows_every_pair_and_the_machine_s_load():
    text = page.markdown([result()])
    assert "| 2 | 66.0 | 60.0 | 1.10 | 6.0 |" in text
    assert "3 % taken by other guests" in text
    assert "All kept results" not in text


def test_the_page_lists_every_kept_result_newest_first():
    text = page.markdown([result("old"), result("new")])
    history = text.partition("## All kept results")[2]
    assert history.index("`new`") < history.index("`old`")


def test_a_large_log_of_nccl_is_told_in_seconds_and_memory() -> None:
    rows = {row[0]: row[1:3] for row in page.summary_rows(only("nccl"), None)}
    assert rows["verdict about a log of NCCL, wall time"] == ["2.2 (2.0 to 2.4) s for 50 MB", "≤ 3 s for 50 MB"]
    assert "| peak memory, MB | 36 (36 to 37) |" in page.markdown([only("nccl")])


def test_a_page_leaves_out_what_was_not_measured():
    text = page.markdown([only("no_change")])
    assert "## Many hosts" not in text
    assert "fleet.svg" not in text


def test_another_schema_is_refused():
    with pytest.raises(ValueError, match="schema 2"):
        result(schema=2)


def test_no_result_is_an_error():
    with pytest.raises(ValueError, match="no result"):
        page.markdown([])


def test_results_are_read_in_the_order_in_which_they_were_measured(tmp_path: Path):
    for label, measured in (("b", "2026-01-01T00:00:00Z"), ("a", "2026-02-01T00:00:00Z")):
        (tmp_path / f"{label}.json").write_text(json.dumps({**DOCUMENT, "measured": measured}))
    assert [each.label for each in results.kept(tmp_path)] == ["b", "a"]


def test_the_graph_is_one_file_of_shapes_that_asks_nobody():
    drawn = page.fleet_graph([result("old"), result("new <1>")])
    assert drawn is not None
    shapes = [element.tag.rpartition("}")[2] for element in ElementTree.fromstring(drawn).iter()]
    assert set(shapes) == {"svg", "title", "rect", "text", "line", "circle"}
    assert shapes.count("circle") == 2 * (2 + 1)  # two points and one key for each result
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")


def test_without_a_fleet_there_is_no_graph():
    assert page.fleet_graph([only("capacity")]) is None


@given(st.floats(min_value=1e-3, max_value=1e6))
def test_grid_lines_are_few_and_reach_the_top(highest):
    step = graph.nice_step(highest)
    assert 2 <= highest / step <= 6


def test_a_chart_of_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        graph.chart("title", "x", "y", [])


def test_report_of_a_large_run_is_told_per_document():
    text = page.markdown([only("report")])
    assert "| page | 0.80 (0.70 to 0.90) | 0.88 |" in text
    assert "Hosts: 1000, findings of each: 40." in text
    (row,) = [row for row in page.summary_rows(result(), None) if row[0].startswith("report over")]
    assert row[1] == "2.25 (2.00 to 2.50) s"
