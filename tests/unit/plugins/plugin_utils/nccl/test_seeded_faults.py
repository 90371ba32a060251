"""Every seeded fault of NCCL has its own code, and signature where it has one; healthy variants have none."""

from __future__ import annotations

import pytest

from ansible_collections.baremetal.gpu.tests.support.nccl_faults import ENDS, faults, healthy
from ansible_collections.baremetal.gpu.tests.support.seeded_faults import SeededFault

FAULTS = {fault.name: fault for fault in faults()}
HEALTHY = {variant.name: variant for variant in healthy()}
TOLD = ("fail", "unknown", "warn")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_has_its_code(fault: SeededFault) -> None:
    bad = {finding["code"] for finding in fault.findings() if finding["status"] in TOLD}
    assert fault.expected in bad


@pytest.mark.parametrize("name", ENDS)
def test_what_ended_a_run_is_named_by_its_signature(name: str) -> None:
    _line, code, signature = ENDS[name]
    named = {finding["code"]: finding["evidence"].get("signature") for finding in FAULTS[name].findings()}
    assert named[code] == signature


@pytest.mark.parametrize("variant", HEALTHY.values(), ids=HEALTHY)
def test_a_healthy_variant_is_told_nothing_of(variant: SeededFault) -> None:
    assert [finding for finding in variant.findings() if finding["status"] in TOLD] == []


def test_faults_are_told_apart() -> None:
    """No two say the same: code, signature and what is wrong."""
    said = {
        name: next(
            (item["code"], item["status"], item["reason"], item["evidence"].get("signature"))
            for item in fault.findings()
            if item["code"] == fault.expected and item["status"] in TOLD
        )
        for name, fault in FAULTS.items()
    }
    assert len(set(said.values())) == len(said)
    assert len(said) >= 45
