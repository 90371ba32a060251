"""Faults by name: set, take back exactly, and list them."""

from __future__ import annotations

import difflib
import json
from typing import Any

from . import kernel_log
from .state import ActiveFault, Change, Place, RefusedError, Values, changing, gpus, hcas, initial, of_gpu, of_hca

CONTROLS = frozenset({"lost", "missing", "unclaimed", "mig_mode_pending"})
"""Values that no device reports: they say what happens to it, and a profile need not have them."""


def read_catalogue(place: Place) -> dict[str, dict[str, Any]]:
    """All faults, by name."""
    faults: dict[str, dict[str, Any]] = json.loads(place.catalogue.read_text(encoding="utf-8"))
    return faults


def find(place: Place, values: Values, name: str) -> dict[str, Any]:
    """One fault. Raises RefusedError with the names there are when it is unknown or not of this machine."""
    catalogue = read_catalogue(place)
    profile = values.get("profile", "")
    here = sorted(known for known, fault in catalogue.items() if profile in fault["profiles"])
    if name in here:
        return catalogue[name]
    if name in catalogue:
        raise RefusedError(f"{name} does not exist on {profile}; there are {', '.join(here)}")
    near = difflib.get_close_matches(name, here, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise RefusedError(f"no fault is called {name!r}; {hint}there are {', '.join(here)}")


def aim(values: Values, kind: str, *, gpu: int | None, hca: str | None) -> str:
    """What a fault is aimed at: `gpu 3`, `hca mlx5_0` or `host`. The first device when none is named."""
    if kind == "gpu":
        number = 0 if gpu is None else gpu
        if number not in gpus(values):
            raise RefusedError(f"there is no GPU {number}; there are {len(gpus(values))}, from 0")
        return f"gpu {number}"
    if gpu is not None:
        raise RefusedError(f"this fault is aimed at the {kind}, not at a GPU")
    if kind == "hca":
        known = [of_hca(values, index, "name") for index in hcas(values)]
        name = known[0] if hca is None and known else hca
        if name not in known:
            raise RefusedError(f"there is no network adapter {name}; there are {', '.join(known)}")
        return f"hca {name}"
    return "host"


def _prefix(values: Values, target: str) -> str:
    kind, _, name = target.partition(" ")
    if kind == "gpu":
        return f"gpu.{name}."
    if kind == "hca":
        return f"hca.{next(index for index in hcas(values) if of_hca(values, index, 'name') == name)}."
    return ""


def _words(values: Values, target: str, link: int) -> dict[str, str]:
    """What stands for the words in braces of kernel log lines and names."""
    kind, _, name = target.partition(" ")
    words = {"driver": values.get("driver_version", ""), "link": str(link), "gpu": "", "hca": "", "uuid": ""}
    words.update({"address": "", "slot": "", "pcie_width": ""})
    if kind == "gpu":
        address = of_gpu(values, int(name), "pci_bus_id")
        words.update({"gpu": name, "address": address, "uuid": of_gpu(values, int(name), "uuid")})
    elif kind == "hca":
        index = next(index for index in hcas(values) if of_hca(values, index, "name") == name)
        address = of_hca(values, index, "pci_bus_id")
        words.update({"hca": name, "address": address, "pcie_width": of_hca(values, index, "pcie_width_current")})
    words["slot"] = words["address"].rpartition(".")[0]
    return words


def keys_of(fault: dict[str, Any], values: Values, pristine: Values, target: str, link: int) -> Values:
    """The keys that a fault sets. What the device does not report stays unreported."""
    kind, _, name = target.partition(" ")
    keys = {}
    for pattern, wanted in fault["set"].items():
        value_name = pattern.format(link=link)
        value = wanted.get(values["profile"], "") if isinstance(wanted, dict) else wanted
        # The links of a GPU stand for themselves only when something is wrong with them.
        known_as = "nvlink_count" if value_name.startswith("nvlink_") else value_name
        reported = kind != "gpu" or value_name in CONTROLS or of_gpu(pristine, int(name), known_as) != ""
        if reported:
            keys[_prefix(values, target) + value_name] = str(value)
    return keys


def _raise_xid(change: Change, target: str, fault: ActiveFault, xid: int) -> None:
    """The last Xid goes with the fault; the number of Xids only grows, so that taking it back is no new event."""
    number = target.partition(" ")[2]
    fault.keys[f"gpu.{number}.xid_code"] = str(xid)
    sequence = f"gpu.{number}.xid_sequence"
    change.values[sequence] = str(int(change.values.get(sequence) or 0) + 1)


def apply(place: Place, name: str, *, gpu: int | None = None, hca: str | None = None, link: int = 0) -> str:
    """Make a fault active; return what it is aimed at. An active one happens again: its Xid and its kernel log lines."""
    with changing(place) as change:
        fault = find(place, change.values, name)
        target = aim(change.values, fault["target"], gpu=gpu, hca=hca)
        if "nvlink" in name and link not in range(int(of_gpu(change.values, gpu or 0, "nvlink_count") or 0)):
            raise RefusedError(f"there is no NVLink {link}")
        for former in [active for active in change.ledger.faults if (active.name, active.target) == (name, target)]:
            change.uncover(former)
        active = ActiveFault(name, target, keys_of(fault, change.values, initial(place), target, link))
        if "xid" in fault:
            _raise_xid(change, target, active, fault["xid"])
        change.cover(active)
        words = _words(change.values, target, link)
        kernel_log.write(place, [line.format(**words) for line in fault["kernel"]])
    return target


def undo(place: Place, name: str, *, gpu: int | None = None, hca: str | None = None) -> list[str]:
    """Take a fault back, everywhere or from one device; return where it was active."""
    with changing(place) as change:
        fault = find(place, change.values, name)
        wanted = None if gpu is None and hca is None else aim(change.values, fault["target"], gpu=gpu, hca=hca)
        found = [active for active in change.ledger.faults if active.name == name and wanted in (None, active.target)]
        for active in reversed(found):
            change.uncover(active)
            words = _words(change.values, active.target, 0)
            kernel_log.write(place, [line.format(**words) for line in fault["undone"]])
    return [active.target for active in found]


def listing(place: Place, change: Change) -> list[dict[str, Any]]:
    """All faults of this machine: name, title, target, profiles, and where each is active."""
    profile = change.values.get("profile", "")
    return [
        {
            "name": name,
            "title": fault["title"],
            "target": fault["target"],
            "profiles": fault["profiles"],
            "active": [active.target for active in change.ledger.faults if active.name == name],
        }
        for name, fault in sorted(read_catalogue(place).items())
        if profile in fault["profiles"]
    ]
