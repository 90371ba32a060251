"""The findings of a verdict document as the report's page shows them: alike ones together, the worst first, with their pictures. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED
from ansible_collections.baremetal.gpu.plugins.plugin_utils.name_folding import folded
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_outcome import (
    BAD,
    OUTCOMES,
    STAND_IN,
    WAIVED,
    action_of,
    blamed,
    outcome,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_pictures import DRAWN, Curve, Matrix

DETAILED_PER_GROUP, DETAILED = 6, 240
"""Findings shown with their evidence: of one code, and on the whole page, the worst first."""
EVIDENCE_CHARACTERS, VALUE_CHARACTERS, KEY_CHARACTERS = 1600, 400, 80
"""Of the evidence of a finding, of one value and of its name."""

_CODE = re.compile(r"BG-([A-Z][A-Z0-9]*)-\d{3}")


@dataclass(frozen=True)
class Seen:
    """One finding of one host, with what it counts as."""

    host: str
    outcome: str
    finding: Mapping[str, Any]


@dataclass(frozen=True)
class Detail:
    """Findings with the same words, shown once: of which hosts, and the first one's evidence."""

    hosts: str
    count: int
    subject: str
    reason: str
    remedy: str
    action: str
    blamed: str
    requirements: str
    simulated: bool
    evidence: tuple[tuple[str, str], ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Findings of one code with one outcome. ``left`` says in how many further ways they are worded."""

    anchor: str
    outcome: str
    code: str
    area: str
    text: str
    why: str
    remedy: str
    count: int
    simulated: int
    """How many of them come from stand-ins."""
    hosts: str
    host_count: int
    details: tuple[Detail, ...]
    left: int
    left_hosts: str


@dataclass(frozen=True)
class Picture:
    """A drawn piece of evidence."""

    anchor: str
    title: str
    hosts: str
    outcome: str
    simulated: bool
    shape: Curve | Matrix


def seen_in(document: Mapping[str, Any]) -> list[Seen]:
    """Every finding, the worst first, then by code."""
    seen = [
        Seen(name, outcome(finding, host["lab"]), finding)
        for name, host in document["hosts"].items()
        for finding in host["findings"]
    ]
    return sorted(seen, key=lambda item: (OUTCOMES.index(item.outcome), item.finding["code"]))


def groups_of(
    seen: Sequence[Seen], pictures: Mapping[int, str], registry: Mapping[str, Mapping[str, Any]]
) -> list[Group]:
    """Findings by outcome and code, in their order. ``pictures`` has the anchor of a drawn finding by its id, ``registry`` what is known of codes."""
    by_code: dict[tuple[str, str], list[Seen]] = {}
    for item in seen:
        by_code.setdefault((item.outcome, item.finding["code"]), []).append(item)
    left = DETAILED
    groups = []
    for number, ((counts_as, code), items) in enumerate(by_code.items(), start=1):
        worded = _worded(items)
        # What is well needs no evidence on the page; it is in the JSON.
        shown = [] if counts_as == OK else worded[: min(DETAILED_PER_GROUP, left)]
        left -= len(shown)
        hidden = [item for same in worded[len(shown) :] for item in same]
        area = _CODE.fullmatch(code)
        known = registry.get(code, {})
        groups.append(
            Group(
                anchor=f"f{number}",
                outcome=counts_as,
                code=code,
                area=area[1] if area else "OTHER",
                text=_headline(items[0], known),
                why=known.get("reason", "") if counts_as in BAD else "",
                remedy=known.get("remedy", ""),
                count=len(items),
                simulated=sum(bool(item.finding["simulated"]) for item in items),
                hosts=folded(item.host for item in items),
                host_count=len({item.host for item in items}),
                details=tuple(_detail(same, pictures) for same in shown),
                left=len(hidden),
                left_hosts=folded(item.host for item in hidden),
            )
        )
    return groups


def _headline(first: Seen, known: Mapping[str, Any]) -> str:
    """What the registry calls a code, which is mostly its fault: of what is well, the first one's own words are told instead.

    Of what was left out each one's words are told below.
    """
    if first.outcome in (OK, SKIPPED):
        return str(first.finding["reason"]) if first.outcome == OK else ""
    return str(known.get("text", "a finding that this release does not know"))


def _worded(items: Sequence[Seen]) -> list[list[Seen]]:
    """Findings that say the same of different hosts together: names of the host and of the subject do not make them differ."""
    alike: dict[tuple[str, ...], list[Seen]] = {}
    for item in items:
        said = (item.finding["reason"], item.finding["remedy"], str(item.finding.get("waiver") or ""))
        key = (*(_nameless(text, item) for text in said), action_of(item.finding))
        alike.setdefault(key, []).append(item)
    return list(alike.values())


def _nameless(text: str, item: Seen) -> str:
    for name in (item.finding["subject"], item.host):
        text = text.replace(name, "\0")
    return text


def _detail(same: Sequence[Seen], pictures: Mapping[int, str]) -> Detail:
    first = same[0].finding
    reason = first["reason"] or "no reason given"
    if same[0].outcome == FAIL and first["status"] != FAIL:
        reason = f"{STAND_IN}; {reason}"
    elif same[0].outcome == WAIVED:
        reason = f"{reason}; accepted because {first.get('waiver') or 'no reason given'}"
    anchors = (pictures.get(id(item.finding)) for item in same)
    return Detail(
        hosts=folded(item.host for item in same),
        count=len(same),
        subject=first["subject"],
        reason=reason,
        remedy=first["remedy"],
        action=action_of(first),
        blamed=folded(name for item in same for name in blamed(item.finding)),
        requirements=", ".join(first["requirements"]),
        simulated=any(item.finding["simulated"] for item in same),
        # What is drawn is not written as well.
        evidence=tuple(_evidence(first["evidence"], DRAWN if id(first) in pictures else ())),
        pictures=tuple(dict.fromkeys(anchor for anchor in anchors if anchor)),
    )


def _evidence(evidence: Mapping[str, Any], without: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Evidence as text, cut to what a page can show."""
    room = EVIDENCE_CHARACTERS
    for key, value in evidence.items():
        if key in without:
            continue
        if room <= 0:
            yield "and more", "see the JSON document"
            return
        text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
        text = _shortened(text, min(room, VALUE_CHARACTERS))
        room -= len(text)
        yield _shortened(str(key), KEY_CHARACTERS), text


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} \u2026 ({len(text) - most} more characters)"


def pictures_of(
    seen: Sequence[Seen], draw: Callable[[Mapping[str, Any]], Curve | Matrix | None], most: int, letter: str
) -> tuple[dict[Picture, list[Mapping[str, Any]]], int]:
    """Pictures with the findings that each of them stands for, and how many were not drawn. The same picture is drawn once."""
    found: dict[tuple[str, Any], list[Seen]] = {}
    for item in seen:
        shape = draw(item.finding["evidence"])
        if shape is not None:
            found.setdefault((item.finding["subject"], shape), []).append(item)
    drawn = {
        Picture(
            anchor=f"{letter}{number}",
            title=subject,
            hosts=folded(item.host for item in items),
            outcome=items[0].outcome,
            simulated=any(item.finding["simulated"] for item in items),
            shape=shape,
        ): [item.finding for item in items]
        for number, ((subject, shape), items) in enumerate(list(found.items())[:most], start=1)
    }
    return drawn, max(0, len(found) - most)
