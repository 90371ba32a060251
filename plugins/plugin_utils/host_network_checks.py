"""Checks of the network: node address, link speed, ports, firewall, and what the host must reach. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any, Iterator, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils.host_expectations import (
    HostExpectations,
    HostReadings,
    found,
)

OVERLAY_DEVICE, OVERLAY_PORT = "flannel.1", "8472/udp"
"""What flannel calls its VXLAN device, and the port that it uses on Linux (flannel, backend vxlan)."""


def node_address(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    """The declared node address is an address of the host, and stays one."""
    wanted = [text.strip() for text in expected.node_ip.split(",") if text.strip()]
    if not wanted:
        return []
    evidence: dict[str, Any] = {"what": "node address", "where": "ip address show", "expected": wanted}
    remedy = "correct the node address, or give it to an interface of the host"
    interfaces = host["interfaces"]
    if interfaces is None:
        return [found("BG-HOST-004", UNKNOWN, host.why("interfaces"), evidence, remedy)]
    held = {text: _holder(interfaces, text) for text in wanted}
    evidence["found"] = {text: entry and entry[0]["name"] for text, entry in held.items()}
    absent = [text for text, entry in held.items() if entry is None]
    if absent:
        have = ", ".join(entry["address"] for interface in interfaces for entry in interface["addresses"])
        reason = f"no interface of the host has {', '.join(absent)}; it has {have or 'no address'}"
        return [found("BG-HOST-004", FAIL, reason, evidence, remedy)]
    names = ", ".join(sorted({entry[0]["name"] for entry in held.values() if entry}))
    return [found("BG-HOST-004", OK, f"on {names}", evidence), _static(held, evidence)]


def _static(held: Mapping[str, tuple[Any, Any] | None], evidence: Mapping[str, Any]) -> Finding:
    leased = [text for text, entry in held.items() if entry and entry[1]["leased"]]
    if not leased:
        return found("BG-HOST-005", OK, "the node address is static", evidence)
    remedy = "set the address on the host, or reserve it in the DHCP server"
    return found(
        "BG-HOST-005", WARN, f"{', '.join(leased)} is leased by DHCP, and a node keeps its address", evidence, remedy
    )


def _holder(interfaces: list[Mapping[str, Any]], text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """The interface that has an address, and its entry there."""
    for interface in interfaces:
        for entry in interface["addresses"]:
            if _same(entry["address"], text):
                return interface, entry
    return None


def _same(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return one == other


def link_speed(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    """Of the hardware that carries the node address; under a tunnel, of the one with the default route."""
    if not expected.link_mbit:
        return []
    evidence: dict[str, Any] = {"what": "link speed", "where": "/sys/class/net", "expected_mbit": expected.link_mbit}
    remedy = f"use a port, cable and switch of {expected.link_mbit / 1000:g} GbE, and check with ethtool"
    interfaces = host["interfaces"]
    if interfaces is None:
        return [found("BG-HOST-006", UNKNOWN, host.why("interfaces"), evidence, remedy)]
    by_name = {interface["name"]: interface for interface in interfaces}
    holders = (_holder(interfaces, text.strip()) for text in expected.node_ip.split(","))
    candidates = [entry[0] for entry in holders if entry] + [by_name.get(host["default_interface"])]
    carrier = next((each for each in candidates if each and each["hardware"]), None)
    if carrier is None:
        names = ", ".join(dict.fromkeys(each["name"] for each in candidates if each))
        reason = f"{names} has no hardware, so its speed says nothing" if names else "no interface carries the node"
        return [found("BG-HOST-006", UNKNOWN, reason, evidence, remedy)]
    speed = carrier["speed_mbit"]
    evidence["found"] = {carrier["name"]: speed}
    if speed is None:
        reason = f"the driver of {carrier['name']} tells no speed; the link may be down"
        return [found("BG-HOST-006", UNKNOWN, reason, evidence, remedy)]
    shown = f"{carrier['name']} runs at {speed / 1000:g} GbE"
    if speed >= expected.link_mbit:
        return [found("BG-HOST-006", OK, shown, evidence)]
    return [found("BG-HOST-006", FAIL, f"{shown}, {expected.link_mbit / 1000:g} are needed", evidence, remedy)]


def ports(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    """Ports that the node's own service will listen on, and that nobody else may have."""
    if not expected.ports:
        return []
    evidence: dict[str, Any] = {"what": "ports", "where": "/proc/net", "expected": list(expected.ports)}
    remedy = "find out who has it (ss -lntup) and stop that service, or move it to another port"
    if _is_active(host, expected.service):
        return [found("BG-HOST-010", OK, f"{expected.service} runs and has its ports itself", evidence)]
    wanted = [(text, *text.split("/", 1)) for text in expected.ports]
    unread = [protocol for _text, _port, protocol in wanted if host["listening"].get(protocol) is None]
    if unread:
        return [found("BG-HOST-010", UNKNOWN, host.why(f"listening.{unread[0]}"), evidence, remedy)]
    left_behind = _overlay_left_behind(host, expected)
    taken = [
        text for text, port, protocol in wanted if text not in left_behind and int(port) in host["listening"][protocol]
    ]
    evidence["found"] = taken
    if not taken:
        return [found("BG-HOST-010", OK, f"{', '.join(expected.ports)} are free", evidence)]
    return [found("BG-HOST-010", FAIL, f"{', '.join(taken)} is taken by another service", evidence, remedy)]


