"""Steps run when what they need is there, only those that are needed, and one error ends all."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import graph
from lab.graph import DOWNLOADS, SINGLE, WAITS, Claim, Room, Step, Timing
from lab.progress import Activity

PLENTY = Room(processors=64.0, memory_gb=64.0, downloads=64)


def step(name: str, needs: tuple[str, ...] = (), *, done: bool = False, claim: Claim = WAITS, **more: object) -> Step:
    work: Callable[[Activity], object] = more.get("work", lambda _: None)  # type: ignore[assignment]
    return Step(name, f"Do {name}", work, needs, claim, lambda: done)


def names(steps: list[Step]) -> list[str]:
    return [each.name for each in steps]


def test_what_only_a_finished_step_needs_is_not_made() -> None:
    steps = [step("source"), step("program", ("source",)), step("package", ("program",), done=True)]
    assert names(graph.missing(steps, ["package"])) == []
    assert names(graph.missing(steps, ["program"])) == ["source", "program"]


def test_a_step_that_no_target_needs_is_not_made() -> None:
    assert names(graph.missing([step("wanted"), step("other")], ["wanted"])) == ["wanted"]


def test_steps_that_need_each_other_are_refused_with_the_circle() -> None:
    with pytest.raises(ValueError, match="a → b → a"):
        graph.missing([step("a", ("b",)), step("b", ("a",))], ["a"])


def test_a_need_that_nobody_makes_is_refused() -> None:
    with pytest.raises(KeyError, match="absent"):
        graph.missing([step("a", ("absent",))], ["a"])


@given(st.lists(st.lists(st.integers(0, 20), max_size=3), min_size=1, max_size=12))
def test_every_step_begins_after_all_that_it_needs(numbers: list[list[int]]) -> None:
    order: list[str] = []
    lock = threading.Lock()

    def noting(name: str) -> Callable[[Activity], object]:
        def work(_: Activity) -> None:
            with lock:
                order.append(name)

        return work

    steps = [
        step(str(index), tuple({str(need % index) for need in needs if index}), work=noting(str(index)))
        for index, needs in enumerate(numbers)
    ]
    timings = graph.run(steps, PLENTY)
    assert sorted(order) == sorted(names(steps))
    for each in steps:
        assert all(order.index(need) < order.index(each.name) for need in each.needs)
    ended = {timing.name: timing.ended for timing in timings}
    assert all(ended[need] <= timing.begun + 1e-6 for timing in timings for need in timing.needs)


def test_independent_steps_run_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=20)
    graph.run([step(name, work=lambda _: together.wait()) for name in "ab"], PLENTY)
    assert not together.broken


def test_two_compilers_do_not_run_at_the_same_time_but_a_download_runs_beside_one() -> None:
    compiler = Claim(processors=2.0, memory_gb=4.0)
    room = Room(processors=3.0, memory_gb=16.0)
    assert not room.fits(compiler, [compiler])
    assert room.fits(DOWNLOADS, [compiler])
    assert room.fits(SINGLE, [compiler])


def test_a_step_waits_for_memory_that_others_hold() -> None:
    room = Room(processors=8.0, memory_gb=6.0)
    assert not room.fits(Claim(memory_gb=4.0), [Claim(memory_gb=4.0)])
    assert room.fits(Claim(memory_gb=2.0), [Claim(memory_gb=4.0)])


def test_a_step_that_is_larger_than_the_machine_runs_alone() -> None:
    small = Room(processors=1.0, memory_gb=1.0)
    assert small.fits(Claim(processors=2.0, memory_gb=4.0), [])
    timings = graph.run([step(name, claim=Claim(processors=2.0)) for name in "abc"], small)
    begun = sorted((timing.begun, timing.ended) for timing in timings)
    assert all(earlier[1] <= later[0] + 1e-6 for earlier, later in itertools.pairwise(begun))


def test_an_error_stops_what_follows_and_is_passed_on() -> None:
    ran: list[str] = []

    def fail(_: Activity) -> None:
        raise RuntimeError("no network")

    steps = [step("a", work=fail), step("b", ("a",), work=lambda _: ran.append("b"))]
    with pytest.raises(RuntimeError, match="no network"):
        graph.run(steps, PLENTY)
    assert ran == []


def test_steps_are_numbered_and_their_number_is_known_from_the_start(capfd: pytest.CaptureFixture[str]) -> None:
    graph.run([step("a"), step("b", ("a",)), step("c", ("b",))], PLENTY)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split("] ")[1] for line in lines if line.endswith("…")] == [
        "1/3 Do a …",
        "2/3 Do b …",
        "3/3 Do c …",
    ]


def timing(name: str, needs: tuple[str, ...], ready: float, begun: float, ended: float) -> Timing:
    return Timing(name, name.upper(), needs, ready, begun, ended)


TIMINGS = [
    timing("fetch", (), 0, 0, 5),
    timing("other", (), 0, 0, 7),
    timing("compile", ("fetch",), 5, 7, 20),
    timing("pack", ("compile", "other"), 20, 20, 22),
]


def test_the_critical_path_follows_the_need_that_ended_last() -> None:
    assert [each.name for each in graph.critical_path(TIMINGS)] == ["fetch", "compile", "pack"]


def test_the_summary_tells_waiting_for_room_from_work() -> None:
    whole, slowest, path = graph.summary(TIMINGS, slowest=1)
    assert whole == "4 steps in 22.0 s, 27.0 s of work"
    assert slowest == "slowest: COMPILE 13.0 s"
    assert path == "critical path: FETCH 5.0 s → COMPILE 13.0 s → PACK 2.0 s (of these, 2.0 s waiting for room)"


def test_a_run_without_steps_has_no_summary() -> None:
    assert graph.run([], PLENTY) == []
    assert graph.summary([]) == []


def test_timings_survive_the_file() -> None:
    assert graph.from_document(graph.as_document(TIMINGS)) == TIMINGS
