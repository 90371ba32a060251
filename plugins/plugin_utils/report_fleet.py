"""Hosts, clusters and requirements of a verdict document as the report's page shows them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.baremetal.gpu.plugins.plugin_utils.name_folding import folded
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_outcome import (
    BAD,
    NONE,
    OUTCOMES,
    WAIVED,
    counted,
    outcome,
)

TILES_PER_LINE = 25


@dataclass(frozen=True)
class HostRow:
    """Hosts on which the same was found, in one row."""

    anchor: str
    hosts: str
    count: int
    outcome: str
    status: str
    proven: bool
    simulated: bool
    counts: Mapping[str, int]
    codes: tuple[tuple[str, str], ...]
    """Codes of what is bad, with the anchor of their group."""
    tasks: str


@dataclass(frozen=True)
class Tile:
    """One host in the picture of the fleet."""

    x: int
    y: int
    outcome: str
    anchor: str
    title: str


@dataclass(frozen=True)
class Fleet:
    """The picture of one cluster's hosts, in order of their names; ``name`` is empty for hosts of none."""

    name: str
    tiles: tuple[Tile, ...]
    columns: int
    lines: int
    counts: Mapping[str, int]
    status: str
    proven: bool
    absent: str
    absent_count: int


@dataclass(frozen=True)
class RequirementRow:
    """What the run says about one requirement."""

    name: str
    title: str
    outcome: str
    simulated: bool
    counts: Mapping[str, int]
    codes: tuple[tuple[str, str], ...]
    hosts: str
    unseen: str


def host_rows(
    document: Mapping[str, Any], outcomes: Mapping[str, str], anchors: Mapping[tuple[str, str], str]
) -> tuple[list[HostRow], dict[str, str]]:
    """Rows, the worst first, and each host's row by its anchor."""
    alike: dict[tuple[Any, ...], list[str]] = {}
    for name, host in document["hosts"].items():
        found = [(outcome(finding, host["lab"]), finding["code"]) for finding in host["findings"]]
        bad = sorted({item for item in found if item[0] in BAD}, key=lambda item: (OUTCOMES.index(item[0]), item[1]))
        tasks = ", ".join(f"{host[key]} {key}" for key in ("failed", "unreachable", "changed") if host[key])
        counts = tuple(counted(counts_as for counts_as, _code in found).items())
        simulated = any(finding["simulated"] for finding in host["findings"])
        alike.setdefault(
            (outcomes[name], host["status"], host["proven"], simulated, counts, tuple(bad), tasks), []
        ).append(name)
    order = (*OUTCOMES, NONE)
    rows, row_of = [], {}
    for number, (key, names) in enumerate(sorted(alike.items(), key=lambda pair: order.index(pair[0][0])), start=1):
        counts_as, status, proven, simulated, counts, bad, tasks = key
        anchor = f"h{number}"
        row_of.update(dict.fromkeys(names, anchor))
        rows.append(
            HostRow(
                anchor=anchor,
                hosts=folded(names),
                count=len(names),
                outcome=counts_as,
                status=status,
                proven=proven,
                simulated=simulated,
                counts=dict(counts),
                codes=tuple((code, anchors[worst, code]) for worst, code in bad),
                tasks=tasks,
            )
        )
    return rows, row_of


def fleets_of(document: Mapping[str, Any], outcomes: Mapping[str, str], row_of: Mapping[str, str]) -> list[Fleet]:
    """A picture per cluster, and one of the hosts of none. ``row_of`` has the anchor of each host's row."""
    clusters = document["clusters"]
    placed = {name for cluster in clusters.values() for name in cluster["hosts"]}
    members: dict[str, Sequence[str]] = {name: cluster["hosts"] for name, cluster in clusters.items()}
    others = [name for name in document["hosts"] if name not in placed]
    if others:
        members[""] = others
    fleets = []
    for name, hosts in members.items():
        own = clusters.get(name)
        good = all(document["hosts"][host]["status"] == "ok" for host in hosts)
        fleets.append(
            Fleet(
                name=name,
                tiles=tuple(
                    Tile(
                        x=number % TILES_PER_LINE,
                        y=number // TILES_PER_LINE,
                        outcome=outcomes[host],
                        anchor=row_of[host],
                        title=f"{host}: {outcomes[host]}",
                    )
                    for number, host in enumerate(hosts)
                ),
                columns=min(TILES_PER_LINE, len(hosts)),
                lines=-(-len(hosts) // TILES_PER_LINE),
                counts=counted(outcomes[host] for host in hosts),
                status=own["status"] if own else ("ok" if good else "fail"),
                proven=bool(own and own["proven"]),
                absent=folded(own["absent"] if own else ()),
                absent_count=len(own["absent"]) if own else 0,
            )
        )
    return fleets


def requirement_rows(
    document: Mapping[str, Any], anchors: Mapping[tuple[str, str], str], titles: Mapping[str, Mapping[str, str]]
) -> list[RequirementRow]:
    """One row per requirement that a finding names. ``anchors`` has those of groups by outcome and code."""
    rows = []
    for name, told in document["requirements"].items():
        rows.append(
            RequirementRow(
                name=name,
                title=titles.get(name, {}).get("title", ""),
                outcome=WAIVED if told["waived"] else told["status"],
                simulated=told["simulated"],
                counts=told["findings"],
                codes=tuple((code, _anchor_of(code, anchors)) for code in told["codes"]),
                hosts=folded(told["hosts"]),
                unseen=folded(told["unseen"]),
            )
        )
    return rows


def _anchor_of(code: str, anchors: Mapping[tuple[str, str], str]) -> str:
    """The worst group of a code."""
    return next(anchors[counts_as, code] for counts_as in OUTCOMES if (counts_as, code) in anchors)
