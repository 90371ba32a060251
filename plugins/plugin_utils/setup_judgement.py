"""Holds what ``host_setup`` read against what roles declare. Pure: no input, no output.

One finding of each code: the worst of what was looked at under it counts, and the evidence names each. What is otherwise than declared is
``fail``; what cannot be read is ``unknown``, never ``ok``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.baremetal.gpu.plugins.filter.openpgp_fingerprints import fingerprints
from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os.packages import HALF
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    FAIL,
    FIX_CONFIGURATION,
    NO_ACTION,
    OK,
    RESTART_APP,
    UNKNOWN,
    Finding,
    severity,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.setup_readings import digest

Registry = Mapping[str, Mapping[str, Any]]
Entry = Mapping[str, Any]

# States of a unit file in which systemd starts it at boot, by itself or by another unit (systemctl(1), is-enabled).
STARTS_AT_BOOT = frozenset({"enabled", "static", "linked", "alias", "indirect", "generated"})
CLOCK_TOLERANCE_S = 2.0
"""A file's time comes from a coarse clock, and a start is converted from the monotonic one."""


@dataclass(frozen=True)
class Seen:
    """One look at one thing. ``what`` names it; ``evidence`` holds what was read of it."""

    code: str
    what: str
    status: str = OK
    reason: str = ""
    action: str = FIX_CONFIGURATION
    evidence: Mapping[str, Any] = field(default_factory=dict)


def judge(readings: Mapping[str, Any], wanted: Mapping[str, Any], subject: str, registry: Registry) -> list[Finding]:
    """One finding of each code that ``wanted`` (the action's arguments) names, in the order of their first entries."""
    looks = [
        *_packages(readings, wanted["packages"]),
        *_files(readings, wanted["files"]),
        *_services(readings, wanted["services"]),
        *_programs(readings, wanted["programs"]),
        *_images(readings, wanted["images"]),
        *_nodes(readings, wanted["nodes"], wanted["cluster"]),
        *_releases(wanted["releases"], wanted["cluster"]),
    ]
    codes = dict.fromkeys(look.code for look in looks)
    return [finding_of([look for look in looks if look.code == code], subject, registry[code]) for code in codes]


def finding_of(looks: Sequence[Seen], subject: str, known: Mapping[str, Any]) -> Finding:
    """One finding over looks of one code; words and requirements come from the registry of codes."""
    worst = max(looks, key=lambda look: severity(look.status))
    bad = [look for look in looks if look.status != OK]
    evidence = {"what": known["text"], "found": {look.what: dict(look.evidence) for look in looks if look.evidence}}
    return Finding(
        code=worst.code,
        subject=subject,
        status=worst.status,
        reason="; ".join(look.reason for look in bad) or f"{', '.join(look.what for look in looks)}: as declared",
        remedy=str(known["remedy"]) if bad else "",
        evidence=evidence,
        requirements=tuple(known["requirements"]),
        action=NO_ACTION if worst.status == OK else worst.action,
        blame=({"kind": "host", "name": subject.split()[0]},) if worst.status == FAIL else (),
    )


