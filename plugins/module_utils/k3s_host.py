"""The host under k3s: its files, its unit and what the binary says. Input and output only; decisions are in ``k3s_service``."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_service import (
    RUNNING,
    Download,
    Found,
    Service,
    release_in,
)

Run = Callable[[List[str], float], Completed]
Move = Callable[[str, str], Any]
Open = Callable[[str, float], Any]

MACHINE_ID = "/etc/machine-id"
MARKS = "/run/baremetal-gpu"
"""Gone after a boot, like every reason to restart a service."""

_COMMAND_TIMEOUT_S = 60.0
_LOCK_POLL_S = 0.2
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class UnitState:
    """What systemd says of the service. ``started_us`` is on the monotonic clock, 0 when it never ran."""

    active: str
    started_us: int
    enabled: bool

    @property
    def running(self) -> bool:
        return self.active in RUNNING


class Host:
    """Paths are those of the host below ``root``, which is ``/`` outside of tests."""

    def __init__(self, run: Run, move: Move, open_url: Open, root: str = "/") -> None:
        self._run = run
        self._move = move
        self._open = open_url
        self._root = root.rstrip("/")

    def path(self, path: str) -> str:
        return self._root + path

    @contextmanager
    def turn(self, wait_s: float) -> Iterator[None]:
        """Be the only one that changes k3s on this host: a controller that was killed leaves its last task at work here.

        Raises ``GpuError`` BG-K3S-019 when another one does not end within ``wait_s`` seconds.
        """
        os.makedirs(self.path(MARKS), mode=0o755, exist_ok=True)
        deadline = time.monotonic() + wait_s
        with open(self.path(MARKS + "/k3s.lock"), "w", encoding="ascii") as lock:
            while not _locked(lock):
                if time.monotonic() > deadline:
                    raise GpuError(
                        "BG-K3S-019",
                        "another run has been at work on this host's k3s for {0:.0f} s".format(wait_s),
                        "two at a time would take each other's files",
                        "let it end, or end it, then run again",
                    )
                time.sleep(_LOCK_POLL_S)
            yield

    def machine_id(self) -> str:
        """What the kubelet reports as the machine's id; empty when the host has none."""
        return (self.read(MACHINE_ID) or "").strip()

    def read(self, path: str) -> Optional[str]:
        try:
            with open(self.path(path), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return None

    def find(self, wanted: Sequence[Any]) -> Dict[str, Found]:
        """What is at the paths of the wanted downloads (their hashes) and files (their texts)."""
        found = {}
        for item in wanted:
            full = self.path(item.path)
            try:
                status = os.stat(full)
            except OSError:
                continue
            owner = (status.st_uid, status.st_gid) if not self._root else (0, 0)
            mode = stat.S_IMODE(status.st_mode)
            if isinstance(item, Download):
                found[item.path] = Found(sha256=_sha256(full), mode=mode, owner=owner)
            else:
                found[item.path] = Found(text=self.read(item.path), mode=mode, owner=owner)
        return found

    def unit_state(self, service: Service) -> UnitState:
        """The service's state; inactive when systemd does not know it or does not answer."""
        said = self.systemctl(
            "show", "--property=ActiveState,UnitFileState,ExecMainStartTimestampMonotonic", service.name
        )
        values = dict(line.split("=", 1) for line in said.output.splitlines() if "=" in line)
        started = values.get("ExecMainStartTimestampMonotonic", "0")
        return UnitState(
            values.get("ActiveState", "inactive"),
            int(started) if started.isdigit() else 0,
            values.get("UnitFileState") == "enabled",
        )

    def systemctl(self, *arguments: str) -> Completed:
        return self.command(["systemctl", *arguments])

    def command(self, arguments: Sequence[str]) -> Completed:
        """Run a program; one that is not there counts as failed (status 127)."""
        try:
            return self._run(list(arguments), _COMMAND_TIMEOUT_S)
        except OSError as error:
            return Completed(return_code=127, output="", errors=str(error), elapsed_s=0.0)

    def release_of(self, binary: str) -> str:
        """The release that a k3s binary, by its full path, says it is; empty when it cannot say."""
        said = self.command([binary, "--version"])
        return release_in(said.output) if said.return_code == 0 else ""

    # A run that is cut short between writing a file and restarting the service must not leave the service as it was.
    def mark_stale(self, service: Service) -> None:
        """Note that from now on the running service is not what is installed."""
        os.makedirs(self.path(MARKS), mode=0o755, exist_ok=True)
        with open(self._mark(service), "w", encoding="ascii") as file:
            file.write(str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))

    def is_stale(self, service: Service, state: UnitState) -> bool:
        """Whether the running service started before what is installed was written."""
        try:
            with open(self._mark(service), encoding="ascii") as file:
                marked = file.read().strip()
        except OSError:
            return False
        return state.running and marked.isdigit() and state.started_us <= int(marked)

    def _mark(self, service: Service) -> str:
        return self.path("{0}/{1}.stale".format(MARKS, service.name))

    def fetch(self, item: Download, timeout_s: float) -> str:
        """Download beside the place where the file belongs and return the path. Raises ``GpuError`` BG-K3S-008."""
        target = self.path(item.path)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        draft = "{0}.download".format(target)
        digest = hashlib.sha256()
        try:
            with open(draft, "wb") as file:
                os.fchmod(file.fileno(), item.mode)
                response = self._open(item.url, timeout_s)
                for block in _blocks_of(response):
                    digest.update(block)
                    file.write(block)
        except Exception as error:  # urllib's errors, ssl's, and the file system's
            _discard(draft)
            raise GpuError(
                "BG-K3S-008",
                "{0} cannot be downloaded ({1})".format(item.url, str(error)[:200]),
                "nothing was changed by this task",
                "check the mirror and that this host reaches it",
            ) from error
        if digest.hexdigest() != item.sha256:
            _discard(draft)
            raise GpuError(
                "BG-K3S-008",
                "{0} has the SHA-256 {1}, declared is {2}".format(item.url, digest.hexdigest(), item.sha256),
                "what is installed would not be what was declared",
                "compare with the publisher, then correct the mirror or the declaration",
            )
        return draft

    def keep(self, path: str, copy: str) -> None:
        """Let ``copy`` be what ``path`` is now, without a moment in which ``path`` is absent."""
        _discard(self.path(copy))
        os.link(self.path(path), self.path(copy))

    def discard(self, path: str) -> None:
        _discard(self.path(path))

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.path(path))

    def place(self, draft: str, path: str) -> None:
        """Move a finished draft to its place."""
        if not self._root:
            os.chown(draft, 0, 0)
        self._move(draft, self.path(path))

    def write(self, path: str, text: str, mode: int) -> None:
        """Replace a file as a whole; at no moment may others read a secret."""
        target = self.path(path)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        draft = "{0}.draft".format(target)
        _discard(draft)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        self.place(draft, path)

    def set_mode(self, path: str, mode: int) -> None:
        os.chmod(self.path(path), mode)
        if not self._root:
            os.chown(path, 0, 0)


def _locked(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in _blocks_of(file):
            digest.update(block)
    return digest.hexdigest()


def _blocks_of(file: Any) -> Iterator[bytes]:
    block = file.read(_BLOCK_BYTES)
    while block:
        yield block
        block = file.read(_BLOCK_BYTES)


def _discard(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
