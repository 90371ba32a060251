"""The declaration ``gpu_sharing`` of a group of nodes, and the tiers that its pods are to have."""

from __future__ import annotations

from typing import Iterator, List

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import NO_SHARING
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.hardware import MIG_STRATEGY, profile_of
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.sharing import REPLICAS, SHARING
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import (
    MIG,
    Fault,
    Sharing,
    not_built,
    parse_sharing,
    whole_number,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.figures import tier_share
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.tiers import tier_named

VARIABLE = "gpu_sharing"
APPLIES = "nvidia_device_plugin"
"""The role that makes a declaration so."""


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse declarations that cannot be used, that are not what is configured, or whose tiers the nodes could not give."""
    for host in inventory.judged():
        if host.variables.get(VARIABLE) is None:
            continue
        sharing, faults = parse_sharing(host.variables[VARIABLE])
        if sharing is not None:
            faults = [*_configured(host, sharing), *_hardware(host, inventory, sharing), *not_built(sharing)]
            faults += _tiers(host, inventory, sharing)
        for fault in faults:
            what = "{0}: {1}".format(VARIABLE, fault.what)
            yield Refusal(fault.code, host.name, what, fault.hint, VARIABLE)


def _configured(host: Host, sharing: Sharing) -> Iterator[Fault]:
    """The declaration must be what the role is told: it is the role that makes it so."""
    if APPLIES not in host.roles:
        hint = "declare it for hosts with role {0}".format(APPLIES)
        yield Fault("BG-SHARE-009", "no role on this host applies it", hint)
        return
    # MIG devices are not shared, and are set up by another variable.
    strategy = NO_SHARING if sharing.strategy == MIG else sharing.strategy
    configured = (host.text(SHARING) or NO_SHARING).replace("_", "-")
    if configured != strategy:
        yield Fault("BG-SHARE-009", "its strategy is {0} and {1} is {2}".format(strategy, SHARING, host.text(SHARING)))
    replicas = whole_number(host.variables.get(REPLICAS, 1))
    if replicas is not None and replicas != sharing.replicas:
        yield Fault("BG-SHARE-009", "its replicas are {0} and {1} is {2}".format(sharing.replicas, REPLICAS, replicas))
    if (sharing.strategy == MIG) == (host.text(MIG_STRATEGY) in ("", "none")):
        what = "its strategy is {0} and {1} is {2}".format(sharing.strategy, MIG_STRATEGY, host.text(MIG_STRATEGY))
        yield Fault("BG-SHARE-009", what, "set {0} to single or mixed for strategy mig only".format(MIG_STRATEGY))


def _hardware(host: Host, inventory: Inventory, sharing: Sharing) -> Iterator[Fault]:
    profile = profile_of(host, inventory)
    # Where the role is told so, too, its own variable is refused already.
    told = host.text(MIG_STRATEGY) not in ("", "none")
    if sharing.strategy == MIG and profile is not None and not profile.mig_capable and not told:
        yield Fault("BG-INV-003", "its strategy is mig, and the GPUs of profile {0} have no MIG".format(profile.name))


def _tiers(host: Host, inventory: Inventory, sharing: Sharing) -> List[Fault]:
    profile = profile_of(host, inventory)
    found: List[Fault] = []
    for name in sharing.tiers:
        try:
            tier = tier_named(name, inventory.rules.tiers)
        except GpuError as error:
            found.append(Fault(error.code, error.what, error.remedy))
        else:
            found += tier_share(tier, sharing, profile.memory if profile is not None else None).faults
    return found
