"""What Tailscale answers, in the format of its sources; a test says only what differs from a node that is in a tailnet."""

from __future__ import annotations

import json
from typing import Any

SERVER = "https://login.example.net"

PREFS: dict[str, Any] = {
    "ControlURL": SERVER,
    "RouteAll": False,
    "ExitNodeID": "",
    "ExitNodeIP": "",
    "InternalExitNodePrior": "",
    "ExitNodeAllowLANAccess": False,
    "CorpDNS": True,
    "RunSSH": False,
    "RunWebClient": False,
    "WantRunning": True,
    "LoggedOut": False,
    "ShieldsUp": False,
    "AdvertiseTags": None,
    "Hostname": "",
    "NotepadURLs": False,
    "AdvertiseRoutes": None,
    "AdvertiseServices": None,
    "NoSNAT": False,
    "NoStatefulFiltering": True,
    "NetfilterMode": 2,
    "AutoUpdate": {"Check": True, "Apply": None},
    "AppConnector": {"Advertise": False},
    "PostureChecking": False,
    "NetfilterKind": "",
    "Config": {"UserProfile": {"LoginName": "lab"}},
}

FRESH_PREFS = {**PREFS, "ControlURL": "", "WantRunning": False, "LoggedOut": True, "Config": None}
"""Of a daemon that never logged in."""

FRESH_STATUS: dict[str, Any] = {
    "Version": "9.9.9",
    "TUN": True,
    "BackendState": "NeedsLogin",
    "AuthURL": "",
    "TailscaleIPs": None,
    "Self": {"ID": "", "HostName": "spark", "DNSName": "", "TailscaleIPs": None, "Online": False},
    "Health": ["Tailscale is stopped."],
    "Peer": None,
}

STATUS: dict[str, Any] = {
    "Version": "9.9.9",
    "TUN": True,
    "BackendState": "Running",
    "HaveNodeKey": True,
    "AuthURL": "",
    "TailscaleIPs": ["100.64.0.2", "fd7a:115c:a1e0::2"],
    "Self": {
        "ID": "2",
        "HostName": "spark",
        "DNSName": "spark.tailnet.example.",
        "TailscaleIPs": ["100.64.0.2", "fd7a:115c:a1e0::2"],
        "Online": True,
    },
    "Health": [],
    "Peer": {
        "nodekey:a": {
            "ID": "7",
            "HostName": "gate",
            "DNSName": "gate.tailnet.example.",
            "TailscaleIPs": ["100.64.0.7", "fd7a:115c:a1e0::7"],
            "Online": True,
            "ExitNodeOption": True,
        }
    },
}


def status(own: dict[str, Any] | None = None, **changes: Any) -> str:
    """The answer of ``tailscale status --json``; ``own`` changes what is in ``Self``."""
    return json.dumps({**STATUS, **changes, "Self": {**STATUS["Self"], **(own or {})}})


def prefs(**changes: Any) -> str:
    """The answer of ``tailscale debug prefs``."""
    return json.dumps({**PREFS, **changes})
