"""Tailscale on a host: its two programs, its socket and the secret that it is given. Decisions are in ``tailscale_plan``."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable, List, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale import (
    NEEDS_APPROVAL,
    NEEDS_LOGIN,
    PASSING,
    Prefs,
    Status,
    parse_prefs,
    parse_status,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale_login import Secret, hidden, refusal

TUN = "/dev/net/tun"
STATE_FOLDER = "/var/lib/tailscale"
STATE_FILE = STATE_FOLDER + "/tailscaled.state"

_COMMAND_TIMEOUT_S = 30.0
_POLL_S = 0.3
_STARTS_WITHIN_S = 15.0


class Node:
    """The node of this host. ``program`` is the client; tests give another one."""

    def __init__(self, program: str = "tailscale", tun: str = TUN, state_file: str = STATE_FILE) -> None:
        self._program = program
        self._tun = tun
        self._state_file = state_file

    @property
    def is_up(self) -> bool:
        """Whether the daemon answers."""
        return bool(self._run(["status", "--json", "--peers=false"]).output.strip())

    @property
    def has_state(self) -> bool:
        """Whether this host was logged in to a tailnet, also while the daemon is down."""
        try:
            with open(self._state_file, "rb") as file:
                return b'"_current-profile"' in file.read()
        except OSError:
            return False

    def require_tun(self) -> None:
        """Raises ``GpuError`` BG-TAILNET-008 when the kernel gives no network device."""
        try:
            os.close(os.open(self._tun, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise no_device("{0}: {1}".format(self._tun, os.strerror(error.errno or 0))) from None

    def status(self, peers: bool = False) -> Status:
        """What the daemon says. Raises ``GpuError`` BG-TAILNET-101 when it says nothing."""
        done = self._run(["status", "--json", "--peers={0}".format("true" if peers else "false")])
        # Its exit status tells whether the node is connected; the answer is there either way.
        if not done.output.strip():
            raise _silent(done)
        return parse_status(done.output)

    def prefs(self) -> Prefs:
        """The daemon's settings. Raises ``GpuError`` BG-TAILNET-101."""
        done = self._run(["debug", "prefs"])
        if done.return_code != 0:
            raise _silent(done)
        return parse_prefs(done.output)

    def observe(self, needs_peers: bool) -> Tuple[Status, Prefs]:
        """Status and settings, once the daemon has come to a state that says something; one that stays on its way is as it is.

        The other nodes, which may be thousands, are read when they are asked for, or when an exit node is chosen among them.
        """
        status, prefs = self.wait(lambda found: found.state not in PASSING, _STARTS_WITHIN_S), self.prefs()
        if needs_peers or prefs.values["exit_node"]:
            status = self.status(peers=True)
        return status, prefs

    def wait(self, holds: Callable[[Status], bool], timeout_s: float) -> Status:
        """The first status for which this holds, or the last one before the deadline."""
        deadline = time.monotonic() + timeout_s
        while True:
            status = self.status()
            if holds(status) or time.monotonic() >= deadline:
                return status
            time.sleep(_POLL_S)

    def set(self, arguments: Sequence[str]) -> None:
        """Change settings of a node that is logged in. Raises ``GpuError`` BG-TAILNET-102 when Tailscale refuses them."""
        done = self._run(["set", *arguments])
        if done.return_code != 0:
            raise _refused("set", done.errors or done.output)

    def logout(self) -> None:
        """Take the node out of its tailnet; it forgets its key, and so does the daemon. Raises ``GpuError`` BG-TAILNET-102."""
        done = self._run(["logout"])
        if done.return_code != 0:
            raise _refused("logout", done.errors or done.output)

    def forget(self, stays_down: bool) -> None:
        """Let the daemon forget a secret that it was given in vain: it would try it again and again, and keeps it as long as it runs.

        A node that is in no tailnet misses nothing by the restart. ``stays_down`` also takes back the wish to run.
        """
        if stays_down:
            self._run(["down"])
        with contextlib.suppress(OSError):
            bounded.run(["systemctl", "try-restart", "tailscaled.service"], _COMMAND_TIMEOUT_S)

    def up(self, arguments: Sequence[str], secret: Optional[Secret], timeout_s: float) -> None:
        """Run ``tailscale up``. Raises ``GpuError`` when the login server refuses, or does not answer in time.

        The secret is in memory only: the client reads it from a descriptor, so it stands on no command line, and nothing of it is left
        when this program is killed.
        """
        command = ["up", *arguments, "--timeout={0:.0f}s".format(max(1.0, timeout_s))]
        if secret is None:
            done = self._run(command, timeout_s + _COMMAND_TIMEOUT_S)
        else:
            descriptor = _sealed(secret.value)
            flag = "--client-secret" if secret.is_oauth else "--auth-key"
            command.append("{0}=file:/dev/fd/{1}".format(flag, descriptor))
            try:
                done = self._run(command, timeout_s + _COMMAND_TIMEOUT_S, [descriptor])
            finally:
                os.close(descriptor)
        if done.return_code != 0:
            self._explain(hidden(done.errors + done.output, secret or Secret()), timeout_s)

    def _explain(self, said: str, timeout_s: float) -> None:
        """Raises ``GpuError`` for an ``up`` that failed; not when the node only waits for approval."""
        status = self.status()
        if status.state == NEEDS_APPROVAL:
            return
        waited = "timeout waiting" in said
        if waited:
            said = status.login_error
        error = refusal(said)
        if error is None and not waited:
            error = _refused("up", said)
        raise error or not_connected(status, timeout_s)

    def _run(
        self, arguments: List[str], timeout_s: float = _COMMAND_TIMEOUT_S, descriptors: Sequence[int] = ()
    ) -> bounded.Completed:
        try:
            return bounded.run([self._program, *arguments], timeout_s, descriptors)
        except OSError as error:
            return bounded.Completed(return_code=127, output="", errors=str(error), elapsed_s=0.0)


