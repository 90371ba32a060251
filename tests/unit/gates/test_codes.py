"""Every code is registered, raised by something that runs, documented, and expected by a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.unit.gates.tree import load, parse_all, python_strings, scalars

CODE = re.compile(r"\bBG-[A-Z][A-Z0-9]*-\d{3}\b")
# An example in documentation.
NOT_A_CODE = re.compile(r"BG-X+-\d{3}")
# Raised by tasks that only a run against hosts reaches, and expected by no test yet. The list may only get shorter.
UNTESTED = {
    "BG-CTK-001",
    "BG-DP-001",
    "BG-K3S-002",
    "BG-K3S-003",
    "BG-K8S-001",
    "BG-K8S-002",
    "BG-K8S-003",
    "BG-K8S-004",
    "BG-POD-001",
    "BG-REPO-001",
    "BG-REPO-002",
}
RUNS = ("plugins", "roles", "playbooks", "lab")


def codes_in(strings: Iterator[str]) -> set[str]:
    return {code for text in strings for code in CODE.findall(text) if not NOT_A_CODE.fullmatch(code)}


def raised_in(path: str, text: str) -> set[str]:
    """Codes in what a file does: strings of a program, values of tasks. Comments and documentation raise nothing."""
    if path.endswith(".py"):
        return codes_in(python_strings(text))
    if path.endswith("/argument_specs.yml"):
        return set()
    if path.endswith((".yml", ".yaml")):
        return codes_in(value for document in parse_all(text) for value in scalars(document))
    if path.endswith(".j2"):
        return codes_in(iter([re.sub(r"\{#.*?#\}", "", text, flags=re.DOTALL)]))
    return set()


def places(root: Path, texts: dict[Path, str], folders: tuple[str, ...]) -> dict[str, str]:
    named = {path.relative_to(root).as_posix(): text for path, text in texts.items()}
    return {name: text for name, text in named.items() if name.split("/")[0] in folders}


@pytest.fixture(scope="module")
def registry(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = load(root / "data/codes.yml")["codes"]
    return found


@pytest.fixture(scope="module")
def raised(root: Path, texts: dict[Path, str]) -> set[str]:
    return {code for name, text in places(root, texts, RUNS).items() for code in raised_in(name, text)}


def test_every_code_that_is_named_is_registered(root: Path, texts: dict[Path, str], registry: dict[str, Any]) -> None:
    """Also in comments, documentation and inventories: what a person looks up must be there."""
    folders = (*RUNS, "docs", "inventories", "data", "molecule")
    named = {
        name: codes_in(iter([text])) - set(registry)
        for name, text in [*places(root, texts, folders).items(), ("README.md", texts[root / "README.md"])]
    }
    assert {name: codes for name, codes in named.items() if codes} == {}


def test_every_registered_code_is_raised(registry: dict[str, Any], raised: set[str]) -> None:
    assert set(registry) - raised == set(), "in data/codes.yml, but no program and no task raises it"


def test_every_registered_code_is_documented(root: Path, registry: dict[str, Any]) -> None:
    rows = re.findall(r"^\| `(BG-[A-Z0-9-]+)` \|", (root / "docs/reference/codes.md").read_text(encoding="utf-8"), re.M)
    assert rows == list(registry)


def test_every_registered_code_is_expected_by_a_test(
    root: Path, texts: dict[Path, str], registry: dict[str, Any]
) -> None:
    folders = ("tests", "molecule")
    tested = {
        code
        for name, text in places(root, texts, folders).items()
        if not name.startswith("tests/unit/gates/")
        for code in raised_in(name, text)
    }
    assert set(registry) - tested - UNTESTED == set(), "no test expects it"
    assert UNTESTED & tested == set(), "a test expects it now: take it off UNTESTED"


def not_findings(text: str, registry: dict[str, Any]) -> set[str]:
    """Codes that a text names and that no waiver can be about."""
    return {code for code in CODE.findall(text) if registry.get(code, {}).get("kind") != "finding"}


def test_inventories_waive_nothing_but_findings(root: Path, texts: dict[Path, str], registry: dict[str, Any]) -> None:
    inventories = places(root, texts, ("inventories",))
    assert inventories
    assert {name: found for name, text in inventories.items() if (found := not_findings(text, registry))} == {}


def test_a_waiver_of_what_is_no_finding_is_caught(registry: dict[str, Any]) -> None:
    sample = "gpu_verify_waivers: [{code: BG-GPU-009}, {code: BG-INV-001}, {code: BG-GPU-999}]"
    assert not_findings(sample, registry) == {"BG-INV-001", "BG-GPU-999"}


PROGRAM = '''"""Documented: BG-AAA-001."""
DOCUMENTATION = "BG-AAA-002"
# Commented: BG-AAA-003.
def check():
    """Raises BG-AAA-004."""
    raise GpuError("BG-AAA-005", f"{x} BG-AAA-006: text")
'''
TASKS = """
# BG-AAA-001
- name: Refuse it
  ansible.builtin.assert:
    that: false # BG-AAA-002
    fail_msg: "BG-AAA-003: it cannot work"
"""


@pytest.mark.parametrize(
    ("path", "text", "codes"),
    [
        ("plugins/action/x.py", PROGRAM, {"BG-AAA-005", "BG-AAA-006"}),
        ("roles/x/tasks/main.yml", TASKS, {"BG-AAA-003"}),
        ("roles/x/meta/argument_specs.yml", "text: BG-AAA-001", set()),
        ("roles/x/templates/x.j2", "{# BG-AAA-001 #}\nBG-AAA-002 BG-XXX-001", {"BG-AAA-002"}),
        ("roles/x/README.md", "BG-AAA-001", set()),
    ],
)
def test_a_code_that_is_only_mentioned_is_not_raised(path: str, text: str, codes: set[str]) -> None:
    assert raised_in(path, text) == codes
