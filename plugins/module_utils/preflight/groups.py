"""Groups of the inventory: what a playbook runs on."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory, Refusal, System
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import nearest

# sparks is near to spark, onyx_gpus to onyx_gpu.
NEAR = 0.85


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse missing and empty groups, hosts outside the group that is verified, and hosts in groups that exclude each other."""
    system = inventory.system
    if system is None:
        return
    for group, purpose in system.required.items():
        if not inventory.groups.get(group):
            yield _absent(inventory, system, group, purpose)
    for group, outer in system.inside.items():
        for name in sorted(inventory.groups.get(group, frozenset()) - inventory.groups.get(outer, frozenset())):
            what = "it is in group {0} and not in group {1}".format(group, outer)
            hint = "make {0} a child of {1}: what is outside is not verified".format(group, outer)
            yield Refusal("BG-INV-025", name, what, hint)
    for exclusive in system.exclusive:
        for name in sorted(frozenset().union(*(inventory.groups.get(group, frozenset()) for group in exclusive))):
            both = [group for group in exclusive if name in inventory.groups.get(group, frozenset())]
            if len(both) > 1:
                yield Refusal("BG-INV-025", name, "it is in the groups {0}".format(" and ".join(both)))


def _absent(inventory: Inventory, system: System, group: str, purpose: str) -> Refusal:
    others = tuple(sorted(set(inventory.groups) - set(system.required) - {"all", "ungrouped"}))
    near = nearest(group, others, NEAR)
    state = "has no host" if group in inventory.groups else "does not exist"
    hint = "did you mean {0}, which has to be called {1}?".format(near, group) if near else ""
    what = "group {0} ({1}) {2}".format(group, purpose, state)
    return Refusal("BG-INV-024", system.name, what, hint or "add a host to group {0}".format(group))
