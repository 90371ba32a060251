"""Readings of a host against a hardware profile: each fault has its code, a healthy host has none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import nvidia_smi
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN, WARN
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_readings import HostReadings, SmiRun
from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import DriverVersions, PciGpu
from ansible_collections.baremetal.gpu.plugins.plugin_utils.gpu_host_view import Expectations
from ansible_collections.baremetal.gpu.plugins.plugin_utils.gpu_judgement import judge
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import GB10_XML, h100_xml

Readings = dict[str, Any]
Fault = Callable[[Readings], None]


def readings(xml: str, simulated: bool = False) -> Readings:
    """A host whose driver answers ``xml`` and whose other sources agree with it."""
    document = nvidia_smi.parse(xml)
    bus = tuple(PciGpu(gpu.bus_id or "", gpu.pci_id or "", "0302", "nvidia", None) for gpu in document.gpus)
    host = HostReadings(
        simulated=simulated,
        stand_ins=("nvml",) if simulated else (),
        smi=SmiRun(True, "/usr/bin/nvidia-smi", 0, 0.2, None),
        document=document,
        driver=DriverVersions(document.driver_version, document.driver_version),
        pci_gpus=bus,
        dmi={},
        dgx_release=None,
        cdi_files=(),
        toolkit_version=None,
        mps_daemons=(),
        missing=document.missing,
    )
    return copy.deepcopy(host.as_dict())


def h100() -> Readings:
    return readings(h100_xml())


def gb10() -> Readings:
    found = readings(GB10_XML)
    found["gpus"][0]["compute_capability"] = "12.1"
    return found


def statuses(found: Readings, profile: str, expected: Expectations | None = None) -> dict[str, str]:
    return {finding.code: finding.status for finding in judge(found, load_profile(profile), "host", expected)}


def bad(found: Readings, profile: str, expected: Expectations | None = None) -> dict[str, str]:
    return {code: status for code, status in statuses(found, profile, expected).items() if status not in (OK, SKIPPED)}


def add_cdi(found: Readings, *versions: str) -> None:
    found["cdi_specifications"] = [
        {
            "path": "/etc/cdi/nvidia.yaml",
            "kind": "nvidia.com/gpu",
            "devices": ["all"],
            "driver_versions": list(versions),
        }
    ]


def add_mps(found: Readings, responding: bool | None) -> None:
    found["mps_daemons"] = [{"pipe_directory": "/run/nvidia/mps/nvidia.com/gpu/pipe", "responding": responding}]


def test_a_healthy_h100_server_has_no_bad_finding() -> None:
    assert set(statuses(h100(), "h100-sxm-8").values()) == {OK}


def test_a_healthy_gb10_has_no_bad_finding_and_what_it_lacks_is_skipped() -> None:
    found = statuses(gb10(), "gb10")
    assert [code for code, status in found.items() if status == SKIPPED] == ["BG-GPU-005", "BG-GPU-006"]
    assert set(found.values()) == {OK, SKIPPED}


def no_answer(kind: str) -> Fault:
    def fault(found: Readings) -> None:
        reason = {"kind": kind, "reason": "nvidia-smi said nothing"}
        found.update(gpus=None, attached_gpus=None)
        found["driver"]["version"] = None
        found["nvidia_smi"].update(answered=False, message=reason["reason"])
        for path in ("gpus", "attached_gpus", "driver.version"):
            found["missing"][path] = reason

    return fault


def lose(found: Readings) -> None:
    del found["gpus"][3]


def lose_everywhere(found: Readings) -> None:
    del found["gpus"][3]
    del found["pci_gpus"][3]


def change(name: str, value: Any) -> Fault:
    def fault(found: Readings) -> None:
        found["gpus"][5][name] = value

    return fault


def change_driver(**values: str) -> Fault:
    return lambda found: found["driver"].update(values)


@pytest.mark.requirement("SPARK-23", "ONYX-R016")
@pytest.mark.requirement("SPARK-02", part="diagnostics of driver and GPU")
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (lose, {"BG-GPU-001": FAIL, "BG-GPU-002": FAIL}),
        (lose_everywhere, {"BG-GPU-001": FAIL}),
        (change("product_name", "NVIDIA H100 PCIe"), {"BG-GPU-003": FAIL}),
        (change("product_name", None), {"BG-GPU-003": UNKNOWN}),
        (change("pci_id", "10de:2331"), {"BG-GPU-004": FAIL}),
        (change("memory_total_bytes", 80000 * 1024**2), {"BG-GPU-005": FAIL}),
        (change("memory_total_bytes", None), {"BG-GPU-005": UNKNOWN}),
        (change("mig_mode", "Enabled"), {"BG-GPU-006": FAIL}),
        (change("mig_mode_pending", "Enabled"), {"BG-GPU-006": FAIL}),
        (change("mig_mode", None), {"BG-GPU-006": UNKNOWN}),
        (change_driver(version="470.256.02"), {"BG-GPU-007": FAIL}),
        (change("architecture", "Blackwell"), {"BG-GPU-008": FAIL}),
        (change_driver(library_version="550.127.05"), {"BG-GPU-009": FAIL}),
        (change("compute_capability", "8.0"), {"BG-GPU-013": FAIL}),
        (change("compute_capability", None), {"BG-GPU-013": UNKNOWN}),
        (lambda found: add_cdi(found, "535.183.01"), {"BG-GPU-010": FAIL}),
        (lambda found: add_cdi(found), {"BG-GPU-010": UNKNOWN}),
        (lambda found: add_cdi(found, "550.90.07"), {}),
        (lambda found: add_mps(found, False), {"BG-GPU-012": WARN}),
        (lambda found: add_mps(found, None), {"BG-GPU-012": UNKNOWN}),
        (lambda found: add_mps(found, True), {}),
    ],
)
def test_each_fault_has_its_code(fault: Fault, expected: dict[str, str]) -> None:
    found = h100()
    fault(found)
    assert bad(found, "h100-sxm-8") == expected


@pytest.mark.parametrize(("kind", "status"), [("absent", UNKNOWN), ("timeout", UNKNOWN), ("failed", FAIL)])
def test_a_driver_that_does_not_answer_leaves_nothing_ok_that_it_had_to_say(kind: str, status: str) -> None:
    found = h100()
    no_answer(kind)(found)
    judged = statuses(found, "h100-sxm-8")
    assert judged.pop("BG-GPU-014") == status
    assert {code for code, value in judged.items() if value == OK} == {"BG-GPU-004", "BG-GPU-009"}
    assert set(judged.values()) == {OK, UNKNOWN}


def test_a_gb10_whose_driver_does_not_answer_is_unknown_where_a_healthy_one_is_skipped() -> None:
    found = gb10()
    no_answer("timeout")(found)
    judged = statuses(found, "gb10")
    assert (judged["BG-GPU-005"], judged["BG-GPU-006"]) == (UNKNOWN, UNKNOWN)


def test_a_version_mismatch_is_named_although_the_driver_refuses_to_answer() -> None:
    found = h100()
    no_answer("failed")(found)
    found["nvidia_smi"]["message"] = "Failed to initialize NVML: Driver/library version mismatch"
    assert statuses(found, "h100-sxm-8")["BG-GPU-009"] == FAIL


def test_a_driver_that_sees_no_gpu_is_no_healthy_host() -> None:
    found = h100()
    found.update(gpus=[], attached_gpus=0)
    judged = statuses(found, "h100-sxm-8")
    assert judged["BG-GPU-001"] == FAIL
    assert judged["BG-GPU-003"] == UNKNOWN


@pytest.mark.requirement("SPARK-23")
def test_an_h100_declared_as_gb10_is_found_out() -> None:
    assert {"BG-GPU-001", "BG-GPU-003", "BG-GPU-004", "BG-GPU-005", "BG-GPU-006", "BG-GPU-013"} <= set(
        bad(h100(), "gb10")
    )


@pytest.mark.parametrize(
    ("expected", "fault", "code", "status"),
    [
        (Expectations(cdi=True), lambda found: None, "BG-GPU-011", FAIL),
        (Expectations(cdi=True), lambda found: add_cdi(found, "550.90.07"), "BG-GPU-011", OK),
        (Expectations(mps=True), lambda found: None, "BG-GPU-012", FAIL),
        (Expectations(mps=True), lambda found: add_mps(found, False), "BG-GPU-012", FAIL),
        (Expectations(mps=True), lambda found: add_mps(found, True), "BG-GPU-012", OK),
        (Expectations(mps=False), lambda found: add_mps(found, True), "BG-GPU-012", FAIL),
        (Expectations(mps=False), lambda found: None, "BG-GPU-012", OK),
    ],
)
def test_what_must_be_set_up_is_held_against_the_expectation(
    expected: Expectations, fault: Fault, code: str, status: str
) -> None:
    found = h100()
    fault(found)
    assert statuses(found, "h100-sxm-8", expected)[code] == status


def test_without_the_kernels_files_the_drivers_own_answer_counts() -> None:
    found = h100()
    found["driver"]["kernel_version"] = None
    assert statuses(found, "h100-sxm-8")["BG-GPU-009"] == OK


def test_a_simulated_host_marks_every_finding() -> None:
    findings = judge(readings(GB10_XML, simulated=True), load_profile("gb10"), "spark-01")
    assert {(finding.simulated, finding.subject) for finding in findings} == {(True, "spark-01")}
    assert {finding.requirements for finding in findings} == {("SPARK-02", "SPARK-23")}


def test_a_bad_finding_names_each_gpu_and_what_to_do() -> None:
    found = h100()
    found["gpus"][5]["product_name"] = "NVIDIA H100 PCIe"
    finding = next(item for item in judge(found, load_profile("h100-sxm-8"), "host") if item.code == "BG-GPU-003")
    assert finding.reason == "product name must be NVIDIA H100 80GB HBM3, found 0000:15:00.0: NVIDIA H100 PCIe"
    assert finding.evidence["found"]["0000:15:00.0"] == "NVIDIA H100 PCIe"
    assert finding.remedy


def test_readings_of_another_structure_are_refused() -> None:
    with pytest.raises(GpuError, match=r"^BG-GPU-103"):
        judge({"schema": 99}, load_profile("gb10"), "host")
