"""Addresses of nodes: what a node may announce as its own."""

from __future__ import annotations

import ipaddress
from functools import cache
from typing import FrozenSet, Iterator, List, Optional, Sequence, Tuple, Union

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory, Node, Refusal, clusters

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

NODE_NETWORKS = "site_node_networks"


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse node addresses that are none, that cannot be a host's, that two nodes share, or of mixed families."""
    for name, members in clusters(inventory).items():
        if not any(node.host.judged for node in members):
            continue
        for node in members:
            yield from _usable(node)
        yield from _twice(name, members)
        yield from _mixed(name, members)


@cache
def address_in(text: str) -> Optional[Address]:
    """An IP address; None when the text is none."""
    try:
        return ipaddress.ip_address(text.strip())
    except ValueError:
        return None


def addresses_in(text: str) -> Sequence[Address]:
    """The addresses of a node: one, or one of each family separated by a comma. What is no address is left out."""
    return [address for address in map(address_in, text.split(",")) if address is not None]


@cache
def network_in(text: str) -> Optional[Network]:
    """A network with its prefix length and without host bits; None when the text is none."""
    try:
        return ipaddress.ip_network(text.strip(), strict=True) if "/" in text else None
    except ValueError:
        return None


def is_on_host_only(name: str) -> bool:
    """Whether a host's name or address means the host itself, or every one of its addresses."""
    address = address_in(name)
    if address is None:
        return name.lower() in ("localhost", "localhost.localdomain", "ip6-localhost")
    return address.is_loopback or address.is_unspecified


def node_networks(node: Node) -> Iterator[Tuple[str, Optional[Network]]]:
    """The networks that the site declares for addresses of nodes, each with its text."""
    for item in node.host.items(NODE_NETWORKS):
        yield str(item), network_in(str(item))


def _usable(node: Node) -> Iterator[Refusal]:
    texts = [text.strip() for text in node.address.split(",")] if node.address else []
    for text in texts:
        address = address_in(text)
        if address is None:
            yield Refusal("BG-INV-014", node.host.name, "its node address is {0!r}".format(text))
            continue
        unusable = _why_unusable(address)
        if unusable:
            yield Refusal("BG-INV-028", node.host.name, "its node address {0} is {1}".format(address, unusable))
            continue
        yield from _in_node_network(node, address)


def _why_unusable(address: Address) -> str:
    kinds = (
        (address.is_unspecified, "the unspecified address"),
        (address.is_loopback, "a loopback address"),
        (address.is_link_local, "a link-local address"),
        (address.is_multicast, "a multicast address"),
        (address == ipaddress.IPv4Address("255.255.255.255"), "the broadcast address"),
    )
    return next((kind for holds, kind in kinds if holds), "")


def _in_node_network(node: Node, address: Address) -> Iterator[Refusal]:
    networks = [network for _text, network in node_networks(node) if network and network.version == address.version]
    inside = [network for network in networks if address in network]
    if networks and not inside:
        what = "its node address {0} lies in none of {1} ({2})".format(
            address, NODE_NETWORKS, ", ".join(map(str, networks))
        )
        yield Refusal("BG-INV-028", node.host.name, what, "correct the address, or add its network to the list")
    for network in inside:
        # Point-to-point links (RFC 3021) and single addresses have neither.
        if network.version == 4 and network.prefixlen < 31 and address in (network[0], network[-1]):
            kind = "network" if address == network[0] else "broadcast"
            what = "its node address {0} is the {1} address of {2}".format(address, kind, network)
            yield Refusal("BG-INV-028", node.host.name, what)


def _twice(cluster: str, members: Sequence[Node]) -> Iterator[Refusal]:
    first: dict[Address, Node] = {}
    for node in members:
        for address in addresses_in(node.address):
            other = first.setdefault(address, node)
            if other.host.name != node.host.name:
                what = "{0} and {1} of cluster {2} both have node address {3}".format(
                    other.host.name, node.host.name, cluster, address
                )
                yield Refusal("BG-INV-009", node.host.name, what)


def _mixed(cluster: str, members: Sequence[Node]) -> Iterator[Refusal]:
    """Nodes of one cluster must be reachable over one common family; the first node's addresses say which."""
    families: List[Tuple[Node, FrozenSet[int]]] = []
    for node in members:
        versions: FrozenSet[int] = frozenset(address.version for address in addresses_in(node.address))
        if versions:
            families.append((node, versions))
    for node, versions in families[1:]:
        first, common = families[0]
        if not versions & common:
            what = "its node address is IPv{0}, and the one of {1} in cluster {2} is IPv{3}".format(
                max(versions), first.host.name, cluster, max(common)
            )
            yield Refusal("BG-INV-029", node.host.name, what)
