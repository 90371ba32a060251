"""What a Tailscale node says of itself: ``tailscale status --json`` and ``tailscale debug prefs`` as typed values.

Field names are those of ``ipn/ipnstate`` and ``ipn`` in Tailscale's sources. What a release leaves out is read as its zero value there.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

NEEDS_LOGIN = "NeedsLogin"
NEEDS_APPROVAL = "NeedsMachineAuth"
STOPPED = "Stopped"
RUNNING = "Running"
RANGE = ipaddress.IPv4Network("100.64.0.0/10")
"""Tailscale and headscale give their nodes addresses of this network, and route the whole of it."""
PASSING = ("NoState", "Starting")
"""States that a daemon goes through; the next one says something."""

_LOGIN_ERROR = re.compile(r"The last login error was: (.*)", re.DOTALL)
_NETFILTER_MODES = ("off", "nodivert", "on")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_NEVER_YEAR = 1
"""Go's zero time, 0001-01-01, means that no time is set."""


@dataclass(frozen=True)
class Peer:
    """Another node, as far as it can be an exit node. ``name`` has no final dot."""

    identity: str
    name: str
    addresses: Tuple[str, ...]


@dataclass(frozen=True)
class Status:
    """What the daemon says. ``online`` is the control server's view of this node; ``key_expires`` is None for a key without end."""

    state: str
    version: str = ""
    online: bool = False
    tun: bool = False
    has_node_key: bool = False
    addresses: Tuple[str, ...] = ()
    dns_name: str = ""
    tags: Tuple[str, ...] = ()
    key_expires: Optional[datetime] = None
    key_expired: bool = False
    health: Tuple[str, ...] = ()
    peers: Tuple[Peer, ...] = ()

    @property
    def connected(self) -> bool:
        """Addresses and Running stay after the line to the control server is lost, so both have to be true."""
        return self.state == RUNNING and self.online

    @property
    def login_error(self) -> str:
        """What the control server said to the last attempt to log in; empty when nothing is known."""
        for text in self.health:
            match = _LOGIN_ERROR.search(text)
            if match:
                return match.group(1).strip()
        return ""

    def has_expired(self, now: datetime) -> bool:
        """Whether the node's key has come to its end at ``now``."""
        return self.key_expired or (self.key_expires is not None and self.key_expires <= now)


@dataclass(frozen=True)
class Prefs:
    """The daemon's settings. ``values`` has each of SETTINGS by its name."""

    control_url: str
    logged_out: bool
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """One setting. ``in_up`` and ``in_set`` say which commands know the flag; ``read`` takes it from the preferences' JSON."""

    name: str
    flag: str
    read: Callable[[Mapping[str, Any]], Any]
    in_up: bool = True
    in_set: bool = True


def parse_status(text: str) -> Status:
    """Read ``tailscale status --json``. Raises ``GpuError`` BG-TAILNET-101 for what is no such answer."""
    document = _document(text, "tailscale status --json")
    state = document.get("BackendState")
    if not isinstance(state, str) or not state:
        raise _unreadable("tailscale status --json has no BackendState")
    own = _mapping(document.get("Self"))
    return Status(
        state=state,
        version=_text(document.get("Version")),
        online=own.get("Online") is True,
        tun=document.get("TUN") is True,
        has_node_key=document.get("HaveNodeKey") is True,
        addresses=_addresses(document.get("TailscaleIPs") or own.get("TailscaleIPs")),
        dns_name=_text(own.get("DNSName")).rstrip("."),
        tags=tuple(sorted(set(_texts(own.get("Tags"))))),
        key_expires=parse_time(own.get("KeyExpiry")),
        key_expired=own.get("Expired") is True,
        health=tuple(_texts(document.get("Health"))),
        peers=tuple(_peer(peer) for peer in _mapping(document.get("Peer")).values() if isinstance(peer, dict)),
    )


def parse_prefs(text: str) -> Prefs:
    """Read ``tailscale debug prefs``. Raises ``GpuError`` BG-TAILNET-101 for what is no such answer."""
    document = _document(text, "tailscale debug prefs")
    if not isinstance(document.get("ControlURL"), str):
        raise _unreadable("tailscale debug prefs has no ControlURL")
    return Prefs(
        control_url=document["ControlURL"],
        logged_out=document.get("LoggedOut") is True,
        values={setting.name: setting.read(document) for setting in SETTINGS},
    )


def parse_time(value: Any) -> Optional[datetime]:
    """A time as Go writes it, in UTC and whole seconds; None when none is set. Raises ``GpuError`` BG-TAILNET-101 for anything else.

    A time that cannot be read is no word about a key without end.
    """
    if value is None or value == "":
        return None
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _unreadable("KeyExpiry is {0!r}, which is no time".format(value))
    if int(match.group(1)) <= _NEVER_YEAR:
        return None
    sign, hours, minutes = match.group(7), match.group(8), match.group(9)
    offset = timedelta(hours=int(hours), minutes=int(minutes)) if sign else timedelta()
    try:
        local = datetime(*(int(match.group(place)) for place in range(1, 7)), tzinfo=timezone.utc)  # type: ignore[arg-type,misc]
        return local + offset if sign == "-" else local - offset
    except (ValueError, OverflowError):
        raise _unreadable("KeyExpiry is {0!r}, which is no time".format(value)) from None


