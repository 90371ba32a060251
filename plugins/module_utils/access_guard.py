"""The guard of changes that could cut the operator's line: its states, its units and its way back. Pure.

A change is armed (what was is saved, and a timer on the host would put it back), applied, and confirmed over a fresh connection.
Only then is it written where a boot finds it. Whoever dies in between, the timer puts back what was; so does a boot.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

Command = Tuple[str, ...]

GUARD = "/var/lib/baremetal-gpu/access-guard"
ARMED = GUARD + "/armed"
"""Exists from arming until the change is confirmed or taken back: the lock between controllers, which outlives their processes."""
ROLLED_BACK = GUARD + "/rolled-back"
"""What the last change was that was taken back, until another one is confirmed."""
LOCK = GUARD + "/lock"
SCRIPT = ARMED + "/roll-back"
STATE = ARMED + "/state"
ABOUT = ARMED + "/about.json"
SAVED = ARMED + "/saved"

UNITS = "/etc/systemd/system"
SERVICE = "baremetal-gpu-access-rollback.service"
TIMER = "baremetal-gpu-access-rollback.timer"
BOOT_TIMER = "baremetal-gpu-access-rollback-boot.timer"

# States of the guard on a host. What is ARMED was not touched yet; APPLIED may be in part.
FREE = "free"
ARMED_STATE = "armed"
APPLIED = "applied"

# Events.
ARM = "arm"
APPLY = "apply"
CONFIRM = "confirm"
ROLL_BACK = "roll back"

_NEXT = {
    (FREE, ARM): ARMED_STATE,
    (ARMED_STATE, APPLY): APPLIED,
    (APPLIED, CONFIRM): FREE,
    (ARMED_STATE, ROLL_BACK): FREE,
    (APPLIED, ROLL_BACK): FREE,
    (FREE, ROLL_BACK): FREE,
}


@dataclass(frozen=True)
class File:
    """A file as it is to be; without text and link it is to be absent. The owner is kept, a new file is ``owner``'s."""

    path: str
    text: Optional[str] = None
    mode: int = 0o644
    link: Optional[str] = None
    owner: Optional[Tuple[int, int]] = None

    @property
    def absent(self) -> bool:
        return self.text is None and self.link is None


@dataclass(frozen=True)
class Change:
    """Something that could cut the line.

    ``files`` and ``activate`` make it effective, ``lasting`` and ``persist`` let it survive a boot. ``restore`` makes what was saved
    effective again; in every command ``{armed}`` stands for the guard's folder, in which ``materials`` lie. ``touches`` are further
    files and folders that the commands write.
    """

    name: str
    files: Tuple[File, ...] = ()
    activate: Tuple[Command, ...] = ()
    lasting: Tuple[File, ...] = ()
    persist: Tuple[Command, ...] = ()
    restore: Tuple[Command, ...] = ()
    materials: Mapping[str, str] = field(default_factory=dict)
    touches: Tuple[str, ...] = ()

    @property
    def paths(self) -> Tuple[str, ...]:
        """Every path that the change writes, now or when it is confirmed."""
        return tuple(dict.fromkeys([*(file.path for file in (*self.files, *self.lasting)), *self.touches]))


