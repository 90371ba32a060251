"""Isolation of the bad node, rail or link, on simulated clusters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.isolation import (
    CLASS_LINK,
    CLUSTER_WIDE,
    LINK,
    NODE,
    RAIL,
    TRANSIENT,
    UNDECIDED,
    Measurement,
    Pair,
    Round,
    Topology,
    isolation,
    run,
)

USUAL = 350.0
MINIMUM = 300.0


def nodes(count: int) -> tuple[str, ...]:
    return tuple(f"n{index:03d}" for index in range(count))


def cluster(slow: Callable[[Pair, Round], bool], rail_usual: float = 45.0) -> Callable[[Round], list[Measurement]]:
    """A cluster in which `slow` says which pair is slow in which round."""

    def measure(wanted: Round) -> list[Measurement]:
        usual = {pair: USUAL if pair.rail is None else rail_usual for pair in wanted.pairs}
        return [Measurement(pair, usual[pair] * (0.6 if slow(pair, wanted) else 1.0)) for pair in wanted.pairs]

    return measure


def has(*bad: str) -> Callable[[Pair, Round], bool]:
    return lambda pair, _round: not set(bad).isdisjoint(pair.nodes)


def test_a_healthy_cluster_needs_one_round() -> None:
    found = run(Topology(nodes(16)), cluster(has()), MINIMUM)
    assert (found.culprits, found.rounds) == ((), 1)


@pytest.mark.parametrize("bad", ["n000", "n007", "n015"])
def test_one_bad_node_is_convicted_in_three_rounds_and_its_partner_cleared(bad: str) -> None:
    found = run(Topology(nodes(16)), cluster(has(bad)), MINIMUM)
    assert found.convicted == (bad,)
    assert found.rounds == 3
    assert len(found.cleared) == 1


def test_every_node_of_an_odd_number_is_measured() -> None:
    found = run(Topology(nodes(9)), cluster(has("n008")), MINIMUM)
    assert found.convicted == ("n008",)


@given(
    count=st.integers(6, 40),
    seed=st.none() | st.integers(0, 1000),
    data=st.data(),
)
def test_without_disturbance_exactly_the_bad_nodes_are_convicted(
    count: int, seed: int | None, data: st.DataObject
) -> None:
    names = nodes(count)
    bad = data.draw(st.sets(st.sampled_from(names), max_size=max(1, count // 4 - 1)))
    found = run(Topology(names), cluster(has(*bad)), MINIMUM, seed)
    assert set(found.convicted) == bad


@given(count=st.integers(2, 30), seed=st.none() | st.integers(0, 50), data=st.data())
def test_pairs_of_a_round_share_no_node_and_every_measurement_is_evidence(
    count: int, seed: int | None, data: st.DataObject
) -> None:
    """Whatever is measured, the machine ends, and keeps what it was told."""
    told: list[Measurement] = []

    def measure(wanted: Round) -> list[Measurement]:
        used = [node for pair in wanted.pairs for node in pair.nodes]
        assert len(set(used)) == len(used)
        results = [
            Measurement(pair, data.draw(st.sampled_from([None, 100.0, USUAL])), "crash") for pair in wanted.pairs
        ]
        told.extend(results)
        return results

    found = run(Topology(nodes(count)), measure, MINIMUM, seed)
    assert [entry.measurement for entry in found.evidence] == told
    assert set(found.convicted).isdisjoint(found.cleared)


def test_the_same_seed_draws_the_same_pairs() -> None:
    first = next(isolation(Topology(nodes(12)), seed=7))
    assert first == next(isolation(Topology(nodes(12)), seed=7))
    assert first != next(isolation(Topology(nodes(12)), seed=8))


def test_a_link_is_blamed_when_only_one_pair_is_slow_and_stays_slow() -> None:
    def slow(pair: Pair, _round: Round) -> bool:
        return set(pair.nodes) == {"n000", "n001"}

    found = run(Topology(nodes(8)), cluster(slow), MINIMUM)
    assert [(culprit.kind, culprit.nodes) for culprit in found.culprits] == [(LINK, ("n000", "n001"))]


def test_a_disturbance_that_does_not_come_back_is_transient() -> None:
    def slow(pair: Pair, wanted: Round) -> bool:
        return wanted.number == 1 and "n002" in pair.nodes

    found = run(Topology(nodes(8)), cluster(slow), MINIMUM)
    assert [culprit.kind for culprit in found.culprits] == [TRANSIENT]
    assert found.convicted == ()


def test_one_bad_vote_alone_convicts_nobody() -> None:
    """A node that was disturbed in its own pair and once more is cleared by the deciding vote."""

    def slow(pair: Pair, wanted: Round) -> bool:
        return wanted.number <= 2 and "n002" in pair.nodes

    found = run(Topology(nodes(8)), cluster(slow), MINIMUM)
    assert found.convicted == ()
    assert "n002" in found.cleared


def test_a_disturbance_ends_a_round_earlier_than_two_votes_would_take() -> None:
    """Both members did well with their first partner, so the pair itself is measured again instead of two second votes."""

    def slow(pair: Pair, wanted: Round) -> bool:
        return wanted.number == 1 and "n002" in pair.nodes

    found = run(Topology(nodes(8)), cluster(slow), MINIMUM)
    assert (found.rounds, found.evidence[-1].stage, found.evidence[-1].measurement.pair.nodes) == (
        3,
        4,
        ("n002", "n003"),
    )
    assert set(found.cleared) == {"n002", "n003"}


def test_a_node_that_is_bad_every_other_time_is_undecided_not_guessed() -> None:
    """Bad, good, bad, good with its partners."""

    def slow(pair: Pair, wanted: Round) -> bool:
        return "n002" in pair.nodes and wanted.number in (1, 2, 4)

    found = run(Topology(nodes(16)), cluster(slow), MINIMUM)
    assert [(culprit.kind, culprit.nodes) for culprit in found.culprits] == [(UNDECIDED, ("n002",))]
    assert "2 of 4" in found.culprits[0].reason


def test_two_bad_nodes_of_one_pair_need_one_more_vote_each() -> None:
    found = run(Topology(nodes(16)), cluster(has("n002", "n003")), MINIMUM)
    assert (set(found.convicted), found.rounds) == ({"n002", "n003"}, 4)


def test_a_healthy_partner_that_was_disturbed_twice_is_not_convicted_with_the_bad_one() -> None:
    def slow(pair: Pair, wanted: Round) -> bool:
        return "n003" in pair.nodes or ("n002" in pair.nodes and wanted.number <= 3)

    found = run(Topology(nodes(16)), cluster(slow), MINIMUM)
    assert found.convicted == ("n003",)


def test_a_cluster_that_is_slow_everywhere_convicts_no_node() -> None:
    found = run(Topology(nodes(8)), cluster(lambda _pair, _round: True), MINIMUM)
    assert [culprit.kind for culprit in found.culprits] == [CLUSTER_WIDE]


def test_two_nodes_cannot_be_told_apart() -> None:
    found = run(Topology(nodes(2)), cluster(has("n000")), MINIMUM)
    assert [culprit.kind for culprit in found.culprits] == [UNDECIDED]


def test_a_pair_that_fails_counts_as_bad() -> None:
    def measure(wanted: Round) -> list[Measurement]:
        return [
            Measurement(pair, None, "timeout") if "n003" in pair.nodes else Measurement(pair, USUAL)
            for pair in wanted.pairs
        ]

    assert run(Topology(nodes(8)), measure, MINIMUM).convicted == ("n003",)


def test_a_pair_without_a_result_counts_as_failed() -> None:
    def measure(wanted: Round) -> list[Measurement]:
        return [Measurement(pair, USUAL) for pair in wanted.pairs if "n003" not in pair.nodes]

    found = run(Topology(nodes(8)), measure, MINIMUM)
    assert found.convicted == ("n003",)
    assert any(entry.measurement.failure == "no result was returned" for entry in found.evidence)


def test_the_slow_rails_of_a_convicted_node_are_named() -> None:
    def slow(pair: Pair, _round: Round) -> bool:
        return "n005" in pair.nodes and pair.rail in (None, 3, 6)

    found = run(Topology(nodes(8), rails=8), cluster(slow), MINIMUM)
    assert [(culprit.kind, culprit.nodes, culprit.rails) for culprit in found.culprits] == [(RAIL, ("n005",), (3, 6))]


@pytest.mark.parametrize("rails", [(), tuple(range(8))])
def test_all_rails_or_none_mean_the_host(rails: tuple[int, ...]) -> None:
    def slow(pair: Pair, _round: Round) -> bool:
        return "n005" in pair.nodes and (pair.rail is None or pair.rail in rails)

    found = run(Topology(nodes(8), rails=8), cluster(slow), MINIMUM)
    assert [(culprit.kind, culprit.rails) for culprit in found.culprits] == [(NODE, rails)]


def test_links_between_classes_are_found_when_all_inside_is_healthy() -> None:
    names = nodes(12)
    classes = {name: f"leaf{index // 4}" for index, name in enumerate(names)}

    def slow(pair: Pair, _round: Round) -> bool:
        return {classes[pair.first], classes[pair.second]} == {"leaf0", "leaf2"}

    found = run(Topology(names, classes), cluster(slow), MINIMUM)
    assert [culprit.kind for culprit in found.culprits] == [CLASS_LINK]
    assert set(found.culprits[0].nodes) == {"leaf0", "leaf2"}


def test_classes_of_different_speed_are_not_compared() -> None:
    """Pairs below one leaf and pairs across leaves differ by a tenth on healthy clusters."""
    names = nodes(16)
    classes = {name: f"leaf{index // 8}" for index, name in enumerate(names)}

    def measure(wanted: Round) -> list[Measurement]:
        return [Measurement(pair, 46.3 if classes[pair.first] == "leaf0" else 39.0) for pair in wanted.pairs]

    found = run(Topology(names, classes), measure, 30.0)
    assert found.convicted == ()


@pytest.mark.parametrize("names", [(), ("n000",), ("n000", "n000")])
def test_names_that_make_no_pair_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="node"):
        run(Topology(names), cluster(has()), MINIMUM)
