"""What a change can affect is run, and a change of an unknown kind runs everything."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tools import affected

TABLE: dict[str, Any] = yaml.safe_load(affected.MAP.read_text(encoding="utf-8"))


def run_for(*paths: str) -> set[str]:
    return set(affected.selection(paths, TABLE, lambda path: True))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("README.md", {"tests/unit/gates"}),
        ("docs/lab.md", {"tests/unit/gates"}),
        ("tests/unit/lab/test_cache.py", {"tests/unit/gates", "tests/unit/lab/test_cache.py"}),
        (
            "lab/hosts.py",
            {
                "tests/unit/gates",
                "tests/unit/lab",
                "tests/unit/callback",
                "tests/unit/plugins",
                "tests/unit/preflight",
                "tests/lab",
            },
        ),
        ("plugins/module_utils/findings.py", {"tests/unit", "tests/lanes", "tests/sanity", "tests/lab"}),
        ("requirements/requirements.txt", {"tests"}),
        ("tools/bootstrap.sh", {"tests"}),
        ("tests/conftest.py", {"tests"}),
        ("a/new/kind.of_file", {"tests"}),
    ],
)
def test_a_change_runs_what_it_can_affect(path: str, expected: set[str]) -> None:
    assert run_for(path) == expected


@pytest.mark.parametrize(
    ("paths", "systems"),
    [
        (["roles/k3s_agent/tasks/main.yml"], ["onyx"]),
        (["roles/pod_network/tasks/main.yml", "README.md"], ["spark"]),
        (["roles/k3s_agent/tasks/main.yml", "roles/containerd/tasks/main.yml"], []),
        (["roles/k3s_agent/tasks/main.yml", "lab/hosts.py"], []),
        (["roles/k3s_agent/tasks/main.yml", "Makefile"], []),
        (["roles/gpu_verify/tasks/main.yml"], []),
        (["README.md"], []),
    ],
)
def test_a_system_that_no_change_is_about_is_left_out(paths: list[str], systems: list[str]) -> None:
    expected = [f"--deselect=tests/lab/test_scenarios.py::test_scenario[{system}]" for system in systems]
    assert affected.left_out(paths, TABLE) == expected


def test_a_role_runs_on_lab_hosts() -> None:
    assert "tests/lab" in run_for("roles/k3s_agent/tasks/main.yml")


def test_what_contains_a_test_runs_it_once() -> None:
    assert run_for("roles/k3s_agent/tasks/main.yml", "pyproject.toml") == {"tests"}


def test_a_removed_test_is_not_run() -> None:
    assert set(affected.selection(["tests/unit/lab/test_gone.py"], TABLE, lambda path: False)) == {"tests/unit/gates"}


def test_nothing_changed_runs_nothing() -> None:
    assert run_for() == set()


def test_each_argument_has_a_changed_file_as_its_reason() -> None:
    assert affected.selection(["README.md", "lab/hosts.py"], TABLE, lambda path: True)["tests/lab"] == "lab/hosts.py"


@given(paths=st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1), min_size=1))
def test_every_change_runs_something_that_exists(paths: list[str]) -> None:
    root = affected.ROOT
    chosen = affected.selection(paths, TABLE, lambda path: (root / path).exists())
    assert chosen
    assert all((root / argument.split("::")[0]).exists() for argument in chosen)


def test_every_name_in_a_rule_is_a_target_and_every_target_is_there(root: Path) -> None:
    named = {name for rule in TABLE["rules"] for name in rule["run"]} - {affected.ITSELF}
    assert named | {"always", "everything"} == set(TABLE["targets"])
    arguments = [argument for arguments in TABLE["targets"].values() for argument in arguments]
    assert set(TABLE["scenarios"]) <= set(TABLE["targets"])
    arguments += TABLE["scenarios"].values()
    assert [argument for argument in arguments if not (root / argument.split("::")[0]).exists()] == []


def test_every_rule_is_of_something(root: Path) -> None:
    """A rule that matches no file, or none that an earlier one leaves to it, is a mistake."""
    listing = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout
    used = set()
    for path in listing.splitlines():
        matching = [rule["path"] for rule in TABLE["rules"] if re.fullmatch(rule["path"], path)]
        used |= set(matching[:1])
    assert [rule["path"] for rule in TABLE["rules"] if rule["path"] not in used] == []


def test_without_a_revision_it_says_how_to_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert affected.main([""]) == 2
    assert "BASE=" in capsys.readouterr().err
