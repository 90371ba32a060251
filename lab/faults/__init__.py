"""Faults of the lab by name: what can be broken is data (`lab/faults.yml`), how it is done are the handlers of this package."""

from lab.faults.actions import active_table, after_start, inject, keeps_off, listing, undo, undo_all, warn
from lab.faults.catalogue import FaultError

__all__ = [
    "FaultError",
    "active_table",
    "after_start",
    "inject",
    "keeps_off",
    "listing",
    "undo",
    "undo_all",
    "warn",
]
