"""Trying out, in a child process and without a trace, what the lab needs of this kernel and of the rights it was given."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Trial = Callable[[], None]
"""Raises OSError when it cannot be done."""

# sched.h, mount.h
_CLONE_NEWNS, _CLONE_NEWCGROUP, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
_CLONE_NEWPID, _CLONE_NEWNET = 0x20000000, 0x40000000
_MS_REC, _MS_PRIVATE = 1 << 14, 1 << 18
# linux/loop.h
_LOOP_CTL_GET_FREE = 0x4C82
# linux/netlink.h, rtnetlink.h, if_link.h, nfnetlink.h, nf_tables.h
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_CREATE, _NLMSG_ERROR = 0x1, 0x4, 0x400, 2
_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_RTM_NEWLINK, _IFLA_LINKINFO, _IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_VXLAN_ID, _IFLA_VXLAN_PORT = 16, 18, 1, 2, 1, 15
_NFT_MSG_GETGEN = 10 << 8 | 16
_VXLAN_PORT = 4789

CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "SYS_BOOT": 22,
    "MKNOD": 27,
}
"""What hosts with their own systemd, kubelet and reboots use, with the kernel's numbers (linux/capability.h)."""


def missing_capabilities(status: str) -> tuple[str, ...]:
    """Which of CAPABILITIES a process lacks, from the text of its /proc/PID/status."""
    (effective,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")]
    return tuple(name for name, number in CAPABILITIES.items() if not effective >> number & 1)


def failures(place: Path) -> dict[str, str]:
    """What cannot be done here, by subject, with the reason. `place` is a folder on the file system of the lab's container store."""
    found = {}
    for subject, trial in _trials(place).items():
        reason = attempt(trial)
        if reason is not None:
            found[subject] = reason
    return found


def _trials(place: Path) -> dict[str, Trial]:
    return {
        "namespaces": lambda: _unshare(
            _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWPID | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWCGROUP
        ),
        "overlay": lambda: _overlay(place),
        "loop": _loop,
        "veth": lambda: _link("veth"),
        "bridge": lambda: _link("bridge"),
        "vxlan": lambda: _link("vxlan", _attribute(_IFLA_VXLAN_ID, struct.pack("=I", 1)) + _vxlan_port()),
        "nf_tables": _nf_tables,
    }


def attempt(trial: Trial) -> str | None:
    """Do something in a child process, whose namespaces end with it; return what the kernel said against it, or None."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        reason = b""
        try:
            trial()
        except OSError as error:
            reason = (error.strerror or str(error)).encode()
        finally:
            os.write(writing, reason)
            os._exit(1 if reason else 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        reason = pipe.read()
    _child, status = os.waitpid(child, 0)
    return None if status == 0 else reason.decode() or f"ended with status {status}"


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _mount(source: str, target: Path | str, kind: str, flags: int = 0, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _overlay(place: Path) -> None:
    _unshare(_CLONE_NEWNS)
    _mount("none", "/", "none", _MS_REC | _MS_PRIVATE)
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        lower, upper, work, merged = (Path(scratch, name) for name in ("lower", "upper", "work", "merged"))
        for folder in (lower, upper, work, merged):
            folder.mkdir()
        _mount("overlay", merged, "overlay", options=f"lowerdir={lower},upperdir={upper},workdir={work}")
        try:
            (merged / "file").touch()
        finally:
            ctypes.CDLL(None).umount(os.fsencode(merged))


def _loop() -> None:
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
    finally:
        os.close(control)


def _link(kind: str, data: bytes = b"") -> None:
    """Make a network interface of this kind in a network of its own."""
    _unshare(_CLONE_NEWNET)
    information = _attribute(_IFLA_INFO_KIND, kind.encode()) + (_attribute(_IFLA_INFO_DATA, data) if data else b"")
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _attribute(_IFLA_LINKINFO, information)
    with _netlink(_NETLINK_ROUTE) as ask:
        ask(_RTM_NEWLINK, _NLM_F_CREATE, body)


def _vxlan_port() -> bytes:
    return _attribute(_IFLA_VXLAN_PORT, struct.pack("!H", _VXLAN_PORT))


def _nf_tables() -> None:
    """Ask for the generation of the rule set, which only a kernel with nf_tables knows."""
    _unshare(_CLONE_NEWNET)
    with _netlink(_NETLINK_NETFILTER) as ask:
        ask(_NFT_MSG_GETGEN, 0, struct.pack("!BBH", socket.AF_UNSPEC, 0, 0))


def _attribute(kind: int, value: bytes) -> bytes:
    padding = b"\0" * (-len(value) % 4)
    return struct.pack("=HH", len(value) + 4, kind) + value + padding


@contextmanager
def _netlink(family: int) -> Iterator[Callable[[int, int, bytes], None]]:
    """A netlink socket, as a function that sends one request and raises OSError for the kernel's refusal."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as connection:
        connection.settimeout(5)

        def ask(kind: int, flags: int, body: bytes) -> None:
            header = struct.pack("=IHHII", 16 + len(body), kind, _NLM_F_REQUEST | _NLM_F_ACK | flags, 1, 0)
            connection.send(header + body)
            answer = connection.recv(65536)
            if struct.unpack_from("=H", answer, 4)[0] == _NLMSG_ERROR:
                number = -struct.unpack_from("=i", answer, 16)[0]
                if number:
                    name = "the kernel does not have it" if number in (errno.EOPNOTSUPP, errno.EINVAL) else ""
                    raise OSError(number, name or os.strerror(number))

        yield ask
