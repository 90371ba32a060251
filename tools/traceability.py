"""Which requirement is proven by which test, and what else cites it; rendered as docs/traceability.md by `make docs`.

A test proves a requirement when it carries the marker `requirement`; a citation anywhere else proves nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CITATION = re.compile(r"(?<![\w-])(?:(?:SPARK|MPS|POLICY|FANOUT)-\d+|ONYX-R\d+)(?![\w-])")
MARKER = "requirement"
# Tests below these run on lab hosts; all others run logic alone.
ON_HOSTS = ("molecule/", "tests/lab/")
# What cites a requirement besides tests. Documentation cites too, but describes only what these do.
CITING = ("data", "inventories", "lab", "playbooks", "plugins", "roles")


@dataclass(frozen=True)
class Proof:
    """One test that proves a requirement, or the part of it that `part` names."""

    requirement: str
    test: str
    part: str | None

    @property
    def on_hosts(self) -> bool:
        return self.test.startswith(ON_HOSTS)


def proofs_in(path: str, text: str) -> Iterator[Proof]:
    """The proofs of one file of tests. Raises ValueError for a marker whose arguments are not plain strings."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                yield from _proofs(path, node.name, decorator)


def _proofs(path: str, name: str, decorator: ast.expr) -> Iterator[Proof]:
    if not (isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == f"pytest.mark.{MARKER}"):
        return
    part: str | None = None
    for keyword in decorator.keywords:
        if keyword.arg != "part":
            raise ValueError(f"{path}: {name}: the marker {MARKER} takes ids and part, not {keyword.arg}")
        part = _string(path, name, keyword.value)
    if not decorator.args:
        raise ValueError(f"{path}: {name}: the marker {MARKER} names no requirement")
    for argument in decorator.args:
        yield Proof(_string(path, name, argument), f"{path}::{name}", part)


def _string(path: str, name: str, node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        return node.value
    raise ValueError(f"{path}: {name}: arguments of the marker {MARKER} are plain strings")


def citations_in(path: str, text: str) -> Iterator[tuple[str, str]]:
    """Pairs of a requirement and what cites it, in words of the reader: a role, a module, a code, a profile."""
    if path == "data/requirements.yml":
        return
    if path in ("data/codes.yml", "data/deviations.yml"):
        yield from _entries(yaml.safe_load(text))
        return
    for requirement in CITATION.findall(text):
        yield requirement, _citer(path)


def _entries(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Codes and deviations cite in a list of their own; each entry counts by itself."""
    for code, entry in (document.get("codes") or {}).items():
        yield from ((requirement, code) for requirement in entry["requirements"])
    for entry in document.get("deviations") or []:
        yield from ((requirement, entry["id"]) for requirement in entry["requirements"])


def _citer(path: str) -> str:
    parts = path.split("/")
    match parts:
        case ["roles", role, *_]:
            return f"role {role}"
        case ["plugins", "modules" | "action" as kind, name]:
            return f"{'module' if kind == 'modules' else 'action'} {name.removesuffix('.py')}"
        case ["data", "hardware", name]:
            return f"profile {name.removesuffix('.yml')}"
        case ["inventories", inventory, *_]:
            return f"inventory {inventory}"
    return path


def status(proofs: Iterable[Proof]) -> str:
    """What is proven, in words that claim no more than the tests that cite the requirement."""
    found = list(proofs)
    whole = [proof for proof in found if proof.part is None]
    if not found:
        return "not yet proven"
    counted = whole or found
    where = "on lab hosts" if any(proof.on_hosts for proof in counted) else "by unit tests"
    if whole:
        return f"proven {where}"
    parts = sorted({str(proof.part) for proof in found})
    return f"in part, {where}: {'; '.join(parts)}"


def texts_below(root: Path, folders: Iterable[str], suffixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Files below folders of the repository, by their path in it."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file():
                yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def all_proofs(root: Path) -> list[Proof]:
    files = texts_below(root, ("molecule", "tests"), (".py",))
    return [proof for path, text in files if "/test_" in path for proof in proofs_in(path, text)]


def all_citations(root: Path) -> list[tuple[str, str]]:
    files = texts_below(root, CITING, (".py", ".yml", ".j2", ".md"))
    return [pair for path, text in files for pair in citations_in(path, text)]


def render(registry: Mapping[str, Any], proofs: Iterable[Proof], citations: Iterable[tuple[str, str]]) -> list[str]:
    """The body of the page: how much is proven, then a table per specification."""
    by_test: dict[str, list[Proof]] = {}
    for proof in proofs:
        by_test.setdefault(proof.requirement, []).append(proof)
    cited: dict[str, set[str]] = {}
    for requirement, citer in citations:
        cited.setdefault(requirement, set()).add(citer)
    told = {requirement: status(by_test.get(requirement, [])) for requirement in registry["requirements"]}
    lines = [
        "A test proves a requirement when it carries the marker `requirement` (see [contributing](contributing.md)). Lab hosts",
        "have simulated GPUs and a stand-in for k3s: what is proven on them is proven of the collection, not of real hardware.",
        "",
        f"Of {len(told)} requirements {sum(text.startswith('proven') for text in told.values())} are proven, "
        f"{sum(text.startswith('in part') for text in told.values())} in part, "
        f"{sum(text.startswith('not') for text in told.values())} not yet.",
    ]
    for prefix, title in registry["specifications"].items():
        lines += [
            "",
            f"## {title}",
            "",
            "| id | what | status | proven by | cited by |",
            "| --- | --- | --- | --- | --- |",
        ]
        for requirement, entry in registry["requirements"].items():
            if requirement.startswith(f"{prefix}-"):
                tests = sorted({f"`{proof.test}`" for proof in by_test.get(requirement, [])})
                citers = sorted(cited.get(requirement, set()))
                cells = [
                    requirement,
                    f"{entry['area']}: {entry['title']}",
                    told[requirement],
                    "<br>".join(tests),
                    ", ".join(citers),
                ]
                lines.append("| " + " | ".join(cells) + " |")
    return lines
