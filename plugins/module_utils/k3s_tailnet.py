"""The tailnet that carries a k3s node, from what Tailscale itself says on the host: nobody writes the address down."""

from __future__ import annotations

import ipaddress
from typing import Any, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_service import Tailnet
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale import RANGE, RUNNING, Status

NOT_KNOWN_YET = "the address that the tailnet gives"
"""Stands for the address of a host that joins its tailnet later in the run that check mode predicts."""


def tailnet_of(status: Status, interface: str) -> Tailnet:
    """The device with the node's IPv4 address. Raises ``GpuError`` BG-K3S-022 where there is none.

    Whether the login server is in reach does not matter here: addresses and paths to other nodes stay without it.
    """
    address = next((text for text in status.addresses if ipaddress.ip_address(text).version == 4), "")
    if status.state != RUNNING or not address:
        raise _no_address("the node is {0}".format(status.state if status.state != RUNNING else "without IPv4 address"))
    if not status.tun:
        raise _no_address("tailscaled runs in userspace mode, without network device")
    return Tailnet(interface, address)


def predicted(status: Optional[Status], interface: str, configured: str) -> Tailnet:
    """What check mode has to expect. ``configured`` is the address that k3s has now, which a node keeps when it logs in again."""
    try:
        if status is not None:
            return tailnet_of(status, interface)
    except GpuError:
        pass
    return Tailnet(interface, configured or NOT_KNOWN_YET)


def others_outside(nodes: Mapping[str, Mapping[str, Any]], name: str) -> Tuple[str, ...]:
    """Nodes of a cluster, but for ``name``, whose pods are reached by an address outside of the tailnet, each with that address.

    ``nodes`` are those of ``cluster_nodes``. Flannel's address counts; where there is none yet, the kubelet's.
    """
    found = []
    for other, node in sorted(nodes.items()):
        addresses = [node.get("pod_network_address")] if node.get("pod_network_address") else node.get("addresses")
        if other != name and addresses and not any(_is_inside(str(address)) for address in addresses):
            found.append("{0} ({1})".format(other, ", ".join(map(str, addresses))))
    return tuple(found)


def require_others_inside(nodes: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """Raises ``GpuError`` BG-K3S-023 when a node over the tailnet could not reach another one's pods."""
    outside = others_outside(nodes, name)
    if outside:
        raise GpuError(
            "BG-K3S-023",
            "these nodes of the cluster have no tailnet route: {0}".format(", ".join(outside)),
            "{0} would be a node over the tailnet, and pods on either side could not reach each other".format(name),
            "join them to the tailnet and give them their tailnet address as node-ip and flannel-iface first (of a k3s server that "
            "this collection manages: k3s_server_over_tailnet), delete those that are gone, or leave k3s_agent_over_tailnet out",
        )


def _is_inside(text: str) -> bool:
    try:
        return ipaddress.ip_address(text) in RANGE
    except ValueError:
        return False


def _no_address(what: str) -> GpuError:
    return GpuError(
        "BG-K3S-022",
        "this host has no address in its tailnet ({0})".format(what),
        "its node is declared to be one over the tailnet; nothing was changed",
        "join the host to its tailnet first (playbooks/tailnet.yml), see `tailscale status`",
    )
