"""Workload tiers: named parts of a GPU that pods ask for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import did_you_mean
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import plain
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.limits import (
    MEMORY,
    THREADS,
    parse_memory,
    parse_thread_percentage,
    render_memory_limits,
)

LABEL = "baremetal.gpu/tier"
"""The label by which a pod says its tier."""

_LIMITS = ("thread_percent", "memory_limit")


@dataclass(frozen=True)
class Tier:
    """What a pod of this name asks for: percentage of a GPU's threads, bytes of each GPU's memory, shares of GPUs."""

    name: str
    thread_percent: Decimal
    memory_bytes: int
    shares: int


Tiers = Mapping[str, Tier]


def parse_tiers(data: Mapping[str, Any]) -> Dict[str, Tier]:
    """The content of ``data/tiers.yml``. Raises ``KeyError``, ``TypeError``, ``ValueError`` or ``GpuError`` on a broken one."""
    return {
        str(name): Tier(
            name=str(name),
            thread_percent=parse_thread_percentage(entry["thread_percent"]),
            memory_bytes=parse_memory(entry["memory_limit"]),
            shares=int(entry["shares"]),
        )
        for name, entry in data["tiers"].items()
    }


def tier_named(name: Any, tiers: Tiers) -> Tier:
    """The tier of that name. Raises ``GpuError`` BG-SHARE-005."""
    found = tiers.get(str(name))
    if found is None:
        raise GpuError(
            "BG-SHARE-005",
            "there is no tier {0!r}".format(str(name)[:60]),
            "a pod's limits come from its tier",
            did_you_mean(str(name), tiers),
        )
    return found


def tier_or_limits(given: Any, tiers: Tiers) -> Tier:
    """A tier by its name, or one of its own from ``{thread_percent, memory_limit}``. Raises ``GpuError`` BG-SHARE-001, 002 or 005."""
    if not isinstance(given, Mapping):
        return tier_named(given, tiers)
    unknown = sorted(str(key) for key in given if key not in _LIMITS)
    if unknown or len(given) != len(_LIMITS):
        what = "limits need exactly {0}, not {1}".format(" and ".join(_LIMITS), ", ".join(map(str, given)) or "nothing")
        why = "a limit that is missing or misspelt is no limit"
        raise GpuError("BG-SHARE-005", what, why, "name a tier, or give both limits")
    return Tier("custom", parse_thread_percentage(given["thread_percent"]), parse_memory(given["memory_limit"]), 1)


def environment(tier: Tier, devices: Sequence[str] = ("0",)) -> List[Dict[str, str]]:
    """A container's ``env``. ``devices`` are the container's own indexes or UUIDs; each gets the tier's memory."""
    limits = {str(device): tier.memory_bytes for device in devices}
    return [
        {"name": THREADS, "value": plain(tier.thread_percent)},
        {"name": MEMORY, "value": render_memory_limits(limits)},
    ]


def resources(tier: Tier, resource: str) -> Dict[str, Dict[str, str]]:
    """A container's ``resources``. Requests are the limits: Kubernetes takes nothing else for extended resources."""
    return {"requests": {resource: str(tier.shares)}, "limits": {resource: str(tier.shares)}}
