"""Make a fault, take it back, and tell what is there: the verbs behind `make lab-fault` and `make lab-faults`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from lab import power
from lab.faults import record
from lab.faults.catalogue import Fault, FaultError, catalogue, find
from lab.faults.cluster import PodsRefused
from lab.faults.files import FileAway, FileChanged, FullDisk, Locks, Programs
from lab.faults.handler import Handler, Target
from lab.faults.links import Cable, Firewall, Shaped
from lab.faults.machines import Off, Paused
from lab.faults.services import Frozen, Hardware, Killed, Unit
from lab.model import Host, all_hosts, control_plane, find_host
from lab.podman import PodmanError
from lab.progress import say, step

HANDLERS: Mapping[str, type[Handler]] = {
    "cable": Cable,
    "file_away": FileAway,
    "file_changed": FileChanged,
    "firewall": Firewall,
    "frozen": Frozen,
    "full_disk": FullDisk,
    "hardware": Hardware,
    "killed": Killed,
    "locks": Locks,
    "off": Off,
    "paused": Paused,
    "pods_refused": PodsRefused,
    "programs": Programs,
    "shaped": Shaped,
    "unit": Unit,
}
_STILL = ("off", "paused")


def inject(host_name: str, fault_name: str, arguments: Iterable[str] = ()) -> bool:
    """Make a fault on a host; False when it is there already. Raises FaultError when it cannot be."""
    host, fault = find_host(host_name), find(fault_name)
    chosen = fault.choose(arguments)
    handler, target = _handler(fault, host, chosen), _target(host)
    with record.alone():
        entry = record.find(host.name, fault.name)
        _require_running(host, handler, entry)
        if entry and handler.active(target, entry.kept):
            if dict(entry.parameters) != chosen:
                raise FaultError(f"{fault.name} is active on {host.name} with {_told(entry.parameters)}: undo it first")
            say(f"{fault.name} is active on {host.name} since {entry.since}")
            return False
        reason = handler.refusal(target)
        if reason:
            raise FaultError(f"{fault.name} cannot be made on {host.name}: {reason}")
        entry = record.Entry(host.name, fault.name, datetime.now(UTC).isoformat(timespec="seconds"), chosen)
        # First, so that a fault that is cut short is known and can be taken back.
        record.put(entry)
        try:
            with step(f"Make {fault.name} on {host.name}"):
                entry.kept = handler.apply(target)
        except (RuntimeError, OSError):
            # What cannot be taken back now stays recorded, so that it can be later.
            with suppress(RuntimeError, OSError):
                handler.undo(target, entry.kept)
                record.drop(host.name, fault.name)
            raise
        record.put(entry)
    say(f"seen as: {fault.seen_as}")
    return True


def undo(host_name: str, fault_name: str) -> bool:
    """Take a fault back; False when it is not active. Raises FaultError when it cannot be now."""
    host, fault = find_host(host_name), find(fault_name)
    with record.alone():
        return _undo(host, fault)


def undo_all(host_name: str | None = None) -> None:
    """Take every fault back, the last first; of one host only when it is named."""
    with record.alone():
        for entry in reversed(record.entries()):
            if host_name in (None, entry.host):
                _undo(find_host(entry.host), find(entry.fault))


def _undo(host: Host, fault: Fault) -> bool:
    entry = record.find(host.name, fault.name)
    if entry is None:
        say(f"{fault.name} is not active on {host.name}")
        return False
    handler, target = _handler(fault, host, entry.parameters), _target(host)
    _require_running(host, handler, entry)
    there = handler.active(target, entry.kept)
    with step(f"Take {fault.name} on {host.name} back"):
        handler.undo(target, entry.kept)
    record.drop(host.name, fault.name)
    if not there:
        say(f"{fault.name} was no longer active on {host.name}: something else had taken it back")
    if isinstance(handler, Off):
        _after_start(host)
    return True


def after_start(host_name: str) -> None:
    """After each start of a host: faults that a reboot cures are forgotten, those of its cable are made again."""
    if record.entries():
        with record.alone():
            _after_start(find_host(host_name))


def _after_start(host: Host) -> None:
    for entry in record.entries():
        if entry.host != host.name:
            continue
        fault = find(entry.fault)
        handler = _handler(fault, host, entry.parameters)
        if handler.lies_outside:
            handler.apply(_target(host))
        elif not handler.survives_reboot:
            record.drop(host.name, fault.name)
            say(f"{fault.name} on {host.name} ended with its restart")


def keeps_off(host_name: str) -> bool:
    """Whether a fault has the host off or still, so that nobody but its undo may start it."""
    named = [entry for entry in record.entries() if entry.host == host_name]
    handlers = [find(entry.fault).way(find_host(host_name)) for entry in named]
    return any(way is not None and way.handler in _STILL for way in handlers)


def warn() -> None:
    """Say which faults are active, for whoever wonders why the lab is red."""
    for entry in record.entries():
        say(f"fault {entry.fault} is active on {entry.host} since {entry.since}; {how_to_undo(entry)}")


def how_to_undo(entry: record.Entry) -> str:
    """The command that takes a fault back."""
    return f"take it back with `make lab-fault HOST={entry.host} FAULT={entry.fault} UNDO=1`"


def observed(entry: record.Entry) -> str:
    """`active`, `gone` when something else took it back, or `unknown` when the host cannot be looked at."""
    host, fault = find_host(entry.host), find(entry.fault)
    handler = _handler(fault, host, entry.parameters)
    try:
        _require_running(host, handler, entry)
        return "active" if handler.active(_target(host), entry.kept) else "gone"
    except (FaultError, PodmanError):
        return "unknown"


def listing() -> dict[str, Any]:
    """The catalogue, and what is recorded as active with what is seen of it now."""
    hosts = all_hosts()
    return {
        "faults": {
            name: {
                "title": fault.title,
                "hosts": fault.hosts(hosts),
                "seen_as": fault.seen_as,
                "survives_reboot": survives_reboot(fault),
                "parameters": {key: vars(parameter) for key, parameter in fault.parameters.items()},
            }
            for name, fault in catalogue().items()
        },
        "active": [
            {
                "host": entry.host,
                "fault": entry.fault,
                "since": entry.since,
                "parameters": dict(entry.parameters),
                "state": observed(entry),
            }
            for entry in record.entries()
        ],
    }


def survives_reboot(fault: Fault) -> bool | None:
    """Whether it is still there after the host's next boot; None when that depends on the host."""
    answers = {HANDLERS[way.handler].survives_reboot for way in fault.ways}
    return answers.pop() if len(answers) == 1 else None


