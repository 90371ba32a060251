"""A policy as rules of ufw and of firewalld, for hosts where one of them guards the input already. Pure.

Neither sees published ports of containers; for those our own table has its forward chain on such hosts, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, List, Mapping, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard import Command
from ansible_collections.baremetal.gpu.plugins.module_utils.firewall_policy import Policy, Ports, Source

UFW_FILES = ("/etc/ufw", "/etc/default/ufw")
UFW_DEFAULTS = "/etc/default/ufw"
FIREWALLD_FILES = ("/etc/firewalld",)
TRUSTED = "trusted"

# firewalld lets DHCPv6 in as a service; ufw's own before.rules let DHCP and ICMP in.
_KEPT_SERVICES = frozenset(("dhcpv6-client",))
_OPENING = ("allow", "limit")


@dataclass(frozen=True)
class Steps:
    """What differs, in words, and the commands that change it, those that open before those that close."""

    differences: Tuple[str, ...] = ()
    commands: Tuple[Command, ...] = ()


def ufw_rules(policy: Policy) -> Tuple[str, ...]:
    """The rules in the words of ``ufw show added``."""
    rules = ["allow in on {0}".format(name) for name in policy.open_interfaces]
    rules += [
        "allow {0}/{1}".format(_ufw_range(ports), ports.protocol) for ports in policy.everywhere if not ports.from_port
    ]
    for name in policy.pod_interfaces:
        if not name.endswith("*"):
            rules += ["allow in on {0} from {1}".format(name, network) for network in policy.pod_networks]
    for source in policy.sources:
        start = "allow from {0}".format(_short(source))
        rules += [
            "{0} to any port {1} proto {2}".format(start, _ufw_range(ports), ports.protocol) for ports in source.ports
        ] or [start]
    return tuple(dict.fromkeys(rules))


def _ufw_range(ports: Ports) -> str:
    return str(ports.first) if ports.first == ports.last else "{0}:{1}".format(ports.first, ports.last)


def _short(source: Source) -> str:
    """A network as ufw prints it: one address without its length."""
    single = source.network.prefixlen == source.network.max_prefixlen
    return str(source.network.network_address) if single else str(source.network)


def parse_ufw(added: str) -> Tuple[str, ...]:
    """The rules in what ``ufw show added`` prints, without comments of theirs."""
    rules = [line.strip()[len("ufw ") :] for line in added.splitlines() if line.strip().startswith("ufw ")]
    return tuple(re.sub(r"\s+comment\s+'.*$", "", rule) for rule in rules)


def parse_ufw_defaults(text: str) -> Dict[str, str]:
    """The policies of ``/etc/default/ufw``."""
    return {found[1]: found[2] for found in re.finditer(r'^\s*(DEFAULT_\w+_POLICY)="?(\w+)"?', text, re.MULTILINE)}


def ufw_steps(wanted: Sequence[str], added: Sequence[str], defaults: Mapping[str, str]) -> Steps:
    """From what ufw has to what is wanted. Rules that close are somebody's own business, and so are those of routed traffic."""
    missing = [rule for rule in wanted if rule not in added]
    surplus = [rule for rule in added if rule not in wanted and rule.split()[0] in _OPENING]
    differences = ["ufw lacks: {0}".format(rule) for rule in missing]
    differences += ["ufw has, undeclared: {0}".format(rule) for rule in surplus]
    commands: List[Command] = [("ufw", *rule.split()) for rule in missing]
    commands += [("ufw", "delete", *rule.split()) for rule in surplus]
    # Pods of other nodes are routed; who may reach them is decided by our forward chain.
    for name, value, words in (
        ("DEFAULT_FORWARD_POLICY", "ACCEPT", ("allow", "routed")),
        ("DEFAULT_INPUT_POLICY", "DROP", ("deny", "incoming")),
    ):
        if defaults.get(name) != value:
            differences.append("ufw's {0} is {1}".format(name, defaults.get(name, "unknown")))
            commands.append(("ufw", "default", *words))
    return Steps(tuple(differences), (*commands, ("ufw", "reload")) if commands else ())


@dataclass(frozen=True)
class Zone:
    """What a zone of firewalld lets in."""

    interfaces: Tuple[str, ...] = ()
    services: Tuple[str, ...] = ()
    ports: Tuple[str, ...] = ()
    rich_rules: Tuple[str, ...] = ()


