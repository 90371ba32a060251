"""Counters over a window."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.counters import (
    KEPT,
    Snapshot,
    baseline,
    deltas,
    flatten,
    load,
    remember,
    save,
)


def snapshot(at_s: float, value: int = 0, boot: str = "b") -> Snapshot:
    return Snapshot(boot, at_s, {"port|x": value})


def test_a_difference_is_taken_over_the_window() -> None:
    found = deltas(snapshot(0, 4), snapshot(60, 9))["port|x"]
    assert (found.value, found.reason) == (5, None)


def test_a_counter_that_went_backwards_is_not_known() -> None:
    found = deltas(snapshot(0, 9), snapshot(60, 4))["port|x"]
    assert (found.value, found.reason) == (None, "it went backwards, from 9 to 4")


def test_a_counter_without_baseline_is_not_known() -> None:
    assert deltas(None, snapshot(60))["port|x"].value is None
    assert deltas(Snapshot("b", 0, {}), snapshot(60))["port|x"].reason == "it was not read at the start of the window"


def test_another_boot_is_no_baseline() -> None:
    assert baseline([snapshot(10, boot="old")], snapshot(5000), 60, 1) is None


def test_the_youngest_snapshot_of_a_whole_window_is_the_baseline() -> None:
    kept = [snapshot(0), snapshot(1000), snapshot(4900)]
    found = baseline(kept, snapshot(5000), 3600, 1)
    assert found is not None
    assert found.at_s == 1000


def test_else_the_oldest_that_is_old_enough() -> None:
    found = baseline([snapshot(4000), snapshot(4999.5)], snapshot(5000), 3600, 1)
    assert found is not None
    assert found.at_s == 4000
    assert baseline([snapshot(4999.5)], snapshot(5000), 3600, 1) is None


def test_only_numbers_are_counters() -> None:
    assert flatten({"gpu": {"a": 1, "b": None, "c": True, "d": "x"}}) == {"gpu|a": 1}


def test_a_state_file_is_read_back_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep/state.json"
    save(str(path), [snapshot(1, 2)])
    assert load(str(path)) == [snapshot(1, 2)]
    assert path.stat().st_mode & 0o077 == 0
    assert [item.name for item in path.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": 9}', '{"schema": 1, "snapshots": [{"boot_id": 1}]}', "null"]
)
def test_a_state_file_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state").write_text(text, encoding="utf-8")
    assert load(str(tmp_path / "state")) == []


@given(st.lists(st.floats(0, 20000), max_size=60))
@settings(max_examples=60)
def test_however_often_one_looks_the_file_stays_small_and_keeps_a_window(moments: list[float]) -> None:
    kept: list[Snapshot] = []
    times = sorted(set(moments))
    for moment in times:
        kept = remember(kept, snapshot(moment), 3600)
    assert len(kept) <= KEPT
    assert kept == sorted(kept, key=lambda item: item.at_s)
    assert not times or kept[-1].at_s == times[-1]
