"""What the inventory declares of the GPUs of a group of nodes: ``gpu_sharing: {strategy, replicas, rename, thread_cap, tiers}``. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import (
    GPU,
    MPS,
    NO_SHARING,
    SHARED,
    TIME_SLICING,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import did_you_mean

MIG = "mig"
STRATEGIES = (NO_SHARING, TIME_SLICING, MPS, MIG)
KEYS = ("strategy", "replicas", "rename", "thread_cap", "tiers")

# An MPS server takes 48 clients since Volta, and the device plugin refuses to share a GPU by one.
MINIMUM = 2
MAXIMUM_BY_MPS = 48


@dataclass(frozen=True)
class Sharing:
    """A usable declaration. ``replicas`` are shares per GPU, 1 without sharing.

    ``rename`` is the device plugin's ``renameByDefault``. ``thread_cap`` is the percentage that the MPS daemon lets each client have;
    None leaves it to the device plugin. ``tiers`` are those that the nodes must be able to give in full.
    """

    strategy: str
    replicas: int = 1
    rename: bool = False
    thread_cap: Optional[int] = None
    tiers: Tuple[str, ...] = ()

    @property
    def own_cap(self) -> Optional[int]:
        """What the device plugin sets by itself: 100 divided by replicas, rounded down as it does; None without MPS."""
        return 100 // self.replicas if self.strategy == MPS else None

    @property
    def cap(self) -> Optional[int]:
        """The percentage of a GPU's threads that no client can exceed; None where nothing limits threads."""
        return self.own_cap if self.thread_cap is None else self.thread_cap

    @property
    def resource(self) -> str:
        """What pods request. MIG devices have names of their own, by profile."""
        return GPU + SHARED if self.rename else GPU


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. ``hint`` is a remedy for this case; the code's own remedy holds where it is empty."""

    code: str
    what: str
    hint: str = ""


def parse_sharing(declared: Any) -> Tuple[Optional[Sharing], List[Fault]]:
    """The declaration, or None with everything that is wrong with it. Numbers and truth values may be text, as templates make them."""
    if not isinstance(declared, Mapping):
        return None, [Fault("BG-SHARE-003", "it is {0!r}, which is no mapping".format(declared))]
    faults = [
        Fault("BG-SHARE-003", "it has the key {0}, which means nothing there".format(key), did_you_mean(key, KEYS))
        for key in sorted(str(key) for key in declared if key not in KEYS)
    ]
    strategy = declared.get("strategy")
    if strategy not in STRATEGIES:
        what = "its strategy is {0!r}".format(strategy)
        return None, [*faults, Fault("BG-SHARE-003", what, "choose one of {0}".format(", ".join(STRATEGIES)))]
    shared = strategy in (MPS, TIME_SLICING)
    if shared and declared.get("replicas") is None:
        faults.append(Fault("BG-SHARE-003", "it has the strategy {0} and no replicas".format(strategy), "add replicas"))
    replicas = whole_number(declared.get("replicas", MINIMUM if shared else 1))
    if replicas is None:
        faults.append(Fault("BG-INV-002", "replicas is {0!r}, not a whole number".format(declared.get("replicas"))))
        replicas = MINIMUM if shared else 1
    else:
        what = replicas_out_of_range("strategy", str(strategy), replicas)
        faults += [Fault("BG-INV-002", "replicas {0}".format(what))] if what else []
    sharing = Sharing(
        strategy=str(strategy),
        replicas=replicas,
        rename=_rename(declared.get("rename"), shared, faults),
        thread_cap=_thread_cap(declared.get("thread_cap"), str(strategy), faults),
        tiers=_tiers(declared.get("tiers"), str(strategy), faults),
    )
    return (None if faults else sharing), faults


def require_sharing(declared: Any) -> Sharing:
    """The declaration. Raises ``GpuError`` with the first thing that is wrong with it, or that nothing applies yet."""
    sharing, faults = parse_sharing(declared)
    if sharing is not None:
        faults = not_built(sharing)
        if not faults:
            return sharing
    raise GpuError(faults[0].code, "gpu_sharing: {0}".format(faults[0].what), "nothing follows from it", faults[0].hint)


def not_built(sharing: Sharing) -> List[Fault]:
    """What a declaration can say and nothing in this collection does (BG-SHARE-010)."""
    found: List[Fault] = []
    if sharing.rename:
        found.append(Fault("BG-SHARE-010", "it has rename, and no role renames what it shares"))
    if sharing.thread_cap is not None and sharing.thread_cap != sharing.own_cap:
        what = "its thread_cap is {0}, and what the device plugin sets is {1}; no role sets another"
        found.append(Fault("BG-SHARE-010", what.format(sharing.thread_cap, sharing.own_cap)))
    return found


def replicas_out_of_range(named: str, strategy: str, replicas: int) -> str:
    """Why a kind of sharing cannot have so many replicas; empty when it can. ``named`` is what sets the kind."""
    if strategy in (NO_SHARING, MIG):
        return "is {0} while {1} is {2}".format(replicas, named, strategy) if replicas != 1 else ""
    if replicas < MINIMUM:
        return "is {0} with {1} {2}; sharing needs at least {3}".format(replicas, named, strategy, MINIMUM)
    if strategy == MPS and replicas > MAXIMUM_BY_MPS:
        return "is {0}; MPS serves at most {1} clients per GPU".format(replicas, MAXIMUM_BY_MPS)
    return ""


def whole_number(value: Any) -> Optional[int]:
    """A number, also as the text that a template makes of it; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def _rename(value: Any, shared: bool, faults: List[Fault]) -> bool:
    known = {"true": True, "yes": True, "false": False, "no": False}
    if value is None:
        return False
    rename = known.get(str(value).lower())
    if rename is None:
        faults.append(
            Fault("BG-SHARE-003", "its rename is {0!r}, not true or false".format(value), "write true or false")
        )
    elif rename and not shared:
        faults.append(Fault("BG-SHARE-003", "it renames what is not shared", "leave rename out"))
    return bool(rename)


def _thread_cap(value: Any, strategy: str, faults: List[Fault]) -> Optional[int]:
    if value is None:
        return None
    cap = whole_number(value)
    if cap is None or not 1 <= cap <= 100:
        faults.append(Fault("BG-SHARE-004", "thread_cap is {0!r}".format(value)))
    elif strategy != MPS:
        faults.append(Fault("BG-SHARE-004", "thread_cap is {0} with strategy {1}".format(cap, strategy)))
    return cap


def _tiers(value: Any, strategy: str, faults: List[Fault]) -> Tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        faults.append(Fault("BG-SHARE-003", "its tiers are {0!r}, not a list".format(value), "write a list of names"))
        return ()
    names = tuple(str(name) for name in value)
    faults += [
        Fault("BG-SHARE-003", "it names the tier {0} twice".format(name), "name each tier once")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if names and strategy != MPS:
        faults.append(Fault("BG-SHARE-008", "it declares tiers with strategy {0}".format(strategy)))
    return names
