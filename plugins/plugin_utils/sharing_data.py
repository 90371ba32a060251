"""What the collection's data files say of shared GPUs: workload tiers, and the memory of a hardware profile's GPUs."""

from __future__ import annotations

from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.figures import GB, GpuMemory
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.limits import MIB
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.tiers import Tier, parse_tiers
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import HardwareProfile, load_profile

TIERS = "data/tiers.yml"


def load_tiers() -> dict[str, Tier]:
    """The tiers by name. Raises ``OSError``, ``KeyError``, ``TypeError``, ``ValueError`` or ``GpuError`` when the file is broken."""
    return parse_tiers(data_files.load(TIERS))


def memory_of(profile: HardwareProfile) -> GpuMemory | None:
    """The memory of one GPU; None where the profile says nothing about it."""
    if profile.memory_total_mib is not None:
        return GpuMemory(profile.memory_total_mib * MIB, reported=True)
    if profile.memory_unified_gb is not None:
        return GpuMemory(profile.memory_unified_gb * GB, reported=False)
    return None


def memory_of_profile(name: Any) -> GpuMemory | None:
    """The memory of one GPU of a named profile; None for no name. Raises ``GpuError`` BG-GPU-101 or BG-GPU-102."""
    return memory_of(load_profile(str(name))) if name else None


def remedy_of(code: str) -> tuple[str, str]:
    """Reason and remedy of a registered code."""
    entry = data_files.codes()[code]
    return str(entry["reason"]), str(entry["remedy"])
