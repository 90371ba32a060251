"""The filter answers a user's question by the collection's table, and refuses a question that it cannot use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.filter.compatible import FilterModule, compatible
from ansible_collections.baremetal.gpu.plugins.plugin_utils import compat_rules, data_files


def test_an_allowed_combination_needs_no_remedy() -> None:
    answer = compatible({"gpu": "gb10", "driver": "580.159.03", "cuda": "13.0"})
    assert (answer["allowed"], answer["status"], answer["nearest"], answer["remedy"]) == (True, "allowed", None, "")


def test_a_refused_one_says_why_by_which_source_and_what_is_allowed() -> None:
    answer = compatible({"gpu": "gb10", "driver": "590.48.01", "features": ["doca"]})
    assert (answer["allowed"], answer["status"]) == (False, "refused")
    assert [each["row"] for each in answer["refused"]] == ["gb10-driver-branch", "gb10-doca"]
    assert all(each["source"] and each["because"] and each["code"] for each in answer["refused"])
    assert answer["nearest"] == {"gpu": "gb10", "driver": "580.178.04"}
    assert answer["remedy"] == "take driver 580.178.04 instead of 590.48.01 and leave out doca"


def test_what_no_row_covers_is_not_allowed() -> None:
    answer = compatible({"triton": "99.01"})
    assert (answer["allowed"], answer["status"], answer["refused"]) == (False, "unknown", [])


def test_advice_does_not_refuse() -> None:
    answer = compatible({"gpu": "gb10", "driver": "580.159.03", "triton_vllm": "26.08"})
    assert (answer["allowed"], [each["row"] for each in answer["advice"]]) == (True, ["cuda-13.4-own-driver"])


def test_an_accepted_row_is_left_out() -> None:
    assert compatible({"gpu": "gb10", "driver": "590.48.01"}, ["gb10-driver-branch"])["allowed"]


@pytest.mark.parametrize(
    ("question", "accepted", "told"),
    [
        ({"driver": 580.1}, (), "in quotes"),
        ({"divers": "580"}, (), "did you mean driver"),
        (["driver"], (), "no mapping"),
        ({}, ("gb10-cuba",), "no row gb10-cuba"),
    ],
)
def test_a_question_that_cannot_be_used_is_refused(question: Any, accepted: Any, told: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"BG-COMPAT-004.*{told}"):
        compatible(question, accepted)


def test_a_lost_table_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "COLLECTION_ROOT", tmp_path)
    compat_rules.load_judge.cache_clear()
    try:
        with pytest.raises(AnsibleFilterError, match="BG-COMPAT-101"):
            compatible({"gpu": "gb10"})
    finally:
        compat_rules.load_judge.cache_clear()


def test_the_filter_has_its_name() -> None:
    assert FilterModule().filters() == {"compatible": compatible}
