"""Holds the readings of ``gpu_info`` against a hardware profile. Pure: no input, no output.

Each check gives one finding per host. A missing reading is ``unknown``, never ``ok``; a value that the model does not
have at all (memory of GB10) is ``skipped`` with the reason. When GPUs differ among themselves the worst one counts and
the evidence names each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Mapping, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    FAIL,
    OK,
    SKIPPED,
    UNKNOWN,
    Finding,
    worst,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_readings import SCHEMA
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import FAILED, NOT_SUPPORTED
from ansible_collections.baremetal.gpu.plugins.plugin_utils import gpu_setup_checks
from ansible_collections.baremetal.gpu.plugins.plugin_utils.gpu_host_view import SMI, Expectations, HostView, a_finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import HardwareProfile

_MIB = 1024**2
_WRONG_HARDWARE = "declare the profile that matches the hardware, or have the hardware corrected"


def judge(
    readings: Mapping[str, Any],
    profile: HardwareProfile,
    subject: str,
    expected: Expectations | None = None,
) -> list[Finding]:
    """Findings about the host ``subject``. Raises ``GpuError`` BG-GPU-103 on readings of another structure."""
    if readings.get("schema") != SCHEMA:
        raise GpuError(
            "BG-GPU-103",
            f"the host returned readings of structure {readings.get('schema')!r}, not {SCHEMA}",
            "they would be misread",
            "use one version of the collection everywhere",
        )
    host = HostView(readings, profile, expected or Expectations())
    found = [finding for check in _CHECKS for finding in check(host)]
    return [
        replace(
            finding,
            subject=subject,
            requirements=profile.requirements,
            simulated=bool(readings["simulated"]),
            remedy="" if finding.status in (OK, SKIPPED) else finding.remedy,
        )
        for finding in found
    ]


def _driver_answers(host: HostView) -> list[Finding]:
    smi = host.readings["nvidia_smi"]
    evidence = {"what": "the driver's answer", "where": SMI, **smi}
    if smi["answered"]:
        return [a_finding("BG-GPU-014", OK, "the driver answers", evidence, "")]
    missing = host.why_missing("gpus")
    return [
        a_finding(
            "BG-GPU-014",
            FAIL if missing["kind"] == FAILED else UNKNOWN,
            missing["reason"],
            evidence,
            "install or repair the driver; if it did not answer in time the GPU hangs: reboot the host",
        )
    ]


def _count(host: HostView) -> list[Finding]:
    gpus, expected = host.readings["gpus"], host.profile.gpu_count
    evidence = {"what": "count of GPUs", "where": SMI, "expected": expected, "found": None}
    remedy = "compare with the PCI bus; reset or reboot the host, else have the board replaced"
    if gpus is None:
        return [a_finding("BG-GPU-001", UNKNOWN, host.why_no_gpus(), evidence, remedy)]
    evidence["found"] = len(gpus)
    evidence["attached_gpus"] = host.readings["attached_gpus"]
    if len(gpus) == expected:
        return [a_finding("BG-GPU-001", OK, f"{_gpus(expected)}, as declared", evidence, "")]
    return [a_finding("BG-GPU-001", FAIL, f"{_gpus(len(gpus))} instead of {expected}", evidence, remedy)]


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _pci_agrees(host: HostView) -> list[Finding]:
    on_bus, gpus = host.readings["pci_gpus"], host.readings["gpus"]
    remedy = "read the kernel log for NVRM and Xid lines, reboot the host, else have the board replaced"
    evidence: dict[str, Any] = {"what": "GPUs on the PCI bus and in the driver", "where": "/sys/bus/pci/devices"}
    if on_bus is None or gpus is None:
        reason = host.why_missing("pci_gpus")["reason"] if on_bus is None else host.why_no_gpus()
        return [a_finding("BG-GPU-002", UNKNOWN, reason, evidence, remedy)]
    bus = sorted(gpu["address"] for gpu in on_bus)
    driver = sorted(gpu["bus_id"] for gpu in gpus if gpu["bus_id"] is not None)
    evidence.update(pci=bus, driver=driver)
    if len(driver) < len(gpus):
        return [a_finding("BG-GPU-002", UNKNOWN, "the driver gives no PCI address for a GPU", evidence, remedy)]
    if bus == driver:
        return [a_finding("BG-GPU-002", OK, "the driver sees every GPU of the PCI bus", evidence, "")]
    lost, extra = sorted(set(bus) - set(driver)), sorted(set(driver) - set(bus))
    parts = [f"{', '.join(lost)} on the PCI bus but not in the driver"] if lost else []
    parts += [f"{', '.join(extra)} in the driver but not on the PCI bus"] if extra else []
    return [a_finding("BG-GPU-002", FAIL, "; ".join(parts), evidence, remedy)]


def _each_gpu(
    host: HostView,
    code: str,
    name: str,
    what: str,
    expected: Sequence[Any],
    remedy: str,
) -> list[Finding]:
    """One finding over a value that every GPU must have."""
    evidence: dict[str, Any] = {"what": what, "where": SMI, "expected": list(expected), "found": {}}
    gpus = host.readings["gpus"]
    if not gpus:
        reason = host.why_no_gpus() if gpus is None else "the driver sees no GPU"
        return [a_finding(code, UNKNOWN, reason, evidence, remedy)]
    statuses, reasons = [], []
    for index, gpu in enumerate(gpus):
        value, label = gpu[name], gpu["bus_id"] or f"gpus[{index}]"
        evidence["found"][label] = value
        if value is None:
            statuses.append(UNKNOWN)
            reasons.append(f"{label}: {host.why_missing(f'gpus[{index}].{name}')['reason']}")
        elif value not in expected:
            statuses.append(FAIL)
            reasons.append(f"{label}: {value}")
    if not statuses:
        return [a_finding(code, OK, f"{what} as declared", evidence, "")]
    wanted = " or ".join(str(item) for item in expected)
    return [a_finding(code, worst(statuses), f"{what} must be {wanted}, found {'; '.join(reasons)}", evidence, remedy)]


def _product(host: HostView) -> list[Finding]:
    return _each_gpu(host, "BG-GPU-003", "product_name", "product name", host.profile.product_names, _WRONG_HARDWARE)


def _pci_identity(host: HostView) -> list[Finding]:
    """From the driver where it gives it, else from the bus: both name the same board."""
    on_bus, gpus = host.readings["pci_gpus"], host.readings["gpus"]
    if gpus and all(gpu["pci_id"] is not None for gpu in gpus):
        return _each_gpu(host, "BG-GPU-004", "pci_id", "PCI identity", host.profile.pci_ids, _WRONG_HARDWARE)
    evidence: dict[str, Any] = {"what": "PCI identity", "where": "/sys/bus/pci/devices"}
    evidence["expected"] = list(host.profile.pci_ids)
    if not on_bus:
        reason = host.why_missing("pci_gpus")["reason"] if on_bus is None else "no NVIDIA GPU is on the PCI bus"
        return [a_finding("BG-GPU-004", UNKNOWN if on_bus is None else FAIL, reason, evidence, _WRONG_HARDWARE)]
    evidence["found"] = {gpu["address"]: gpu["pci_id"] for gpu in on_bus}
    wrong = [f"{gpu['address']}: {gpu['pci_id']}" for gpu in on_bus if gpu["pci_id"] not in host.profile.pci_ids]
    if not wrong:
        return [a_finding("BG-GPU-004", OK, "PCI identity as declared", evidence, "")]
    reason = f"PCI identity must be {' or '.join(host.profile.pci_ids)}, found {'; '.join(wrong)}"
    return [a_finding("BG-GPU-004", FAIL, reason, evidence, _WRONG_HARDWARE)]


def _not_there(host: HostView, code: str, name: str, what: str, remedy: str) -> list[Finding]:
    """A value that this model does not have: skipped when every GPU says so, a failure when one has it."""
    evidence: dict[str, Any] = {"what": what, "where": SMI, "expected": None, "found": {}}
    gpus = host.readings["gpus"]
    if not gpus:
        reason = host.why_no_gpus() if gpus is None else "the driver sees no GPU"
        return [a_finding(code, UNKNOWN, reason, evidence, remedy)]
    statuses, reasons = [], []
    for index, gpu in enumerate(gpus):
        label = gpu["bus_id"] or f"gpus[{index}]"
        evidence["found"][label] = gpu[name]
        missing = host.why_missing(f"gpus[{index}].{name}")
        if gpu[name] is not None:
            statuses.append(FAIL)
            reasons.append(f"{label}: {gpu[name]}, which this model does not have")
        elif missing["kind"] != NOT_SUPPORTED:
            statuses.append(UNKNOWN)
            reasons.append(f"{label}: {missing['reason']}")
    if statuses:
        return [a_finding(code, worst(statuses), "; ".join(reasons), evidence, remedy)]
    return [a_finding(code, SKIPPED, f"this model does not report {what}", evidence, "")]


def _memory(host: HostView) -> list[Finding]:
    remedy = "compare with the vendor's data sheet; check row remapping and ECC"
    if host.profile.memory_total_mib is None:
        return _not_there(host, "BG-GPU-005", "memory_total_bytes", "memory", _WRONG_HARDWARE)
    expected = [host.profile.memory_total_mib * _MIB]
    return _each_gpu(host, "BG-GPU-005", "memory_total_bytes", "memory in bytes", expected, remedy)


def _mig(host: HostView) -> list[Finding]:
    remedy = "set the declared MIG mode and reset the GPU inside a maintenance window"
    if host.profile.mig_mode is None:
        return _not_there(host, "BG-GPU-006", "mig_mode", "MIG mode", _WRONG_HARDWARE)
    found = _each_gpu(host, "BG-GPU-006", "mig_mode", "MIG mode", [host.profile.mig_mode], remedy)
    gpus = host.readings["gpus"] or []
    waiting = [
        gpu["bus_id"] or gpu["uuid"]
        for gpu in gpus
        if gpu["mig_mode_pending"] is not None and gpu["mig_mode_pending"] != gpu["mig_mode"]
    ]
    if waiting and found[0].status == OK:
        reason = f"another MIG mode waits for a reset of {', '.join(str(item) for item in waiting)}"
        return [replace(found[0], status=FAIL, reason=reason, remedy=remedy)]
    return found


def _driver_branch(host: HostView) -> list[Finding]:
    version, branches = host.readings["driver"]["version"], host.profile.driver_branches
    remedy = f"install a driver of branch {' or '.join(branches)} inside a maintenance window"
    evidence = {"what": "driver version", "where": SMI, "expected": list(branches), "found": version}
    if version is None:
        return [a_finding("BG-GPU-007", UNKNOWN, host.why_missing("driver.version")["reason"], evidence, remedy)]
    if version.split(".")[0] in branches:
        return [a_finding("BG-GPU-007", OK, f"driver {version} is of a declared branch", evidence, "")]
    reason = f"driver {version} is not of branch {' or '.join(branches)}"
    return [a_finding("BG-GPU-007", FAIL, reason, evidence, remedy)]


def _architecture(host: HostView) -> list[Finding]:
    expected = [host.profile.architecture]
    return _each_gpu(host, "BG-GPU-008", "architecture", "GPU architecture", expected, _WRONG_HARDWARE)


def _compute_capability(host: HostView) -> list[Finding]:
    expected = [host.profile.compute_capability]
    return _each_gpu(host, "BG-GPU-013", "compute_capability", "compute capability", expected, _WRONG_HARDWARE)


_CHECKS: tuple[Callable[[HostView], list[Finding]], ...] = (
    _driver_answers,
    _count,
    _pci_agrees,
    _product,
    _pci_identity,
    _memory,
    _mig,
    _driver_branch,
    _architecture,
    _compute_capability,
    gpu_setup_checks.versions_agree,
    gpu_setup_checks.cdi,
    gpu_setup_checks.mps,
)
