"""What the checks of ``gpu_info`` share: the host they look at, and the form of what they find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import Finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import HardwareProfile

SMI = "nvidia-smi -q -x"


@dataclass(frozen=True)
class Expectations:
    """What must be set up by now; ``None`` means that its absence is no finding."""

    cdi: bool | None = None
    mps: bool | None = None


@dataclass(frozen=True)
class HostView:
    """What every check gets."""

    readings: Mapping[str, Any]
    profile: HardwareProfile
    expected: Expectations

    def why_missing(self, path: str) -> Mapping[str, str]:
        """Kind and reason of a missing value."""
        found: Mapping[str, str] | None = self.readings["missing"].get(path)
        return found or {"kind": "absent", "reason": f"{path} was not read"}

    def why_no_gpus(self) -> str:
        return self.why_missing("gpus")["reason"]


def a_finding(code: str, status: str, reason: str, evidence: Mapping[str, Any], remedy: str) -> Finding:
    return Finding(code=code, subject="", status=status, reason=reason, evidence=evidence, remedy=remedy)
