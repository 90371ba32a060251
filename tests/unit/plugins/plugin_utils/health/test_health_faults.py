"""Every seeded fault of a host has its code, and healthy hosts have none."""

from __future__ import annotations

from collections import Counter

import pytest

from ansible_collections.baremetal.gpu.tests.support.health_faults import FAULTS, HEALTHY, Fault, faults

BAD = ("fail", "warn", "unknown")
# Faults that cannot but show in more than one place.
SHARED = {
    "nvidia-smi fails",
    "nvidia-smi hangs",
    "driver and library mismatch, as NVML says",
    "GPU on the bus that the driver did not take",
    "fabric manager not installed",
    "model without thresholds",
    "page retirement pending",
}


def bad(fault: Fault) -> dict[str, str]:
    return {item["code"]: item["status"] for item in fault.judge() if item["status"] in BAD}


@pytest.mark.requirement("ONYX-R016", part="faults of GPUs")
@pytest.mark.requirement("ONYX-R017", part="faults of NVLinks")
@pytest.mark.requirement("ONYX-R018", part="faults of the fabric and its manager")
@pytest.mark.requirement("ONYX-R021", part="faults of RDMA ports")
@pytest.mark.requirement("SPARK-02", part="faults of GPU, driver and link")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_has_its_code(fault: Fault) -> None:
    found = bad(fault)
    assert fault.code in found
    assert fault.name in SHARED or set(found) == {fault.code}


@pytest.mark.parametrize("fault", HEALTHY, ids=lambda fault: fault.name)
def test_a_healthy_host_has_no_bad_finding(fault: Fault) -> None:
    assert bad(fault) == {}


def test_every_bad_finding_says_what_is_wrong_and_what_to_do() -> None:
    for fault in FAULTS:
        for item in fault.judge():
            if item["status"] in BAD:
                assert item["reason"], fault.name
                assert item["remedy"], fault.name
                assert item["code"].startswith("BG-GPU") or item["action"], fault.name


def test_names_are_unique_and_there_are_many() -> None:
    names = Counter(item.name for item in faults())
    assert max(names.values()) == 1
    assert sum(1 for item in faults() if item.expected) >= 60


def test_the_table_is_judged_anew_each_time() -> None:
    item = faults()[0]
    assert item.findings() == item.findings()
