"""The merged verdict: what counts as ok, and that `simulated` and restarts are never lost."""

from __future__ import annotations

import json

import pytest

from lab import report
from lab.model import systems
from lab.plays import Run


def _finding(status: str = "ok") -> dict[str, object]:
    return {
        "code": "BG-CAP-001",
        "subject": "spark-01",
        "requirements": ["MPS-09"],
        "status": status,
        "simulated": True,
        "reason": "10 of 10",
        "evidence": {},
        "remedy": "",
    }


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "STATE", tmp_path)

    def make(
        returncode: int = 0, status: str = "ok", document: bool = True, changed: int = 0, proven: bool = True
    ) -> Run:
        verdict = tmp_path / "spark.json"
        verdict.unlink(missing_ok=True)
        if document:
            host = {"status": status, "changed": changed, "findings": [_finding(status)]}
            verdict.write_text(json.dumps({"status": status, "proven": proven, "hosts": {"spark-01": host}}))
        return Run(systems()["spark"], returncode, 12.34, tmp_path / "spark.log", verdict)

    return make


def test_a_good_run_is_ok_and_simulated(run):
    document = report.merge([run()], [], [], 20.0)
    assert (document["status"], document["simulated"], document["changed"]) == ("ok", True, 0)


@pytest.mark.parametrize(
    "fault",
    [{"returncode": 2}, {"status": "fail"}, {"document": False}, {"proven": False}],
    ids=["ansible failed", "bad finding", "no verdict written", "nothing proven"],
)
def test_any_fault_makes_the_verdict_fail(run, fault):
    assert report.merge([run(**fault)], [], [], 20.0)["status"] == "fail"


def test_no_run_at_all_is_not_ok():
    assert report.merge([], [], [], 1.0)["status"] == "fail"


def test_changes_are_summed(run):
    assert report.merge([run(changed=3)], [], [], 1.0)["changed"] == 3


def test_the_table_shows_status_simulation_and_restarts(run):
    text = report.table(report.merge([run()], ["spark-01/k3s-agent"], [], 20.0))
    assert "BG-CAP-001" in text
    assert "ok (simulated)" in text
    assert "restarted: spark-01/k3s-agent" in text
    assert "VERDICT: ok (simulated hardware)" in text


def test_check_mode_needs_no_proof_and_says_so(run):
    document = report.merge([run(proven=False)], [], [], 1.0, check=True)
    assert document["status"] == "ok"
    assert "check mode" in report.table(document)
