"""What is run for a measurement, without running it."""

from __future__ import annotations

import json

import pytest

from lab.settings import REPOSITORY
from tools.bench import __main__ as command
from tools.bench import parts, reports
from tools.bench.events import Event
from tools.bench.measure import Usage

FEW = parts.Repetitions(
    capacity=2, no_change=2, fleet=2, fleet_sizes=(1, 5), budget_s=dict.fromkeys(command.PARTS, 1e6)
)


class Clock:
    """A clock that only advances when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def work(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("tools.bench.parts.time.monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """Playbooks that cost two seconds and change nothing; what was run, in order."""
    names: list[str] = []

    def playbook(path, name, *extra, variables=None):
        names.append(" ".join([str(path).rpartition("/")[2], *extra]))
        report = tmp_path / "report" / f"{name}.json"
        report.parent.mkdir(exist_ok=True)
        report.write_text(json.dumps({"hosts": {"spark-01": {"changed": 0, "changed_tasks": []}}}))
        return Usage(0, 2.0, 1.0)

    monkeypatch.setattr(parts, "WORK", tmp_path)
    monkeypatch.setattr(parts, "playbook", playbook)
    monkeypatch.setattr("tools.bench.parts.engine.up", lambda *_: [])
    monkeypatch.setattr("tools.bench.parts.hosts.down", lambda: None)
    counted = [Event("spark-01", "k3s_agent", "Check", "ok"), Event("calypso", None, "Decide", "ok")]
    monkeypatch.setattr(parts, "_count", lambda *_: counted)
    return names


def test_repetitions_end_before_the_budget_would_be_passed(clock):
    assert parts.repeat(10, 25.0, lambda _number: clock.work(10)) == 2


def test_one_repetition_is_always_made(clock):
    assert parts.repeat(10, 1.0, lambda _number: clock.work(100)) == 1


def test_no_more_repetitions_than_asked_are_made(clock):
    assert parts.repeat(3, 1e6, lambda _number: clock.work(1)) == 3


def test_playbook_and_pings_take_turns(ran):
    part = parts.no_change(FEW)
    assert ran[1:] == ["spark.yml", "pings.yml"] * 2
    assert part["tasks"] == {"calypso": 1, "spark-01": 1}
    assert [run["cpu_s"] for run in part["runs"]["ping"]] == [1.0, 1.0]


def test_every_host_gets_as_many_pings_as_it_had_tasks():
    plays = parts.ping_playbook({"calypso": 1, "spark-01": 3})
    assert {play["hosts"]: len(play["tasks"]) for play in plays} == {"calypso": 1, "spark-01": 3}


def test_sizes_of_the_fleet_take_turns(ran):
    part = parts.fleet_scaling(FEW)
    once = [f"{name} --limit fleet[0:{last}]" for last in (0, 4) for name in ("fleet.yml", "fleet-pings.yml")]
    assert ran[1:] == once * 2
    assert {size: len(runs) for size, runs in part["runs"].items()} == {"1": 2, "5": 2}
    assert {size: len(runs) for size, runs in part["pings"].items()} == {"1": 2, "5": 2}


def test_a_run_that_changes_something_is_no_measurement_of_one_that_does_not(ran, monkeypatch, tmp_path):
    def playbook(_path, name, *_extra, variables=None):
        verdict = {"hosts": {"spark-01": {"changed": 1, "changed_tasks": ["Store the join token"]}}}
        (tmp_path / "report").mkdir()
        (tmp_path / "report" / f"{name}.json").write_text(json.dumps(verdict))
        return Usage(0, 2.0, 1.0)

    monkeypatch.setattr(parts, "playbook", playbook)
    with pytest.raises(RuntimeError, match="Store the join token"):
        parts._unchanged("spark.yml", "no-change-1")


def test_what_failed_has_no_duration(monkeypatch, tmp_path):
    monkeypatch.setattr(parts, "WORK", tmp_path)
    with pytest.raises(RuntimeError, match=r"broken ended with 1.*\n.*no such host"):
        parts._run(["/bin/sh", "-c", "echo no such host; exit 1"], "broken", {})


def test_a_dry_run_says_what_would_be_measured_and_touches_nothing(capsys, monkeypatch):
    monkeypatch.setattr("lab.machine.refuse_unusable", lambda: pytest.fail("a dry run needs no lab"))
    assert command.main(["--dry-run", "--mode", "quick", "--only", "fleet"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("fleet: 1 rounds")
    assert "capacity" not in said


def test_the_lab_of_the_checkout_is_not_removed(monkeypatch):
    monkeypatch.setattr(command, "STATE", REPOSITORY / ".lab")
    monkeypatch.setattr("lab.hosts.down", lambda: pytest.fail("removed somebody's lab"))
    with pytest.raises(SystemExit):
        command.main(["--only", "fleet"])


def test_a_part_measured_anew_leaves_the_others(monkeypatch):
    monkeypatch.setattr(command, "commit", lambda: "abc")
    before = {"measured": "2026-01-02T03:04:05Z", "commit": "old", "machine": {"cores": 1}}
    kept = {**before, "parts": {"fleet": {"boot_s": 1}, "capacity": {"seconds": 2}}}
    document = command.record(kept, "fleet", {"boot_s": 3})
    now = {key: document[key] for key in before}
    assert now["commit"] == "abc"
    assert document["parts"] == {"fleet": {"boot_s": 3, "origin": now}, "capacity": {"seconds": 2, "origin": before}}
    # Once more: a part goes on to say when it was measured itself.
    again = command.record(document, "fleet", {"boot_s": 4})
    assert again["parts"]["capacity"]["origin"] == before


def test_documents_of_a_large_run_are_made_and_measured(monkeypatch):
    monkeypatch.setattr(reports, "HOSTS", 3)
    part = reports.report(parts.Repetitions(1, 1, 1, (1,), {"report": 60.0}, report=2))
    assert set(part["bytes"]) == {"json", "junit", "page"}
    assert all(len(seconds) == 2 for seconds in part["cpu_s"].values())
    assert all(size > 1000 for size in part["bytes"].values())
