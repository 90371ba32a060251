"""Faults that lie in a host's files: a full disk, a held lock, a file that is away or wrong, a program that says something else."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path

from lab import disks
from lab.faults.catalogue import FaultError
from lab.faults.handler import BACKUPS, Handler, Kept, Target
from lab.podman import PodmanError

PROGRAMS = Path(__file__).with_name("programs")

# Takes the locks as apt and dpkg do, tells systemd when it has them all, and waits to be ended.
_HOLD = """\
import fcntl, signal, sys
held = [open(path, "a") for path in sys.argv[1:]]
for file in held:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
import os, socket
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.pause()
"""


class FullDisk(Handler):
    """The host's own disk is filled to the last block. It is a sparse file, and reserved blocks take no room in it."""

    survives_reboot = True

    def refusal(self, target: Target) -> str | None:
        return None if disks.folder(target.host.name).is_mount() else "this host has no disk of its own"

    def apply(self, target: Target) -> Kept:
        disks.fill(target.host.name)
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        return disks.filler(target.host.name).exists()

    def undo(self, target: Target, kept: Kept) -> None:
        disks.filler(target.host.name).unlink(missing_ok=True)


class Locks(Handler):
    """A process on the host holds the locks `files`, as a package manager does that is busy or hangs."""

    @property
    def _unit(self) -> str:
        return f"lab-fault-{self.fault}".replace("_", "-") + ".service"

    def apply(self, target: Target) -> Kept:
        start = ("systemd-run", "--quiet", "--collect", f"--unit={self._unit}", "--service-type=notify")
        try:
            target.run(*start, "python3", "-c", _HOLD, *self.settings["files"].split())
        except PodmanError:
            raise FaultError("one of these locks is held by another process: " + self.settings["files"]) from None
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        return target.succeeds("systemctl", "is-active", "--quiet", self._unit)

    def undo(self, target: Target, kept: Kept) -> None:
        if self.active(target, kept):
            target.run("systemctl", "stop", self._unit)


class _KeptFile(Handler):
    """The file `path` is not as it was; what it was is kept elsewhere on the host."""

    survives_reboot = True

    @property
    def _backup(self) -> str:
        return f"{BACKUPS}/{self.fault}"

    def refusal(self, target: Target) -> str | None:
        path = self.settings["path"]
        return None if target.succeeds("test", "-f", path) else f"{path} does not exist there; `make lab` makes it"


class FileAway(_KeptFile):
    """The file `path` is not there."""

    def apply(self, target: Target) -> Kept:
        target.run("install", "-d", "-m", "0700", BACKUPS)
        target.run("mv", self.settings["path"], self._backup)
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        return target.succeeds("test", "-f", self._backup) and not target.succeeds("test", "-e", self.settings["path"])

    def undo(self, target: Target, kept: Kept) -> None:
        # Something else may have written it anew meanwhile: then that one stays.
        if self.active(target, kept):
            target.run("mv", self._backup, self.settings["path"])
        else:
            target.run("rm", "-f", self._backup)


class FileChanged(_KeptFile):
    """In the file `path` what matches `pattern` is replaced by `replacement`, and `unit` is restarted to read it."""

    def refusal(self, target: Target) -> str | None:
        reason = super().refusal(target)
        if reason is None and not re.search(self.settings["pattern"], target.run("cat", self.settings["path"])):
            return f"{self.settings['path']} holds nothing that this fault changes"
        return reason

    def apply(self, target: Target) -> Kept:
        path = self.settings["path"]
        changed = re.sub(self.settings["pattern"], self.settings["replacement"], target.run("cat", path))
        target.run("install", "-d", "-m", "0700", BACKUPS)
        target.run("cp", "--preserve", path, self._backup)
        target.run("sh", "-c", f"cat > {shlex.quote(path)}", text=changed)
        target.run("systemctl", "restart", self.settings["unit"])
        return {"sha256": hashlib.sha256(changed.encode()).hexdigest()}

    def active(self, target: Target, kept: Kept) -> bool:
        path = self.settings["path"]
        if not target.succeeds("test", "-f", path):
            return False
        return hashlib.sha256(target.run("cat", path).encode()).hexdigest() == kept.get("sha256")

    def undo(self, target: Target, kept: Kept) -> None:
        # What was written by somebody else meanwhile stays. Nothing was noted when the attempt was cut short.
        cut_short = not kept and target.succeeds("test", "-f", self._backup)
        if cut_short or self.active(target, kept):
            target.run("cp", "--preserve", self._backup, self.settings["path"])
            target.run("systemctl", "restart", self.settings["unit"])
        target.run("rm", "-f", self._backup)


class Programs(Handler):
    """Stand-ins for the programs named in `programs` come first in the host's search path; `{…}` in them are settings."""

    survives_reboot = True

    def refusal(self, target: Target) -> str | None:
        there = [path for path in self._paths() if target.succeeds("test", "-e", path)]
        return f"{', '.join(there)} exists there already" if there else None

    def apply(self, target: Target) -> Kept:
        for path in self._paths():
            text = (PROGRAMS / Path(path).name).read_text(encoding="utf-8")
            for key, value in self.settings.items():
                text = text.replace(f"@{key}@", value)
            target.run("install", "-m", "0755", "/dev/stdin", path, text=text)
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        return all(target.succeeds("test", "-e", path) for path in self._paths())

    def undo(self, target: Target, kept: Kept) -> None:
        target.run("rm", "-f", *self._paths())

    def _paths(self) -> list[str]:
        return [f"/usr/local/bin/{name}" for name in self.settings["programs"].split()]
