"""The journal of a node's changes, a file on the controller, and the driver that carries out a change with it.

A line is on the disk before what it announces is done. A line that a crash cut short is dropped: what it would have announced was not begun.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.change_machine import Append, Do, Entry, Outcome, Result
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

VARIABLE = "node_change_journal"


def directory_for(variables: Mapping[str, Any]) -> Path:
    """Where journals are by a host's variables: beside its inventory, because a change is of a cluster. Raises ``GpuError`` BG-CHANGE-101."""
    chosen, inventory = variables.get(VARIABLE), variables.get("inventory_dir")
    if not chosen and not inventory:
        raise GpuError(
            "BG-CHANGE-101",
            "the inventory is no file, so there is no folder beside it",
            "the journal has to outlive the run",
            f"set {VARIABLE} to a folder on the controller",
        )
    return Path(str(chosen)).expanduser() if chosen else Path(str(inventory)) / ".node-change"


class Journal:
    """One node's file, opened by ``opened``. ``entries`` is what it holds."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            content = file.read()
        whole = _whole(content)
        self.entries = [_parse(line, path) for line in whole.splitlines()]
        if whole != content:
            os.ftruncate(descriptor, len(whole))

    def append(self, entry: Entry) -> None:
        """Returns when the entry would survive a crash of the machine."""
        line = json.dumps({**vars(entry), "data": dict(entry.data)}, sort_keys=True) + "\n"
        os.write(self._descriptor, line.encode())
        os.fsync(self._descriptor)
        self.entries.append(entry)


def read(directory: Path, node: str) -> list[Entry]:
    """A node's entries, without taking its journal; none where there is no file. Raises ``GpuError`` BG-CHANGE-114."""
    path = _path(directory, node)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return [_parse(line, path) for line in _whole(content).splitlines()]


def _path(directory: Path, node: str) -> Path:
    return directory / f"{node}.jsonl"


def _whole(content: bytes) -> bytes:
    """Without a line that a crash cut short."""
    return content[: content.rfind(b"\n") + 1]


def _parse(line: bytes, path: Path) -> Entry:
    try:
        found = json.loads(line)
        data = {str(name): str(value) for name, value in found["data"].items()}
        return Entry(str(found["holder"]), str(found["step"]), str(found["phase"]), data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise GpuError(
            "BG-CHANGE-114",
            f"{path}: {line[:200]!r} is no entry of a journal",
            "what was done to the node is not known",
            "look at the node and at the lines above, then move the file away",
        ) from error


@contextmanager
def opened(directory: Path, node: str) -> Iterator[Journal]:
    """The node's journal, for one process at a time. Raises ``GpuError`` BG-CHANGE-114 or BG-CHANGE-115."""
    directory.mkdir(parents=True, exist_ok=True)
    path = _path(directory, node)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise GpuError(
                "BG-CHANGE-115",
                f"another process on this controller changes node {node} ({path} is in use)",
                "both would go on from the same journal",
                "wait for it",
            ) from error
        if is_new:
            _sync(directory)
        yield Journal(descriptor, path)
    finally:
        os.close(descriptor)


def _sync(directory: Path) -> None:
    """A new file's name is on the disk, too."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drive(
    change: Generator[Any, Any, Result],
    journal: Journal,
    cluster: Callable[[Any], Any],
    do: Callable[[Do], Outcome | None],
) -> Result | Do:
    """Carry a change out. ``cluster`` answers what is read and written there, ``do`` the caller's steps.

    Where ``do`` answers None the change is left off, and the step is returned: it is done elsewhere, and a later run goes on from there.
    Raises ``GpuError`` of ``cluster`` and ``do``; the journal then says how far it came.
    """
    answer: Any = None
    while True:
        try:
            request = change.send(answer)
        except StopIteration as ended:
            result: Result = ended.value
            return result
        if isinstance(request, Append):
            journal.append(request.entry)
            answer = None
        elif isinstance(request, Do):
            answer = do(request)
            if answer is None:
                change.close()
                return request
        else:
            answer = cluster(request)
