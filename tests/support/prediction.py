"""Holds what check mode predicts against what then happens."""

from __future__ import annotations

from ansible_collections.baremetal.gpu.tests.support.drift import Drift
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab
from ansible_collections.baremetal.gpu.tests.support.playbooks import PlaybookRun, changes, good

SERVICES = {"spark": ("k3s-agent",), "onyx": ("containerd", "kubelet")}
HOSTS = {"spark": ("calypso", "spark-01"), "onyx": ("onyx-m1", "onyx-g1")}

# Tasks of which check mode cannot tell, and why. At most five, and never one that restarts or reboots.
EXCEPTIONS = {
    "baremetal.gpu.container_images : Import the images that containerd does not hold": (
        "predicted for an archive that is to be downloaded again: nobody can read beforehand which images it holds, so whether "
        "containerd has them already is known only afterwards"
    ),
}


def told(run: PlaybookRun) -> set[tuple[str, str]]:
    """Every (host, task) that changed something, or would, without the exceptions."""
    return {(host, task) for host, task in run.changed() if task not in EXCEPTIONS}


def invocations(lab: Lab, system: str) -> dict[tuple[str, str], str]:
    """systemd's identifier of each running service; a changed one is a start or a restart."""
    found = {}
    for host in HOSTS[system]:
        for service in SERVICES[system]:
            shown = lab.ssh(host, f"systemctl show --value --property=InvocationID {service}").stdout.strip()
            if shown:
                found[host, f"{service}.service"] = shown
    return found


def begun(plan: dict[str, set[tuple[str, str, str]]], system: str) -> set[tuple[str, str]]:
    """Every (host, service) that a plan starts or restarts, of those that are watched."""
    watched = {f"{service}.service" for service in SERVICES[system]}
    return {
        (host, name if name.endswith(".service") else f"{name}.service")
        for host, found in plan.items()
        for kind, action, name in found
        if kind == "service"
        and action in ("start", "restart")
        and name.removesuffix(".service") + ".service" in watched
    }


def compare(lab: Lab, system: str, drifts: list[Drift]) -> None:
    """Let a converged lab drift, predict, run, and hold both against each other."""
    for drift in drifts:
        drift.apply(lab)
    predicted = lab.play(f"{system}.yml", "--check", "--diff")
    good(predicted)
    assert {drift.name for drift in drifts if drift.is_repaired(lab)} == set(), "check mode changed something"
    before = invocations(lab, system)
    real = lab.play(f"{system}.yml")
    good(real)
    assert real.verdict["proven"] is True
    after = invocations(lab, system)
    assert {drift.name for drift in drifts if not drift.is_repaired(lab)} == set(), "not repaired"
    assert told(predicted) == told(real)
    assert begun(changes(predicted.plan), system) == {key for key in after if before.get(key) != after[key]}
