"""The guard on its host: saves, arms, applies, confirms, takes back. Decisions are in ``access_guard``."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils import access_guard as guard
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard import Change, File
from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

Run = Callable[[List[str], float], Completed]

_COMMAND_TIMEOUT_S = 30.0
_LOCK_WAIT_S = 20.0
_LOCK_POLL_S = 0.1
_SYSTEMD_RUNS = "/run/systemd/system"


@dataclass(frozen=True)
class Pending:
    """A change that waits for its confirmation. ``left_s`` is what is left until the host takes it back, ``None`` when unknown."""

    identifier: str
    name: str
    state: str
    left_s: Optional[float] = None

    def as_dict(self) -> Dict[str, Any]:
        return {"identifier": self.identifier, "name": self.name, "state": self.state, "left_s": self.left_s}


class Guard:
    """Paths are those of the host below ``root``, which is ``/`` outside of tests."""

    def __init__(self, run: Run, root: str = "/") -> None:
        self._run = run
        self._root = root.rstrip("/")

    def path(self, path: str) -> str:
        return self._root + path

    def pending(self) -> Optional[Pending]:
        """The change that is armed now, if any."""
        about = self._about()
        if about is None:
            return None
        ends = about.get("ends_monotonic_s") if about.get("boot_id") == self._boot_id() else None
        left = None if ends is None else round(max(0.0, float(ends) - time.monotonic()), 1)
        return Pending(str(about.get("identifier")), str(about.get("name")), self._state(), left)

    def last_rolled_back(self) -> str:
        """The name of the change that was taken back last, empty when the last one was confirmed."""
        return str((self._json(guard.ROLLED_BACK + "/about.json") or {}).get("name", ""))

    def refuse_pending(self) -> None:
        """Raise ``GpuError`` (BG-ACCESS-105) while a change waits: what is to be seen now may be gone in a minute."""
        pending = self.pending()
        if pending is not None:
            raise guard.waits(pending.name, pending.left_s)

    def arm_and_apply(self, change: Change, identifier: str, after_s: int) -> None:
        """Make a change effective until it is confirmed or ``after_s`` seconds have passed.

        Raises ``GpuError``: BG-ACCESS-105 when another change waits, BG-ACCESS-110 when no timer can be armed (nothing was changed),
        BG-ACCESS-121 when the change failed in the middle (what was is put back).
        """
        if not os.path.isdir(self.path(_SYSTEMD_RUNS)):
            raise _unarmed("this host does not run systemd")
        with self._turn():
            self._forget_unarmed()
            self.refuse_pending()
            guard.step(guard.FREE, guard.ARM)
            self._save(change, identifier, after_s)
            try:
                self._start_timers(after_s)
            except GpuError:
                self._remove_units()
                shutil.rmtree(self.path(guard.ARMED))
                raise
            self._set_state(guard.ARMED_STATE)
            self._set_state(guard.step(guard.ARMED_STATE, guard.APPLY))
            failed = self._make(change.files, change.activate)
        if failed:
            raise self._taken_back(identifier, "{0} could not be applied: {1}".format(change.name, failed))

    def confirm(self, identifier: str) -> None:
        """Let the change survive a boot, and disarm. Raises ``GpuError`` BG-ACCESS-122 when the host has taken it back already."""
        with self._turn():
            pending = self.pending()
            if pending is None or pending.identifier != identifier:
                raise guard.late("the change was taken back before it was confirmed")
            guard.step(pending.state, guard.CONFIRM)
            lasting = guard.Lasting.from_dict((self._about() or {})["lasting"])
            failed = self._make(lasting.files, lasting.persist)
            if not failed:
                # From here on the way back finds nothing to take back.
                done = self.path(guard.GUARD + "/confirmed")
                shutil.rmtree(done, ignore_errors=True)
                os.rename(self.path(guard.ARMED), done)
                self._remove_units()
                shutil.rmtree(done, ignore_errors=True)
                shutil.rmtree(self.path(guard.ROLLED_BACK), ignore_errors=True)
        if failed:
            raise self._taken_back(identifier, "{0} could not be made lasting: {1}".format(lasting.name, failed))

    def roll_back(self, identifier: str) -> bool:
        """Put back what was before this change, now. ``False`` when it is not pending any more."""
        pending = self.pending()
        if pending is None or pending.identifier != identifier:
            return False
        done = self.command(["/bin/sh", self.path(guard.SCRIPT)])
        if done.return_code != 0:
            raise GpuError(
                "BG-ACCESS-123",
                "putting back what was before did not succeed at once: {0}".format(_said(done)),
                "the host tries again by itself",
                "look at the journal of {0}".format(guard.SERVICE),
            )
        return True

    def _taken_back(self, identifier: str, what: str) -> GpuError:
        """Put back what was before a change that failed; the error that says so."""
        self.roll_back(identifier)
        return GpuError(
            "BG-ACCESS-121",
            what,
            "what was before is in effect again",
            "correct what the message names, then run again",
        )

    def command(self, words: Sequence[str]) -> Completed:
        """Run a program; one that is not there counts as failed (status 127)."""
        try:
            return self._run(list(words), _COMMAND_TIMEOUT_S)
        except OSError as error:
            return Completed(return_code=127, output="", errors=str(error), elapsed_s=0.0)

    def read(self, path: str) -> Optional[str]:
        """A file's text, ``None`` when it cannot be read."""
        try:
            with open(self.path(path), encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except OSError:
            return None

    def is_as_wanted(self, file: File) -> bool:
        """Whether a file, link or absence is already there. Owners are those that files had."""
        full = self.path(file.path)
        if file.absent:
            return not os.path.lexists(full)
        if file.link is not None:
            return os.path.islink(full) and os.readlink(full) == file.link
        if os.path.islink(full) or self.read(file.path) != file.text:
            return False
        return stat.S_IMODE(os.stat(full).st_mode) == file.mode

    @contextmanager
    def _turn(self) -> Iterator[None]:
        os.makedirs(self.path(guard.GUARD), mode=0o700, exist_ok=True)
        deadline = time.monotonic() + _LOCK_WAIT_S
        with open(self.path(guard.LOCK), "w", encoding="ascii") as lock:
            while not _locked(lock):
                if time.monotonic() > deadline:
                    raise guard.in_progress("another run is changing the access to this host")
                time.sleep(_LOCK_POLL_S)
            yield

    def _forget_unarmed(self) -> None:
        """Remove what a run left that died while it saved: no timer counts for it, and it changed nothing."""
        if os.path.isdir(self.path(guard.ARMED)) and self._state() == "":
            self._remove_units()
            shutil.rmtree(self.path(guard.ARMED))

    def _save(self, change: Change, identifier: str, after_s: int) -> None:
        """Everything that the way back needs, on the disk before anything is changed."""
        armed, draft = self.path(guard.ARMED), self.path(guard.ARMED + ".draft")
        shutil.rmtree(draft, ignore_errors=True)
        os.makedirs(draft + "/saved", mode=0o700)
        saved: Dict[str, str] = {}
        for number, path in enumerate(change.paths):
            if os.path.lexists(self.path(path)):
                saved[path] = str(number)
                self._must(["cp", "-a", "--", self.path(path), "{0}/saved/{1}".format(draft, number)])
        for name, text in change.materials.items():
            _write(os.path.join(draft, name), text, 0o600)
        about = {
            "identifier": identifier,
            "name": change.name,
            "after_s": after_s,
            "boot_id": self._boot_id(),
            "ends_monotonic_s": time.monotonic() + after_s,
            "lasting": guard.Lasting(change.name, change.lasting, change.persist).as_dict(),
        }
        _write(draft + "/about.json", json.dumps(about), 0o600)
        _write(draft + "/state", "", 0o600)
        _write(draft + "/roll-back", guard.script(change, saved, self._root), 0o700)
        _settle(draft)
        os.rename(draft, armed)
        _synchronise(os.path.dirname(armed))

    def _start_timers(self, after_s: int) -> None:
        for file in guard.units(after_s):
            self._write(file)
        for words in (["daemon-reload"], ["reset-failed", guard.SERVICE], ["restart", guard.TIMER]):
            done = self.command(["systemctl", *words])
            if done.return_code != 0 and words[0] != "reset-failed":
                raise _unarmed("systemctl {0} says: {1}".format(" ".join(words), _said(done)))
        state = self.command(["systemctl", "show", "--property=ActiveState", "--value", guard.TIMER])
        if state.output.strip() != "active":
            raise _unarmed("{0} is {1}".format(guard.TIMER, state.output.strip() or "unknown"))
        for file in guard.units(after_s):
            _synchronise(os.path.dirname(self.path(file.path)))

    def _remove_units(self) -> None:
        self.command(["systemctl", "stop", guard.TIMER, guard.BOOT_TIMER])
        for file in guard.units(1):
            if os.path.lexists(self.path(file.path)):
                os.unlink(self.path(file.path))
        self.command(["systemctl", "daemon-reload"])

    def _make(self, files: Sequence[File], commands: Sequence[guard.Command]) -> str:
        """Write and run; what failed, empty when nothing did."""
        try:
            for file in files:
                if not self.is_as_wanted(file):
                    self._write(file)
        except OSError as error:
            return str(error)
        for words in commands:
            command = guard.in_folder(words, self.path(guard.ARMED))
            done = self.command(command)
            if done.return_code != 0:
                return "{0}: {1}".format(" ".join(command), _said(done))
        return ""

    def _write(self, file: File) -> None:
        target = self.path(file.path)
        if file.absent:
            if os.path.lexists(target):
                os.unlink(target)
            return
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        draft = target + ".draft"
        if os.path.lexists(draft):
            os.unlink(draft)
        if file.link is not None:
            os.symlink(file.link, draft)
        else:
            _write(draft, file.text or "", file.mode)
            owner = file.owner or _owner(target)
            if owner and not self._root:
                os.chown(draft, *owner)
        os.replace(draft, target)

    def _set_state(self, state: str) -> None:
        _write(self.path(guard.STATE) + ".draft", state, 0o600)
        os.replace(self.path(guard.STATE) + ".draft", self.path(guard.STATE))

    def _state(self) -> str:
        return (self.read(guard.STATE) or "").strip()

    def _about(self) -> Optional[Mapping[str, Any]]:
        if not os.path.isdir(self.path(guard.ARMED)):
            return None
        return self._json(guard.ABOUT) or {}

    def _json(self, path: str) -> Optional[Dict[str, Any]]:
        try:
            loaded = json.loads(self.read(path) or "")
        except ValueError:
            return None
        return loaded if isinstance(loaded, dict) else None

    def machine(self) -> str:
        """Tells this host in this boot from others, without telling its machine id."""
        identity = (self.read("/etc/machine-id") or "").strip() + self._boot_id()
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    def _boot_id(self) -> str:
        return (self.read("/proc/sys/kernel/random/boot_id") or "").strip()

    def _must(self, words: Sequence[str]) -> None:
        done = self.command(words)
        if done.return_code != 0:
            raise _unarmed("{0} says: {1}".format(words[0], _said(done)))


def _unarmed(what: str) -> GpuError:
    return GpuError(
        "BG-ACCESS-110",
        what,
        "without a timer on the host nobody would put back a change that cuts the line; nothing was changed",
        "make systemd and /var/lib work on the host, then run again",
    )


def _said(done: Completed) -> str:
    if done.timed_out:
        return "no answer within {0:g} s".format(done.elapsed_s)
    return " ".join((done.errors or done.output).split())[-400:] or "status {0}".format(done.return_code)


def _owner(path: str) -> Optional[Any]:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_uid, status.st_gid


def _write(path: str, text: str, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(path, mode)


def _settle(folder: str) -> None:
    """Let everything in a folder survive a loss of power."""
    for where, _folders, names in os.walk(folder):
        for path in (os.path.join(where, name) for name in names):
            if os.path.isfile(path) and not os.path.islink(path):
                _synchronise(path)
        _synchronise(where)


def _synchronise(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
