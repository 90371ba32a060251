"""Pod and service networks of clusters, against each other and against the addresses of nodes."""

from __future__ import annotations

from typing import Dict, Iterator, List, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.addresses import (
    NODE_NETWORKS,
    Network,
    address_in,
    addresses_in,
    network_in,
    node_networks,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory, Node, Refusal, clusters
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale import RANGE as TAILNET

# (role that carries the variable, pods' variable and its default, services' variable and its default). Of k3s the
# defaults are the server's own; kubeadm's come from its role.
NETWORK_VARIABLES = (
    ("k3s_agent", "k3s_server_cluster_cidr", "10.42.0.0/16", "k3s_server_service_cidr", "10.43.0.0/16"),
    ("k3s_server", "k3s_server_cluster_cidr", "", "k3s_server_service_cidr", ""),
    ("kubeadm_control_plane", "kubeadm_control_plane_pod_subnet", "", "kubeadm_control_plane_service_subnet", ""),
)
PODS, SERVICES = "pods", "services"
MASK_SIZE = "k3s_server_node_cidr_mask_size"
# kube-controller-manager gives each node a network of this size (--node-cidr-mask-size-ipv4 and -ipv6).
DEFAULT_MASK_SIZES = {4: 24, 6: 64}
# kube-apiserver refuses service networks with fewer than 8 addresses or with more than 20 bits for hosts.
LEAST_SERVICE_BITS, MOST_SERVICE_BITS = 3, 20

Declared = Tuple[str, str, Network]


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse invalid networks, overlaps of any two, networks that are too small, and nodes inside a cluster network."""
    for members in clusters(inventory).values():
        if not any(node.host.judged for node in members):
            continue
        networks: Dict[Declared, Node] = {}
        for node, kind, variable, text in _declared(members):
            network = network_in(text)
            if network is None:
                yield Refusal("BG-INV-014", node.host.name, "{0} is {1!r}".format(variable, text), variable=variable)
            else:
                networks.setdefault((kind, variable, network), node)
        yield from _overlaps(members[0], list(networks))
        for (kind, variable, network), node in networks.items():
            yield from _tailnet(node, variable, network, members)
            yield from _size(node, kind, variable, network, _count(members))
        for node in members:
            yield from _inside(node, list(networks))
            yield from _node_networks(node, list(networks))
            yield from _dns(node, list(networks))


def _declared(members: Sequence[Node]) -> Iterator[Tuple[Node, str, str, str]]:
    """Every declared network, one or one of each family separated by a comma. Equal ones of many hosts come once."""
    seen = set()
    for node in members:
        for role, pods, pods_default, services, services_default in NETWORK_VARIABLES:
            if role not in node.host.roles:
                continue
            for kind, variable, default in ((PODS, pods, pods_default), (SERVICES, services, services_default)):
                for text in filter(None, (node.host.text(variable) or default).split(",")):
                    if (variable, text) not in seen:
                        seen.add((variable, text))
                        yield node, kind, variable, text


def _overlaps(node: Node, networks: Sequence[Declared]) -> Iterator[Refusal]:
    for index, (_kind, variable, network) in enumerate(networks):
        for _other_kind, other_variable, other in networks[:index]:
            if variable == other_variable:
                what = "hosts of one cluster have {0} {1} and {2}".format(variable, other, network)
                if other.version == network.version:
                    yield Refusal("BG-INV-015", node.host.name, what, "declare it once, for the group", variable)
            elif network.version == other.version and network.overlaps(other):
                what = "{0} {1} and {2} {3} overlap".format(other_variable, other, variable, network)
                yield Refusal("BG-INV-015", node.host.name, what, variable=variable)


def _tailnet(node: Node, variable: str, network: Network, members: Sequence[Node]) -> Iterator[Refusal]:
    """k3s clusters are joined over the tailnet; a kubeadm cluster only where a node has an address of it."""
    if network.version != 4 or not network.overlaps(TAILNET):
        return
    over_tailnet = any(address in TAILNET for member in members for address in addresses_in(member.address))
    if over_tailnet or variable.startswith("k3s_"):
        what = "{0} {1} overlaps the tailnet's range {2}".format(variable, network, TAILNET)
        yield Refusal("BG-INV-030", node.host.name, what, variable=variable)


def _count(members: Sequence[Node]) -> int:
    """Nodes of a cluster. The server of k3s agents is one as well, and exists where no role of this run makes it."""
    roles = {role for node in members for role in node.host.roles}
    return len(members) + (1 if "k3s_agent" in roles and "k3s_server" not in roles else 0)


def _size(node: Node, kind: str, variable: str, network: Network, count: int) -> Iterator[Refusal]:
    if kind == SERVICES:
        bits = network.max_prefixlen - network.prefixlen
        if not LEAST_SERVICE_BITS <= bits <= MOST_SERVICE_BITS:
            what = "{0} {1} has {2} bits for services, outside {3} to {4}".format(
                variable, network, bits, LEAST_SERVICE_BITS, MOST_SERVICE_BITS
            )
            yield Refusal("BG-INV-031", node.host.name, what, variable=variable)
        return
    text = node.host.text(MASK_SIZE)
    mask = int(text) if text.isdigit() and network.version == 4 else DEFAULT_MASK_SIZES[network.version]
    room = 2 ** (mask - network.prefixlen) if mask >= network.prefixlen else 0
    if room < count:
        what = "{0} {1} has room for {2} nodes with a /{3} each, {4} are declared".format(
            variable, network, room, mask, count
        )
        yield Refusal("BG-INV-031", node.host.name, what, variable=variable)


def _inside(node: Node, networks: Sequence[Declared]) -> Iterator[Refusal]:
    for address in addresses_in(node.address):
        for _kind, variable, network in networks:
            if address in network:
                what = "node address {0} lies inside {1} {2}".format(address, variable, network)
                yield Refusal("BG-INV-007", node.host.name, what)


def _node_networks(node: Node, networks: Sequence[Declared]) -> Iterator[Refusal]:
    for text, own in node_networks(node):
        if own is None:
            what = "{0} holds {1!r}".format(NODE_NETWORKS, text)
            yield Refusal("BG-INV-014", node.host.name, what, variable=NODE_NETWORKS)
            continue
        for _kind, variable, network in networks:
            if own.version == network.version and own.overlaps(network):
                what = "{0} {1} and {2} {3} overlap".format(variable, network, NODE_NETWORKS, own)
                yield Refusal("BG-INV-032", node.host.name, what, variable=variable)


def _dns(node: Node, networks: Sequence[Declared]) -> Iterator[Refusal]:
    variable = "k3s_server_cluster_dns"
    services: List[Network] = [network for kind, _variable, network in networks if kind == SERVICES]
    for text in filter(None, node.host.text(variable).split(",")):
        address = address_in(text)
        if address is None:
            what = "{0} is {1!r}".format(variable, text)
            yield Refusal("BG-INV-014", node.host.name, what, variable=variable)
        elif services and not any(address in network for network in services):
            what = "{0} {1} lies in no service network ({2})".format(
                variable, address, ", ".join(str(network) for network in services)
            )
            yield Refusal("BG-INV-033", node.host.name, what, variable=variable)
