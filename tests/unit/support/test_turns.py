"""Tests of several processes take turns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.baremetal.gpu.tests.support import turns

TAKE = """
import sys
from pathlib import Path
from ansible_collections.baremetal.gpu.tests.support.turns import turn
folder, name, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
with turn(folder, alone=kind == "alone"), (folder / "log").open("a", buffering=1) as log:
    log.write(name + " in\\n")
    print("in", flush=True)
    sys.stdin.readline()
    log.write(name + " out\\n")
"""


class Other:
    """Another process that holds a turn until it is told to end."""

    def __init__(self, folder: Path, name: str, kind: str) -> None:
        environment = {key: value for key, value in os.environ.items() if key != turns.HAS_TURN}
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE, str(folder), name, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def wait_until_in(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "in\n"

    def end(self) -> None:
        self.process.communicate("\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "turns"


def test_ordinary_tests_run_side_by_side(folder: Path) -> None:
    first, second = Other(folder, "first", "shared"), Other(folder, "second", "shared")
    first.wait_until_in()
    second.wait_until_in()
    first.end()
    second.end()


def test_a_test_that_must_be_alone_is(folder: Path) -> None:
    first = Other(folder, "first", "shared")
    first.wait_until_in()
    alone = Other(folder, "alone", "alone")
    first.end()
    alone.wait_until_in()
    later = Other(folder, "later", "shared")
    alone.end()
    later.end()
    expected = [f"{name} {what}" for name in ("first", "alone", "later") for what in ("in", "out")]
    assert (folder / "log").read_text(encoding="utf-8").splitlines() == expected


def test_pytest_that_a_test_runs_is_part_of_that_tests_turn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Other(folder, "alone", "alone")
    alone.wait_until_in()
    monkeypatch.setenv(turns.HAS_TURN, "yes")
    with turns.turn(folder, alone=True):
        pass
    alone.end()


@pytest.mark.parametrize(
    ("nodeid", "fixtures", "group"),
    [
        ("tests/lab/test_faults.py::test_a", ["breakable", "spark_lab"], "lab of spark"),
        ("tests/lab/test_check_mode.py::test_b", ["onyx_lab"], "lab of onyx"),
        ("tests/lab/test_scenarios.py::test_scenario[onyx]", [], "tests/lab/test_scenarios.py::test_scenario[onyx]"),
        ("tests/unit/lab/test_hosts.py::test_c", ["state"], "tests/unit/lab/test_hosts.py"),
    ],
)
def test_what_shares_hosts_or_a_file_stays_together(nodeid: str, fixtures: list[str], group: str) -> None:
    assert turns.group_of(nodeid, fixtures) == group


def test_what_takes_longest_comes_first() -> None:
    groups = ["tests/unit/a.py", "lab of onyx", "tests/sanity/test_sanity.py", "lab of spark"]
    assert sorted(groups, key=turns.rank_of) == [groups[3], groups[1], groups[2], groups[0]]


def test_tests_on_hosts_name_the_fixture_of_their_hosts(root: Path) -> None:
    """One that asks for it by name only when it runs would be put into another process than its hosts' other tests."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in (root / "tests/lab").glob("*.py")}
    assert [name for name, text in texts.items() if "getfixturevalue" in text] == []
    assert len(texts) > 5


def test_groups_reach_the_one_that_deals_out_tests(request: pytest.FixtureRequest) -> None:
    if not hasattr(request.config, "workerinput"):
        pytest.skip("this run has one process")
    assert request.node.nodeid.endswith("@tests/unit/support/test_turns.py")
