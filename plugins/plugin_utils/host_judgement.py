"""Holds what ``host_preflight`` read against what the inventory declares. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Iterable, Mapping, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.host_readings import NODE_SERVICES
from ansible_collections.baremetal.gpu.plugins.plugin_utils import (
    gpu_judgement,
    host_machine_checks,
    host_network_checks,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.gpu_host_view import Expectations
from ansible_collections.baremetal.gpu.plugins.plugin_utils.host_expectations import (
    HostExpectations,
    HostReadings,
    found,
)

Registry = Mapping[str, Mapping[str, Any]]

# Readings of the GPUs that nothing in this collection repairs later in the run. CDI specifications and MPS are set up by it.
GPU_PRECONDITIONS = frozenset(f"BG-GPU-{number:03}" for number in (*range(1, 10), 13, 14))


def judge(
    readings: Mapping[str, Any], expected: HostExpectations, subject: str, registry: Registry
) -> tuple[Finding, ...]:
    """Every finding about one host. Requirements come from the registry of codes."""
    host = HostReadings(readings["host"])
    simulated = bool(readings["gpu"]["simulated"])
    findings = [
        replace(
            finding,
            subject=subject,
            simulated=simulated,
            requirements=tuple(registry[finding.code]["requirements"]),
        )
        for check in _CHECKS
        for finding in check(host, expected)
    ]
    return (*findings, *_hardware(readings["gpu"], expected, subject))


def _hardware(readings: Mapping[str, Any], expected: HostExpectations, subject: str) -> Iterable[Finding]:
    """The real GPUs against the declared profile (SPARK-23)."""
    if expected.profile is None:
        return ()
    judged = gpu_judgement.judge(readings, expected.profile, subject, Expectations())
    return (finding for finding in judged if finding.code in GPU_PRECONDITIONS)


def other_nodes(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    """No other installation makes a Kubernetes node of the host."""
    evidence: dict[str, Any] = {"what": "other installations of Kubernetes", "where": "systemd"}
    remedy = "remove the other installation in its own way, or leave this host out"
    units = host["units"]
    if units is None:
        return [found("BG-HOST-012", UNKNOWN, host.why("units"), evidence, remedy)]
    others = [name for name in NODE_SERVICES if name != expected.service and _is_in_use(units.get(name, {}))]
    evidence["found"] = others
    if others:
        reason = f"{', '.join(others)} is there, which makes another node of the host"
        return [found("BG-HOST-012", FAIL, reason, evidence, remedy)]
    installer = host["k3s"]["installer"]
    if installer:
        evidence["installer"] = installer
        remedy = (
            "run the uninstall script once, or never run install.sh again: it replaces the unit that is written here"
        )
        reason = f"k3s was installed by its own installer ({', '.join(installer)})"
        return [found("BG-HOST-012", WARN, reason, evidence, remedy)]
    return [found("BG-HOST-012", OK, "no other installation of Kubernetes", evidence)]


def _is_in_use(unit: Mapping[str, str]) -> bool:
    return unit.get("active") in ("active", "activating") or unit.get("enabled") in ("enabled", "enabled-runtime")


def membership(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    """A k3s that is configured by now belongs to the declared server."""
    if not expected.k3s_server:
        return []
    evidence = {"what": "server of the configured k3s", "where": "/etc/rancher/k3s/config.yaml"}
    remedy = "take the host out of the other cluster first, or correct the server in the inventory"
    server = host["k3s"]["server"]
    evidence.update(expected=expected.k3s_server, found=server)
    if "k3s.server" in host["missing"]:
        return [found("BG-HOST-013", UNKNOWN, host.why("k3s.server"), evidence, remedy)]
    if server is None:
        return [found("BG-HOST-013", OK, "no k3s is configured", evidence)]
    if server.rstrip("/") == expected.k3s_server.rstrip("/"):
        return [found("BG-HOST-013", OK, f"k3s is configured for {server}, as declared", evidence)]
    reason = f"k3s is configured for {server}, declared is {expected.k3s_server}"
    return [found("BG-HOST-013", FAIL, reason, evidence, remedy)]


def identity(host: HostReadings, expected: HostExpectations) -> list[Finding]:
    """What must be the host's own; ``twins`` replaces these findings where it is not."""
    evidence = {"what": "machine id", "where": "/etc/machine-id"}
    if host["machine_id"] is None:
        remedy = "systemd-machine-id-setup"
        machine = found("BG-HOST-015", UNKNOWN, host.why("machine_id"), evidence, remedy)
    else:
        machine = found("BG-HOST-015", OK, "no other host of this run has its machine id", evidence)
    evidence = {"what": "host name", "where": "uname", "found": host["hostname"]}
    return [machine, found("BG-HOST-016", OK, f"no other host of this run is called {host['hostname']}", evidence)]


def twins(hosts: Mapping[str, tuple[Mapping[str, Any], bool]], registry: Registry) -> dict[str, list[Finding]]:
    """Findings about hosts that share what must be their own, by host. ``hosts`` gives readings and the mark for simulation."""
    result: dict[str, list[Finding]] = {}
    for code, key, where, remedy in _IDENTITIES:
        sharers: dict[str, list[str]] = {}
        for name, (readings, _simulated) in hosts.items():
            if readings.get(key):
                sharers.setdefault(str(readings[key]), []).append(name)
        for value, names in sharers.items():
            for name in names if len(names) > 1 else ():
                others = ", ".join(other for other in names if other != name)
                finding = Finding(
                    code=code,
                    subject=name,
                    status=FAIL,
                    reason=f"{others} has the same {where[0]}",
                    evidence={"what": where[0], "where": where[1], "found": value[:12]},
                    remedy=remedy,
                    requirements=tuple(registry[code]["requirements"]),
                    simulated=hosts[name][1],
                )
                result.setdefault(name, []).append(finding)
    return result


_IDENTITIES: Sequence[tuple[str, str, tuple[str, str], str]] = (
    (
        "BG-HOST-015",
        "machine_id",
        ("machine id", "/etc/machine-id"),
        "rm /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup, then reboot; images must not hold one",
    ),
    ("BG-HOST-016", "hostname", ("host name", "uname"), "hostnamectl set-hostname, with a name of its own"),
)

Check = Callable[[HostReadings, HostExpectations], list[Finding]]
_CHECKS: Sequence[Check] = (
    host_machine_checks.operating_system,
    host_machine_checks.architecture,
    host_machine_checks.memory,
    host_network_checks.node_address,
    host_network_checks.link_speed,
    host_machine_checks.disk,
    host_machine_checks.clock,
    host_machine_checks.swap,
    host_network_checks.ports,
    host_network_checks.firewall,
    other_nodes,
    membership,
    host_network_checks.targets,
    identity,
    host_machine_checks.cgroup,
)
