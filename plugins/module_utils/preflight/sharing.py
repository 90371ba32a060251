"""How many pods share a GPU."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.hardware import MIG_STRATEGY
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import (
    replicas_out_of_range,
    whole_number,
)

SHARING = "nvidia_device_plugin_sharing"
REPLICAS = "nvidia_device_plugin_replicas"
VERIFIED_REPLICAS = "gpu_verify_replicas"
EXPECT_MPS = "gpu_verify_expect_mps"


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse replicas that the declared kind of sharing cannot have, MPS with MIG, and a verdict over other figures."""
    for host in inventory.judged():
        if REPLICAS not in host.variables and SHARING not in host.variables:
            continue
        replicas = whole_number(host.variables.get(REPLICAS, 1))
        sharing = host.text(SHARING) or "none"
        if replicas is None:
            yield _refusal(host, "is {0!r}, not a whole number".format(host.variables.get(REPLICAS)))
        else:
            what = replicas_out_of_range(SHARING, sharing, replicas)
            if what:
                yield _refusal(host, what)
            yield from _verified(host, sharing, replicas)
        strategy = host.text(MIG_STRATEGY) or "none"
        if sharing == "mps" and strategy != "none":
            what = "{0} is mps and {1} is {2}".format(SHARING, MIG_STRATEGY, strategy)
            yield Refusal("BG-INV-022", host.name, what, variable=MIG_STRATEGY)


def _verified(host: Host, sharing: str, replicas: int) -> Iterator[Refusal]:
    if "gpu_verify" not in host.roles:
        return
    verified = whole_number(host.variables.get(VERIFIED_REPLICAS, 1))
    if verified is not None and verified != replicas:
        what = "{0} is {1} and {2} is {3}".format(REPLICAS, replicas, VERIFIED_REPLICAS, verified)
        yield Refusal("BG-INV-023", host.name, what, variable=VERIFIED_REPLICAS)
    if host.text(EXPECT_MPS).lower() in ("true", "yes", "on", "1") and sharing != "mps":
        what = "{0} is {1} and {2} is true".format(SHARING, sharing, EXPECT_MPS)
        yield Refusal("BG-INV-023", host.name, what, variable=EXPECT_MPS)


def _refusal(host: Host, what: str) -> Refusal:
    return Refusal("BG-INV-002", host.name, "{0} {1}".format(REPLICAS, what), variable=REPLICAS)