EMPTY = Zone()


def firewalld_zones(policy: Policy) -> Tuple[Zone, Zone]:
    """The zone ``trusted``, and what every other zone is to let in."""
    names = [name for name in (*policy.open_interfaces, *policy.pod_interfaces) if not name.endswith("*")]
    ports = [ports.name for ports in policy.everywhere if not ports.from_port]
    rules = [rule for source in policy.sources for rule in _rich_rules(source)]
    return Zone(interfaces=tuple(names)), Zone(ports=tuple(ports), rich_rules=tuple(rules))


def _rich_rules(source: Source) -> List[str]:
    start = 'rule family="ipv{0}" source address="{1}"'.format(source.network.version, _short(source))
    return [
        '{0} port port="{1}" protocol="{2}" accept'.format(start, ports.text, ports.protocol) for ports in source.ports
    ] or [start + " accept"]


def parse_zones(listed: str) -> Dict[str, Zone]:
    """Zones in what ``firewall-cmd --list-all-zones`` prints."""
    zones: Dict[str, Dict[str, List[str]]] = {}
    fields: Dict[str, List[str]] = {}
    values: List[str] = []
    for line in listed.splitlines():
        head = re.match(r"^(\S+)(?: \(.*\))?$", line)
        entry = re.match(r"^  ([a-z -]+):(?: (.*))?$", line)
        if head:
            fields = zones.setdefault(head[1], {})
        elif entry:
            values = fields.setdefault(entry[1], [])
            values.append((entry[2] or "").strip())
        elif line.startswith("\t"):
            values.append(line.strip())
    return {name: _zone(found) for name, found in zones.items()}


def _zone(fields: Mapping[str, List[str]]) -> Zone:
    def words(key: str) -> Tuple[str, ...]:
        return tuple(" ".join(fields.get(key, [])).split())

    rules = tuple(line for line in fields.get("rich rules", []) if line)
    return Zone(words("interfaces"), words("services"), words("ports"), rules)


def firewalld_steps(trusted: Zone, others: Zone, zones: Mapping[str, Zone], default: str) -> Steps:
    """From what firewalld has to what ``firewalld_zones`` wants, in every zone that has interfaces and in the default one."""
    have = zones.get(TRUSTED, EMPTY)
    missing = [name for name in trusted.interfaces if name not in have.interfaces]
    surplus = [name for name in have.interfaces if name not in trusted.interfaces]
    opening: List[Command] = [_zone_command(TRUSTED, "change-interface", name) for name in missing]
    closing: List[Command] = [_zone_command(TRUSTED, "remove-interface", name) for name in surplus]
    differences = ["zone trusted lacks {0}".format(name) for name in missing]
    differences += ["zone trusted has {0}, undeclared".format(name) for name in surplus]
    for name in sorted(zones):
        zone = zones[name]
        if name == TRUSTED or not (zone.interfaces or name == default):
            continue
        wanted_rules = {_normal(rule): rule for rule in others.rich_rules}
        have_rules = {_normal(rule): rule for rule in zone.rich_rules}
        parts: Sequence[Tuple[str, Sequence[str], Sequence[str]]] = (
            (
                "port",
                [item for item in others.ports if item not in zone.ports],
                [item for item in zone.ports if item not in others.ports],
            ),
            ("service", [], [item for item in zone.services if item not in _KEPT_SERVICES]),
            (
                "rich-rule",
                [rule for key, rule in wanted_rules.items() if key not in have_rules],
                [rule for key, rule in have_rules.items() if key not in wanted_rules and rule.endswith("accept")],
            ),
        )
        for kind, lacking, undeclared in parts:
            opening += [_zone_command(name, "add-" + kind, item) for item in lacking]
            closing += [_zone_command(name, "remove-" + kind, item) for item in undeclared]
            differences += ["zone {0} lacks {1} {2}".format(name, kind, item) for item in lacking]
            differences += ["zone {0} has {1} {2}, undeclared".format(name, kind, item) for item in undeclared]
    return Steps(tuple(differences), (*opening, *closing))


def _zone_command(zone: str, verb: str, value: str) -> Command:
    return ("firewall-cmd", "--zone={0}".format(zone), "--{0}={1}".format(verb, value))


def _normal(rule: str) -> str:
    return " ".join(rule.replace('"', "").split())
