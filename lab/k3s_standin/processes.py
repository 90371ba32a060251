"""The programs that k3s embeds, as child processes: they start, live and end with the supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from .console import FatalError, log

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal a process gets when its parent ends."""

_STOP_GRACE_S = 3.0
_POLL_S = 0.2

_libc = ctypes.CDLL(None, use_errno=True)


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """systemd, or a person, asked the supervisor to end."""


class Supervisor:
    """Starts children and ends them all when one of them ends, as k3s ends when a part of it fails; systemd then starts it again.

    Children get SIGKILL from the kernel if the supervisor dies without a chance to stop them (the unit has KillMode=process). The shims of
    running containers are detached from containerd, so they and the containers go on. `start` belongs to the main thread: the
    kernel takes the end of the *thread* that made a child for the end of its parent.
    """

    def __init__(self, search_path: str) -> None:
        """`search_path` becomes the children's PATH."""
        # A child that could tell systemd READY=1 would do so before the node is ready.
        inherited = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        self.environment = {**inherited, "PATH": search_path}
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(
        self,
        program: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        log_file: Path | None = None,
    ) -> None:
        """Start one program. Its output goes to the supervisor's, or is appended to `log_file`."""
        name = program.name
        log("info", f"Running {name} {' '.join(arguments)}")
        parent = os.getpid()

        def die_with_parent() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it ended before the kernel knew of the wish
                os._exit(1)

        output = None
        if log_file:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            output = log_file.open("ab")
        try:
            child = subprocess.Popen(
                [name, *arguments],
                executable=program,
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
            )
        finally:
            if output:
                output.close()
        self._children.append((name, child))

    def run(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a short command with the children's environment; a failure is for the caller to judge."""
        return subprocess.run(arguments, input=text, capture_output=True, text=True, env=self.environment, check=False)

    def wait_until(self, what: str, condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
        """Wait for a condition, watching the children. Raises FatalError at the time limit or when a child ends."""
        begun = time.monotonic()
        while not condition():
            self.check()
            if time.monotonic() - begun > timeout_s:
                raise FatalError(f"timed out after {timeout_s:.0f} s: {what}")
            time.sleep(_POLL_S)
        log("info", f"{what} after {time.monotonic() - begun:.1f} s")

    def check(self) -> None:
        """Raise FatalError when a child has ended."""
        for name, child in self._children:
            if child.poll() is not None:
                raise FatalError(f"{name} exited: {child.returncode}")

    def watch(self) -> None:
        """Stay until a child ends, which raises FatalError, or a signal raises Stopped."""
        while True:
            self.check()
            time.sleep(1)

    def stop(self) -> None:
        """End the children, the last started first to be asked, and insist after a grace time."""
        deadline = time.monotonic() + _STOP_GRACE_S
        for _, child in reversed(self._children):
            if child.poll() is None:
                child.terminate()
        for _, child in reversed(self._children):
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()


def stop_on_signals() -> None:
    """Make SIGTERM and SIGINT raise Stopped in the main thread."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def notify(state: str = "READY=1") -> None:
    """Tell systemd, if it listens (Type=notify); otherwise do nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        datagram.sendto(state.encode(), address)


def flags(defaults: Mapping[str, str], extra: Sequence[str]) -> list[str]:
    """A program's flags: the defaults, without those the operator gives as `name=value` (`kubelet-arg` and its like), then the operator's."""
    given = [argument.lstrip("-") for argument in extra]
    replaced = {argument.partition("=")[0] for argument in given}
    kept = [f"--{name}={value}" for name, value in defaults.items() if name not in replaced]
    return kept + [f"--{argument}" for argument in given]