def firewall(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    """A warning: what a firewall lets through cannot be told from outside of its rules."""
    evidence: dict[str, Any] = {"what": "firewall", "where": "ufw.conf and systemd"}
    needed = " and ".join(expected.ports) or "the node's ports"
    remedy = (
        f"let in {needed} from the other nodes, everything from the pod and service networks, "
        "and allow forwarding (ufw: default allow routed)"
    )
    if host["units"] is None:
        return [found("BG-HOST-011", UNKNOWN, host.why("units"), evidence, remedy)]
    active = ["ufw"] if host["ufw_enabled"] else []
    active += ["firewalld"] if _is_active(host, "firewalld.service") else []
    evidence["found"] = active
    if not active:
        return [found("BG-HOST-011", OK, "neither ufw nor firewalld is active", evidence)]
    return [found("BG-HOST-011", WARN, f"{' and '.join(active)} is active", evidence, remedy)]


def targets(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    """What the host must be able to connect to: its server, and where artefacts come from."""
    tried = host["targets"]
    if not tried:
        return []
    evidence = {"what": "connections", "where": "from the host", "found": tried}
    remedy = "check routes, names and firewalls between the host and that address"
    faults = list(_unreached(tried, False))
    if faults:
        return [found("BG-HOST-014", FAIL, "; ".join(faults), evidence, remedy)]
    unknown = list(_unreached(tried, None))
    if unknown:
        return [found("BG-HOST-014", UNKNOWN, "; ".join(unknown), evidence, remedy)]
    return [found("BG-HOST-014", OK, f"all {len(tried)} addresses answer", evidence)]


def _unreached(tried: list[Mapping[str, Any]], state: bool | None) -> Iterator[str]:
    for target in tried:
        if target["reached"] is state:
            yield f"{target['target']} cannot be reached: {target['reason']}"


def _overlay_left_behind(host: HostReadings, expected: HostExpectations) -> tuple[str, ...]:
    """The port of the pod network's own device, which stays with the kernel while the node's service is stopped."""
    known = (host["units"] or {}).get(expected.service, {}).get("load") == "loaded"
    there = any(interface["name"] == OVERLAY_DEVICE for interface in host["interfaces"] or ())
    return (OVERLAY_PORT,) if known and there else ()


def _is_active(host: HostReadings, unit: str) -> bool:
    return bool(unit) and (host["units"] or {}).get(unit, {}).get("active") in ("active", "activating", "reloading")
