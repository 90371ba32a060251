"""What has to happen to a Tailscale node so that it is as declared. Decisions only; ``tailscale_host`` carries them out."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale import (
    NEEDS_LOGIN,
    SETTINGS,
    STOPPED,
    Peer,
    Prefs,
    Setting,
    Status,
    normal_routes,
)

JOIN, REAUTHENTICATE, START = "join", "reauthenticate", "start"
BY_NODE, BY_KEY = "node", "auth_key"

DECLARABLE = (
    "accept_dns",
    "accept_routes",
    "advertise_exit_node",
    "advertise_routes",
    "auto_update",
    "exit_node",
    "exit_node_allow_lan_access",
    "hostname",
    "netfilter_mode",
    "shields_up",
    "snat_subnet_routes",
    "ssh",
)
"""Settings that can be declared, by their names in SETTINGS; ``tags`` has rules of its own."""

DEFAULTS: Mapping[str, Any] = {
    "accept_dns": True,
    "accept_routes": False,
    "advertise_connector": False,
    "advertise_exit_node": False,
    "advertise_routes": (),
    "auto_update": None,
    "exit_node": "",
    "exit_node_allow_lan_access": False,
    "hostname": "",
    "netfilter_mode": "on",
    "operator": "",
    "report_posture": False,
    "shields_up": False,
    "snat_subnet_routes": True,
    "ssh": False,
    "stateful_filtering": False,
    "tags": (),
    "update_check": True,
    "webclient": False,
}
"""What a node that never joined has: the defaults of ``tailscale up``."""

OFFICIAL_SERVERS = ("https://controlplane.tailscale.com", "https://login.tailscale.com")
"""Two names of one server."""

_TAG = re.compile(r"tag:[A-Za-z][A-Za-z0-9-]*", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_BY_NAME: Dict[str, Setting] = {setting.name: setting for setting in SETTINGS}
_AUTOMATIC = "auto:"
_BY_IDENTITY = "id:"


@dataclass(frozen=True)
class Desired:
    """What is declared. A setting that is not in ``settings`` stays as it is."""

    login_server: str
    settings: Mapping[str, Any]
    tags: Tuple[str, ...] = ()
    tag_source: str = BY_NODE
    ranges: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """One setting that differs."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Plan:
    """``login`` is empty for a node that is logged in, else one of JOIN, REAUTHENTICATE and START."""

    login: str
    changes: Tuple[Change, ...]

    @property
    def changed(self) -> bool:
        return bool(self.login or self.changes)

    @property
    def needs_up(self) -> bool:
        """Whether ``tailscale set`` cannot do it."""
        return bool(self.login) or any(not _BY_NAME[change.name].in_set for change in self.changes)

    def diff(self) -> Dict[str, Dict[str, Any]]:
        """Before and after of what differs."""
        before: Dict[str, Any] = {change.name: _plain(change.before) for change in self.changes}
        after: Dict[str, Any] = {change.name: _plain(change.after) for change in self.changes}
        if self.login:
            before["tailnet"] = {JOIN: "logged out", REAUTHENTICATE: "key expired", START: "stopped"}[self.login]
            after["tailnet"] = "connected"
        return {"before": before, "after": after}


