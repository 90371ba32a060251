"""Playbook runs that are killed at a random instant, in a random manner. The seed decides both, so a failure can be repeated."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab

CONTROLLER = "controller"
"""The controller's processes die; a module that runs on a host goes on, as after a crash of the operator's machine."""
CONNECTION = "connection"
"""The controller's processes and the shared ssh connections die: the host notices, and the module may be cut off or not."""
MODULE = "module"
"""The module's process on the host dies; the controller sees a task that fails."""
MANNERS = (CONTROLLER, CONNECTION, MODULE)


@dataclass(frozen=True)
class Kill:
    """``fraction`` is the instant as a part of how long an undisturbed run takes."""

    seed: int
    manner: str
    fraction: float


def draw(seed: int) -> Kill:
    """The kill that belongs to a seed."""
    # Reproducible on purpose; nothing here is a secret.
    chance = random.Random(seed)
    return Kill(seed, chance.choice(MANNERS), chance.uniform(0.03, 0.97))


@dataclass(frozen=True)
class Killed:
    """What is left to look at. ``task`` is the last one that had begun; ``ended`` tells a run that was over before its kill."""

    output: str
    task: str
    ended: bool


def run_and_kill(lab: Lab, playbook: str, kill: Kill, expected_s: float, *options: str) -> Killed:
    """Start a playbook, and kill it after its part of ``expected_s`` seconds."""
    deadline = time.monotonic() + kill.fraction * expected_s
    return run_until(lab, playbook, lambda: time.monotonic() >= deadline, *options, manner=kill.manner)


def run_until(lab: Lab, playbook: str, reached: Callable[[], bool], *options: str, manner: str = CONTROLLER) -> Killed:
    """Start a playbook, and kill it as soon as ``reached``."""
    log = lab.state / "log/killed.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                *(f"--inventory={inventory}" for inventory in lab.inventories),
                *options,
                str(lab.root / "playbooks" / playbook),
            ],
            cwd=lab.root,
            env={**os.environ, **lab.playbook_environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ended = _wait(process, reached)
        if manner == MODULE:
            for host in lab.managed:
                lab.ssh(host, KILL_MODULES, check=False)
            # The controller goes on from what it sees; it is not what is killed here.
            process.wait()
        else:
            _kill_family(process)
            if manner == CONNECTION:
                for pid in shared_connections(lab):
                    os.kill(pid, signal.SIGKILL)
    text = log.read_text(encoding="utf-8", errors="replace")
    log.unlink()
    begun = [line.split("[", 1)[1].rpartition("]")[0] for line in text.splitlines() if line.startswith("TASK [")]
    return Killed(text, begun[-1] if begun else "before the first task", ended)


# What ansible runs of a pipelined module is a bare interpreter, without any argument.
KILL_MODULES = """
for process in /proc/[0-9]*; do
    case "$(tr '\\0' ' ' < "$process/cmdline" 2>/dev/null)" in
        "/usr/bin/python3 "|"/usr/bin/python3 /root/.ansible/tmp/"*) kill -KILL "${process#/proc/}" ;;
    esac
done
"""


def shared_connections(lab: Lab) -> list[int]:
    """The processes that hold the shared ssh connections of this lab's runs: only theirs name its folder of sockets."""
    return [pid for pid, words in processes() if str(lab.sockets) in " ".join(words) and "ssh" in words[0]]


def processes() -> Iterator[tuple[int, list[str]]]:
    """Every process of this machine with its command line; lab hosts are containers, so theirs are among them."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                raw = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if raw:
                yield int(folder.name), raw.decode(errors="replace").rstrip("\0").split("\0")


def _wait(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> bool:
    """Whether the run ended by itself."""
    while not reached():
        if process.poll() is not None:
            return True
        time.sleep(0.05)
    return process.poll() is not None


def _kill_family(process: subprocess.Popen[bytes]) -> None:
    """Kill the run with everything it started: workers of ansible have sessions, and so process groups, of their own."""
    for pid in (process.pid, *descendants(process.pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def descendants(pid: int) -> list[int]:
    """Every process below another one."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # After the name, which may hold anything, come the state and the parent.
                parent = int(
                    (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
                )
                children.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
