"""The login server of the lab's tailnet: real headscale on a host of its own, at work before the plays run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from lab.model import Host
from lab.network import address, container
from lab.packages import TEMPLATES
from lab.podman import execute, podman
from lab.progress import step
from lab.settings import REPOSITORY, STATE
from lab.site import write_private

PORT = 8080
USER = "lab"
KEY_FILE = STATE / "secrets/tailnet-key"
"""On the controller: a key with which every host of the lab may join."""

_MANIFESTS = REPOSITORY / "lab/manifests"
_PROGRAM = "/usr/local/bin/headscale"
_READY_S = 60.0


def url(host: Host) -> str:
    """Where hosts log in."""
    return f"http://{address(host.address)}:{PORT}"


def start(host: Host, programs: Path) -> None:
    """Install headscale, start it and make the key. Safe to repeat; a second call changes nothing. Raises TimeoutError."""
    name = container(host.name)
    if not KEY_FILE.exists() or execute(name, "test", "-x", _PROGRAM, check=False).returncode:
        with step(f"Start headscale on {host.name}"):
            podman("cp", programs / "headscale", f"{name}:{_PROGRAM}")
            for path, text in _files(host).items():
                execute(name, "mkdir", "-p", str(Path(path).parent))
                execute(name, "tee", path, text=text)
            execute(name, "systemctl", "daemon-reload")
            execute(name, "systemctl", "enable", "--quiet", "--now", "headscale.service")
            _await(name)
            if not headscale(host, "users", "list"):
                headscale(host, "users", "create", USER)
            write_private(KEY_FILE, f"{new_key(host, '--reusable')}\n")
    _await(name)


def new_key(host: Host, *options: str) -> str:
    """A new auth key of the lab's user; `options` are headscale's own."""
    made = headscale(host, "preauthkeys", "create", "--user=1", "--expiration=24h", *options)
    return str(made["key"])


def headscale(host: Host, *arguments: str) -> Any:
    """Run one of headscale's commands and return what it answers. Raises PodmanError when it refuses."""
    return json.loads(execute(container(host.name), "headscale", "--output=json", *arguments).stdout)


def _files(host: Host) -> dict[str, str]:
    configuration = (_MANIFESTS / "headscale.yaml").read_text(encoding="utf-8")
    return {
        "/etc/headscale/config.yaml": configuration.replace("{address}", address(host.address)),
        "/etc/headscale/policy.json": (_MANIFESTS / "headscale-policy.json").read_text(encoding="utf-8"),
        "/etc/systemd/system/headscale.service": (TEMPLATES / "headscale.service").read_text(encoding="utf-8"),
    }


def _await(name: str) -> None:
    deadline = time.monotonic() + _READY_S
    while execute(name, "curl", "--silent", "--fail", f"http://127.0.0.1:{PORT}/health", check=False).returncode:
        if time.monotonic() > deadline:
            raise TimeoutError(f"headscale on {name} does not answer after {_READY_S:.0f} s")
        time.sleep(0.3)
