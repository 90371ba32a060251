"""A lab host whose access is changed, seen from the operator's side (ssh) and from a console that no firewall and no sshd closes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils import access_guard as guard
from ansible_collections.baremetal.gpu.tests.support import playbooks
from ansible_collections.baremetal.gpu.tests.support.killing import descendants
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab

HOST = "spark-01"
TAILNET = "100.64.0.21"
PLAYBOOKS = Path(__file__).resolve().parents[1] / "lab/playbooks"

# Back to a host that nobody changed; the network device stands for the tailnet's, and leads nowhere.
RESET = f"""
/bin/sh {guard.SCRIPT} 2>/dev/null
systemctl stop {guard.TIMER} baremetal-gpu-firewall.service 2>/dev/null
nft delete table inet baremetal_gpu 2>/dev/null
rm -rf {guard.GUARD} /etc/baremetal-gpu/firewall.nft /etc/ssh/sshd_config.d/*.conf /usr/local/sbin/nft
rm -f /etc/systemd/system/baremetal-gpu-* /etc/systemd/system/*.wants/baremetal-gpu-*
if systemctl is-active --quiet ssh.socket; then
    # Before its alias comes back, or systemd loses sight of the one that runs.
    systemctl stop ssh.socket ssh.service; systemctl disable --quiet ssh.socket; systemctl enable --quiet ssh.service
fi
cp /root/.ssh/authorized_keys.before /root/.ssh/authorized_keys
systemctl daemon-reload
systemctl restart ssh.service
ip link show tailscale0 >/dev/null 2>&1 || ip link add tailscale0 type veth peer name tailnet
ip address replace {TAILNET}/32 dev tailscale0
ip link set tailscale0 up; ip link set tailnet up
"""


@dataclass
class Outage:
    """When logins by fresh connections worked, in seconds of the monotonic clock."""

    good: list[float] = field(default_factory=list)
    attempts: int = 0

    @property
    def seconds(self) -> float:
        """The longest time between two logins that worked."""
        return max((second - first for first, second in zip(self.good, self.good[1:], strict=False)), default=0.0)


@dataclass(frozen=True)
class AccessHost(Lab):
    """One bare host of the lab, and no site around it."""

    @property
    def inventory(self) -> Path:
        return self.state / "inventory/hosts.yml"

    def write_inventory(self) -> None:
        """What the engine writes for a whole site: how this host is reached."""
        subnet = (self.state / "subnet").read_text(encoding="ascii").strip()
        keys = self.state / "ssh"
        self.inventory.parent.mkdir(parents=True, exist_ok=True)
        inventory = {
            "all": {
                "hosts": {HOST: {"ansible_host": subnet.replace("0/24", "21")}},
                "vars": {
                    "ansible_user": "root",
                    "ansible_ssh_private_key_file": str(keys / "id_ed25519"),
                    "ansible_ssh_common_args": f"-o UserKnownHostsFile={keys}/known_hosts -o IdentitiesOnly=yes",
                },
            }
        }
        self.inventory.write_text(yaml.safe_dump(inventory), encoding="utf-8")

    def console(self, command: str, *, check: bool = True) -> str:
        """Run a shell command on the host without network and sshd; its output. Raises AssertionError when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "lab", "shell", HOST, "--command", command],
            cwd=self.root,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def reset(self) -> None:
        """Undo whatever a test left."""
        self.console("[ -e /root/.ssh/authorized_keys.before ] || cp /root/.ssh/authorized_keys{,.before}")
        self.console(RESET, check=False)
        with contextlib.suppress(FileNotFoundError):
            for socket in self.sockets.iterdir():
                subprocess.run(
                    ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "none"], capture_output=True, check=False
                )
        assert self.can_log_in()

    def can_log_in(self, timeout_s: int = 2) -> bool:
        """Whether the operator gets a shell by key over a fresh connection."""
        login = [*self._ssh, "-o", f"ConnectTimeout={timeout_s}", f"root@{self.address(HOST)}", "true"]
        try:
            # A host that restarts in the middle of a login never answers.
            done = subprocess.run(
                login, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=timeout_s + 3
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    @cached_property
    def _ssh(self) -> list[str]:
        variables = self._inventory["vars"]
        fresh = "-o BatchMode=yes -o ControlMaster=no -o ControlPath=none -o LogLevel=ERROR"
        key = variables["ansible_ssh_private_key_file"]
        return ["ssh", "-i", key, *shlex.split(variables["ansible_ssh_common_args"]), *shlex.split(fresh)]

    def await_login(self, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while not self.can_log_in():
            assert time.monotonic() < deadline, self.console("journalctl -b --no-pager | tail -n 40", check=False)
            time.sleep(0.3)

    def restart(self) -> None:
        """Let the host begin anew, and wait until it lets the operator in."""
        identity = "cat /proc/sys/kernel/random/boot_id"
        before, deadline = self.console(identity), time.monotonic() + 120
        self.console("systemctl reboot", check=False)
        while self.console(identity, check=False) in ("", before):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        self.await_login(60)

    @contextlib.contextmanager
    def watched(self) -> Iterator[Outage]:
        """Try to log in all the time."""
        outage, ended = Outage([time.monotonic()], 1), threading.Event()
        assert self.can_log_in()

        def watch() -> None:
            while not ended.is_set():
                outage.attempts += 1
                if self.can_log_in(1):
                    outage.good.append(time.monotonic())
                ended.wait(0.2)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield outage
        finally:
            ended.set()
            thread.join()
            # Until when it lasted, where that was just now.
            if self.can_log_in():
                outage.good.append(time.monotonic())
                outage.attempts += 1

    @contextlib.contextmanager
    def variables(self, given: Mapping[str, Any]) -> Iterator[str]:
        """The option that hands these variables to a playbook."""
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump(given, file)
            file.flush()
            yield f"--extra-vars=@{file.name}"

    def change(self, playbook: str, *options: str, **given: Any) -> playbooks.PlaybookRun:
        """Run one of the playbooks of these tests to its end."""
        with self.variables(given) as extra:
            return playbooks.run(
                PLAYBOOKS / playbook,
                [self.inventory],
                extra,
                *options,
                environment={**self.environment, "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.sockets)},
                root=self.root,
            )

    @contextlib.contextmanager
    def controller(self, playbook: str, **given: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A run that goes on meanwhile, until it has applied its change; it is killed at the end, if it still runs."""
        with self.variables(given) as extra:
            process = subprocess.Popen(
                [
                    str(Path(sys.executable).with_name("ansible-playbook")),
                    f"--inventory={self.inventory}",
                    extra,
                    str(PLAYBOOKS / playbook),
                ],
                cwd=self.root,
                env={**os.environ, **self.playbook_environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                deadline = time.monotonic() + 60
                while self.console(f"cat {guard.STATE} 2>/dev/null", check=False).strip() != guard.APPLIED:
                    assert process.poll() is None, "the run ended before it had applied anything"
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                yield process
            finally:
                kill(process)

    def put(self, path: str, text: str, mode: str) -> None:
        encoded = base64.b64encode(text.encode()).decode()
        self.console(f"echo {encoded} | base64 -d > {path} && chmod {mode} {path}")


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a run with everything that it started, as when the operator's machine dies."""
    if process.poll() is None:
        for pid in (process.pid, *descendants(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()


def codes(run: playbooks.PlaybookRun) -> list[str]:
    """The codes with which tasks failed."""
    return [str(result.result.get("code")) for result in run.results if result.status in ("failed", "unreachable")]
