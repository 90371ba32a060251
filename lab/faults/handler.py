"""What every handler is: makes one kind of fault on a lab host, sees whether it is there, and takes it back exactly."""

from __future__ import annotations

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from lab.faults.catalogue import FaultError
from lab.model import Host
from lab.network import container
from lab.podman import execute

Kept = dict[str, Any]
"""What a handler notes when it makes a fault, and gets back when it takes it back. JSON."""

BACKUPS = "/var/lib/lab-faults"
"""Where files of a host are kept while a fault has them changed or away: on the host, so that secrets stay where they are."""


@dataclass(frozen=True)
class Target:
    """The host that a fault is about, and the machine below it."""

    host: Host
    control_plane: Host | None
    """The host of its cluster's API; None for a host of no cluster."""

    def run(self, *arguments: str, text: str | None = None) -> str:
        """Run a command on the host and return its output. Raises PodmanError when it fails."""
        return execute(container(self.host.name), *arguments, text=text).stdout

    def succeeds(self, *arguments: str) -> bool:
        """Whether a command on the host ends with 0."""
        return execute(container(self.host.name), *arguments, check=False).returncode == 0

    def kubectl(self, *arguments: str, text: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator of the host's cluster, on the host that has the API."""
        if self.control_plane is None:
            raise FaultError(f"{self.host.name} belongs to no cluster")
        client = ["k3s", "kubectl"]
        if "k3s" not in self.control_plane.runs:
            client = ["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"]
        return execute(container(self.control_plane.name), *client, *arguments, text=text, check=check)

    @staticmethod
    def machine(*command: str, check: bool = True) -> str:
        """Run a command on the machine below. Raises FaultError when it fails and `check` is set."""
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and result.returncode:
            raise FaultError(f"{' '.join(command)}: {result.stderr.strip()}")
        return result.stdout


class Handler(ABC):
    """One kind of fault with its settings filled in."""

    needs_running: ClassVar[bool] = True
    """Whether the host must run for the fault to be made and taken back."""

    survives_reboot: ClassVar[bool] = False
    """Whether it is still there after the host's next boot, as on a machine: what is stored survives, what runs does not."""

    lies_outside: ClassVar[bool] = False
    """Whether it is about what is made anew with each start of the host, such as its cable: then it is made again too."""

    def __init__(self, settings: Mapping[str, str], fault: str) -> None:
        self.settings = settings
        self.fault = fault

    def refusal(self, target: Target) -> str | None:
        """Why the fault cannot be made on this host as it is now; None when it can."""
        return None

    @abstractmethod
    def apply(self, target: Target) -> Kept:
        """Make the fault."""

    @abstractmethod
    def active(self, target: Target, kept: Kept) -> bool:
        """Whether it is there: looked at, not remembered."""

    @abstractmethod
    def undo(self, target: Target, kept: Kept) -> None:
        """Take it back. Also called after an attempt that failed half way, and when something else took it back already."""


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for a condition. Raises FaultError at the time limit."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise FaultError(f"waited {timeout_s:.0f} s in vain: {what}")
        time.sleep(0.3)
