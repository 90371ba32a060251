"""Counters over a window. Pure but for ``load`` and ``save``.

A counter says something only as a difference: a healthy H100 shows replays since its last reset. Snapshots are kept in a small
state file on the host. A counter that went backwards was reset, so its difference is not known; a new boot makes all of them so.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import read_text

SCHEMA = 1
KEPT = 16
"""Snapshots that are kept: enough for a baseline near the wanted window however often one looks."""


@dataclass(frozen=True)
class Snapshot:
    """Counters by name at one moment of a boot (seconds since boot)."""

    boot_id: str
    at_s: float
    values: Mapping[str, int]


@dataclass(frozen=True)
class Delta:
    """A counter's difference; ``None`` with the reason when it is not known."""

    value: Optional[int]
    reason: Optional[str] = None


def load(path: str) -> List[Snapshot]:
    """Snapshots of the state file, oldest first; none when it is missing, foreign or damaged, which costs one window."""
    try:
        data = json.loads(read_text(path))
        if data["schema"] != SCHEMA:
            return []
        return [
            Snapshot(str(item["boot_id"]), float(item["at_s"]), {str(k): int(v) for k, v in item["values"].items()})
            for item in data["snapshots"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return []


def save(path: str, snapshots: Sequence[Snapshot]) -> None:
    """Write the state file anew, readable by its owner alone. Raises ``OSError``."""
    text = json.dumps(
        {
            "schema": SCHEMA,
            "snapshots": [{"boot_id": s.boot_id, "at_s": s.at_s, "values": dict(s.values)} for s in snapshots],
        }
    )
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=os.path.basename(path))
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def baseline(snapshots: Sequence[Snapshot], now: Snapshot, window_s: float, minimum_s: float) -> Optional[Snapshot]:
    """The snapshot to compare with: of this boot, the youngest that is at least a window old, else the oldest that is old enough."""
    usable = [s for s in snapshots if s.boot_id == now.boot_id and now.at_s - s.at_s >= minimum_s]
    old = [s for s in usable if now.at_s - s.at_s >= window_s]
    if old:
        return max(old, key=lambda s: s.at_s)
    return min(usable, key=lambda s: s.at_s, default=None)


def remember(snapshots: Sequence[Snapshot], now: Snapshot, window_s: float) -> List[Snapshot]:
    """What to keep: this boot's snapshots, one older than the window and the others not closer than the window allows."""
    mine = sorted((s for s in snapshots if s.boot_id == now.boot_id and s.at_s < now.at_s), key=lambda s: s.at_s)
    old = [s for s in mine if now.at_s - s.at_s >= window_s][-1:]
    young = [s for s in mine if now.at_s - s.at_s < window_s]
    spacing = window_s / KEPT
    spaced: List[Snapshot] = []
    for snapshot in young:
        if not spaced or snapshot.at_s - spaced[-1].at_s >= spacing:
            spaced.append(snapshot)
    return [*old, *spaced, now][-KEPT:]


def deltas(before: Optional[Snapshot], now: Snapshot) -> Dict[str, Delta]:
    """Each counter of ``now`` against ``before``."""
    found: Dict[str, Delta] = {}
    for name, value in now.values.items():
        if before is None:
            found[name] = Delta(None, "there is no earlier snapshot of this boot")
        elif name not in before.values:
            found[name] = Delta(None, "it was not read at the start of the window")
        elif value < before.values[name]:
            found[name] = Delta(None, "it went backwards, from {0} to {1}".format(before.values[name], value))
        else:
            found[name] = Delta(value - before.values[name])
    return found


def flatten(groups: Mapping[str, Mapping[str, Any]]) -> Dict[str, int]:
    """``{device: {counter: value}}`` as ``device|counter``, whole numbers only."""
    return {
        "{0}|{1}".format(device, name): int(value)
        for device, values in groups.items()
        for name, value in values.items()
        if isinstance(value, int) and not isinstance(value, bool)
    }
