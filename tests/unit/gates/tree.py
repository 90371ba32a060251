"""What the gates look at: the repository's files, and the tasks, plays and strings in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

BLOCK_KEYS = ("block", "rescue", "always")
PLAY_SECTIONS = ("pre_tasks", "tasks", "post_tasks", "handlers")
# Every keyword of a task that is not the name of its module.
_KEYWORDS = (
    "action any_errors_fatal args async become become_exe become_flags become_method become_user changed_when check_mode "
    "collections connection debugger delay delegate_facts delegate_to diff environment failed_when ignore_errors "
    "ignore_unreachable listen local_action loop loop_control module_defaults name no_log notify poll port register remote_user "
    "retries run_once tags throttle timeout until vars when"
)
KEYWORDS = frozenset(_KEYWORDS.split())


def load(path: Path) -> Any:
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> Any:
    return yaml.load(text, Loader=_LOADER)


def parse_all(text: str) -> list[Any]:
    """Every document of a YAML file; parsed without the tags that only its own program knows."""
    return list(yaml.load_all(text, Loader=_LOADER))


@dataclass(frozen=True)
class Task:
    """One task, handler or block: where it stands, its keys, and its own lines of source."""

    path: str
    line: int
    keys: dict[str, Any]
    source: str

    @property
    def name(self) -> str:
        return str(self.keys.get("name", ""))

    @property
    def module(self) -> str | None:
        """The key that names the module; None for a block. Several candidates are told as one name that is none."""
        if any(key in self.keys for key in BLOCK_KEYS):
            return None
        candidates = [key for key in self.keys if key not in KEYWORDS and not key.startswith("with_")]
        return candidates[0] if len(candidates) == 1 else " and ".join(candidates) or "no module"

    @property
    def arguments(self) -> dict[str, Any]:
        """What the module is given, also through the keyword args."""
        given = self.keys.get(self.module or "", {})
        own = given if isinstance(given, dict) else {"_raw": given}
        return {**(self.keys.get("args") or {}), **own}

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.name or '(no name)'}"


def tasks_in(path: str, text: str) -> list[Task]:
    """Every task, handler and block of a file of tasks or plays, blocks before what is in them."""
    node = yaml.compose(text, Loader=_LOADER)
    if not isinstance(node, yaml.SequenceNode):
        return []
    document, lines = parse(text), text.splitlines()
    found: list[Task] = []
    for entry, written in zip(node.value, document, strict=True):
        if isinstance(written, dict) and ("hosts" in written or any("import_playbook" in key for key in written)):
            for section in PLAY_SECTIONS:
                found += _tasks(path, lines, _child(entry, section), written.get(section) or [])
        else:
            found += _task(path, lines, entry, written)
    return found


def plays_in(text: str) -> list[dict[str, Any]]:
    """Every play of a playbook, imports of other playbooks among them."""
    document = parse(text)
    entries = document if isinstance(document, list) else []
    return [entry for entry in entries if "hosts" in entry or any("import_playbook" in key for key in entry)]


def _tasks(path: str, lines: list[str], node: yaml.Node | None, written: list[Any]) -> Iterator[Task]:
    for entry, task in zip(node.value if node is not None else [], written, strict=True):
        yield from _task(path, lines, entry, task)


def _task(path: str, lines: list[str], node: yaml.Node, written: dict[str, Any]) -> Iterator[Task]:
    yield Task(path, node.start_mark.line + 1, written, "\n".join(lines[node.start_mark.line : node.end_mark.line]))
    for key in BLOCK_KEYS:
        yield from _tasks(path, lines, _child(node, key), written.get(key) or [])


def _child(node: yaml.Node, key: str) -> yaml.Node | None:
    return next((value for name, value in node.value if name.value == key), None)


def task_texts(root: Path, texts: dict[Path, str]) -> dict[str, str]:
    """Every file of tasks or plays, by its path in the repository."""
    names = {path.relative_to(root).as_posix(): text for path, text in texts.items()}
    wanted = re.compile(r"(roles/\w+/(tasks|handlers)|playbooks|molecule)/([\w-]+/)*[\w-]+\.ya?ml")
    return {name: text for name, text in sorted(names.items()) if wanted.fullmatch(name)}


def python_strings(text: str) -> Iterator[str]:
    """The strings that a Python program uses: no comments, no docstrings, no documentation of a module."""
    module = ast.parse(text)
    unused: set[int] = set()
    for node in ast.walk(module):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                unused.add(id(first.value))
        if isinstance(node, ast.Assign) and _names(node.targets) & {"DOCUMENTATION", "EXAMPLES", "RETURN"}:
            unused.add(id(node.value))
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in unused:
            yield node.value


def _names(targets: Iterable[ast.expr]) -> set[str]:
    return {target.id for target in targets if isinstance(target, ast.Name)}


def scalars(value: Any) -> Iterator[str]:
    """Every string in parsed YAML, keys too; comments are gone."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from scalars(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from scalars(inner)
    elif value is not None:
        yield str(value)
