"""The table of this collection: no row contradicts another, every name means something, raising a minimum never hurts."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.answer import ALLOWED, NOT_THERE, REFUSED, Judge
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.question import Combination, parse_question
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.table import Row, Table, parse_table
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.version import declared
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.compat_rules import load_table

TABLE = load_table()
JUDGE = Judge(TABLE)


def with_rows(*rows: dict[str, Any]) -> Table:
    """The table with further rows."""
    data = copy.deepcopy(data_files.load("data/compat.yml"))
    told = {"because": "it is so", "source": "a test", "requirements": ["SPARK-04"]}
    data["rows"] += [{**told, **row} for row in rows]
    return parse_table(data, TABLE.gpus)


def contexts(table: Table) -> Iterator[Combination]:
    """Every host that rows tell apart by its attributes. A feature may be impossible on a host, which is no contradiction."""
    names = sorted({name for row in table.rows for name, _values in row.when_attributes})
    for values in itertools.product(*(sorted(table.attributes[name]) for name in names)):
        yield Combination(dict(zip(names, values, strict=True)), frozenset(), {})


def contradictions(table: Table) -> list[str]:
    """Hosts that are allowed by themselves and for which rows leave no known version of a component."""
    judge = Judge(table)
    found = []
    for host in contexts(table):
        if judge.answer(host).status != ALLOWED:
            continue
        for name, versions in table.known.items():
            answers = [judge.answer(host.with_version(name, version)) for version in versions]
            # What is not supported there at all has no version on purpose.
            there = [answer for answer in answers if NOT_THERE not in {each.code for each in answer.objections}]
            if there and ALLOWED not in {answer.status for answer in there}:
                found.append(f"{host.as_dict()}: no {name}")
    return found


def test_no_rows_contradict_each_other() -> None:
    assert contradictions(TABLE) == []


@pytest.mark.parametrize(
    "row",
    [
        {"id": "planted", "when": {"gpu": ["gb10"]}, "subject": "driver", "at_least": "590"},
        {"id": "planted", "when": {"platform": ["dgx-os-7"]}, "subject": "cuda", "below": "11"},
        {"id": "planted", "when": {"sharing": ["mps"]}, "subject": "gpu_operator", "below": "25.3.0"},
    ],
)
def test_a_contradiction_is_caught(row: dict[str, Any]) -> None:
    assert contradictions(with_rows(row)) != []


def same_rule(one: Row, other: Row) -> bool:
    """Whether two rows give one fact twice, with whatever bounds."""
    keys = ("subject", "when_attributes", "when_features", "when_components", "advises")
    kinds = [
        (bool(row.bounds.at_least), bool(row.excluded), bool(row.choices), row.unsupported) for row in (one, other)
    ]
    return all(getattr(one, key) == getattr(other, key) for key in keys) and kinds[0] == kinds[1]


def test_no_fact_stands_twice() -> None:
    identifiers = [row.id for row in TABLE.rows]
    assert len(set(identifiers)) == len(identifiers)
    assert [(one.id, other.id) for one, other in itertools.combinations(TABLE.rows, 2) if same_rule(one, other)] == []


def test_every_name_in_a_row_means_something() -> None:
    names = {*TABLE.attributes, *TABLE.titles, *TABLE.features}
    for row in TABLE.rows:
        assert {row.subject} | row.conditions <= names, row.id
        for name, values in row.when_attributes:
            assert values <= TABLE.attributes[name].keys(), row.id
        if row.choices:
            assert row.choices < TABLE.attributes[row.subject].keys(), row.id
    for releases in TABLE.releases.values():
        for release in releases.versions.values():
            assert {*release.installs, *release.defaults, *release.carries} <= TABLE.titles.keys()


def test_every_row_and_every_table_of_releases_has_a_source() -> None:
    assert [row.id for row in TABLE.rows if not row.source or not row.because] == []
    assert [name for name, releases in TABLE.releases.items() if not releases.source] == []


def test_every_row_can_object() -> None:
    """A row that nothing breaks says nothing."""
    silent = []
    for row in TABLE.rows:
        host = Combination(
            {name: min(values) for name, values in row.when_attributes},
            row.when_features | ({row.subject} & TABLE.features.keys()),
            {},
        )
        for name, bounds in row.when_components:
            host = host.with_version(name, (*bounds.at_least, *TABLE.known[name])[0])
        if row.subject in TABLE.attributes:
            tried = [host.with_attribute(row.subject, value) for value in TABLE.attributes[row.subject]]
        elif row.subject in TABLE.features:
            tried = [host]
        else:
            host = host.with_version(row.same_as, declared("1.2.3")) if row.same_as else host
            versions = {*TABLE.known[row.subject], declared("0.1"), declared("999.1"), *row.excluded}
            tried = [host.with_version(row.subject, version) for version in versions]
        answers = [JUDGE.answer(each) for each in tried]
        if not any(each.row == row.id for answer in answers for each in (*answer.objections, *answer.advice)):
            silent.append(row.id)
    assert silent == []


def minimum_only(table: Table) -> list[str]:
    """Components of which rows ask for nothing but minimums, and on which no row depends."""
    depended = {name for row in table.rows for name in row.conditions}
    installed = {name for all_ in table.releases.values() for one in all_.versions.values() for name in one.installs}
    return [
        name
        for name in table.titles
        if name not in depended | installed | {*table.releases, *table.covered}
        and any(row.subject == name for row in table.rows)
        and all(row.only_minimum for row in table.rows if row.subject == name)
    ]


def test_some_components_have_only_minimums() -> None:
    assert {"cudnn", "nccl", "framework_container"} <= set(minimum_only(TABLE))


@given(
    st.sampled_from(list(contexts(TABLE))),
    st.sampled_from(minimum_only(TABLE)),
    st.lists(st.integers(0, 60), min_size=2, max_size=3),
    st.lists(st.integers(0, 60), min_size=3, max_size=3),
)
def test_raising_a_version_never_turns_allowed_into_refused(
    host: Combination, name: str, numbers: list[int], more: list[int]
) -> None:
    lower = declared(".".join(map(str, numbers)))
    higher = declared(".".join(str(a + b) for a, b in zip([*numbers, 0], more, strict=False)))
    assert lower <= higher
    if JUDGE.answer(host.with_version(name, lower)).status == ALLOWED:
        assert JUDGE.answer(host.with_version(name, higher)).status == ALLOWED


def test_a_maximum_would_break_that() -> None:
    """The property can fail: with a maximum it does, and then the component no longer counts as one with minimums only."""
    row = {"id": "planted", "when": {"gpu": ["gb10"]}, "subject": "nccl", "below": "2.29"}
    table = with_rows(row)
    judge = Judge(table)
    lower, higher = (parse_question(table, {"gpu": "gb10", "nccl": text})[0] for text in ("2.28.9", "2.29.1"))
    assert (judge.answer(lower).status, judge.answer(higher).status) == (ALLOWED, REFUSED)
    assert "nccl" not in minimum_only(table)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("rows"),
        lambda data: data.update(schema=2),
        lambda data: data["rows"][0].pop("subject"),
        lambda data: data["rows"].append({**data["rows"][5], "at_least": "latest"}),
        lambda data: data["releases"]["triton"]["versions"].update({"x": {}}),
    ],
)
def test_a_broken_table_is_refused(spoil: Any) -> None:
    data = copy.deepcopy(data_files.load("data/compat.yml"))
    spoil(data)
    with pytest.raises((KeyError, TypeError, ValueError)):
        parse_table(data, TABLE.gpus)
