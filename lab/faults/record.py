"""Which faults were made in this lab and not taken back, in the order in which they were made: `.lab/faults/active.json`."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from lab.settings import STATE

FOLDER = STATE / "faults"
FILE = FOLDER / "active.json"


@dataclass
class Entry:
    """One fault on one host. `kept` is what its handler needs to take it back; `since` is UTC, ISO 8601."""

    host: str
    fault: str
    since: str
    parameters: Mapping[str, str]
    kept: dict[str, Any] = field(default_factory=dict)


def entries() -> list[Entry]:
    """What is recorded now."""
    if not FILE.exists():
        return []
    return [Entry(**entry) for entry in json.loads(FILE.read_text(encoding="utf-8"))]


def find(host: str, fault: str) -> Entry | None:
    """The record of one fault on one host."""
    return next((entry for entry in entries() if (entry.host, entry.fault) == (host, fault)), None)


def put(entry: Entry) -> None:
    """Add a record, or replace the one of the same host and fault."""
    _write([*_without(entry.host, entry.fault), entry])


def drop(host: str, fault: str) -> None:
    """Forget a fault on a host."""
    _write(_without(host, fault))


@contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time change faults of this lab. Not the lab's own lock: things break while playbooks run."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _without(host: str, fault: str) -> list[Entry]:
    return [entry for entry in entries() if (entry.host, entry.fault) != (host, fault)]


def _write(kept: list[Entry]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    unfinished = FILE.with_suffix(".unfinished")
    unfinished.write_text(json.dumps([asdict(entry) for entry in kept], indent=1) + "\n", encoding="utf-8")
    unfinished.rename(FILE)
