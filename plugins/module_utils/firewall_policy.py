"""What may reach a host, as one value: made of the port table and a site's variables, and rendered for nftables. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

TABLE = "baremetal_gpu"
"""The one table that this collection owns, of family inet; nothing else of a host's ruleset is ever touched."""

# A name as the kernel allows it (IFNAMSIZ is 16 with the closing zero), with nft's wildcard at its end.
_INTERFACE = re.compile(r"^[A-Za-z0-9_.-]{1,15}\*?$")
_PORT = re.compile(r"^(\d{1,5})(?:-(\d{1,5}))?/(tcp|udp)$")

# What a host must be told so that the network works at all (RFC 4890 section 4.4, RFC 1191, RFC 8201).
_ICMP = "destination-unreachable, time-exceeded, parameter-problem, echo-request"
_ICMPV6 = (
    "destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, "
    "mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report"
)
_NEIGHBOURS = "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert"


@dataclass(frozen=True)
class Ports:
    """Neighbouring ports of one protocol. ``from_port`` is the sender's, where that is known; ``link_local`` asks for an IPv6
    sender on the same link."""

    first: int
    last: int
    protocol: str
    from_port: Optional[int] = None
    link_local: bool = False

    @property
    def text(self) -> str:
        return str(self.first) if self.first == self.last else "{0}-{1}".format(self.first, self.last)

    @property
    def name(self) -> str:
        return "{0}/{1}".format(self.text, self.protocol)


@dataclass(frozen=True)
class Source:
    """Who may reach a host from outside of the tailnet; without ``ports`` everything on it."""

    network: Network
    ports: Tuple[Ports, ...] = ()


@dataclass(frozen=True)
class Policy:
    """Everything that may reach a host. ``open_interfaces`` are open as a whole: the tailnet's and links between machines."""

    open_interfaces: Tuple[str, ...]
    everywhere: Tuple[Ports, ...]
    sources: Tuple[Source, ...]
    pod_interfaces: Tuple[str, ...]
    pod_networks: Tuple[Network, ...]
    container_interfaces: Tuple[str, ...]


def policy_from(table: Mapping[str, Any], variables: Mapping[str, Any]) -> Policy:
    """The policy of a host, from ``data/ports.yml`` and the variables of role ``tailnet_firewall`` without their prefix.

    A variable that is empty leaves what the table says. Raises ``GpuError`` (BG-ACCESS-108) for a value that is none.
    """
    interface = variables.get("interface") or table["interfaces"]["tailnet"]["names"][0]
    nodes = [_network(item, "nodes") for item in variables.get("nodes") or ()]
    of_nodes = tuple(_of_table(entry) for entry in table["ports"].values() if entry["reach"] == "nodes")
    return Policy(
        open_interfaces=_interfaces([interface, *(variables.get("links") or ())], "interface and links"),
        everywhere=tuple(_everywhere(table, int(variables.get("tailscale_port") or 0))),
        sources=(
            *(Source(network, of_nodes) for network in nodes),
            *(_source(item) for item in variables.get("sources") or ()),
        ),
        pod_interfaces=_interfaces(
            variables.get("pod_interfaces") or table["interfaces"]["pods"]["names"], "pod_interfaces"
        ),
        pod_networks=_networks(
            variables.get("pod_networks")
            or [*table["networks"]["pods"]["addresses"], *table["networks"]["services"]["addresses"]],
            "pod_networks",
        ),
        container_interfaces=_interfaces(
            variables.get("container_interfaces") or table["interfaces"]["containers"]["names"], "container_interfaces"
        ),
    )


def _everywhere(table: Mapping[str, Any], tailscale_port: int) -> Iterable[Ports]:
    for name, entry in table["ports"].items():
        if entry["reach"] == "everywhere":
            if name == "tailscale" and tailscale_port:
                yield parse_ports("{0}/{1}".format(tailscale_port, entry["protocol"]))
            else:
                yield _of_table(entry)


def _of_table(entry: Mapping[str, Any]) -> Ports:
    return Ports(
        entry["port"],
        entry.get("last_port", entry["port"]),
        entry["protocol"],
        entry.get("from_port"),
        entry.get("link_local", False),
    )


def parse_ports(text: str) -> Ports:
    """``22/tcp`` or ``8000-8010/udp``. Raises ``GpuError`` (BG-ACCESS-108)."""
    found = _PORT.match(str(text))
    if found:
        first, last = int(found[1]), int(found[2] or found[1])
        if 0 < first <= last <= 65535:
            return Ports(first, last, found[3])
    raise _no_value("ports", text, "22/tcp or 8000-8010/udp")


def _source(item: Mapping[str, Any]) -> Source:
    return Source(_network(item.get("source"), "sources"), tuple(parse_ports(text) for text in item.get("ports") or ()))


def _network(text: Any, where: str) -> Network:
    try:
        return ipaddress.ip_network(str(text))
    except ValueError as error:
        raise _no_value(
            where, text, "10.20.0.0/24, or one address, without bits of a host ({0})".format(error)
        ) from error


