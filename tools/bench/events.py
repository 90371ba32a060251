"""Counts tasks from the events of a real run, per host and per role."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CALLBACK_FOLDER = Path(__file__).with_name("callback")

OUTSIDE_ROLES = "(playbook)"
COLLECTION = "baremetal.gpu."


@dataclass(frozen=True)
class Event:
    """The end of one task on one host. `role` is None for a task that stands in a playbook."""

    host: str
    role: str | None
    task: str
    status: str


def environment(events: Path) -> dict[str, str]:
    """Variables that make ansible-playbook write its events to a file."""
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACK_FOLDER),
        "ANSIBLE_CALLBACKS_ENABLED": "baremetal.gpu.verdict,task_events",
        "BAREMETAL_GPU_TASK_EVENTS": str(events),
    }


def read(lines: Iterable[str]) -> Iterator[Event]:
    """Events from their lines of JSON."""
    for line in lines:
        event = json.loads(line)
        yield Event(event["host"], event["role"], event["task"], event["status"])


def per_host(events: Iterable[Event]) -> dict[str, int]:
    """How many tasks each host got, skipped ones included: a skipped task costs the controller the same."""
    return dict(sorted(Counter(event.host for event in events).items()))


def per_role(events: Iterable[Event]) -> dict[str, dict[str, int]]:
    """How many tasks of each role each host got, over all plays that call the role. `{role: {host: count}}`."""
    counted: dict[str, Counter[str]] = {}
    for event in events:
        name = (event.role or OUTSIDE_ROLES).removeprefix(COLLECTION)
        counted.setdefault(name, Counter())[event.host] += 1
    return {role: dict(sorted(hosts.items())) for role, hosts in counted.items()}


def statuses(events: Iterable[Event]) -> dict[str, int]:
    """How many tasks ended how."""
    return dict(sorted(Counter(event.status for event in events).items()))


def busiest(counts: Mapping[str, int]) -> int:
    """The most tasks that one host got; 0 when no host got any."""
    return max(counts.values(), default=0)
