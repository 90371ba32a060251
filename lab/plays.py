"""Runs the collection's own playbooks against the lab's hosts, all systems side by side, with progress on the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab import commands, helm
from lab.model import System
from lab.network import ssh_sockets
from lab.progress import say
from lab.settings import REPOSITORY, STATE


@dataclass(frozen=True)
class Run:
    """One finished playbook run: its exit status, how long it took, and where its log and verdict are."""

    system: System
    returncode: int
    seconds: float
    log: Path
    verdict: Path


class _Play:
    """A playbook in progress. Its output goes to a file, not a pipe: ssh's shared connections outlive ansible and would hold a pipe open."""

    def __init__(self, system: System, extra: tuple[str, ...]) -> None:
        self.system = system
        self.log = STATE / f"log/{system.name}.log"
        self.verdict = STATE / f"report/{system.name}.json"
        for path in (self.log, self.verdict):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        self.begun = time.monotonic()
        self.seconds = 0.0
        self._rest = ""
        self._output = self.log.open("wb")
        self._read = self.log.open("r", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(
            command(f"playbooks/{system.playbook}", *extra),
            cwd=REPOSITORY,
            env=environment(self.verdict),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def report_progress(self) -> None:
        """Say which tasks began since the last call."""
        # Only whole lines: the last one may still be in the writing.
        *lines, self._rest = (self._rest + self._read.read()).split("\n")
        for line in lines:
            if line.startswith(("PLAY [", "TASK [", "RUNNING HANDLER [")):
                say(f"{self.system.name}: {line.split('[', 1)[1].rpartition(']')[0]}")
            elif line.startswith(("fatal:", "[ERROR]")):
                say(f"{self.system.name}: {line.strip()[:400]}")

    def finished(self) -> bool:
        done = self.process.poll() is not None
        if done and not self.seconds:
            self.seconds = time.monotonic() - self.begun
        return done

    def close(self) -> Run:
        self.report_progress()
        self._output.close()
        self._read.close()
        return Run(self.system, self.process.returncode, self.seconds, self.log, self.verdict)


def command(playbook: str | Path, *extra: str) -> list[str]:
    """The command line of a playbook, whose path may be relative to the checkout, on the lab's hosts."""
    return [str(Path(sys.executable).with_name("ansible-playbook")), *inventories(), *extra, str(playbook)]


def environment(verdict: Path) -> dict[str, str]:
    """The variables with which a playbook runs on the lab's hosts and writes its verdict."""
    return {
        **os.environ,
        # kubernetes.core.helm looks for helm where the controller's programs are.
        "PATH": f"{helm.FOLDER / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        **helm.environment(),
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "ANSIBLE_HOME": str(STATE / "ansible"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(ssh_sockets()),
        "BAREMETAL_GPU_VERDICT_FILE": str(verdict),
    }


def inventories() -> list[str]:
    """Both halves of the lab's inventory: what is declared, and what the engine generated."""
    return ["--inventory", str(REPOSITORY / "inventories/lab"), "--inventory", str(STATE / "inventory/hosts.yml")]


def run(system: System, extra: tuple[str, ...] = ()) -> Run:
    """Run a system's playbook to its end. Systems share no host, so several of these may run at the same time."""
    play = _Play(system, extra)
    with commands.owned(play.process):
        while not play.finished():
            play.report_progress()
            time.sleep(0.3)
    return play.close()