def _sealed(text: str) -> int:
    """A descriptor of anonymous memory that holds the text; a child that inherits it reads it as /dev/fd/N."""
    descriptor = os.memfd_create("tailscale", 0)
    os.write(descriptor, text.encode("utf-8"))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def no_device(what: str) -> GpuError:
    """The refusal of a host without a network device for the tailnet."""
    return GpuError(
        "BG-TAILNET-008",
        "Tailscale gets no network device ({0})".format(what),
        "without it the host has no tailnet address of its own: nothing but tailscaled itself can use the tailnet",
        "load the kernel module tun (in a container: pass the device in), or set tailscale_userspace to run without one",
    )


def not_connected(status: Status, timeout_s: float) -> GpuError:
    """What is missing when the deadline has come."""
    reason = status.login_error or "; ".join(status.health)
    return GpuError(
        "BG-TAILNET-011",
        "after {0:.0f} s the node is {1}{2}{3}".format(
            timeout_s,
            status.state,
            "" if status.online or status.state == NEEDS_LOGIN else " and not online at the login server",
            ": " + reason if reason else "",
        ),
        "it cannot be reached over the tailnet",
        "see that the login server can be reached from this host (`tailscale netcheck`, `journalctl -u tailscaled`)",
    )


def _silent(done: bounded.Completed) -> GpuError:
    said = " ".join((done.errors or done.output).split())[-300:]
    return GpuError(
        "BG-TAILNET-101",
        "tailscaled does not answer: {0}".format(said or "no output"),
        "nothing can be read or changed",
        "install Tailscale and start tailscaled (`systemctl status tailscaled`)",
    )


def _refused(command: str, said: str) -> GpuError:
    return GpuError(
        "BG-TAILNET-102",
        "tailscale {0} failed: {1}".format(command, " ".join(said.split())[-600:] or "no output"),
        "the node is not as declared",
        "correct what it names, then run again",
    )