def desired_from(params: Mapping[str, Any]) -> Desired:
    """The module's parameters, checked. Raises ``GpuError`` BG-TAILNET-015 for what no node can have."""
    settings: Dict[str, Any] = {}
    for name in DECLARABLE:
        value = params.get(name)
        if value is not None:
            settings[name] = value
    if "advertise_routes" in settings:
        settings["advertise_routes"] = _checked_routes(settings["advertise_routes"])
    if settings.get("hostname"):
        _require(_LABEL.fullmatch(settings["hostname"]) is not None, "hostname {0!r}".format(settings["hostname"]))
    tags = tuple(sorted(set(params.get("tags") or ())))
    for tag in tags:
        _require(_TAG.fullmatch(tag) is not None, "tag {0!r}".format(tag))
    ranges = tuple(params.get("tailnet_ranges") or ())
    for network in ranges:
        _require(_is_network(network), "tailnet range {0!r}".format(network))
    server = str(params["login_server"]).rstrip("/")
    _require(re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", server) is not None, "login server {0!r}".format(server))
    return Desired(server, settings, tags, params.get("tag_source") or BY_NODE, ranges)


def compare(status: Optional[Status], prefs: Optional[Prefs], desired: Desired, now: datetime) -> Plan:
    """What differs. Without ``status`` there is no Tailscale on the host yet.

    Raises ``GpuError`` BG-TAILNET-004 for a node of another login server, BG-TAILNET-013 for an exit node that is not in the tailnet.
    """
    if status is None or prefs is None:
        return Plan(JOIN, _changes(DEFAULTS, desired, None))
    login = _login(status, now)
    if login != JOIN and not _same_server(prefs.control_url, desired.login_server):
        raise GpuError(
            "BG-TAILNET-004",
            "this node belongs to the tailnet of {0}, declared is {1}".format(prefs.control_url, desired.login_server),
            "it would leave that tailnet, and whoever reaches it there would lose it",
            "correct the login server, or take the node out of its tailnet first (entry point remove of the role tailscale)",
        )
    return Plan(login, _changes(prefs.values, desired, None if login == JOIN else status))


def _login(status: Status, now: datetime) -> str:
    """How the node gets in, if it is not."""
    if status.state == NEEDS_LOGIN:
        return REAUTHENTICATE if status.has_node_key and status.has_expired(now) else JOIN
    if status.has_expired(now):
        return REAUTHENTICATE
    return START if status.state == STOPPED else ""


def _changes(values: Mapping[str, Any], desired: Desired, status: Optional[Status]) -> Tuple[Change, ...]:
    wanted = dict(desired.settings)
    if desired.tag_source == BY_NODE and desired.tags:
        wanted["tags"] = desired.tags
    changes = []
    for name in sorted(wanted):
        if name == "exit_node":
            same = _same_exit_node(values[name], wanted[name], status)
        else:
            same = values[name] == wanted[name]
        if not same:
            changes.append(Change(name, values[name], wanted[name]))
    return tuple(changes)


def _same_exit_node(present: str, wanted: str, status: Optional[Status]) -> bool:
    """Whether both mean the same node. The daemon keeps an identity; people name an address or a node."""
    if not wanted or wanted.startswith(_AUTOMATIC) or present.startswith(_AUTOMATIC):
        return present == wanted
    if status is None:
        return False
    for peer in status.peers:
        if _is_called(peer, wanted):
            return present == _BY_IDENTITY + peer.identity or present in peer.addresses
    raise GpuError(
        "BG-TAILNET-013",
        "exit node {0} is not among the {1} other nodes of the tailnet".format(wanted, len(status.peers)),
        "Tailscale would refuse it",
        "name it by its tailnet address or its first name, and see that the tailnet's policy lets this node see it",
    )


def _is_called(peer: Peer, name: str) -> bool:
    return name in peer.addresses or name.rstrip(".") in (peer.name, peer.name.partition(".")[0])


def up_arguments(
    values: Mapping[str, Any], changes: Sequence[Change], login_server: str, peers: Sequence[Peer]
) -> List[str]:
    """Arguments of ``tailscale up``, which asks for every setting that is not at its default: what is not declared is said as it is.

    An exit node that is to change is still said as it is, because ``up`` cannot look for the new one before it has logged in.
    """
    wanted = {**values, **{change.name: change.after for change in changes}}
    flags = [_flag(setting, wanted[setting.name]) for setting in SETTINGS if setting.in_up]
    exit_node = exit_node_argument(values["exit_node"], peers)
    if exit_node:
        names = ("exit_node", "exit_node_allow_lan_access")
        flags += [_flag(_BY_NAME[name], value) for name, value in zip(names, (exit_node, values[names[1]]))]
    return ["--login-server=" + login_server, *flags]


def exit_node_argument(present: str, peers: Sequence[Peer]) -> str:
    """A setting ``exit_node`` as the commands take it; empty for none, and for a node that is not among ``peers``."""
    if not present.startswith(_BY_IDENTITY):
        return present
    addresses = [peer.addresses[0] for peer in peers if _BY_IDENTITY + peer.identity == present and peer.addresses]
    return addresses[0] if addresses else ""


def set_arguments(changes: Sequence[Change]) -> List[str]:
    """Arguments of ``tailscale set`` for these changes, but for those that it does not know."""
    return [_flag(_BY_NAME[change.name], change.after) for change in changes if _BY_NAME[change.name].in_set]


def kept(
    before: Mapping[str, Any], after: Mapping[str, Any], desired: Desired, peers: Sequence[Peer]
) -> Tuple[Change, ...]:
    """What ``tailscale up`` put back to its default although nobody declared it, as changes that undo that."""
    changes = []
    for setting in SETTINGS:
        name = setting.name
        if setting.in_up or name in desired.settings or before[name] in (after[name], None):
            continue
        value = exit_node_argument(before[name], peers) if name == "exit_node" else before[name]
        if value != after[name]:
            changes.append(Change(name, after[name], value))
    return tuple(changes)


def require_tags(status: Status, desired: Desired) -> None:
    """Raises ``GpuError`` BG-TAILNET-006 when the control server has not given the node every declared tag."""
    missing = [tag for tag in desired.tags if tag not in status.tags]
    if missing:
        raise tags_refused(", ".join(missing), status.tags)


def tags_refused(missing: str, present: Sequence[str] = ()) -> GpuError:
    """The refusal of tags."""
    return GpuError(
        "BG-TAILNET-006",
        "the login server does not give this node {0} (it has {1})".format(missing, ", ".join(present) or "no tag"),
        "rules of the tailnet that name the tag do not count for it",
        "let the tailnet's policy (tagOwners) allow it to whoever made the auth key, or log in with a key that carries the tag",
    )


def require_addresses(status: Status, desired: Desired) -> None:
    """Raises ``GpuError`` BG-TAILNET-009 for an address outside the declared ranges."""
    networks = [ipaddress.ip_network(text) for text in desired.ranges]
    outside = [text for text in status.addresses if networks and not any(_is_in(text, network) for network in networks)]
    if outside:
        raise GpuError(
            "BG-TAILNET-009",
            "this node has the tailnet address {0}, declared ranges are {1}".format(
                ", ".join(outside), ", ".join(desired.ranges)
            ),
            "firewall rules and routes that are made from the ranges would cut it off",
            "declare the ranges that the login server assigns from, or correct its prefixes",
        )


def _is_in(address: str, network: Any) -> bool:
    return ipaddress.ip_address(address) in network


def _same_server(present: str, wanted: str) -> bool:
    # A daemon that was never told a server has none.
    here, there = present.rstrip("/"), wanted.rstrip("/")
    return here == there or (here in OFFICIAL_SERVERS and there in OFFICIAL_SERVERS)


def _flag(setting: Setting, value: Any) -> str:
    if isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = ",".join(value) if isinstance(value, tuple) else str(value)
    return "--{0}={1}".format(setting.flag, text)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _checked_routes(routes: Sequence[str]) -> Tuple[str, ...]:
    try:
        found = normal_routes(routes)
    except ValueError as error:
        raise _impossible("route: {0}".format(error)) from None
    for route in found:
        _require(not route.endswith("/0"), "route {0}, which is what advertise_exit_node is for,".format(route))
    return found


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise _impossible(what + " cannot be")


def _impossible(what: str) -> GpuError:
    return GpuError("BG-TAILNET-015", what, "nothing was changed", "correct the declaration")
