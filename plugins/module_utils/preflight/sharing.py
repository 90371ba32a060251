"""How many pods share a GPU."""

from __future__ import annotations

from typing import Iterator, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal

SHARING = "nvidia_device_plugin_sharing"
REPLICAS = "nvidia_device_plugin_replicas"

# An MPS server takes 48 clients since Volta, and the device plugin refuses to share a GPU by one.
MINIMUM = 2
MAXIMUM_BY_MPS = 48


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse replicas that the declared kind of sharing cannot have."""
    for host in inventory.judged():
        if REPLICAS not in host.variables and SHARING not in host.variables:
            continue
        replicas = _whole_number(host)
        if replicas is None:
            yield _refusal(host, "is {0!r}, not a whole number".format(host.variables.get(REPLICAS)))
            continue
        sharing = host.text(SHARING) or "none"
        if sharing == "none" and replicas != 1:
            yield _refusal(host, "is {0} while {1} is none".format(replicas, SHARING))
        elif sharing != "none" and replicas < MINIMUM:
            yield _refusal(
                host, "is {0} with {1} {2}; sharing needs at least {3}".format(replicas, SHARING, sharing, MINIMUM)
            )
        elif sharing == "mps" and replicas > MAXIMUM_BY_MPS:
            yield _refusal(host, "is {0}; MPS serves at most {1} clients per GPU".format(replicas, MAXIMUM_BY_MPS))


def _whole_number(host: Host) -> Optional[int]:
    value = host.variables.get(REPLICAS, 1)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def _refusal(host: Host, what: str) -> Refusal:
    return Refusal("BG-INV-002", host.name, "{0} {1}".format(REPLICAS, what))
