"""Reads how what roles install stands on a host: packages, files, services, programs, images. Read-only, bounded.

Files are read below a root (``/`` on a host) and programs are given from outside, so that tests use a tree of their own. What cannot
be read has a reason and never raises. Of a file only what was asked for leaves the host: it may hold credentials of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded
from ansible_collections.baremetal.gpu.plugins.module_utils.containerd_store import Containerd, compare, no_client
from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os import packages
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import read_text, why_unreadable
from ansible_collections.baremetal.gpu.plugins.module_utils.image_archive import read_archive

SCHEMA = 1
"""Version of the returned structure; raised when a key changes its meaning."""

APT, DNF = "apt", "dnf"
# Distributions by their own names (os-release's ID) and by what they descend from (ID_LIKE).
_MANAGERS = {"debian": APT, "ubuntu": APT, "rhel": DNF, "fedora": DNF, "centos": DNF, "rocky": DNF}

_RPM_FORMAT = "%{NAME}|%{VERSION}|%{RELEASE}\\n"
_UNIT_PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState,ActiveEnterTimestampMonotonic"
_LINES_TOLD = 10
_LINE_CHARACTERS = 160

Run = Callable[[Sequence[str], float], bounded.Completed]
Find = Callable[[str], Optional[str]]


def collect(
    root: str,
    wanted: Mapping[str, Sequence[Mapping[str, Any]]],
    find: Find,
    run: Run,
    timeout_s: float,
    clocks: Tuple[float, float],
) -> Dict[str, Any]:
    """Every reading that ``wanted`` asks for, as the module documents it. ``clocks`` are the time and the monotonic clock, in seconds."""
    manager = package_manager(root)
    names = sorted({name for entry in wanted["packages"] for name in entry["names"]})
    units = sorted({entry["name"] for entry in wanted["services"]})
    versions, why_no_versions = _packages(manager, names, find, run, timeout_s)
    services, why_no_services = _services(units, find, run, timeout_s, clocks)
    return {
        "schema": SCHEMA,
        "package_manager": manager,
        "packages": versions,
        "why_no_packages": why_no_versions,
        "files": [_file(root, entry) for entry in wanted["files"]],
        "services": services,
        "why_no_services": why_no_services,
        "modified": _modified(root, [path for entry in wanted["services"] for path in entry["reads"]]),
        "programs": {path: _runs(root, path, find) for entry in wanted["programs"] for path in entry["paths"]},
        "images": [_images(root, entry, find, run) for entry in wanted["images"]],
        "machine_id": _machine_id(root) if wanted["nodes"] else None,
    }


def package_manager(root: str) -> Optional[str]:
    """``apt`` or ``dnf``, by the distribution: a host may have the programs of both. ``None`` for one that is not known."""
    try:
        text = read_text(os.path.join(root, "etc/os-release"))
    except OSError:
        return None
    own = [text_setting(text, name) or "" for name in ("ID", "ID_LIKE")]
    return next((_MANAGERS[word] for word in " ".join(own).split() if word in _MANAGERS), None)


def digest(machine_id: str) -> str:
    """What stands for a machine id in results, because the id itself is confidential (machine-id(5)); empty for none."""
    return hashlib.sha256(b"baremetal.gpu " + machine_id.encode()).hexdigest() if machine_id else ""


def text_setting(text: str, key: str) -> Optional[str]:
    """The first value of ``key`` in lines of ``key: value`` or ``key = value``, without quotes; ``None`` where there is none."""
    match = re.search(r"^[ \t]*(?:- )?{0}[ \t]*[:=][ \t]*(.*?)[ \t]*$".format(re.escape(key)), text, re.MULTILINE)
    return None if match is None else match.group(1).strip("\"'")


def significant(text: str) -> List[str]:
    """Lines without indentation, comments (``#``) and empty ones: what TOML and the like mean by a text."""
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def difference(found: str, declared: str) -> Dict[str, Any]:
    """How a file differs from what is declared: declared lines that it lacks, and how many further ones it has.

    Further lines are named by what stands before their first ``=`` only. ``same`` is about the order, too.
    """
    there, wanted = significant(found), significant(declared)
    lacking = [line for line in wanted if line not in there]
    further = [line for line in there if line not in wanted]
    return {
        "same": there == wanted,
        "lacking": [line[:_LINE_CHARACTERS] for line in lacking[:_LINES_TOLD]],
        "further": [line.partition("=")[0].strip()[:_LINE_CHARACTERS] for line in further[:_LINES_TOLD]],
        "count": len(lacking) + len(further),
    }


def parse_rpm(text: str) -> Dict[str, str]:
    """Version by package from ``rpm --query``; a line about a package that is not installed has another form."""
    rows = [line.split("|") for line in text.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[0] and row[1]}


def parse_units(text: str, clocks: Tuple[float, float]) -> Dict[str, Dict[str, Any]]:
    """Units by name from ``systemctl show``. ``started`` is the time (seconds since 1970) at which it became active, by today's clock."""
    found: Dict[str, Dict[str, Any]] = {}
    for block in text.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" not in values:
            continue
        since = values.get("ActiveEnterTimestampMonotonic", "")
        active = values.get("ActiveState") == "active"
        known = active and re.match(r"^[1-9][0-9]{0,18}$", since) is not None
        found[values["Id"]] = {
            "installed": values.get("LoadState") == "loaded",
            "active": active,
            "state": "{0} ({1})".format(values.get("ActiveState", "?"), values.get("SubState", "?")),
            "enabled": values.get("UnitFileState", ""),
            "started": clocks[0] - (clocks[1] - int(since) / 1e6) if known else None,
        }
    return found


def _packages(
    manager: Optional[str], names: Sequence[str], find: Find, run: Run, timeout_s: float
) -> Tuple[Optional[Dict[str, Dict[str, str]]], str]:
    """State and version of each package that is there, or ``None`` and why nothing is known."""
    if not names:
        return {}, ""
    if manager is None:
        return None, "the distribution is not one whose packages are known here (/etc/os-release)"
    if manager == APT:
        text, why = _output(
            "dpkg-query", ["--show", "--showformat=" + packages.DPKG_FORMAT, *names], find, run, timeout_s
        )
        known = packages.parse_dpkg(text or "")
        found = {each.name: {"state": each.state, "version": each.version} for each in known}
    else:
        text, why = _output("rpm", ["--query", "--queryformat", _RPM_FORMAT, *names], find, run, timeout_s)
        versions = parse_rpm(text or "")
        found = {name: {"state": packages.INSTALLED, "version": version} for name, version in versions.items()}
    return (None, why) if text is None else (found, "")


def _services(
    units: Sequence[str], find: Find, run: Run, timeout_s: float, clocks: Tuple[float, float]
) -> Tuple[Optional[Dict[str, Dict[str, Any]]], str]:
    if not units:
        return {}, ""
    command = ["show", "--no-pager", "--property=" + _UNIT_PROPERTIES, *units]
    text, why = _output("systemctl", command, find, run, timeout_s)
    found = parse_units(text or "", clocks)
    if text is not None and not found:
        text, why = None, "systemctl says nothing about {0}".format(", ".join(units))
    return (None, why) if text is None else (found, "")


def _output(name: str, arguments: Sequence[str], find: Find, run: Run, timeout_s: float) -> Tuple[Optional[str], str]:
    """What a program prints, also when some of what it was asked for is not there; ``None`` and why where it says nothing."""
    path = find(name)
    if path is None:
        return None, "{0} is not installed".format(name)
    try:
        completed = run([path, *arguments], timeout_s)
    except OSError as error:
        return None, "{0} cannot be started: {1}".format(name, error.strerror or error)
    if completed.timed_out:
        return None, "{0} did not answer within {1:g} s".format(name, timeout_s)
    return completed.output, ""


def _file(root: str, entry: Mapping[str, Any]) -> Dict[str, Any]:
    """Whether a file is there, and what was asked about its content."""
    path = str(entry["path"])
    reading: Dict[str, Any] = {"path": path, "exists": None, "problem": "", "differs": None, "settings": {}, "key": ""}
    try:
        text = read_text(os.path.join(root, path.lstrip("/")))
    except (FileNotFoundError, NotADirectoryError):
        return dict(reading, exists=False)
    except OSError as error:
        return dict(reading, problem=why_unreadable(path, error).reason)
    reading["exists"] = True
    if entry.get("content") is not None:
        reading["differs"] = difference(text, entry["content"])
    asked = [*(entry.get("settings") or {}), *(entry.get("refused") or {})]
    reading["settings"] = {key: text_setting(text, key) for key in asked}
    if entry.get("fingerprint"):
        reading["key"] = text
    return reading


def _modified(root: str, paths: Sequence[str]) -> Dict[str, Optional[float]]:
    """When each file was last written, in seconds since 1970; ``None`` where that cannot be read."""
    found: Dict[str, Optional[float]] = {}
    for path in paths:
        try:
            found[path] = os.stat(os.path.join(root, path.lstrip("/"))).st_mtime
        except OSError:
            found[path] = None
    return found


def _runs(root: str, program: str, find: Find) -> bool:
    """Whether a program is there; one without a path is looked for where programs are."""
    if not program.startswith("/"):
        return find(program) is not None
    path = os.path.join(root, program.lstrip("/"))
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _images(root: str, entry: Mapping[str, Any], find: Find, run: Run) -> Dict[str, Any]:
    """Which images of some archives containerd lacks or has otherwise; ``problem`` says why that is not known."""
    archives = [os.path.join(root, str(path).lstrip("/")) for path in dict.fromkeys(entry["archives"])]
    client: List[str] = entry["ctr"]
    reading: Dict[str, Any] = {"count": 0, "differing": [], "problem": ""}
    try:
        desired = [image for path in archives for image in read_archive(path)]
        program = find(client[0]) if client else None
        if program is None:
            raise no_client(" ".join(client) or "(empty)")
        store = Containerd([program, *client[1:]], entry["address"], entry["namespace"], run)
        plan = compare(desired, store.observe([image.reference for image in desired]))
    except GpuError as error:
        return dict(reading, problem=error.message)
    return dict(reading, count=len(desired), differing=[image.reference for image in plan.differing])


def _machine_id(root: str) -> str:
    try:
        return digest(read_text(os.path.join(root, "etc/machine-id")).strip())
    except OSError:
        return ""
