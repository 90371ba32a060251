"""Declared hardware profiles, and what is asked of the hardware."""

from __future__ import annotations

from typing import Iterator, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Profile, Refusal
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import did_you_mean

PROFILES = ("gpu_verify_hardware_profile", "host_preflight_hardware_profile")
"""The variables that name a profile below ``data/hardware``; empty on a host without GPUs."""

MIG_STRATEGY = "nvidia_device_plugin_mig_strategy"


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse unknown profiles, different ones for one host, and MIG on GPUs that have none (GB10)."""
    for host in inventory.judged():
        for variable in PROFILES:
            yield from _unknown(host, variable, inventory)
        declared = {variable: host.text(variable) for variable in PROFILES if host.text(variable)}
        if len(set(declared.values())) > 1:
            what = " and ".join("{0} is {1}".format(*item) for item in declared.items())
            yield Refusal("BG-INV-001", host.name, what, "declare one profile for the host and use it in both")
        profile = profile_of(host, inventory)
        strategy = host.text(MIG_STRATEGY)
        if profile is not None and not profile.mig_capable and strategy not in ("", "none"):
            what = "{0} is {1}, and the GPUs of profile {2} have no MIG".format(MIG_STRATEGY, strategy, profile.name)
            yield Refusal("BG-INV-003", host.name, what, variable=MIG_STRATEGY)


def profile_of(host: Host, inventory: Inventory) -> Optional[Profile]:
    """The profile that a host declares; None when it declares none, or one that does not exist."""
    return next(
        (inventory.rules.profiles[name] for name in map(host.text, PROFILES) if name in inventory.rules.profiles), None
    )


def _unknown(host: Host, variable: str, inventory: Inventory) -> Iterator[Refusal]:
    name, known = host.text(variable), inventory.rules.profiles
    if name and name not in known:
        yield Refusal(
            "BG-INV-001", host.name, "{0} is {1!r}".format(variable, name), did_you_mean(name, known), variable
        )
