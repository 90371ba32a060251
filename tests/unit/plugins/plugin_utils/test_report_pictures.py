"""Which evidence is drawn, and how."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.isolation import Measurement, Round, Topology, run
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_pictures import (
    HEIGHT,
    WIDTH,
    bytes_said,
    curve,
    matrix,
    pairs_of,
)

ROWS = [[1024, 1.0], [1048576, 100.0], [1073741824, 480.0]]


def pair(first: str, second: str, value: float | None, **more: Any) -> dict[str, Any]:
    return {"first": first, "second": second, "busbw_gb_per_s": value, "minimum_gb_per_s": 300.0, **more}


def test_sizes_lie_evenly_on_a_logarithmic_axis() -> None:
    drawn = curve({"rows": ROWS, "minimum_gb_per_s": 440.0})
    assert drawn is not None
    first, second, third = (point.x for point in drawn.points)
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert [point.below for point in drawn.points] == [True, True, False]
    assert drawn.summary == "480 GB/s at 1 GiB, threshold 440 GB/s"


def test_threshold_lies_between_the_points_that_it_parts() -> None:
    drawn = curve({"rows": ROWS, "minimum_gb_per_s": 440.0})
    assert drawn is not None
    assert drawn.threshold is not None
    assert drawn.points[2].y < drawn.threshold.at < drawn.points[1].y


def test_curve_without_a_threshold_says_so() -> None:
    drawn = curve({"rows": ROWS, "minimum_gb_per_s": None})
    assert drawn is not None
    assert drawn.threshold is None
    assert "no threshold is known" in drawn.summary
    assert not any(point.below for point in drawn.points)


def test_size_without_bandwidth_is_a_gap_and_no_nought() -> None:
    drawn = curve({"rows": [[1024, 1.0], [2048, 2.0], [4096, None], [8192, 8.0], [16384, 9.0]]})
    assert drawn is not None
    assert len(drawn.points) == 4
    assert len(drawn.lines) == 2
    assert drawn.missing == ("4 KiB",)


@pytest.mark.parametrize(
    "rows", [None, [], "x", [[0, 1.0]], [[8, None]], [["a", 1]], [[1, 2, 3]], [[8, float("nan")]], [[8, True]], 7]
)
def test_what_are_no_rows_is_not_drawn(rows: Any) -> None:
    assert curve({"rows": rows}) is None


NUMBERS = st.one_of(st.none(), st.integers(), st.floats(), st.booleans(), st.text(max_size=3))


@settings(max_examples=60)
@given(st.lists(st.one_of(NUMBERS, st.lists(NUMBERS, max_size=3)), max_size=12), NUMBERS)
def test_any_rows_are_drawn_inside_the_picture_or_not_at_all(rows: list[Any], minimum: Any) -> None:
    drawn = curve({"rows": rows, "minimum_gb_per_s": minimum})
    if drawn is not None:
        assert all(0 <= point.x <= WIDTH and 0 <= point.y <= HEIGHT for point in drawn.points)
        assert drawn.threshold is None or 0 <= drawn.threshold.at <= HEIGHT


def test_single_size_is_drawn_in_the_middle() -> None:
    drawn = curve({"rows": [[1 << 30, 20.0]]})
    assert drawn is not None
    assert (len(drawn.points), drawn.lines) == (1, ())


@pytest.mark.parametrize(
    ("size", "text"), [(8, "8 B"), (1024, "1 KiB"), (1536, "1536 B"), (1 << 34, "16 GiB"), (1000, "1000 B")]
)
def test_sizes_are_said_in_whole_units(size: int, text: str) -> None:
    assert bytes_said(size) == text


def test_pair_has_one_cell_whichever_way_round_it_was_measured() -> None:
    drawn = matrix(
        {"pairs": [pair("a", "b", 350.0), pair("b", "a", 200.0, bad=True), pair("a", "c", 350.0, bad=False)]}
    )
    assert drawn is not None
    assert len(drawn.cells) == 2
    assert [cell.bad for cell in drawn.cells] == [True, False]
    assert drawn.cells[0].grade == 0
    assert drawn.bad == ("b with a: 200 GB/s, at least 300 is due",)
    assert all(cell.y > cell.x for cell in drawn.cells)


def test_failed_measurement_is_bad_and_says_how() -> None:
    drawn = matrix({"pairs": [pair("a", "b", None, failure="timed out", rail=3)]})
    assert drawn is not None
    assert drawn.cells[0].bad
    assert drawn.bad == ("a with b rail 3: timed out, at least 300 is due",)


def test_faster_pairs_have_a_higher_grade() -> None:
    values = [300.0, 316.0, 331.0, 346.0, 500.0]
    drawn = matrix({"pairs": [pair(f"a{number}", "z", value, bad=False) for number, value in enumerate(values)]})
    assert drawn is not None
    assert sorted(cell.grade for cell in drawn.cells) == [1, 2, 3, 4, 4]


@pytest.mark.parametrize("pairs", [None, [], "x", [{}], [{"first": "a", "second": "a"}], [["a", "b", 3.0]], {"a": 1}])
def test_what_are_no_pairs_is_not_drawn(pairs: Any) -> None:
    assert matrix({"pairs": pairs}) is None


def test_nodes_are_named_only_where_their_names_can_be_read() -> None:
    few = matrix({"pairs": [pair(f"a{number}", "z", 350.0) for number in range(10)]})
    many = matrix({"pairs": [pair(f"a{number}", "z", 350.0) for number in range(100)]})
    assert few is not None
    assert many is not None
    assert (few.numbered, many.numbered) == (True, False)
    assert many.origin + many.size * len(many.nodes) <= WIDTH
    assert matrix({"pairs": [pair(f"a{number}", "z", 350.0) for number in range(300)]}) is None


def test_what_an_isolation_measured_is_drawn_whole() -> None:
    def measure(wanted: Round) -> list[Measurement]:
        return [Measurement(item, 200.0 if "n5" in item.nodes else 350.0) for item in wanted.pairs]

    conclusion = run(Topology(tuple(f"n{number}" for number in range(8))), measure, 300.0)
    drawn = matrix({"pairs": pairs_of(conclusion.evidence)})
    assert drawn is not None
    assert len(drawn.nodes) == 8
    assert len(drawn.bad) == 3, "its own pair, and two votes"
    assert all("n5" in line for line in drawn.bad)
