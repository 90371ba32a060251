"""States, marks and candidates of Debian packages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

DPKG_FORMAT = "${db:Status-Abbrev}|${Package}|${Version}\\n"
"""The format of ``dpkg-query --show`` that ``parse_dpkg`` reads."""

INSTALLED = "installed"
REMOVED = "removed"  # only its configuration is left
HALF = "half"  # unpacked, half installed, or not configured

_HOLD, _NEEDS_REINSTALL = "h", "R"
_STATES = {"i": INSTALLED, "W": INSTALLED, "t": INSTALLED, "c": REMOVED, "U": HALF, "F": HALF, "H": HALF}
_POLICY_VERSION = re.compile(r"^ (?:\*\*\*|   ) (\S+) -?\d+$")
_POLICY_ORIGIN = re.compile(r"^ {6,}-?\d+ (https?://\S+|file:\S+|cdrom:\S+)")


@dataclass(frozen=True)
class Package:
    """One package that dpkg knows."""

    name: str
    version: str
    state: str
    held: bool


@dataclass(frozen=True)
class Policy:
    """What ``apt-cache policy`` says of one package: versions, and where each can be fetched from."""

    installed: Optional[str]
    candidate: Optional[str]
    origins: Mapping[str, Tuple[str, ...]]


def parse_dpkg(text: str) -> Tuple[Package, ...]:
    """Every package in the output of ``dpkg-query --show``, in its order. Lines in another form are left out."""
    found: List[Package] = []
    for line in text.splitlines():
        status, _separator, rest = line.partition("|")
        name, separator, version = rest.partition("|")
        state = _STATES.get(status[1:2])
        if state is None or not separator or not name:
            continue
        found.append(Package(name, version, HALF if status[2:3] == _NEEDS_REINSTALL else state, status[0] == _HOLD))
    return tuple(found)


def parse_names(text: str) -> Tuple[str, ...]:
    """Names, one a line, as ``apt-mark`` prints them; without the architecture of foreign packages."""
    return tuple(line.strip().partition(":")[0] for line in text.splitlines() if line.strip())


def parse_policy(text: str) -> Dict[str, Policy]:
    """What ``apt-cache policy`` (in the C locale) says, by package."""
    found: Dict[str, Policy] = {}
    name, version = "", ""
    heads: Dict[str, Optional[str]] = {}
    origins: Dict[str, Tuple[str, ...]] = {}
    for line in [*text.splitlines(), "end:"]:
        if line and not line.startswith(" ") and line.endswith(":"):
            if name:
                found[name] = Policy(heads.get("Installed"), heads.get("Candidate"), origins)
            name, version, heads, origins = line[:-1], "", {}, {}
            continue
        head, colon, value = line.strip().partition(": ")
        if colon and head in ("Installed", "Candidate"):
            heads[head] = None if value.strip() == "(none)" else value.strip()
        match = _POLICY_VERSION.match(line)
        if match:
            version = match.group(1)
            origins[version] = ()
        origin = _POLICY_ORIGIN.match(line)
        if origin and version:
            origins[version] = (*origins[version], origin.group(1))
    return found


def matching(names: Iterable[str], patterns: Sequence[str]) -> List[str]:
    """Names that a pattern matches whole, sorted."""
    expression = re.compile("|".join("(?:{0})".format(pattern) for pattern in patterns))
    return sorted({name for name in names if expression.fullmatch(name)})


def not_held(packages: Iterable[Package], patterns: Sequence[str]) -> List[str]:
    """Installed packages that must not move and that nothing holds."""
    return matching((each.name for each in packages if each.state == INSTALLED and not each.held), patterns)


def removable(packages: Iterable[Package], automatic: Iterable[str], patterns: Sequence[str]) -> List[str]:
    """Installed packages of the stack that ``apt autoremove`` may remove, because they are marked as automatic."""
    installed = {each.name for each in packages if each.state == INSTALLED}
    return matching(installed.intersection(automatic), patterns)


def foreign_candidates(policies: Mapping[str, Policy], own_hosts: Sequence[str]) -> Dict[str, str]:
    """Candidates that an upgrade would take from others than NVIDIA: version by package.

    A version that one of NVIDIA's hosts has, too, is not foreign.
    """
    found: Dict[str, str] = {}
    for name, policy in policies.items():
        candidate = policy.candidate
        if candidate is None or policy.installed is None or candidate == policy.installed:
            continue
        origins = policy.origins.get(candidate, ())
        if origins and not any(_host(origin) in own_hosts for origin in origins):
            found[name] = candidate
    return found


def modules_for(packages: Iterable[Package], kernel: str, prefixes: Sequence[str]) -> List[str]:
    """Installed packages with signed modules of the driver for one kernel; empty where it would boot without a driver."""
    names = {each.name for each in packages if each.state == INSTALLED}
    return sorted(prefix + kernel for prefix in prefixes if prefix + kernel in names)


def _host(address: str) -> str:
    return address.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0].lower()
