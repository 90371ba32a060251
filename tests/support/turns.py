"""Tests side by side in several processes: what belongs together stays in one of them, and what must be alone is."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

# Tests that share one lab's hosts, by the fixture that boots them. What takes longest comes first, so that it does not end last.
SHARED_HOSTS = {
    "spark_lab": "lab of spark",
    "onyx_lab": "lab of onyx",
    "access_lab": "lab of access",
    "pair_lab": "lab of spark-pair",
    "before_lab": "lab of spark-before",
}
FIRST = ("lab of spark", "tests/lab/test_scenarios.py", "lab of onyx", "tests/lab/", "tests/lanes/", "tests/sanity/")


def group_of(nodeid: str, fixtures: Sequence[str]) -> str:
    """Tests of one group run in one process: those on the same hosts, else those of one file. Scenarios and lanes share nothing."""
    for fixture, group in SHARED_HOSTS.items():
        if fixture in fixtures:
            return group
    path = nodeid.partition("::")[0]
    return nodeid if path in ("tests/lab/test_scenarios.py", "tests/lanes/test_lanes.py") else path


def rank_of(group: str) -> int:
    """Where a group comes in the order of all; a stable sort by it keeps the tests of a group together."""
    return next((rank for rank, start in enumerate(FIRST) if group.startswith(start)), len(FIRST))


def arrange(items: list[pytest.Item]) -> None:
    """Give each test its group, the longest groups first."""
    groups: Mapping[str, str] = {
        item.nodeid: group_of(item.nodeid, getattr(item, "fixturenames", ())) for item in items
    }
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[item.nodeid].replace("@", "_")))
    items.sort(key=lambda item: rank_of(groups[item.nodeid]))


# Set while a process has its turn, for tests that run pytest themselves: theirs is part of it.
HAS_TURN = "BAREMETAL_GPU_TESTS_TURN"


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold a turn among the processes that use this folder: many at a time, or one that is ``alone``.

    Whoever waits to be alone keeps the door, so that others' short turns do not go on before it for ever.
    """
    if HAS_TURN in os.environ:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "door.lock").open("w") as door, (folder / "room.lock").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        os.environ[HAS_TURN] = "yes"
        try:
            yield
        finally:
            del os.environ[HAS_TURN]
