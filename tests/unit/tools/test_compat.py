"""The command asks the same table as the filter, and measures what it says it measures."""

from __future__ import annotations

import json

import pytest

from ansible_collections.baremetal.gpu.plugins.plugin_utils.compat_rules import load_table
from tools import compat


def test_as_many_hosts_are_asked_about_as_is_said_and_no_two_are_alike() -> None:
    table = load_table()
    asked = compat.questions(table, compat.HOSTS)
    assert len({json.dumps(question, sort_keys=True) for question in asked}) == compat.HOSTS
    assert set(compat.answer_all(table, asked)) == {"allowed", "refused"}


@pytest.mark.parametrize(
    ("arguments", "status", "row"),
    [
        (["gpu=gb10", "driver=580"], 0, ""),
        (["gpu=gb10", "driver=590"], 1, "gb10-driver-branch"),
        (["gpu=gb10", "features=doca"], 1, "gb10-doca"),
        (["gpu=gb10", "features"], 2, ""),
        (["gpu=gb11"], 2, ""),
    ],
)
def test_a_question_is_answered_by_the_exit_status(
    arguments: list[str], status: int, row: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compat.main(arguments) == status
    printed = capsys.readouterr().out
    if status != 2:
        assert [each["row"] for each in json.loads(printed)["refused"]] == ([row] if row else [])


def test_measuring_prints_a_time_for_alike_and_for_different_hosts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compat, "HOSTS", 20)
    assert compat.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["20 hosts of 5 kinds", "20 hosts, no two alike"]
