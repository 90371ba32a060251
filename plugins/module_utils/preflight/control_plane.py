"""How many control plane hosts there are."""

from __future__ import annotations

from typing import Iterator, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal

ROLES = ("kubeadm_control_plane", "k3s_server")


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse several control plane hosts: each would initialise a cluster of its own and write the same kubeconfig."""
    for role in ROLES:
        yield from _several([host for host in inventory.hosts if role in host.roles])


def _several(hosts: Sequence[Host]) -> Iterator[Refusal]:
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