def _networks(texts: Sequence[Any], where: str) -> Tuple[Network, ...]:
    return tuple(_network(text, where) for text in texts)


def _interfaces(names: Sequence[Any], where: str) -> Tuple[str, ...]:
    for name in names:
        if not _INTERFACE.match(str(name)):
            raise _no_value(where, name, "eth0, or br-* for all names that begin so")
    return tuple(dict.fromkeys(str(name) for name in names))


def _no_value(where: str, value: Any, example: str) -> GpuError:
    return GpuError(
        "BG-ACCESS-108",
        "{0!r} is no value of tailnet_firewall's {1}".format(value, where),
        "the rules would not be what was meant",
        "write for example {0}".format(example),
    )


def render(policy: Policy) -> str:
    """A file for ``nft -f`` that replaces our table in one transaction and touches no other."""
    return _file([_chain("input", "drop", _input(policy)), _chain("forward", "accept", _forward(policy))])


def render_published(policy: Policy) -> str:
    """The same for a host whose own firewall (ufw, firewalld) guards its input, but does not see published container ports."""
    return _file([_chain("forward", "accept", _forward(policy))])


def removal() -> str:
    """A file for ``nft -f`` that removes our table, also where there is none."""
    # The first line makes the second one true.
    return "table inet {0}\ndelete table inet {0}\n".format(TABLE)


def _file(chains: Sequence[str]) -> str:
    return "{0}table inet {1} {{\n{2}}}\n".format(removal(), TABLE, "".join(chains))


def _chain(hook: str, verdict: str, rules: Iterable[str]) -> str:
    head = "type filter hook {0} priority filter; policy {1};".format(hook, verdict)
    return "\tchain {0} {{\n{1}\t}}\n".format(hook, "".join("\t\t{0}\n".format(line) for line in (head, *rules)))


def _input(policy: Policy) -> List[str]:
    rules = ['iifname "lo" accept', "ct state established,related accept"]
    rules += _accept_interfaces(policy.open_interfaces)
    rules.append("icmp type {{ {0} }} accept".format(_ICMP))
    # A router between would have counted the hop limit down.
    rules.append("ip6 hoplimit 255 icmpv6 type {{ {0} }} accept".format(_NEIGHBOURS))
    rules.append("icmpv6 type {{ {0} }} accept".format(_ICMPV6))
    rules += [_from_everywhere(ports) for ports in policy.everywhere]
    # A sender on another interface only says that it is a pod.
    for family, networks in _by_family(policy.pod_networks).items():
        for name in policy.pod_interfaces:
            rules.append('iifname "{0}" {1} saddr {{ {2} }} accept'.format(name, family, ", ".join(networks)))
    for source in policy.sources:
        rules += _from_source(source, "{protocol} dport {{ {ports} }} ")
    return rules


def _forward(policy: Policy) -> List[str]:
    """What may reach containers and pods. A published port was translated before it comes here, so the input chain never sees it."""
    inside = (*policy.pod_interfaces, *policy.container_interfaces)
    rules = ["ct state established,related accept"]
    rules += _accept_interfaces((*policy.open_interfaces, *inside))
    for source in policy.sources:
        # The port that was asked for, not the one behind the translation.
        rules += _from_source(source, "meta l4proto {protocol} ct original proto-dst {{ {ports} }} ")
    rules.append("ct status dnat drop")
    rules += ['oifname "{0}" drop'.format(name) for name in inside]
    return rules


def _accept_interfaces(names: Iterable[str]) -> List[str]:
    return ['iifname "{0}" accept'.format(name) for name in dict.fromkeys(names)]


def _from_everywhere(ports: Ports) -> str:
    sender = "ip6 saddr fe80::/10 " if ports.link_local else ""
    if ports.from_port is not None:
        sender += "{0} sport {1} ".format(ports.protocol, ports.from_port)
    return "{0}{1} dport {2} accept".format(sender, ports.protocol, ports.text)


def _from_source(source: Source, match: str) -> List[str]:
    family = "ip" if source.network.version == 4 else "ip6"
    start = "{0} saddr {1} ".format(family, source.network)
    if not source.ports:
        return [start + "accept"]
    found: Dict[str, List[str]] = {}
    for ports in source.ports:
        found.setdefault(ports.protocol, []).append(ports.text)
    return [
        start + match.format(protocol=protocol, ports=", ".join(texts)) + "accept"
        for protocol, texts in sorted(found.items())
    ]


def _by_family(networks: Iterable[Network]) -> Dict[str, List[str]]:
    """Per family as nft calls it. Networks within others are left out, because nft refuses sets whose elements overlap."""
    fourth = ipaddress.collapse_addresses(item for item in networks if isinstance(item, ipaddress.IPv4Network))
    sixth = ipaddress.collapse_addresses(item for item in networks if isinstance(item, ipaddress.IPv6Network))
    found = {"ip": [str(item) for item in fourth], "ip6": [str(item) for item in sixth]}
    return {family: texts for family, texts in found.items() if texts}