@dataclass(frozen=True)
class Lasting:
    """What lets a change survive a boot, as it lies beside the change until that is confirmed."""

    name: str
    files: Tuple[File, ...]
    persist: Tuple[Command, ...]

    def as_dict(self) -> Dict[str, Any]:
        return {
            "name": self.name,
            "files": [asdict(file) for file in self.files],
            "persist": [*map(list, self.persist)],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Lasting:
        """What ``as_dict`` made, after it was JSON."""
        files = tuple(
            File(**{**item, "owner": tuple(item["owner"]) if item.get("owner") else None}) for item in data["files"]
        )
        return cls(str(data["name"]), files, tuple(tuple(words) for words in data["persist"]))


def step(state: str, event: str) -> str:
    """The state after an event. Raises ``GpuError``: BG-ACCESS-105 for a second change, BG-ACCESS-122 for a late confirmation."""
    after = _NEXT.get((state, event))
    if after is not None:
        return after
    if event == ARM:
        raise in_progress("another change of the access to this host is under way")
    raise late("there is no change that could be {0}".format("confirmed" if event == CONFIRM else "applied"))


def in_progress(what: str) -> GpuError:
    """Two changes at once would each put back what the other one made."""
    return GpuError(
        "BG-ACCESS-105",
        what,
        "two at a time would take back each other's settings",
        "wait until it is confirmed or the host has taken it back by itself, then run again",
    )


def waits(name: str, left_s: Optional[float]) -> GpuError:
    """Another change waits, for as long as is known."""
    left = "" if left_s is None else " for {0:.0f} s more".format(left_s)
    return in_progress("a change of the access to this host ({0}) waits for its confirmation{1}".format(name, left))


def late(what: str) -> GpuError:
    return GpuError(
        "BG-ACCESS-122",
        what,
        "the host has put back what was before, so nothing of this change is in effect",
        "allow more time (rollback_after), or make the connection faster, then run again",
    )


def service_unit() -> str:
    """Runs the way back. Tried again should it fail; a condition keeps it from running when there is nothing to take back."""
    return (
        "# Written by baremetal.gpu while a change of the access to this host waits for its confirmation.\n"
        "[Unit]\n"
        "Description=Take back an unconfirmed change of the access to this host\n"
        "ConditionPathExists={0}\n"
        "StartLimitIntervalSec=300\n"
        "StartLimitBurst=10\n"
        # At boot an sshd that is starting may have read what is about to be taken back; it is reloaded once it runs.
        "After=ssh.service sshd.service\n"
        "\n"
        "[Service]\n"
        "Type=oneshot\n"
        "ExecStart=/bin/sh {0}\n"
        "Restart=on-failure\n"
        "RestartSec=3\n"
    ).format(SCRIPT)


def timer_unit(after_s: int) -> str:
    """Counts from its start: from arming, and after a boot from there. No wall clock is read."""
    return _timer("OnActiveSec={0}".format(after_s))


def boot_timer_unit() -> str:
    """Enabled but never started by arming: a timer whose time since boot has passed would elapse at once."""
    return _timer("OnBootSec=1")


def _timer(when: str) -> str:
    return (
        "# Written by baremetal.gpu while a change of the access to this host waits for its confirmation.\n"
        "[Unit]\n"
        "Description=When to take back an unconfirmed change of the access to this host\n"
        "\n"
        "[Timer]\n"
        "{0}\n"
        "AccuracySec=1\n"
        "Unit={1}\n"
        "\n"
        "[Install]\n"
        "WantedBy=timers.target\n"
    ).format(when, SERVICE)


def units(after_s: int) -> Tuple[File, ...]:
    """Both timers, enabled, and their service."""
    wants = UNITS + "/timers.target.wants"
    return (
        File("{0}/{1}".format(UNITS, SERVICE), service_unit()),
        File("{0}/{1}".format(UNITS, TIMER), timer_unit(after_s)),
        File("{0}/{1}".format(UNITS, BOOT_TIMER), boot_timer_unit()),
        File("{0}/{1}".format(wants, TIMER), link="{0}/{1}".format(UNITS, TIMER)),
        File("{0}/{1}".format(wants, BOOT_TIMER), link="{0}/{1}".format(UNITS, BOOT_TIMER)),
    )


def in_folder(command: Sequence[str], folder: str) -> Command:
    """A command with the guard's folder in the place of ``{armed}``."""
    return tuple(word.replace("{armed}", folder) for word in command)


def script(change: Change, saved: Mapping[str, str], root: str = "") -> str:
    """The way back as a shell program that needs nothing of this collection, and may be run again after it was cut short.

    ``saved`` has the name of the copy of every path that existed; the others were absent.
    """
    lines = [
        "#!/bin/sh",
        "# Takes back: {0}. Written by baremetal.gpu; run by {1}, or by hand.".format(change.name, SERVICE),
        "set -u",
        "guard={0}".format(shlex.quote(root + GUARD)),
        "units={0}".format(shlex.quote(root + UNITS)),
        "failed=0",
        # Two of them, or one and a confirmation, must not meet.
        'exec 9>"$guard/lock"',
        "flock -w 60 9 || exit 75",
        # Confirmed or taken back meanwhile.
        '[ -d "$guard/armed" ] || exit 0',
        # The copy beside its place, so that the file is whole at any moment.
        "put_back() {",
        '    mkdir -p -- "$(dirname -- "$2")" && rm -rf -- "$2.put-back" && cp -a -- "$guard/armed/saved/$1" "$2.put-back" || {',
        "        failed=1",
        "        return",
        "    }",
        # A folder cannot be replaced by another one in one step.
        '    if [ -d "$2" ] && [ ! -L "$2" ]; then rm -rf -- "$2"; fi',
        '    mv -fT -- "$2.put-back" "$2" || failed=1',
        "}",
        'take_away() { rm -rf -- "$1" || failed=1; }',
    ]
    # What has not begun to be applied is as it was.
    lines += ['if [ "$(cat "$guard/armed/state")" = {0} ]; then'.format(APPLIED), "    :"]
    for path in change.paths:
        full = shlex.quote(root + path)
        lines.append("    put_back {0} {1}".format(saved[path], full) if path in saved else "    take_away " + full)
    for command in change.restore:
        lines.append("    {0} 9>&- || failed=1".format(shlex.join(in_folder(command, root + ARMED))))
    lines += [
        "fi",
        # Armed still: the service tries again.
        '[ "$failed" = 0 ] || exit 1',
        'rm -rf -- "$guard/rolled-back"',
        'mv -T -- "$guard/armed" "$guard/rolled-back"',
        'rm -f -- "$units/timers.target.wants/{0}" "$units/timers.target.wants/{1}" "$units/{0}" "$units/{1}" "$units/{2}"'.format(
            TIMER, BOOT_TIMER, SERVICE
        ),
        "systemctl stop {0} {1} 9>&-".format(TIMER, BOOT_TIMER),
        "systemctl daemon-reload 9>&-",
        "exit 0",
    ]
    return "\n".join(lines) + "\n"
