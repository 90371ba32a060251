"""Switching lab hosts on and off: what a person, or a power controller, does to a machine."""

from __future__ import annotations

import json
import time
from pathlib import Path

from lab import disks, supervisor
from lab.network import container
from lab.podman import execute, podman
from lab.progress import say

# Without these a container does not stand for the machine that it is dressed as.
OWN_UNITS = frozenset({"lab-boot.service", "simulated-hardware.service"})

BOOT_TIMEOUT_S = 120
EXIT_TIMEOUT_S = 20


def states() -> dict[str, str]:
    """This lab's hosts with their container's state (`running`, `paused`, `exited`, `created`, …)."""
    prefix = container("")
    listed = json.loads(podman("ps", "--all", f"--filter=name=^{prefix}", "--format=json").stdout)
    return {each["Names"][0].removeprefix(prefix): each["State"] for each in listed}


def switch_on(host: str) -> None:
    """Start a host, if it is off, and put it under the supervisor's eyes. Does not wait for its boot."""
    disks.ensure(host)
    podman("start", container(host))
    supervisor.watch(host, init_process(host))


def await_boot(host: str) -> None:
    """Wait until systemd has finished starting up. Raises RuntimeError when what makes it a lab host failed."""
    name = container(host)
    if _booted(name) == "running":
        return
    listing = execute(name, "systemctl", "list-units", "--failed", "--plain", "--no-legend").stdout
    failed = [line.split()[0] for line in listing.splitlines() if line.strip()]
    if not OWN_UNITS.isdisjoint(failed):
        journal = execute(name, "journalctl", "--no-pager", "--lines=20", *(f"--unit={unit}" for unit in failed)).stdout
        raise RuntimeError(f"{host} is no lab host: {', '.join(failed)} failed\n{journal}")
    say(f"{host} booted, but {', '.join(failed) or 'some unit'} failed")


def init_process(host: str) -> int:
    """The process number of a host's systemd, as the machine sees it; 0 when the host is off."""
    return int(podman("inspect", "--format={{.State.Pid}}", container(host)).stdout)


def exit_status(host: str, ended: int) -> int | None:
    """How the start of a host whose systemd was process `ended` came to its end; None when it is unknown or a new one runs."""
    query = "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}"
    deadline = time.monotonic() + EXIT_TIMEOUT_S
    # The kernel tells of the end a moment before the container's monitor has noted it.
    while time.monotonic() < deadline:
        answer = podman("inspect", f"--format={query}", container(host), check=False).stdout.split()
        if len(answer) != 3 or int(answer[2]) not in (0, ended):
            return None
        if answer[0] in ("exited", "stopped"):
            return int(answer[1])
        time.sleep(0.1)
    return None


def cable(host: str) -> str:
    """The machine's end of a host's network cable: the other half of its eth0."""
    peer = int(execute(container(host), "cat", "/sys/class/net/eth0/iflink").stdout)
    for interface in Path("/sys/class/net").iterdir():
        # A bridge has other entries here that are no interfaces.
        index = interface / "ifindex"
        if index.exists() and int(index.read_text(encoding="ascii")) == peer:
            return interface.name
    raise RuntimeError(f"{host} has no network cable: no interface of this machine has the number {peer}")


def _booted(name: str, timeout_s: int = BOOT_TIMEOUT_S) -> str:
    """systemd's state after start-up. Before its bus is there systemctl answers nothing."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        query = ("timeout", str(timeout_s), "systemctl", "is-system-running", "--wait")
        state = execute(name, *query, check=False).stdout.strip()
        if state in ("running", "degraded"):
            return state
        time.sleep(0.2)
    raise TimeoutError(f"{name} did not finish booting within {timeout_s} s")