def active_table(document: Mapping[str, Any], *, as_json: bool = False) -> str:
    """The listing for people, or as JSON."""
    if as_json:
        return json.dumps(document, indent=2)
    rows = [("FAULT", "HOSTS", "WHAT IS BROKEN")]
    for name, fault in document["faults"].items():
        chosen = "".join(f" [{key}={parameter['default']}]" for key, parameter in fault["parameters"].items())
        rows.append((name, ", ".join(fault["hosts"]), fault["title"] + chosen))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{name:<{widths[0]}}  {hosts:<{widths[1]}}  {title}" for name, hosts, title in rows]
    lines.append("")
    for entry in document["active"]:
        lines.append(
            f"{entry['state']}: {entry['fault']} on {entry['host']} since {entry['since']}{_told(entry['parameters'])}"
        )
    return "\n".join(lines if document["active"] else [*lines, "active: none"])


def _told(parameters: Mapping[str, str]) -> str:
    return "".join(f" {key}={value}" for key, value in parameters.items() if value)


def _handler(fault: Fault, host: Host, chosen: Mapping[str, str]) -> Handler:
    way = fault.way(host)
    if way is None:
        able = ", ".join(fault.hosts(all_hosts())) or "no host of this lab"
        needed = " or ".join(" and ".join(sorted(way.needs)) for way in fault.ways)
        raise FaultError(f"{host.name} cannot have {fault.name}, which needs a host with {needed}: {able}")
    return HANDLERS[way.handler]({**chosen, **filled(way.settings, chosen)}, fault.name)


def filled(settings: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Settings in which `@name@` became the chosen value of that parameter."""
    result = dict(settings)
    for name, value in chosen.items():
        result = {key: text.replace(f"@{name}@", value) for key, text in result.items()}
    return result


def _target(host: Host) -> Target:
    return Target(host, control_plane(host))


def _require_running(host: Host, handler: Handler, entry: record.Entry | None) -> None:
    """A host that is off or still can neither be broken further nor mended inside. Raises FaultError with the remedy."""
    state = power.states().get(host.name)
    if state is None:
        raise FaultError(f"{host.name} does not exist in this lab: `make lab SYSTEM={host.system}` boots it")
    if state == "running" or not handler.needs_running:
        return
    blocking = [each for each in record.entries() if each.host == host.name and each is not entry]
    remedies = [how_to_undo(each) for each in blocking if find(each.fault).way(host) and keeps_off(host.name)]
    raise FaultError(
        f"{host.name} is {state}: {remedies[-1] if remedies else f'`make lab SYSTEM={host.system}` starts it'}"
    )
