"""Node addresses against the networks of their clusters and against each other."""

from __future__ import annotations

import ipaddress
from typing import Iterator, List, Optional, Sequence, Tuple, Union

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory, Node, Refusal, clusters

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# (role that carries the variable, pods' variable and its default, services' variable and its default). Of k3s the
# defaults are the server's own; kubeadm's come from its role.
NETWORK_VARIABLES = (
    ("k3s_agent", "k3s_server_cluster_cidr", "10.42.0.0/16", "k3s_server_service_cidr", "10.43.0.0/16"),
    ("kubeadm_control_plane", "kubeadm_control_plane_pod_subnet", "", "kubeadm_control_plane_service_subnet", ""),
)


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse invalid addresses and networks, overlaps, nodes inside a cluster network, and addresses used twice."""
    for name, members in clusters(inventory).items():
        if not any(node.host.judged for node in members):
            continue
        networks: List[Tuple[str, Network]] = []
        for node, variable, text in _declared(members):
            network = _network(text)
            if network is None:
                yield Refusal("BG-INV-014", node.host.name, "{0} is {1!r}".format(variable, text))
            elif (variable, network) not in networks:
                networks.append((variable, network))
        yield from _overlaps(members[0], networks)
        for node in members:
            yield from _inside(node, networks)
        yield from _twice(name, members)


def _declared(members: Sequence[Node]) -> Iterator[Tuple[Node, str, str]]:
    for node in members:
        for role, pods, pods_default, services, services_default in NETWORK_VARIABLES:
            if role in node.host.roles:
                for variable, default in ((pods, pods_default), (services, services_default)):
                    text = node.host.text(variable) or default
                    if text:
                        yield node, variable, text


def _network(text: str) -> Optional[Network]:
    try:
        return ipaddress.ip_network(text, strict=True) if "/" in text else None
    except ValueError:
        return None


def _overlaps(node: Node, networks: Sequence[Tuple[str, Network]]) -> Iterator[Refusal]:
    for index, (variable, network) in enumerate(networks):
        for other_variable, other in networks[:index]:
            if network.version == other.version and network.overlaps(other):
                what = "{0} {1} and {2} {3} overlap".format(other_variable, other, variable, network)
                yield Refusal("BG-INV-015", node.host.name, what)


def _inside(node: Node, networks: Sequence[Tuple[str, Network]]) -> Iterator[Refusal]:
    if not node.address:
        return
    try:
        address = ipaddress.ip_address(node.address)
    except ValueError:
        yield Refusal("BG-INV-014", node.host.name, "its node address is {0!r}".format(node.address))
        return
    for variable, network in networks:
        if address in network:
            what = "node address {0} lies inside {1} {2}".format(address, variable, network)
            yield Refusal("BG-INV-007", node.host.name, what)


def _twice(cluster: str, members: Sequence[Node]) -> Iterator[Refusal]:
    first: dict[str, Node] = {}
    for node in members:
        if not node.address:
            continue
        other = first.setdefault(node.address, node)
        if other.host.name != node.host.name:
            what = "{0} and {1} of cluster {2} both have node address {3}".format(
                other.host.name, node.host.name, cluster, node.address
            )
            yield Refusal("BG-INV-009", node.host.name, what)
