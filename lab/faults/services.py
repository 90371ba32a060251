"""Services and processes of a host: stopped, frozen or killed."""

from __future__ import annotations

import json

from lab.faults.catalogue import FaultError
from lab.faults.cluster import restart_pods
from lab.faults.handler import Handler, Kept, Target
from lab.podman import PodmanError


class Unit(Handler):
    """`unit` is stopped. Like everything that is only stopped, an enabled one is back after a reboot."""

    def refusal(self, target: Target) -> str | None:
        unit = self.settings["unit"]
        shown = target.run("systemctl", "show", "--property=LoadState,ActiveState", unit)
        properties = dict(line.split("=", 1) for line in shown.splitlines())
        if properties["LoadState"] != "loaded":
            return f"{unit} is not installed there; `make lab` installs it"
        if properties["ActiveState"] in ("inactive", "failed"):
            return f"{unit} does not run there now, so stopping it would break nothing"
        return None

    def apply(self, target: Target) -> Kept:
        target.run("systemctl", "stop", self.settings["unit"])
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        shown = target.run("systemctl", "show", "--property=ActiveState", "--value", self.settings["unit"])
        return shown.strip() in ("inactive", "failed")

    def undo(self, target: Target, kept: Kept) -> None:
        target.run("systemctl", "start", self.settings["unit"])


class Frozen(Handler):
    """Every process called `process` is stopped by SIGSTOP: it is there, holds its sockets, and does nothing."""

    def refusal(self, target: Target) -> str | None:
        name = self.settings["process"]
        return None if self._states(target) else f"no process called {name} runs there now"

    def apply(self, target: Target) -> Kept:
        target.run("pkill", "-STOP", "-x", self.settings["process"])
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        return "T" in self._states(target)

    def undo(self, target: Target, kept: Kept) -> None:
        if self._states(target):
            target.run("pkill", "-CONT", "-x", self.settings["process"])

    def _states(self, target: Target) -> set[str]:
        name = self.settings["process"]
        listing = target.run("ps", "-eo", "state=,comm=")
        return {
            state for state, _, comm in (line.partition(" ") for line in listing.splitlines()) if comm.strip() == name
        }


class Killed(Handler):
    """Processes whose command line matches `pattern` are killed, in pods that do not notice; restarting the pods called in
    `restart` (values of the label app.kubernetes.io/name, in this order) takes it back."""

    def refusal(self, target: Target) -> str | None:
        return None if self._there(target) else f"no process that matches {self.settings['pattern']} runs there now"

    def apply(self, target: Target) -> Kept:
        target.run("pkill", "-KILL", "-f", self.settings["pattern"])
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        return not self._there(target)

    def undo(self, target: Target, kept: Kept) -> None:
        if not self._there(target):
            for app in self.settings["restart"].split():
                restart_pods(target, app)

    def _there(self, target: Target) -> bool:
        return target.succeeds("pgrep", "-f", self.settings["pattern"])


class Hardware(Handler):
    """A fault of the host's simulated hardware, which that hardware itself makes and takes back."""

    survives_reboot = True

    def apply(self, target: Target) -> Kept:
        self._ask(target, "fault", self.settings["fault"], *self._aim("gpu", "hca", "link"))
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        known = json.loads(self._ask(target, "faults", "--json"))
        return any(each["name"] == self.settings["fault"] and each["active"] for each in known)

    def undo(self, target: Target, kept: Kept) -> None:
        self._ask(target, "undo", self.settings["fault"], *self._aim("gpu", "hca"))

    def _aim(self, *options: str) -> list[str]:
        given = [(option, self.settings.get(option, "")) for option in options]
        return [argument for option, value in given if value for argument in (f"--{option}", value)]

    @staticmethod
    def _ask(target: Target, *arguments: str) -> str:
        try:
            return target.run("simulated-hardware", *arguments)
        except PodmanError as error:
            reason = str(error).rpartition("simulated-hardware: ")[2].splitlines()[0]
            raise FaultError(f"the simulated hardware of {target.host.name} refuses: {reason}") from None
