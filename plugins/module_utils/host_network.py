"""Reads a host's network devices, addresses and open ports."""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded
from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import read_text, why_unreadable
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import ABSENT, UNREADABLE, Missing, MissingLog

# /proc/net/tcp: state of a socket that waits for connections.
LISTEN = "0A"

Run = Callable[[Sequence[str], float], bounded.Completed]
Find = Callable[[str], Optional[str]]


def read_interfaces(root: str, find: Find, run: Run, timeout_s: float, log: MissingLog) -> Dict[str, Any]:
    """``interfaces`` with addresses and speed, and ``default_interface``, over which the default route leads."""
    addresses = _ip(find, run, timeout_s, ["-j", "address", "show"], "interfaces", log)
    routes = _ip(find, run, timeout_s, ["-j", "route", "show", "default"], "default_interface", log)
    default = next((str(route["dev"]) for route in routes or () if route.get("dev")), None)
    if default is None and routes is not None:
        log.add("default_interface", Missing(ABSENT, "there is no default route"))
    return {
        "interfaces": None if addresses is None else [_interface(root, entry) for entry in addresses],
        "default_interface": default,
    }


def _ip(
    find: Find, run: Run, timeout_s: float, arguments: List[str], name: str, log: MissingLog
) -> Optional[List[Mapping[str, Any]]]:
    program = find("ip")
    if program is None:
        log.add(name, Missing(ABSENT, "no program ip"))
        return None
    try:
        done = run([program, *arguments], timeout_s)
        if done.return_code == 0:
            # Without any route it prints nothing.
            entries: List[Mapping[str, Any]] = json.loads(done.output or "[]")
            return entries
        reason = "no answer in time" if done.timed_out else " ".join(done.errors.split())[:200]
    except (OSError, ValueError) as error:
        reason = str(error)
    log.add(name, Missing(UNREADABLE, "ip {0}: {1}".format(" ".join(arguments), reason)))
    return None


def _interface(root: str, entry: Mapping[str, Any]) -> Dict[str, Any]:
    name = str(entry.get("ifname"))
    return {
        "name": name,
        "up": "UP" in (entry.get("flags") or ()),
        "hardware": bool(devices_of(root, name)),
        "speed_mbit": _speed(root, name),
        "addresses": [
            {
                "address": str(item.get("local")),
                "prefix": item.get("prefixlen"),
                # The kernel counts down how long an address from DHCP or a router's announcement is still good.
                "leased": bool(item.get("dynamic")),
            }
            for item in entry.get("addr_info") or ()
        ],
    }


def devices_of(root: str, name: str, depth: int = 4) -> List[str]:
    """The hardware below an interface: itself, or what a bond, bridge or VLAN is made of; empty for a virtual one."""
    directory = os.path.join(root, "sys/class/net", name)
    if os.path.lexists(os.path.join(directory, "device")):
        return [name]
    try:
        lower = [entry[len("lower_") :] for entry in sorted(os.listdir(directory)) if entry.startswith("lower_")]
    except OSError:
        return []
    return [device for each in lower if depth for device in devices_of(root, each, depth - 1)]


def _speed(root: str, name: str) -> Optional[int]:
    """Mbit/s as the driver says; ``None`` where it says nothing, as for a link that is down or for most virtual devices."""
    try:
        speed = int(read_text(os.path.join(root, "sys/class/net", name, "speed")))
    except (OSError, ValueError):
        return None
    return speed if speed > 0 else None


def read_listening(root: str, log: MissingLog) -> Dict[str, Optional[List[int]]]:
    """Ports on which something waits, by protocol."""
    return {protocol: _ports(root, protocol, log) for protocol in ("tcp", "udp")}


def _ports(root: str, protocol: str, log: MissingLog) -> Optional[List[int]]:
    found = set()
    for name in (protocol, protocol + "6"):
        try:
            text = read_text(os.path.join(root, "proc/net", name))
        except FileNotFoundError:
            continue  # a kernel without IPv6
        except OSError as error:
            log.add("listening." + protocol, why_unreadable("/proc/net/" + name, error))
            return None
        found.update(parse_ports(text, protocol))
    return sorted(found)


def parse_ports(text: str, protocol: str) -> List[int]:
    """Ports of a table of sockets. A socket of TCP counts when it listens, one of UDP when it has no peer."""
    ports = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4:
            continue
        local, remote, state = fields[1:4]
        waits = state == LISTEN if protocol == "tcp" else remote.rpartition(":")[2] == "0000"
        if waits:
            ports.append(int(local.rpartition(":")[2], 16))
    return ports
