"""Faults of whole hosts: off, or still."""

from __future__ import annotations

from lab import power
from lab.faults.handler import Handler, Kept, Target
from lab.network import container
from lab.podman import podman


class _WholeHost(Handler):
    """The host does not go on."""

    survives_reboot = True
    needs_running = False

    def refusal(self, target: Target) -> str | None:
        return None if power.states().get(target.host.name) == "running" else "it does not run"


class Off(_WholeHost):
    """The host is killed, as by a power failure, and stays off."""

    def apply(self, target: Target) -> Kept:
        podman("kill", "--signal=KILL", container(target.host.name))
        podman("wait", container(target.host.name))
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        return power.states().get(target.host.name) not in ("running", "paused")

    def undo(self, target: Target, kept: Kept) -> None:
        power.switch_on(target.host.name)
        power.await_boot(target.host.name)


class Paused(_WholeHost):
    """Every process of the host is frozen: its kernel takes connections and nobody answers them."""

    def apply(self, target: Target) -> Kept:
        podman("pause", container(target.host.name))
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        return power.states().get(target.host.name) == "paused"

    def undo(self, target: Target, kept: Kept) -> None:
        if self.active(target, kept):
            podman("unpause", container(target.host.name))
