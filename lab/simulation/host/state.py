"""The state file of one host: read by every stand-in, changed in place and by one writer at a time.

Beside it lies a ledger of what may be taken back: which faults are active and what they covered.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATES = ("usr/lib/*-linux-gnu/libnvidia-simulated-hardware.so.*", "usr/lib64/libnvidia-simulated-hardware.so.*")

Values = dict[str, str]


class RefusedError(RuntimeError):
    """Something that must not, or cannot, be done here; the message says why."""


@dataclass
class ActiveFault:
    """A fault that was not undone yet. `target` is what it was aimed at, such as `gpu 3`; `keys` what it set."""

    name: str
    target: str
    keys: Values


@dataclass
class Ledger:
    """What undoing needs. `covered` holds what was there before faults: a value, or None where there was no key."""

    faults: list[ActiveFault] = field(default_factory=list)
    covered: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where the files of a host are; `root` is its root file system."""

    root: Path = Path("/")

    @property
    def marker(self) -> Path:
        return self.root / "etc/baremetal-gpu/simulated.json"

    @property
    def machine(self) -> Path:
        """What no fault changes: DMI, driver, names of values, MIG geometry. JSON."""
        return self.root / "etc/baremetal-gpu/simulated-hardware.json"

    @property
    def initial(self) -> Path:
        """The state file as it was installed."""
        return self.root / "usr/local/lib/simulated-hardware/initial-state"

    @property
    def catalogue(self) -> Path:
        return self.root / "etc/baremetal-gpu/simulated-faults.json"

    @property
    def ledger(self) -> Path:
        return self.root / "var/lib/simulated-hardware/ledger.json"

    @property
    def kernel_log(self) -> Path:
        return self.root / "run/simulated-hardware/kernel-log"

    @property
    def state(self) -> Path:
        found = sorted(path for pattern in STATES for path in self.root.glob(pattern))
        if len(found) != 1:
            raise RefusedError(f"one state file is expected below {self.root}, found {len(found)}")
        return found[0]

    def read_machine(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.machine.read_text(encoding="utf-8"))
        return data


def parse(text: str) -> Values:
    """Keys and values; the last line of a key counts."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def render(values: Values, comments: list[str]) -> str:
    """The text of a state file. Its last line tells readers that it is complete."""
    lines = [*comments, *(f"{key}={value}" for key, value in values.items() if key != "complete"), "complete=yes"]
    return "\n".join(lines) + "\n"


def read(place: Place) -> Values:
    """The values as they are now. Waits for a writer."""
    with place.state.open(encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return parse(file.read())


def initial(place: Place) -> Values:
    """The values that the profile gave."""
    return parse(place.initial.read_text(encoding="utf-8"))


def of_gpu(values: Values, gpu: int, name: str) -> str:
    """One value of one GPU: its own, else the one of every GPU; empty when it is not reported."""
    return values.get(f"gpu.{gpu}.{name}", values.get(f"gpu.*.{name}", ""))


def gpus(values: Values) -> range:
    """The numbers of all GPUs the machine was built with, also of those that do not answer."""
    return range(int(values.get("gpu_count") or 0))


def of_hca(values: Values, hca: int, name: str) -> str:
    """One value of one network adapter; the one of every adapter where it has none of its own."""
    return values.get(f"hca.{hca}.{name}", values.get(f"hca.*.{name}", ""))


def hcas(values: Values) -> range:
    """The numbers of all network adapters."""
    return range(int(values.get("hca_count") or 0))


@dataclass
class Change:
    """A change of a host's state that is being made."""

    values: Values
    ledger: Ledger

    def set(self, key: str, value: str) -> None:
        """Set a value from outside any fault: it wins over every active fault, and undoing leaves it as it is."""
        self.values[key] = value
        self.ledger.covered.pop(key, None)
        for fault in self.ledger.faults:
            fault.keys.pop(key, None)

    def cover(self, fault: ActiveFault) -> None:
        """Make a fault active: its values lie over what was there."""
        for key, value in fault.keys.items():
            self.ledger.covered.setdefault(key, self.values.get(key))
            self.values[key] = value
        self.ledger.faults.append(fault)

    def uncover(self, fault: ActiveFault) -> None:
        """Take a fault back: each value becomes that of the fault below it, or what was there before all faults."""
        self.ledger.faults.remove(fault)
        for key in fault.keys:
            below = [other.keys[key] for other in self.ledger.faults if key in other.keys]
            restored = below[-1] if below else self.ledger.covered.pop(key, None)
            if restored is None:
                self.values.pop(key, None)
            else:
                self.values[key] = restored


def read_ledger(place: Place) -> Ledger:
    """What is active. An absent file is an empty ledger."""
    if not place.ledger.exists():
        return Ledger()
    data = json.loads(place.ledger.read_text(encoding="utf-8"))
    return Ledger([ActiveFault(**fault) for fault in data["faults"]], data["covered"])


def _write_ledger(place: Place, ledger: Ledger) -> None:
    place.ledger.parent.mkdir(parents=True, exist_ok=True)
    data = {"faults": [vars(fault) for fault in ledger.faults], "covered": ledger.covered}
    place.ledger.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


@contextmanager
def changing(place: Place) -> Iterator[Change]:
    """Change the state; it is written when the block ends without an error.

    The file is rewritten in place, because containers mount the file itself, and under a lock that readers share.
    """
    with place.state.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        change = Change(parse(text), read_ledger(place))
        yield change
        rendered = render(change.values, [line for line in text.splitlines() if line.startswith("#")])
        if rendered != text:
            file.seek(0)
            file.truncate()
            file.write(rendered)
            file.flush()
        _write_ledger(place, change.ledger)
