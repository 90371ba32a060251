"""Hardware profiles: what a host must show, from ``data/hardware/<name>.yml``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files

DIRECTORY = "data/hardware"


@dataclass(frozen=True)
class RdmaPorts:
    """The ports of the compute network. Rates are gigabits per second, the MTU is bytes, the width PCI lanes of a function."""

    required: bool
    ports: int
    rate_gb_per_s: float
    link_layers: tuple[str, ...]
    mtu: int
    pcie_width: int


@dataclass(frozen=True)
class HostHealth:
    """What ``gpu_health`` expects of a host beside its GPUs. ``governor`` is empty where the profile asks for none."""

    fabric_manager: bool
    gpudirect: bool
    memory_errors: bool
    governor: str
    rdma: RdmaPorts


@dataclass(frozen=True)
class HardwareProfile:
    """What a host must show. ``memory_total_mib`` is ``None`` when the model reports no memory (GB10);
    ``mig_mode`` is ``None`` when the model has no MIG."""

    name: str
    requirements: tuple[str, ...]
    gpu_count: int
    product_names: tuple[str, ...]
    pci_ids: tuple[str, ...]
    architecture: str
    compute_capability: str
    memory_total_mib: int | None
    mig_mode: str | None
    driver_branches: tuple[str, ...]
    architecture_of_host: str = ""
    """``amd64`` or ``arm64``; empty where the profile says nothing."""
    memory_gib: tuple[float, float] | None = None
    """Least and most memory of the host that Linux reports (MemTotal), in GiB; ``None`` where the profile says nothing."""
    health: HostHealth | None = None
    """``None`` where the profile says nothing about it."""
    memory_unified_gb: int | None = None
    """Memory that processor and GPU share, by the specification, in GB; ``None`` where the GPU has its own."""


def load_profile(name: str) -> HardwareProfile:
    """The profile of that name. Raises ``GpuError`` BG-GPU-101 (no such profile) or BG-GPU-102 (not usable)."""
    known = data_files.names(DIRECTORY)
    if name not in known:
        raise GpuError(
            "BG-GPU-101",
            f"there is no hardware profile {name!r}",
            "without a profile nothing can be judged",
            data_files.suggestion(name, known),
        )
    path = f"{DIRECTORY}/{name}.yml"
    try:
        return parse_profile(data_files.load(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise GpuError(
            "BG-GPU-102",
            f"the hardware profile {path} is not usable ({detail})",
            "without a profile nothing can be judged",
            "correct it against data/schemas/hardware.schema.json",
        ) from error


def parse_profile(data: Mapping[str, Any]) -> HardwareProfile:
    """A profile from its file's data. Raises ``KeyError``, ``TypeError`` or ``ValueError`` on a broken one."""
    if data["schema"] != 1:
        raise ValueError(f"schema {data['schema']!r} is not 1")
    gpu, host = data["gpu"], data.get("host", {})
    memory, mig = gpu["memory"], gpu["mig"]
    return HardwareProfile(
        name=str(data["name"]),
        requirements=_texts(data["requirements"]),
        gpu_count=int(gpu["count"]),
        product_names=_texts(gpu["product_names"]),
        pci_ids=_texts(gpu["pci_ids"]),
        architecture=str(gpu["architecture"]),
        compute_capability=str(gpu["compute_capability"]),
        memory_total_mib=int(memory["total_mib"]) if memory["reported"] else None,
        mig_mode=str(mig["mode"]) if mig["capable"] else None,
        driver_branches=_texts(data["driver"]["branches"]),
        architecture_of_host=str(host.get("architecture", "")),
        memory_gib=_bounds(host["memory_gib"]) if "memory_gib" in host else None,
        health=_health(data["health"]) if "health" in data else None,
        memory_unified_gb=int(memory["unified_gb"]) if "unified_gb" in memory else None,
    )


def _health(data: Mapping[str, Any]) -> HostHealth:
    rdma = data["rdma"]
    return HostHealth(
        fabric_manager=bool(data["fabric_manager"]),
        gpudirect=bool(data["gpudirect"]),
        memory_errors=bool(data["memory_errors"]),
        governor=str(data.get("governor", "")),
        rdma=RdmaPorts(
            required=bool(rdma["required"]),
            ports=int(rdma["ports"]),
            rate_gb_per_s=float(rdma["rate_gb_per_s"]),
            link_layers=_texts(rdma["link_layers"]),
            mtu=int(rdma["mtu"]),
            pcie_width=int(rdma["pcie_width"]),
        ),
    )


def _texts(items: Any) -> tuple[str, ...]:
    if not isinstance(items, list):
        raise TypeError(f"{items!r} is not a list")
    return tuple(str(item) for item in items)


def _bounds(data: Mapping[str, Any]) -> tuple[float, float]:
    return float(data["minimum"]), float(data["maximum"])
