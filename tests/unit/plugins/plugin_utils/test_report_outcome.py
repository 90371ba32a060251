"""What a finding counts as, for everything that shows it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_outcome import (
    counted,
    host_outcome,
    outcome,
    worst_outcome,
)


@pytest.mark.parametrize(
    ("finding", "lab", "expected"),
    [
        ({"status": "ok"}, False, "ok"),
        ({"status": "unknown"}, False, "unknown"),
        ({"status": "unknown", "waived": True}, False, "waived"),
        ({"status": "fail", "waived": True}, False, "fail"),
        ({"status": "ok", "simulated": True}, True, "ok"),
        ({"status": "ok", "simulated": True}, False, "fail"),
        ({"status": "splendid"}, False, "unknown"),
    ],
)
def test_finding_counts_as(finding: dict[str, Any], lab: bool, expected: str) -> None:
    assert outcome(finding, lab) == expected


def test_unknown_is_worse_than_a_warning_and_a_waiver_is_better() -> None:
    assert worst_outcome(["ok", "waived", "warn"]) == "warn"
    assert worst_outcome(["warn", "unknown"]) == "unknown"
    assert worst_outcome([]) == "none"


def test_what_does_not_apply_takes_nothing_from_what_is_well() -> None:
    assert worst_outcome(["ok", "skipped"]) == "ok"
    assert worst_outcome(["skipped", "skipped"]) == "skipped"


def test_host_with_a_failed_task_failed_whatever_was_found() -> None:
    host = {"failed": 1, "unreachable": 0, "lab": True, "findings": [{"status": "ok"}]}
    assert host_outcome(host) == "fail"
    assert host_outcome({**host, "failed": 0, "unreachable": 1}) == "unknown"
    assert host_outcome({**host, "failed": 0}) == "ok"
    assert host_outcome({**host, "failed": 0, "findings": []}) == "none"


def test_outcomes_are_counted_worst_first() -> None:
    assert list(counted(["ok", "fail", "ok"]).items()) == [("fail", 1), ("ok", 2)]
