"""The findings about a host's health: the comparison with its profile, and all checks of this package. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils import gpu_judgement
from ansible_collections.baremetal.gpu.plugins.plugin_utils.gpu_host_view import Expectations
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import HardwareProfile
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health import (
    gpu_checks,
    host_checks,
    link_checks,
    log_checks,
    network_checks,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.data import Model, Xid
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.view import ALL_PARTS, DRIVER, Options, View

ON_UNKNOWN = ("fail", "warn")

# What of the comparison with the profile a capture of the driver's answer can show.
_CAPTURED = {f"BG-GPU-{number:03d}" for number in (1, 3, 4, 5, 6, 7, 8, 9, 13, 14)}


def judge(
    readings: Mapping[str, Any],
    subject: str,
    profile: HardwareProfile | None,
    models: Mapping[str, Model],
    xids: Mapping[int, Xid],
    options: Options | None = None,
    expected: Expectations | None = None,
    parts: frozenset[str] = ALL_PARTS,
    on_unknown: str = "fail",
) -> list[Finding]:
    """Findings about ``subject``. With ``on_unknown`` ``warn`` what is unknown is a warning that says so.

    ``parts`` is what a capture shows; on a host it is everything. Raises ``GpuError`` BG-HEALTH-104 for a sharing that the
    declared model does not have, and BG-GPU-103 on readings of another structure.
    """
    options = options or Options()
    profile = _shared(profile, options)
    view = View(readings, subject, profile, models, xids, options, parts)
    found = _compared(view, expected)
    for checks in (gpu_checks, link_checks, network_checks, host_checks, log_checks):
        found += checks.run(view)
    return [_finished(finding, view, on_unknown) for finding in found]


def unrecognised(path: str, reason: str, subject: str, on_unknown: str) -> Finding:
    """A capture that says nothing: nothing read is not nothing wrong."""
    remedy = "give the output of nvidia-smi, dcgmi diag -j, the kernel log or a dump of /sys/class/infiniband as it was printed"
    finding = Finding("BG-HEALTH-067", subject, UNKNOWN, reason, remedy, {"what": "capture", "where": path})
    return _lenient(finding) if on_unknown == "warn" else finding


def _shared(profile: HardwareProfile | None, options: Options) -> HardwareProfile | None:
    """The profile as sharing makes it: MIG mode is on exactly where the GPUs are shared by it."""
    if profile is None or options.sharing != "mig":
        return profile
    if profile.mig_mode is None:
        raise GpuError(
            "BG-HEALTH-104",
            f"sharing is mig, but the model of profile {profile.name} has no MIG",
            "no MIG device can be there",
            "declare sharing none, mps or time-slicing, or the right profile",
        )
    return replace(profile, mig_mode="Enabled")


def _compared(view: View, expected: Expectations | None) -> list[Finding]:
    if view.profile is None or DRIVER not in view.parts:
        return []
    mps = expected.mps if expected is not None else None
    expected = replace(expected or Expectations(), mps=True if mps is None and view.options.sharing == "mps" else mps)
    found = gpu_judgement.judge(view.readings, view.profile, view.subject, expected)
    if not view.captured:
        return found
    kept = [item for item in found if item.code in _CAPTURED and not _only_not_shown(item)]
    return [_count_of_attached(item, view) for item in kept]


def _only_not_shown(finding: Finding) -> bool:
    """Unknown only because the capture has no place for it."""
    if finding.code == "BG-GPU-009":
        return finding.status != FAIL
    if finding.code == "BG-GPU-004" and finding.evidence.get("where") == "/sys/bus/pci/devices":
        return True
    return finding.status == UNKNOWN and ("has no such field" in finding.reason or "was not read" in finding.reason)


def _count_of_attached(finding: Finding, view: View) -> Finding:
    """A capture may be cut to some of the GPUs that the driver counted."""
    attached, shown = view.readings["attached_gpus"], len(view.gpus)
    if finding.code != "BG-GPU-001" or finding.status != FAIL or attached is None or attached <= shown:
        return finding
    if view.profile is not None and attached == view.profile.gpu_count:
        return replace(finding, status=UNKNOWN, reason=f"the capture shows {shown} of {attached} attached GPUs")
    return finding


def _finished(finding: Finding, view: View, on_unknown: str) -> Finding:
    done = replace(
        finding,
        subject=view.subject,
        requirements=finding.requirements or (view.profile.requirements if view.profile is not None else ()),
        simulated=bool(view.readings["simulated"]),
        remedy="" if finding.status in (OK, SKIPPED) else finding.remedy,
        action="" if finding.status in (OK, SKIPPED) else finding.action,
    )
    return _lenient(done) if on_unknown == "warn" and done.status == UNKNOWN else done


def _lenient(finding: Finding) -> Finding:
    return replace(finding, status=WARN, reason=f"unknown: {finding.reason}")
