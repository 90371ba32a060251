"""What podman's network program leaves in the machine's packet filter when its last network is gone: empty chains and jumps to them."""

from __future__ import annotations

import shlex
import subprocess

FURNITURE = frozenset(
    {"NETAVARK_FORWARD", "NETAVARK-HOSTPORT-DNAT", "NETAVARK-HOSTPORT-MASQ", "NETAVARK-HOSTPORT-SETMARK"}
)
"""Chains that netavark makes once for all its networks. Each network has one more, with a number."""

_PREFIXES = ("NETAVARK_", "NETAVARK-")


def has_furniture() -> bool:
    """Whether podman has been at work on this machine before."""
    return any(name in FURNITURE for _table, name in _chains(_saved()))


def remove_furniture() -> None:
    """Remove it, unless some network of podman is there still."""
    for command in removal(_saved()):
        subprocess.run(command, capture_output=True, check=True)


def removal(saved: str) -> list[list[str]]:
    """The iptables commands that remove netavark's own chains, from the text of iptables-save; none while a network has one."""
    chains = [(table, name) for table, name in _chains(saved) if name.startswith(_PREFIXES)]
    if any(name not in FURNITURE for _table, name in chains):
        return []
    jumps = [
        ["iptables", "--table", table, "--delete", *shlex.split(rule)[1:]]
        for table, rule in _rules(saved)
        if rule.split()[-1] in FURNITURE and rule.split()[1] not in FURNITURE
    ]
    emptied = [["iptables", "--table", table, "--flush", name] for table, name in chains]
    return [*jumps, *emptied, *(["iptables", "--table", table, "--delete-chain", name] for table, name in chains)]


def _saved() -> str:
    return subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout


def _chains(saved: str) -> list[tuple[str, str]]:
    return [(table, line[1:].split()[0]) for table, line in _lines(saved) if line.startswith(":")]


def _rules(saved: str) -> list[tuple[str, str]]:
    return [(table, line) for table, line in _lines(saved) if line.startswith("-A ")]


def _lines(saved: str) -> list[tuple[str, str]]:
    """Each line with its table."""
    table, found = "", []
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        found.append((table, line))
    return found
