"""Declared hardware profiles, and what is asked of the hardware."""

from __future__ import annotations

import difflib
from typing import Iterator, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Profile, Refusal

PROFILE = "gpu_verify_hardware_profile"
"""The variable that names a profile below ``data/hardware``; empty on a host without GPUs."""

MIG_STRATEGY = "nvidia_device_plugin_mig_strategy"


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse unknown profiles, and MIG on GPUs that have none (GB10)."""
    for host in inventory.judged():
        yield from _unknown(host, inventory)
        profile = profile_of(host, inventory)
        strategy = host.text(MIG_STRATEGY)
        if profile is not None and not profile.mig_capable and strategy not in ("", "none"):
            what = "{0} is {1}, and the GPUs of profile {2} have no MIG".format(MIG_STRATEGY, strategy, profile.name)
            yield Refusal("BG-INV-003", host.name, what)


def profile_of(host: Host, inventory: Inventory) -> Optional[Profile]:
    """The profile that a host declares; None when it declares none, or one that does not exist."""
    return inventory.profiles.get(host.text(PROFILE))


def _unknown(host: Host, inventory: Inventory) -> Iterator[Refusal]:
    name = host.text(PROFILE)
    if name and name not in inventory.profiles:
        near = difflib.get_close_matches(name.lower(), sorted(inventory.profiles), n=1, cutoff=0.5)
        known = "known are {0}".format(", ".join(sorted(inventory.profiles)) or "none")
        hint = "did you mean {0}? {1}".format(near[0], known) if near else known
        yield Refusal("BG-INV-001", host.name, "{0} is {1!r}".format(PROFILE, name), hint)
