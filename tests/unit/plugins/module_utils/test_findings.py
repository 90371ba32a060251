"""The verdict over findings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    FAIL,
    OK,
    SKIPPED,
    STATUSES,
    UNKNOWN,
    WARN,
    Finding,
    Waiver,
    describe,
    judge,
    merge,
    waivers_from,
    worst,
)

findings = st.builds(
    Finding,
    code=st.sampled_from(["BG-GPU-001", "BG-GPU-002", "BG-CAP-001"]),
    subject=st.sampled_from(["a", "b"]),
    status=st.sampled_from(STATUSES),
    reason=st.text(min_size=1),
    simulated=st.booleans(),
    requirements=st.tuples(st.just("SPARK-02")),
)


def a_finding(status: str = OK, simulated: bool = False, code: str = "BG-GPU-001") -> Finding:
    return Finding(code=code, subject="host", status=status, reason="because", simulated=simulated)


@pytest.mark.parametrize(
    ("status", "simulated", "lab", "passed"),
    [
        (OK, False, False, True),
        (OK, True, True, True),
        (OK, True, False, False),
        (WARN, False, False, True),
        (SKIPPED, False, False, True),
        (FAIL, False, False, False),
        (UNKNOWN, False, False, False),
        (UNKNOWN, True, True, False),
    ],
)
def test_a_host_passes_only_on_what_was_seen_and_is_real_or_in_the_lab(
    status: str, simulated: bool, lab: bool, passed: bool
) -> None:
    assert judge([a_finding(status, simulated)], lab=lab).passed is passed


def test_a_waiver_accepts_an_unknown_and_is_kept_with_the_finding() -> None:
    judgement = judge([a_finding(UNKNOWN)], [Waiver("BG-GPU-001", "no kernel here")])
    assert judgement.passed
    assert judgement.findings[0].as_dict()["waived"] is True
    assert "waived: no kernel here" in describe(judgement.findings[0])


def test_a_waiver_never_hides_a_failure_nor_a_simulation_outside_the_lab() -> None:
    waivers = [Waiver("BG-GPU-001", "reason")]
    assert not judge([a_finding(FAIL)], waivers).passed
    assert not judge([a_finding(UNKNOWN, simulated=True)], waivers, lab=False).passed


def test_a_waiver_that_nothing_needed_is_told() -> None:
    unused = Waiver("BG-CAP-001", "reason")
    assert judge([a_finding()], [unused]).unused_waivers == (unused,)


def test_only_required_codes_can_fail_a_host() -> None:
    assert judge([a_finding(FAIL)], required=["BG-CAP-001"]).passed
    assert not judge([a_finding(FAIL)], required=["BG-GPU-001"]).passed


def test_a_later_look_replaces_an_earlier_one() -> None:
    assert [item.status for item in merge([a_finding(FAIL), a_finding(OK)])] == [OK]


@pytest.mark.parametrize("waiver", [{}, {"code": "BG-GPU-001"}, {"reason": "x"}, {"code": "BG-GPU-001", "reason": " "}])
def test_a_waiver_without_code_or_reason_is_refused(waiver: dict[str, str]) -> None:
    with pytest.raises(GpuError, match=r"^BG-VERDICT-002"):
        waivers_from([waiver])


@pytest.mark.parametrize(
    "data", [{}, {"code": "x"}, {"code": "x", "subject": "y", "status": "fine"}, [], None, "text", 1]
)
def test_what_is_no_finding_is_refused(data: object) -> None:
    with pytest.raises(GpuError, match=r"^BG-VERDICT-003"):
        Finding.from_dict(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [SKIPPED, UNKNOWN])
def test_skipped_and_unknown_need_a_reason(status: str) -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        Finding(code="BG-GPU-001", subject="host", status=status)


def test_an_error_reads_as_code_what_why_remedy() -> None:
    error = GpuError("BG-CAP-101", "the API does not answer.", "nothing is known", "start it")
    assert error.as_result() == {
        "msg": "BG-CAP-101: the API does not answer; nothing is known; start it",
        "code": "BG-CAP-101",
        "remedy": "start it",
    }


@given(findings)
def test_a_finding_survives_its_plain_form(finding: Finding) -> None:
    assert Finding.from_dict(finding.as_dict()) == finding


@given(st.lists(findings), st.booleans())
def test_nothing_bad_is_ever_passed(items: list[Finding], lab: bool) -> None:
    judgement = judge(items, lab=lab)
    bad = [f for f in merge(items) if f.status in (FAIL, UNKNOWN) or (f.simulated and not lab)]
    assert judgement.passed is (not bad)
    assert judgement.simulated is any(f.simulated for f in merge(items))


@given(st.lists(st.sampled_from(STATUSES)))
def test_the_worst_status_is_one_of_them(statuses: list[str]) -> None:
    assert worst(statuses) in (statuses or [OK])
