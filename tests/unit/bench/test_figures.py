"""Statistics of repeated measurements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bench.figures import Line, Spread, pairwise_differences, pairwise_ratios

FIGURES = st.floats(min_value=0.01, max_value=1e6)


def test_one_slow_run_does_not_move_the_median():
    assert Spread.of([10.0, 11.0, 90.0]) == Spread(10.0, 11.0, 90.0, 3)


def test_nothing_measured_is_not_zero():
    with pytest.raises(ValueError, match="no samples"):
        Spread.of([])


def test_a_single_figure_has_no_range_to_show():
    assert (Spread.of([1.25]).text(2), Spread.of([1.0, 2.0, 3.0]).text()) == ("1.25", "2.0 (1.0 to 3.0)")


@given(st.lists(FIGURES, min_size=1))
def test_the_median_lies_between_minimum_and_maximum(samples):
    spread = Spread.of(samples)
    assert spread.minimum <= spread.median <= spread.maximum


def test_ratios_are_taken_pair_by_pair():
    """A machine that became twice as slow between two pairs leaves both ratios alone."""
    assert pairwise_ratios([12.0, 24.0], [10.0, 20.0]) == [1.2, 1.2]


def test_differences_are_taken_pair_by_pair():
    assert pairwise_differences([12.0, 24.0], [10.0, 20.0]) == [2.0, 4.0]


@pytest.mark.parametrize("function", [pairwise_ratios, pairwise_differences])
def test_a_sample_without_its_partner_is_refused(function):
    with pytest.raises(ValueError):  # noqa: PT011 # zip's own message
        function([1.0, 2.0], [1.0])


@given(st.floats(-100, 100), st.floats(-100, 100), st.sets(st.integers(0, 50), min_size=2))
def test_points_on_a_line_give_that_line(slope, intercept, xs):
    line = Line.fit([(float(x), intercept + slope * x) for x in xs])
    assert line.slope == pytest.approx(slope, abs=1e-6)
    assert line.at(0) == pytest.approx(intercept, abs=1e-6)


def test_scattered_points_are_told_by_r_squared():
    assert Line.fit([(0, 0), (1, 1), (2, 2)]).r_squared == pytest.approx(1.0)
    assert Line.fit([(0, 0), (1, 5), (2, 1)]).r_squared < 0.1


def test_measurements_at_one_place_have_no_slope():
    with pytest.raises(ValueError, match="two places"):
        Line.fit([(1.0, 2.0), (1.0, 3.0)])