def _packages(readings: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[Seen]:
    installed = readings["packages"]
    for entry in entries:
        for name in entry["names"]:
            code, declared = entry["code"], str(entry["version"])
            if installed is None:
                yield Seen(code, name, UNKNOWN, f"{name}: {readings['why_no_packages']}")
                continue
            found = installed.get(name)
            evidence = {"declared": declared, **(found or {})}
            if found is None or found["state"] == "removed":
                yield Seen(code, name, FAIL, f"{name} is not installed", evidence=evidence)
            elif found["state"] == HALF:
                yield Seen(code, name, FAIL, f"{name} is only half installed", evidence=evidence)
            elif not is_version(found["version"], declared):
                reason = f"{name} is {found['version']}, declared is {declared}"
                yield Seen(code, name, FAIL, reason, evidence=evidence)
            else:
                yield Seen(code, name, evidence=evidence)


def is_version(found: str, declared: str) -> bool:
    """Whether a package's version is the declared one, whatever its epoch and release are."""
    upstream = found.partition(":")[2] or found
    return upstream == declared or upstream.startswith(declared + "-")


def _files(readings: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[Seen]:
    for entry, reading in zip(entries, readings["files"], strict=True):
        code, path, manager = entry["code"], entry["path"], readings["package_manager"]
        if entry["package_manager"] and manager is None:
            yield Seen(code, path, UNKNOWN, "the distribution is not one whose repositories are known here")
        elif entry["package_manager"] in (None, manager):
            yield from _file(code, path, entry, reading)


def _file(code: str, path: str, entry: Entry, reading: Mapping[str, Any]) -> Iterator[Seen]:
    if reading["exists"] is None:
        yield Seen(code, path, UNKNOWN, str(reading["problem"]))
        return
    if entry["absent"]:
        there = bool(reading["exists"])
        yield Seen(code, path, FAIL if there else OK, f"{path} is there" if there else "", evidence={"exists": there})
        return
    if not reading["exists"]:
        yield Seen(code, path, FAIL, f"{path} is not there", evidence={"exists": False})
        return
    faults = [*_content_faults(reading["differs"]), *_setting_faults(entry, reading["settings"])]
    faults += _key_faults(entry["fingerprint"], reading["key"])
    evidence: dict[str, Any] = {"exists": True}
    if reading["differs"]:
        evidence["differs"] = reading["differs"]
    if reading["settings"]:
        evidence["settings"] = reading["settings"]
    yield Seen(code, path, FAIL if faults else OK, f"{path}: {'; '.join(faults)}" if faults else "", evidence=evidence)


def _content_faults(differs: Mapping[str, Any] | None) -> Iterator[str]:
    if differs is None or differs["same"]:
        return
    if differs["lacking"]:
        yield f"lacks {', '.join(differs['lacking'])}"
    if differs["further"]:
        yield f"also sets {', '.join(differs['further'])}"
    if not differs["count"]:
        yield "has its lines in another order, or twice"


def _setting_faults(entry: Entry, found: Mapping[str, str | None]) -> Iterator[str]:
    for key, declared in entry["settings"].items():
        if found.get(key) != str(declared):
            value = found.get(key)
            yield f"{key} is {'not set' if value is None else value}, declared is {declared}"
    for key, refused in entry["refused"].items():
        value = found.get(key)
        if value is not None and value.lower() == str(refused).lower():
            yield f"{key} is {value}"


def _key_faults(declared: str | None, text: str) -> Iterator[str]:
    if not declared:
        return
    try:
        found = fingerprints(text)
    except ValueError as error:
        yield f"holds no key that can be read ({error})"
        return
    if found != ["".join(declared.split()).upper()]:
        yield f"holds the key {', '.join(found)}, declared is {declared}"


def _services(readings: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[Seen]:
    units = readings["services"]
    for entry in entries:
        code, name = entry["code"], entry["name"]
        if units is None:
            yield Seen(code, name, UNKNOWN, f"{name}: {readings['why_no_services']}")
            continue
        unit = units.get(name)
        if unit is None or not unit["installed"]:
            yield Seen(code, name, FAIL, f"{name} is not installed")
        elif not unit["active"]:
            yield Seen(code, name, FAIL, f"{name} is {unit['state']}", RESTART_APP, unit)
        elif unit["enabled"] not in STARTS_AT_BOOT:
            reason = f"{name} does not start at boot ({unit['enabled'] or 'no state'})"
            yield Seen(code, name, FAIL, reason, evidence=unit)
        else:
            yield _started(code, name, unit, entry["reads"], readings["modified"])


def _started(code: str, name: str, unit: Mapping[str, Any], reads: Sequence[str], modified: Mapping[str, Any]) -> Seen:
    """A service that reads its configuration once must have started after that was written."""
    evidence = {**unit, **({"modified": {path: modified.get(path) for path in reads}} if reads else {})}
    if not reads:
        return Seen(code, name, evidence=evidence)
    unread = [path for path in reads if modified.get(path) is None]
    if unit["started"] is None or unread:
        reason = f"{name}: when {', '.join(unread)} was written" if unread else f"{name}: when it started"
        return Seen(code, name, UNKNOWN, f"{reason} cannot be read", evidence=evidence)
    later = [path for path in reads if modified[path] > unit["started"] + CLOCK_TOLERANCE_S]
    if later:
        reason = f"{name} started before {', '.join(later)} was written and has not read it"
        return Seen(code, name, FAIL, reason, RESTART_APP, evidence)
    return Seen(code, name, evidence=evidence)


def _programs(readings: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[Seen]:
    for entry in entries:
        for path in entry["paths"]:
            there = bool(readings["programs"][path])
            reason = "" if there else f"{path} is not there, or is no program"
            yield Seen(entry["code"], path, OK if there else FAIL, reason, evidence={"exists": there})


def _images(readings: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[Seen]:
    for entry, reading in zip(entries, readings["images"], strict=True):
        what, differing = f"{reading['count']} images", reading["differing"]
        if reading["problem"]:
            yield Seen(entry["code"], "images", UNKNOWN, str(reading["problem"]))
        elif differing:
            reason = f"containerd lacks {', '.join(differing)}, or has another image of that name"
            yield Seen(entry["code"], what, FAIL, reason, evidence={"count": reading["count"], "differing": differing})
        else:
            yield Seen(entry["code"], what, evidence={"count": reading["count"]})


def _nodes(readings: Mapping[str, Any], entries: Sequence[Entry], cluster: Mapping[str, Any] | None) -> Iterator[Seen]:
    """The node of that name is this host, as its machine id proves, and has the declared labels."""
    for entry in entries:
        code, name = entry["code"], entry["name"]
        if cluster is None or "nodes" not in cluster:
            yield Seen(code, name, UNKNOWN, _why_no_cluster(cluster))
            continue
        node = cluster["nodes"].get(name)
        if node is None:
            yield Seen(code, name, FAIL, f"the cluster has no node {name}")
            continue
        own, its = readings["machine_id"] or "", digest(str(node["machine_id"]))
        labels = {key: node["labels"].get(key) for key in entry["labels"]}
        evidence = {"machine_id": {"host": own[:12], "node": its[:12]}, "labels": labels}
        faults = [] if own == its or not own or not its else [f"node {name} is another machine"]
        for key, declared in entry["labels"].items():
            if labels[key] != str(declared):
                told = "lacks the label" if labels[key] is None else f"has {key}={labels[key]} instead of"
                faults.append(f"node {name} {told} {key}={declared}")
        if faults:
            yield Seen(code, name, FAIL, "; ".join(faults), evidence=evidence)
        elif not (own and its):
            yield Seen(
                code, name, UNKNOWN, f"whether node {name} is this host: no machine id to compare", evidence=evidence
            )
        else:
            yield Seen(code, name, evidence=evidence)


def _releases(entries: Sequence[Entry], cluster: Mapping[str, Any] | None) -> Iterator[Seen]:
    for entry in entries:
        code, declared = entry["code"], str(entry["release"])
        if cluster is None or "server_version" not in cluster:
            yield Seen(code, "API server", UNKNOWN, _why_no_cluster(cluster))
            continue
        found = str(cluster["server_version"])
        evidence = {"declared": declared, "found": found}
        if found == declared:
            yield Seen(code, "API server", evidence=evidence)
        else:
            yield Seen(
                code, "API server", FAIL, f"the API server is {found}, declared is {declared}", evidence=evidence
            )


def _why_no_cluster(cluster: Mapping[str, Any] | None) -> str:
    return str((cluster or {}).get("msg") or "the cluster was not read")