def normal_routes(routes: Any) -> Tuple[str, ...]:
    """Networks in their usual spelling, in order. Raises ``ValueError`` for what is none, also for one with bits set beyond its length."""
    found = {ipaddress.ip_network(route) for route in routes}
    return tuple(str(network) for network in sorted(found, key=lambda each: (each.version, each)))


def _document(text: str, command: str) -> Dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _unreadable("{0} does not answer with JSON".format(command)) from None
    if not isinstance(document, dict):
        raise _unreadable("{0} does not answer with an object".format(command))
    return document


def _unreadable(what: str) -> GpuError:
    return GpuError(
        "BG-TAILNET-101",
        what,
        "what the node is cannot be told, so nothing was changed",
        "run the command on the host; the collection supports the release of Tailscale in data/versions.yml",
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> List[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _addresses(value: Any) -> Tuple[str, ...]:
    found = []
    for text in _texts(value):
        try:
            found.append(str(ipaddress.ip_address(text)))
        except ValueError:
            raise _unreadable("TailscaleIPs has {0!r}, which is no address".format(text)) from None
    return tuple(found)


def _peer(peer: Mapping[str, Any]) -> Peer:
    return Peer(_text(peer.get("ID")), _text(peer.get("DNSName")).rstrip("."), _addresses(peer.get("TailscaleIPs")))


def _flag(name: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda document: document.get(name) is True


def _optional(value: Any) -> Optional[bool]:
    """A boolean that may be unset, which is not the same as false: the tailnet's own default then counts."""
    return {"true": True, "false": False}.get(str(value).lower())


def _advertised(document: Mapping[str, Any]) -> Tuple[List[str], bool]:
    """Advertised networks without those of an exit node, and whether these are among them: always both or none."""
    routes = _texts(document.get("AdvertiseRoutes"))
    is_exit_node = {"0.0.0.0/0", "::/0"} <= set(routes)
    return [route for route in routes if not (is_exit_node and route in ("0.0.0.0/0", "::/0"))], is_exit_node


def _routes(document: Mapping[str, Any]) -> Tuple[str, ...]:
    try:
        return normal_routes(_advertised(document)[0])
    except ValueError as error:
        raise _unreadable("AdvertiseRoutes: {0}".format(error)) from None


def _netfilter_mode(document: Mapping[str, Any]) -> str:
    number = document.get("NetfilterMode", 0)
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(_NETFILTER_MODES):
        return _NETFILTER_MODES[number]
    raise _unreadable("NetfilterMode is {0!r}".format(number))


def _exit_node(document: Mapping[str, Any]) -> str:
    """How the exit node is chosen: an expression such as ``auto:any``, an address, ``id:`` and a node's identity, or nothing."""
    automatic, address = _text(document.get("AutoExitNode")), _text(document.get("ExitNodeIP"))
    identity = _text(document.get("ExitNodeID"))
    if automatic:
        return "auto:" + automatic
    return address or ("id:" + identity if identity else "")


SETTINGS: Tuple[Setting, ...] = (
    Setting("accept_dns", "accept-dns", _flag("CorpDNS")),
    Setting("accept_routes", "accept-routes", _flag("RouteAll")),
    Setting(
        "advertise_connector",
        "advertise-connector",
        lambda all_: _mapping(all_.get("AppConnector")).get("Advertise") is True,
    ),
    Setting("advertise_exit_node", "advertise-exit-node", lambda all_: _advertised(all_)[1]),
    Setting("advertise_routes", "advertise-routes", _routes),
    Setting(
        "auto_update", "auto-update", lambda all_: _optional(_mapping(all_.get("AutoUpdate")).get("Apply")), in_up=False
    ),
    # By name it can be chosen only once the other nodes are known, which is after the login.
    Setting("exit_node", "exit-node", _exit_node, in_up=False),
    Setting("exit_node_allow_lan_access", "exit-node-allow-lan-access", _flag("ExitNodeAllowLANAccess"), in_up=False),
    Setting("hostname", "hostname", lambda all_: _text(all_.get("Hostname"))),
    Setting("netfilter_mode", "netfilter-mode", _netfilter_mode),
    Setting("operator", "operator", lambda all_: _text(all_.get("OperatorUser"))),
    Setting("report_posture", "report-posture", _flag("PostureChecking")),
    Setting("shields_up", "shields-up", _flag("ShieldsUp")),
    Setting("snat_subnet_routes", "snat-subnet-routes", lambda all_: all_.get("NoSNAT") is not True),
    Setting("ssh", "ssh", _flag("RunSSH")),
    Setting(
        "stateful_filtering", "stateful-filtering", lambda all_: _optional(all_.get("NoStatefulFiltering")) is not True
    ),
    Setting("tags", "advertise-tags", lambda all_: tuple(sorted(set(_texts(all_.get("AdvertiseTags"))))), in_set=False),
    Setting(
        "update_check", "update-check", lambda all_: _mapping(all_.get("AutoUpdate")).get("Check") is True, in_up=False
    ),
    Setting("webclient", "webclient", _flag("RunWebClient"), in_up=False),
)
"""Every setting that one of the two commands would otherwise put back to its default, so that what is not declared stays as it is."""
