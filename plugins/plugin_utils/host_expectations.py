"""What a host must show before it is installed, and the form of what is found. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import Finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import HardwareProfile


@dataclass(frozen=True)
class Platform:
    """An operating system that is supported."""

    id: str
    versions: tuple[str, ...]


@dataclass(frozen=True)
class HostExpectations:
    """What the inventory declares about a host. Empty values expect nothing."""

    platforms: Sequence[Platform]
    profile: HardwareProfile | None = None
    architecture: str = ""
    node_ip: str = ""
    link_mbit: int = 0
    disk_free_bytes: int = 0
    ports: Sequence[str] = ()
    service: str = ""
    k3s_server: str = ""


@dataclass(frozen=True)
class HostReadings:
    """What ``host_preflight`` read, with the reason for everything that is missing."""

    data: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def why(self, path: str) -> str:
        """Why a value is missing."""
        missing: Mapping[str, Mapping[str, str]] = self.data["missing"]
        return missing.get(path, {}).get("reason", f"{path} was not read")

    @property
    def container(self) -> bool:
        """Whether memory, swap and clock are those of a machine around the host."""
        return bool(self.data["container"])


def found(code: str, status: str, reason: str, evidence: Mapping[str, Any], remedy: str = "") -> Finding:
    """A finding whose subject, requirements and mark for simulation are added by the one who judges."""
    return Finding(code=code, subject="", status=status, reason=reason, evidence=evidence, remedy=remedy)
