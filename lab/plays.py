"""Runs the collection's own playbooks against the lab's hosts, all systems side by side, with progress on the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

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
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                *inventories(),
                *extra,
                f"playbooks/{system.playbook}",
            ],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
                "ANSIBLE_HOME": str(STATE / "ansible"),
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(ssh_sockets()),
                "BAREMETAL_GPU_VERDICT_FILE": str(self.verdict),
            },
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


def inventories() -> list[str]:
    """Both halves of the lab's inventory: what is declared, and what the engine generated."""
    return ["--inventory", str(REPOSITORY / "inventories/lab"), "--inventory", str(STATE / "inventory/hosts.yml")]


def run(systems: tuple[System, ...], extra: tuple[str, ...] = ()) -> list[Run]:
    """Run each system's playbook; they share no host, so they run at the same time."""
    plays = [_Play(system, extra) for system in systems]
    # Every one is asked each time: asking is what notes when a play ended.
    while [play for play in plays if not play.finished()]:
        for play in plays:
            play.report_progress()
        time.sleep(0.3)
    return [play.close() for play in plays]
