"""What follows from a declaration and the hardware: a share's figures, and what each tier really gets. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import List, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import MPS
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import plain
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import Fault, Sharing
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.limits import MIB, render_memory
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.tiers import Tier

GB = 10**9


@dataclass(frozen=True)
class GpuMemory:
    """The memory of one GPU of a hardware profile, in bytes.

    ``reported`` says whether NVML gives a figure for it. Only then does the MPS daemon of NVIDIA's device plugin limit memory.
    """

    total_bytes: int
    reported: bool


@dataclass(frozen=True)
class Share:
    """One share of a GPU: an equal part of its threads (percent) and of its memory (bytes); None where that is not known.

    ``thread_cap`` and ``memory_cap_bytes`` are what the MPS daemon really lets each client have; None where it limits nothing.
    ``gpu_memory_bytes`` is what the whole GPU has.
    """

    thread_percent: Decimal
    memory_bytes: Optional[int]
    thread_cap: Optional[int]
    memory_cap_bytes: Optional[int]
    gpu_memory_bytes: Optional[int] = None


@dataclass(frozen=True)
class TierShare:
    """What a pod of a tier really gets: percent and bytes, None where nothing limits it. ``faults`` say what of it is less than asked."""

    tier: Tier
    thread_percent: Optional[Decimal]
    memory_bytes: Optional[int]
    faults: List[Fault]


def share_of(sharing: Sharing, memory: Optional[GpuMemory]) -> Share:
    """The figures of one share. ``memory`` is None where the hardware profile, or its memory, is not known."""
    part = None if memory is None else memory.total_bytes // sharing.replicas
    limited = sharing.strategy == MPS and memory is not None and memory.reported
    return Share(
        thread_percent=Decimal(100) / sharing.replicas,
        memory_bytes=part,
        thread_cap=sharing.cap,
        # The device plugin tells the daemon whole MiB.
        memory_cap_bytes=part // MIB * MIB if limited and part is not None else None,
        gpu_memory_bytes=None if memory is None else memory.total_bytes,
    )


def tier_share(tier: Tier, sharing: Sharing, memory: Optional[GpuMemory]) -> TierShare:
    """What a pod of this tier gets. A client's own limit only ever takes away from what the daemon lets it have."""
    share = share_of(sharing, memory)
    if sharing.strategy != MPS:
        what = "tier {0} with strategy {1}".format(tier.name, sharing.strategy)
        return TierShare(tier, None, None, [Fault("BG-SHARE-008", what)])
    named = "tier {0}".format(tier.name)
    faults = [
        *threads_above_cap(named, tier.thread_percent, sharing),
        *memory_above_cap(named, tier.memory_bytes, share),
    ]
    lowest = [tier.memory_bytes, share.memory_cap_bytes, share.gpu_memory_bytes]
    return TierShare(
        tier=tier,
        thread_percent=tier.thread_percent if sharing.cap is None else min(tier.thread_percent, Decimal(sharing.cap)),
        memory_bytes=min(each for each in lowest if each is not None),
        faults=faults,
    )


def threads_above_cap(named: str, asked: Decimal, sharing: Sharing) -> List[Fault]:
    """BG-SHARE-006 where more is asked than the daemon lets any client have, with the ways out that there are."""
    cap = sharing.cap
    if cap is None or asked <= cap:
        return []
    what = "{0} asks for {1} % of the threads, and the MPS daemon lets each client have {2} % ({3} replicas)".format(
        named, plain(asked), cap, sharing.replicas
    )
    return [Fault("BG-SHARE-006", what, ways_out(asked))]


def ways_out(asked: Decimal) -> str:
    """The three ways to give a pod more of a GPU's threads than 100 divided by replicas."""
    most = int(100 // asked)
    fewer = "share each GPU by at most {0}".format(most) if most > 1 else "do not share the GPU"
    return (
        "{0}; or raise the cap of each MPS server by hand, until it ends (set_active_thread_percentage); or run a device plugin that was "
        "changed to set another cap. The last two are outside of this collection, and cannot be declared yet"
    ).format(fewer)


def memory_above_cap(named: str, asked_bytes: int, share: Share) -> List[Fault]:
    """BG-SHARE-007 where more memory is asked than the daemon lets any client have, or than a GPU has."""
    asked = "{0} asks for {1}".format(named, render_memory(asked_bytes))
    if share.memory_cap_bytes is not None and asked_bytes > share.memory_cap_bytes:
        what = "{0}, and the MPS daemon lets each client have {1}".format(asked, render_memory(share.memory_cap_bytes))
        return [Fault("BG-SHARE-007", what)]
    if share.gpu_memory_bytes is not None and asked_bytes > share.gpu_memory_bytes:
        what = "{0}, and a GPU has {1}".format(asked, render_memory(share.gpu_memory_bytes))
        return [Fault("BG-SHARE-007", what, "ask for less")]
    return []


def require_in_full(tier: Tier, sharing: Sharing, memory: Optional[GpuMemory]) -> None:
    """Raises ``GpuError`` BG-SHARE-006, 007 or 008 where a pod of this tier would get less than it asks for."""
    for fault in tier_share(tier, sharing, memory).faults:
        why = "a pod would run with less than it was promised"
        raise GpuError(fault.code, fault.what, why, fault.hint)
