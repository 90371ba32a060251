"""The lab's own /24 and the few machine-wide settings that systemd containers need."""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lab import firewall
from lab.podman import podman, release_store
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
    """The lab's /24, chosen once so that it collides with no route of this machine nor with another lab, and kept."""
    kept = STATE / "subnet"
    if not kept.exists():
        # Another lab's network is routed only when its first host runs, so what labs chose stands in their register.
        with _labs() as labs:
            chosen = _choose({name: text for name, text in labs.get("subnets", {}).items() if name != identity()})
            labs.setdefault("subnets", {})[identity()] = str(chosen)
            labs["active"] = sorted({*labs.get("active", []), identity()})
        STATE.mkdir(parents=True, exist_ok=True)
        kept.write_text(f"{chosen}\n", encoding="utf-8")
    return ipaddress.IPv4Network(kept.read_text(encoding="utf-8").strip())


def _choose(of_labs: dict[str, str]) -> ipaddress.IPv4Network:
    routes = json.loads(
        subprocess.run(["ip", "-json", "-4", "route"], capture_output=True, text=True, check=True).stdout or "[]"
    )
    taken = [ipaddress.IPv4Network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]
    taken += [ipaddress.IPv4Network(text) for text in of_labs.values()]
    first = int(identity(), 16) % 256
    for offset in range(256):
        candidate = ipaddress.IPv4Network(f"10.91.{(first + offset) % 256}.0/24")
        if not any(candidate.overlaps(network) for network in taken):
            return candidate
    raise RuntimeError("every 10.91.x.0/24 is routed on this machine; the lab needs one of its own")


def address(number: int) -> str:
    """The address of a host from its last number."""
    return str(subnet()[number])


def hardware_address(number: int) -> str:
    """The hardware address of a host from its last number: as a machine's it stays the same when it reboots, so neighbours know it on.

    Locally administered, with this lab's identity in it: no other host of this machine has it.
    """
    octets = [identity()[at : at + 2] for at in range(0, 8, 2)]
    return ":".join(["02", *octets, f"{number:02x}"])


def ensure_network() -> None:
    """Create the lab's bridge if it is missing, and give the kernel room for its hosts."""
    with _labs() as labs:
        labs["active"] = sorted({*labs.get("active", []), identity()})
        labs.setdefault("firewall", firewall.has_furniture())
        before = labs.setdefault("before", {})
        for name, wanted in MACHINE_WIDE.items():
            path = sysctl(name)
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
        labs.get("subnets", {}).pop(identity(), None)
        if not labs["active"]:
            for name, value in labs.pop("before", {}).items():
                sysctl(name).write_text(value, encoding="ascii")
            if not labs.pop("firewall", True):
                firewall.remove_furniture()
            release_store()
            _remove_run_folders()


def sysctl(name: str) -> Path:
    """Where the kernel shows a machine-wide setting."""
    return Path("/proc/sys") / name.replace(".", "/")


def _remove_run_folders() -> None:
    """After the last lab: what podman keeps of a store while it runs. It makes it anew, as after a restart of the machine."""
    mounted = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    for folder in RUN.glob("podman-*"):
        if f" {folder}/" not in mounted:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _labs() -> Iterator[dict[str, Any]]:
    """The machine-wide register of running labs, locked while it is changed."""
    register = RUN / "labs.json"
    with _locked(RUN / "lock") as lock:
        labs = json.loads(register.read_text(encoding="utf-8")) if register.exists() else {}
        try:
            yield labs
        finally:
            # Also after a failure: what was changed by then must be known to whoever puts it back.
            if labs.get("active"):
                register.write_text(json.dumps(labs), encoding="utf-8")
            else:
                register.unlink(missing_ok=True)
                lock.unlink()


@contextmanager
def alone() -> Iterator[None]:
    """Let one command at a time work on this lab; a second one waits. Without the lab's state nothing of it is left."""
    told = "waiting for another command that works on this lab"
    with _locked(RUN / f"lab-{identity()}.lock", told) as lock:
        try:
            yield
        finally:
            if not STATE.exists():
                lock.unlink()
    with suppress(OSError):  # other labs are there
        RUN.rmdir()


@contextmanager
def _locked(path: Path, told: str = "") -> Iterator[Path]:
    """Hold an exclusive lock on a file, which may be removed by whoever holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if told:
                    say(told)
                fcntl.flock(lock, fcntl.LOCK_EX)
            # The former holder may have removed it meanwhile; then the lock is on a file that nobody else will open.
            if path.exists() and os.fstat(lock.fileno()).st_ino == path.stat().st_ino:
                yield path
                return
