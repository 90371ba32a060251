"""What a finding of the verdict document counts as, for everything that shows the document to somebody. Pure.

A status alone does not say it: an unknown may be waived, and what a stand-in showed is a failure outside of a lab.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, STATUSES, UNKNOWN, WARN

WAIVED = "waived"
OUTCOMES = (FAIL, UNKNOWN, WARN, WAIVED, SKIPPED, OK)
"""In the order in which they are shown. ``waived`` is an unknown that the inventory accepts."""

_WORST_FIRST = (FAIL, UNKNOWN, WARN, WAIVED, OK, SKIPPED)
"""What does not apply takes nothing from what is well; alone it shows nothing."""

NONE = "none"
"""Of a host without any finding: nothing was judged on it."""

BAD = (FAIL, UNKNOWN, WARN)
"""Outcomes that somebody should do something about."""

STAND_IN = "simulated hardware proves nothing outside of the lab"


def outcome(finding: Mapping[str, Any], lab: bool) -> str:
    """One of ``OUTCOMES``. ``lab`` says whether the finding's host is a lab host."""
    status = str(finding["status"])
    if finding.get("simulated") and not lab:
        return FAIL
    if status == UNKNOWN and finding.get("waived"):
        return WAIVED
    return status if status in STATUSES else UNKNOWN


def worst_outcome(outcomes: Iterable[str]) -> str:
    """What a group comes to: its worst outcome, ``skipped`` only where there is nothing else, ``NONE`` for none."""
    return min(outcomes, key=_WORST_FIRST.index, default=NONE)


def host_outcome(host: Mapping[str, Any]) -> str:
    """The outcome of one host of the document: how the run ended on it counts as much as its worst finding."""
    ended = [FAIL] * bool(host["failed"]) + [UNKNOWN] * bool(host["unreachable"])
    return worst_outcome([*ended, *(outcome(finding, host["lab"]) for finding in host["findings"])])


def counted(outcomes: Iterable[str]) -> dict[str, int]:
    """How often each outcome comes, worst first; those that do not come are left out."""
    listed = list(outcomes)
    return {name: listed.count(name) for name in (*OUTCOMES, NONE) if name in listed}


def blamed(finding: Mapping[str, Any]) -> list[str]:
    """What a finding blames, by kind and name: ``gpu 0000:9b:00.0``. Many blame nothing."""
    given = finding.get("blame")
    items = [item for item in given if isinstance(item, Mapping)] if isinstance(given, (list, tuple)) else []
    return [f"{item.get('kind', 'something')} {item.get('name', 'unnamed')}" for item in items]


def action_of(finding: Mapping[str, Any]) -> str:
    """The action that a finding asks for, in words: ``reset gpu``; empty where it names none."""
    return str(finding.get("action") or "").replace("_", " ")
