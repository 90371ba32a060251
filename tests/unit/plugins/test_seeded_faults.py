"""Every seeded fault is named by its code, and by no other; what is healthy is named by none."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.tests.support.seeded_faults import SeededFault
from tools import seeded_faults
from tools.seeded_faults import FOLLOW_UPS, FollowUp

ALL = seeded_faults.found()


@pytest.mark.parametrize("fault", [pytest.param(fault, id=f"{fault.area}: {fault.name}") for fault in ALL])
def test_fault_is_named_by_its_code_alone(fault: SeededFault) -> None:
    outcome = seeded_faults.judged(fault)
    assert outcome.good, (
        f"expected {fault.expected or 'nothing'}, got {outcome.told}, of them unexpected {outcome.others}"
    )


def test_every_expected_code_is_registered(root: Path) -> None:
    registry = yaml.safe_load((root / "data/codes.yml").read_text(encoding="utf-8"))["codes"]
    assert {fault.expected for fault in ALL if fault.expected} - set(registry) == set()


def test_there_are_many_faults_of_every_area() -> None:
    counted = Counter(fault.area for fault in ALL if fault.expected)
    assert sum(counted.values()) >= 60
    assert min(counted[area] for area in ("host", "capacity", "nccl")) >= 20


def test_no_two_faults_of_an_area_have_one_name() -> None:
    counted = Counter((fault.area, fault.name) for fault in ALL)
    assert [name for name, times in counted.items() if times > 1] == []


def test_every_follow_up_is_needed() -> None:
    """One that explains nothing any more would hide what comes later."""
    bad = [(fault, finding["code"], finding["status"]) for fault in ALL for finding in fault.findings()]
    idle = [each.why for each in FOLLOW_UPS if not any(each.explains(*item) for item in bad)]
    assert idle == []


# The judgement itself


def seeded(expected: str, *findings: tuple[str, str]) -> SeededFault:
    told: list[dict[str, Any]] = [{"code": code, "status": status} for code, status in findings]
    return SeededFault("a fault", "host", expected, lambda: told)


@pytest.mark.parametrize(
    ("fault", "good"),
    [
        (seeded("BG-GPU-001", ("BG-GPU-001", "fail"), ("BG-GPU-002", "ok")), True),
        (seeded("BG-GPU-001", ("BG-GPU-001", "unknown")), True),
        (seeded("BG-GPU-001", ("BG-GPU-001", "warn")), True),
        (seeded("BG-GPU-001", ("BG-GPU-001", "ok")), False),
        (seeded("BG-GPU-001"), False),
        (seeded("BG-GPU-001", ("BG-GPU-001", "fail"), ("BG-GPU-002", "unknown")), False),
        (seeded("BG-GPU-001", ("BG-GPU-001", "fail"), ("BG-GPU-002", "warn")), True),
        (seeded("", ("BG-GPU-001", "ok"), ("BG-GPU-002", "skipped")), True),
        (seeded("", ("BG-GPU-001", "warn")), False),
    ],
)
def test_row_is_as_expected_only_when_the_right_code_is_told(fault: SeededFault, good: bool) -> None:
    assert seeded_faults.judged(fault, ()).good is good


@pytest.mark.parametrize(
    ("area", "faults", "codes", "status", "good"),
    [
        ("host", ("a f*",), ("BG-GPU-002",), "fail", True),
        ("host", ("another",), ("BG-GPU-002",), "fail", False),
        ("nccl", ("*",), ("BG-GPU-002",), "fail", False),
        ("host", ("*",), ("BG-GPU-003",), "fail", False),
        ("host", ("*",), ("BG-GPU-*",), "unknown", False),
    ],
)
def test_follow_up_that_is_listed_is_no_wrong_code(
    area: str, faults: tuple[str, ...], codes: tuple[str, ...], status: str, good: bool
) -> None:
    fault = seeded("BG-GPU-001", ("BG-GPU-001", "fail"), ("BG-GPU-002", "fail"))
    assert seeded_faults.judged(fault, [FollowUp(area, faults, codes, (status,), "why")]).good is good


def test_table_says_what_is_not_as_expected() -> None:
    outcomes = [seeded_faults.judged(fault, ()) for fault in (seeded("BG-GPU-001"), seeded("", ("BG-GPU-002", "ok")))]
    text = seeded_faults.terminal(outcomes)
    assert re.split(r" {2,}", text.splitlines()[1]) == ["host", "a fault", "BG-GPU-001", "none", "NO"]
    assert text.splitlines()[-1] == "1 faults with 1 codes, 1 healthy variants: 1 not as expected"


def test_run_without_any_fault_does_not_end_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeded_faults, "found", lambda: ())
    assert seeded_faults.main() == 1
