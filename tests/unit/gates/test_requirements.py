"""Requirements have ids that exist, and a proof is a test that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.unit.gates.tree import load
from tools.traceability import CITATION, Proof, all_proofs, citations_in, proofs_in, render, status

# Taken apart, so that they are no citations of this file.
UNKNOWN = "SPARK" + "-99"
KNOWN = "SPARK" + "-12"


@pytest.fixture(scope="module")
def registry(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = load(root / "data/requirements.yml")
    return found


def unknown_in(text: str, registry: dict[str, Any]) -> set[str]:
    return set(CITATION.findall(text)) - set(registry["requirements"])


def test_every_requirement_is_of_a_known_specification(registry: dict[str, Any]) -> None:
    assert {name.split("-")[0] for name in registry["requirements"]} == set(registry["specifications"])


def test_every_citation_is_of_a_requirement_that_exists(
    root: Path, texts: dict[Path, str], registry: dict[str, Any]
) -> None:
    unknown = {path.relative_to(root).as_posix(): unknown_in(text, registry) for path, text in texts.items()}
    assert {path: ids for path, ids in unknown.items() if ids} == {}
    assert {proof.requirement for proof in all_proofs(root)} - set(registry["requirements"]) == set()


def test_a_citation_of_nothing_is_caught(registry: dict[str, Any]) -> None:
    assert unknown_in(f"as {UNKNOWN} and {KNOWN} ask", registry) == {UNKNOWN}
    assert unknown_in("ONYX" + "-R1234 ROCKS-1 spark-01", registry) == {"ONYX" + "-R1234"}


def test_every_requirement_has_one_row(root: Path, registry: dict[str, Any]) -> None:
    page = (root / "docs/traceability.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if CITATION.match(line[2:])]
    assert rows == list(registry["requirements"])


TEST = f'''
import pytest

@pytest.mark.requirement("{KNOWN}", "MPS-09")
@pytest.mark.requirement("SPARK-21", part="pods")
def test_it(): ...

def test_other():
    """Mentions {KNOWN}."""
'''


def test_only_a_marker_proves() -> None:
    assert list(proofs_in("tests/unit/test_x.py", TEST)) == [
        Proof(KNOWN, "tests/unit/test_x.py::test_it", None),
        Proof("MPS-09", "tests/unit/test_x.py::test_it", None),
        Proof("SPARK-21", "tests/unit/test_x.py::test_it", "pods"),
    ]


@pytest.mark.parametrize("arguments", ["", "SPARK", "f'{x}'", "'MPS-09', because='x'", "'MPS-09', part=x"])
def test_a_marker_that_cannot_be_read_is_refused(arguments: str) -> None:
    with pytest.raises(ValueError, match="marker requirement"):
        list(proofs_in("tests/test_x.py", f"@pytest.mark.requirement({arguments})\ndef test_it(): ..."))


@pytest.mark.parametrize(
    ("proofs", "expected"),
    [
        ([], "not yet proven"),
        ([("tests/unit/a", None)], "proven by unit tests"),
        ([("tests/unit/a", None), ("molecule/spark/a", None)], "proven on lab hosts"),
        ([("tests/lab/a", "x"), ("tests/unit/a", "y")], "in part, on lab hosts: x; y"),
        ([("tests/lab/a", "x"), ("tests/unit/a", None)], "proven by unit tests"),
    ],
)
def test_a_status_claims_no_more_than_its_tests(proofs: list[tuple[str, str | None]], expected: str) -> None:
    assert status([Proof(KNOWN, test, part) for test, part in proofs]) == expected


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("roles/k3s_agent/tasks/main.yml", f"# {KNOWN}", [(KNOWN, "role k3s_agent")]),
        ("plugins/modules/gpu_info.py", f'"""{KNOWN}"""', [(KNOWN, "module gpu_info")]),
        ("data/codes.yml", f"codes: {{BG-A-001: {{requirements: [{KNOWN}]}}}}", [(KNOWN, "BG-A-001")]),
        ("data/deviations.yml", f"deviations: [{{id: DEV-1, requirements: [{KNOWN}]}}]", [(KNOWN, "DEV-1")]),
        ("data/hardware/gb10.yml", f"requirements: [{KNOWN}]", [(KNOWN, "profile gb10")]),
        ("data/requirements.yml", f"{KNOWN}: {{}}", []),
        ("playbooks/spark.yml", f"# {KNOWN}", [(KNOWN, "playbooks/spark.yml")]),
    ],
)
def test_who_cites_is_told_in_the_reader_s_words(path: str, text: str, expected: list[tuple[str, str]]) -> None:
    assert list(citations_in(path, text)) == expected


def test_a_requirement_that_is_cited_and_not_tested_is_told_as_not_proven() -> None:
    registry = {"specifications": {"MPS": "Sharing"}, "requirements": {"MPS-09": {"area": "A", "title": "T"}}}
    assert "| MPS-09 | A: T | not yet proven |  | role x |" in render(registry, [], [("MPS-09", "role x")])
