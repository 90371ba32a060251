"""The lab's own /24 and the few machine-wide settings that systemd containers need."""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.podman import podman
from lab.progress import say
from lab.settings import RUN, STATE

# Each host's systemd and kubelet hold about 11 inotify instances; the kernel's default of 128 is met by a handful of hosts.
# podman turns forwarding on when it makes a bridge; it is listed so that it is put back.
MACHINE_WIDE = {"fs.inotify.max_user_instances": "8192", "net.ipv4.ip_forward": "1"}


def identity() -> str:
    """Eight hexadecimal digits that tell this lab from any other on the machine."""
    return hashlib.sha256(str(STATE).encode()).hexdigest()[:8]


def network_name() -> str:
    return f"baremetal-gpu-{identity()}"


def ssh_sockets() -> Path:
    """Where ssh keeps the sockets of its shared connections. A short path: a socket's is limited to about 100 characters."""
    return RUN / f"ssh-{identity()}"


def container(host: str) -> str:
    """The container's name for a lab host."""
    return f"bmg-{identity()}-{host}"


def subnet() -> ipaddress.IPv4Network:
    """The lab's /24, chosen once so that it collides with no route of this machine, and kept in the state folder."""
    kept = STATE / "subnet"
    if kept.exists():
        return ipaddress.IPv4Network(kept.read_text(encoding="utf-8").strip())
    routes = json.loads(
        subprocess.run(["ip", "-json", "-4", "route"], capture_output=True, text=True, check=True).stdout or "[]"
    )
    taken = [ipaddress.IPv4Network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]
    first = int(identity(), 16) % 256
    for offset in range(256):
        candidate = ipaddress.IPv4Network(f"10.91.{(first + offset) % 256}.0/24")
        if not any(candidate.overlaps(network) for network in taken):
            STATE.mkdir(parents=True, exist_ok=True)
            kept.write_text(f"{candidate}\n", encoding="utf-8")
            return candidate
    raise RuntimeError("every 10.91.x.0/24 is routed on this machine; the lab needs one of its own")


def address(number: int) -> str:
    """The address of a host from its last number."""
    return str(subnet()[number])


def ensure_network() -> None:
    """Create the lab's bridge if it is missing, and give the kernel room for its hosts."""
    with _labs() as labs:
        labs["active"] = sorted({*labs.get("active", []), identity()})
        before = labs.setdefault("before", {})
        for name, wanted in MACHINE_WIDE.items():
            path = _sysctl(name)
            before.setdefault(name, path.read_text(encoding="ascii").strip())
            if int(path.read_text(encoding="ascii")) < int(wanted):
                path.write_text(wanted, encoding="ascii")
    if podman("network", "exists", network_name(), check=False).returncode:
        podman("network", "create", "--disable-dns", f"--subnet={subnet()}", network_name())


def remove_network() -> None:
    """Remove the bridge; the last lab on the machine also puts the machine-wide settings back."""
    if not podman("network", "exists", network_name(), check=False).returncode:
        podman("network", "rm", "--force", network_name())
    with _labs() as labs:
        labs["active"] = [lab for lab in labs.get("active", []) if lab != identity()]
        if not labs["active"]:
            for name, value in labs.pop("before", {}).items():
                _sysctl(name).write_text(value, encoding="ascii")


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


@contextmanager
def _labs() -> Iterator[dict[str, Any]]:
    """The machine-wide register of running labs, locked while it is changed."""
    RUN.mkdir(parents=True, exist_ok=True)
    register = RUN / "labs.json"
    with (RUN / "lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        labs = json.loads(register.read_text(encoding="utf-8")) if register.exists() else {}
        try:
            yield labs
        finally:
            # Also after a failure: what was changed by then must be known to whoever puts it back.
            if labs.get("active"):
                register.write_text(json.dumps(labs), encoding="utf-8")
            else:
                register.unlink(missing_ok=True)


@contextmanager
def alone() -> Iterator[None]:
    """Let one command at a time work on this lab; a second one waits."""
    RUN.mkdir(parents=True, exist_ok=True)
    with (RUN / f"lab-{identity()}.lock").open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another command that works on this lab")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
