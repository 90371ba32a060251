"""How many control plane hosts there are."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory, Refusal

ROLE = "kubeadm_control_plane"


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse several control plane hosts: each would initialise a cluster of its own and write the same kubeconfig."""
    hosts = [host for host in inventory.hosts if ROLE in host.roles]
    if len(hosts) < 2:
        return
    what = "{0} would each become a control plane, and this release makes one control plane host".format(
        ", ".join(host.name for host in hosts)
    )
    for host in hosts:
        # Once is enough, and a host of this run is the one to show; the others count even when the run leaves them out.
        if host.judged:
            yield Refusal("BG-INV-018", host.name, what)
            return
