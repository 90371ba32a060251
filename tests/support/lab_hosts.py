"""One lab of the tests' own: booted once, driven by its engine's command line, reached by ssh."""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.baremetal.gpu.tests.support import playbooks

# Not a measure: only what hangs is ended.
HANGS_AFTER_S = 75 * 60


@dataclass(frozen=True)
class Lab:
    """The lab whose state lies in ``state``. Two labs with different folders do not touch each other."""

    root: Path
    state: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the lab's engine and playbooks on its hosts are run with."""
        return {"BAREMETAL_GPU_LAB_DIR": str(self.state), "ANSIBLE_HOME": str(self.state / "ansible")}

    @property
    def inventories(self) -> list[Path]:
        """Both halves: what is declared, and what the engine generated."""
        return [self.root / "inventories/lab", self.state / "inventory/hosts.yml"]

    def engine(self, *arguments: str) -> None:
        """One command of ``python -m lab``, with its progress on the terminal. Raises CalledProcessError when it fails."""
        subprocess.run(
            [sys.executable, "-m", "lab", *arguments],
            cwd=self.root,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            check=True,
            timeout=HANGS_AFTER_S,
        )

    def play(self, playbook: str, *options: str, inventories: tuple[Path, ...] = ()) -> playbooks.PlaybookRun:
        """Run one of the collection's playbooks; hosts of further ``inventories`` come before the lab's own."""
        return playbooks.run(
            self.root / "playbooks" / playbook,
            [*inventories, *self.inventories],
            *options,
            environment={**self.environment, "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.sockets)},
            root=self.root,
        )

    @property
    def playbook_environment(self) -> dict[str, str]:
        """What ``ansible-playbook`` itself is run with, where ansible-runner is in the way."""
        return {
            **self.environment,
            "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.sockets),
            "ANSIBLE_NOCOLOR": "1",
        }

    @cached_property
    def sockets(self) -> Path:
        """A short path of this lab's own for ssh's sockets; they go with their connections."""
        folder = Path("/run/baremetal-gpu-lab") / f"ssh-{hashlib.sha256(str(self.state).encode()).hexdigest()[:8]}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    @cached_property
    def _inventory(self) -> Mapping[str, Any]:
        loaded: Mapping[str, Any] = yaml.safe_load((self.state / "inventory/hosts.yml").read_text(encoding="utf-8"))[
            "all"
        ]
        return loaded

    @property
    def managed(self) -> list[str]:
        """The hosts that playbooks know."""
        return sorted(self._inventory["hosts"])

    def address(self, host: str) -> str:
        return str(self._inventory["hosts"][host]["ansible_host"])

    def ssh(self, host: str, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on a host. Raises AssertionError with its output when it fails and ``check`` is set."""
        variables = self._inventory["vars"]
        done = subprocess.run(
            [
                "ssh",
                "-i",
                variables["ansible_ssh_private_key_file"],
                *shlex.split(variables["ansible_ssh_common_args"]),
                "-o",
                "BatchMode=yes",
                f"root@{self.address(host)}",
                f"set -eu; {command}",
            ],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert not check or done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done

    def reboot(self, host: str, limit_s: float = 240.0) -> None:
        """Let a host begin anew: its kernel log, too, where Xids of repaired GPUs count until the next boot."""
        identity = "cat /proc/sys/kernel/random/boot_id"
        before, deadline = self.ssh(host, identity).stdout, time.monotonic() + limit_s
        self.ssh(host, "systemctl reboot", check=False)
        while (now := self.ssh(host, identity, check=False).stdout) in ("", before):
            assert time.monotonic() < deadline, f"{host} is not back: {now!r}"
            time.sleep(1)

    def write(self, host: str, path: str, text: str) -> None:
        """Replace a file's content on a host; mode and owner stay."""
        self.ssh(host, f"echo {base64.b64encode(text.encode()).decode()} | base64 -d > {shlex.quote(path)}")
