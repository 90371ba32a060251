"""sshd on its host: what is in effect, what a declared file would make of it, and who could log in. Input and output."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils import sshd_settings
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard import Change, File
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard_host import Guard
from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sshd_settings import DROP_IN, Effective, User

_FOLDER = os.path.dirname(DROP_IN)
_SERVICES = ("ssh.service", "sshd.service")
_SOCKETS = ("ssh.socket", "sshd.socket")
# What sshd would say with another folder of drop-ins, in a mount namespace of its own. A socket-activated sshd that does not run
# has no folder for its unprivileged part; there it gets one that only it sees.
_ELSEWHERE = (
    'mount --bind -- "$1" "$2" || exit 1; shift 2; '
    "[ -d /run/sshd ] || { mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd; } || exit 1; "
    'exec "$@"'
)


@dataclass(frozen=True)
class Account:
    """What the host knows of a user."""

    user: User
    home: str
    uid: int
    gid: int


class Sshd:
    """``sshd`` is the program's path."""

    def __init__(self, guard: Guard, sshd: str) -> None:
        self._guard = guard
        self._sshd = sshd

    def effective(self, folder: Optional[str], user: str = "", client: str = "") -> Dict[str, Tuple[str, ...]]:
        """What is in effect for a user, or with ``folder`` would be if it were the folder of drop-ins.

        Raises ``GpuError`` (BG-ACCESS-106) when sshd does not accept its configuration.
        """
        words = [self._sshd, "-T"]
        if user:
            words += ["-C", "user={0},host={1},addr={1}".format(user, client or "127.0.0.1")]
        said = self._in(folder, words)
        if said.return_code != 0:
            raise _refused(said)
        return sshd_settings.parse_effective(said.output)

    def prepare_folder(self, text: str, folder: str) -> None:
        """Make ``folder`` a copy of the host's drop-ins with ours as it is wanted."""
        place = self._guard.path(_FOLDER)
        if not os.path.isdir(place):
            raise GpuError(
                "BG-ACCESS-107",
                "this host has no {0}".format(_FOLDER),
                "sshd would not read the settings",
                "create it, and let /etc/ssh/sshd_config begin with: Include {0}/*.conf".format(_FOLDER),
            )
        shutil.copytree(place, folder)
        path = os.path.join(folder, os.path.basename(DROP_IN))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)

    def change(self, files: Sequence[File]) -> Change:
        """What makes these files effective, and undone. They last by themselves; what is undone at boot was never confirmed."""
        reload = tuple(("systemctl", verb, unit) for unit, verb in sorted(self._units().items()))
        return Change(
            name="sshd's settings and keys",
            files=tuple(files),
            activate=((self._sshd, "-t"), *reload),
            restore=reload,
        )

    def _units(self) -> Dict[str, str]:
        """sshd's services by their own names, and how each comes to read its settings anew.

        One that runs must run afterwards, whatever the settings did to it. Behind a socket of systemd it is restarted, because an
        sshd that is reloaded opens its port anew and finds that taken; connections wait in the socket meanwhile, sessions stay. One
        that does not run there is started with whatever settings there are then, so it may run by the time that they are taken back.
        """
        socket = any(state == "active" for _unit, state in map(self._unit, _SOCKETS))
        found = {}
        for unit, state in map(self._unit, _SERVICES):
            if unit:
                running = state in ("active", "reloading")
                found[unit] = "try-restart" if socket or not running else "reload-or-restart"
        return found

    def _unit(self, name: str) -> Tuple[str, str]:
        """A unit's own name, empty where there is none, and its state."""
        said = self._guard.command(["systemctl", "show", "--property=Id,LoadState,ActiveState", name])
        values = dict(line.split("=", 1) for line in said.output.splitlines() if "=" in line)
        loaded = values.get("LoadState") == "loaded"
        return (values.get("Id", "") if loaded else "", values.get("ActiveState", ""))

    def _in(self, folder: Optional[str], words: Sequence[str]) -> Completed:
        if folder is None:
            return self._guard.command(words)
        place = self._guard.path(_FOLDER)
        return self._guard.command(["unshare", "--mount", "--", "sh", "-c", _ELSEWHERE, "sh", folder, place, *words])


def account(name: str) -> Optional[Account]:
    """A user of the host with its groups, without keys."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = []
    for gid in os.getgrouplist(name, entry.pw_gid):
        try:
            groups.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    user = User(name, tuple(groups), is_root=entry.pw_uid == 0)
    return Account(user, entry.pw_dir, entry.pw_uid, entry.pw_gid)


def with_keys(found: Account, effective: Effective, texts: Mapping[str, str]) -> User:
    """The user with the keys that sshd would read; ``texts`` has what files are going to hold."""
    keys, unsafe = [], []
    strict = (effective.get("strictmodes") or ("yes",))[0] == "yes"
    for path in sshd_settings.key_files(effective, found.user.name, found.home):
        if path in texts:
            keys.append(texts[path])
            continue
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        reason = _loose(path, found) if strict else ""
        if reason:
            unsafe.append(reason)
        else:
            keys.append(text)
    return User(found.user.name, found.user.groups, True, tuple(keys), tuple(unsafe), found.user.is_root)


def _loose(path: str, found: Account) -> str:
    """Why StrictModes keeps sshd from reading a file: others may write it, or a folder between it and the home."""
    parts = [path]
    while parts[-1] not in (found.home, "/") and parts[-1].startswith(found.home.rstrip("/") + "/"):
        parts.append(os.path.dirname(parts[-1]))
    for part in parts:
        try:
            status = os.stat(part)
        except OSError:
            return ""
        if status.st_uid not in (0, found.uid):
            return "{0} belongs to another user".format(part)
        if stat.S_IMODE(status.st_mode) & 0o022:
            return "others may write {0}".format(part)
    return ""


def key_file(found: Account, effective: Effective, keys: Sequence[str]) -> File:
    """The user's first file of keys, with these keys and no other."""
    path = sshd_settings.key_files(effective, found.user.name, found.home)[0]
    return File(path, sshd_settings.keys_text(keys), 0o600, owner=(found.uid, found.gid))


def _refused(said: Completed) -> GpuError:
    return GpuError(
        "BG-ACCESS-106",
        "sshd does not accept its configuration: {0}".format(" ".join((said.errors or said.output).split())[:400]),
        "nothing was changed",
        "correct the role's variables, or what else stands in /etc/ssh",
    )
