"""The page of playbooks: what each one's header says, and which plays it is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools.docs.markup import ROOT, page, table

COLLECTION = "baremetal.gpu."
FOLDER = ROOT / "playbooks"


def names() -> list[str]:
    """The playbooks that an operator calls; those in subfolders are parts of them."""
    return sorted(path.stem for path in FOLDER.glob("*.yml"))


def header(text: str) -> str:
    """The comment at the head of a playbook as one paragraph; empty when there is none."""
    found = re.match(r"(?:---\n)?((?:#.*\n)+)", text)
    lines = found.group(1).splitlines() if found else []
    return " ".join(line.lstrip("#").strip() for line in lines).strip()


def plays(path: Path) -> Iterator[dict[str, Any]]:
    """The plays of a playbook in their order, with those of the playbooks that it imports."""
    for play in yaml.safe_load(path.read_text(encoding="utf-8")):
        imported = play.get("ansible.builtin.import_playbook")
        if imported:
            yield from plays(path.parent / imported)
        else:
            yield play


def steps(play: dict[str, Any]) -> list[str]:
    """What a play calls, in order: roles, and entry points of roles as `role (entry point)`; then its own tasks by their names."""
    found = []
    for role in play.get("roles") or ():
        found.append(role if isinstance(role, str) else str(role["role"]))
    for task in [*(play.get("pre_tasks") or ()), *(play.get("tasks") or ()), *(play.get("post_tasks") or ())]:
        call = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role")
        entry = Path((call or {}).get("tasks_from", "main")).stem
        found.append(f"{call['name']} ({entry})" if call else f"*{task['name']}*")
    return [step.removeprefix(COLLECTION) for step in found]


def index() -> str:
    lines = [
        "Run with `ansible-playbook -i <inventory> playbooks/<name>.yml`, or by its full name `baremetal.gpu.<name>`. What to run when is told in",
        "[verbs](../verbs.md).",
        "",
    ]
    for name in names():
        path = FOLDER / f"{name}.yml"
        text = path.read_text(encoding="utf-8")
        rows = [[play["name"], f"`{play['hosts']}`", ", ".join(steps(play))] for play in plays(path)]
        lines += [f"## {name}", "", header(text), "", *table(["play", "hosts", "calls"], rows), ""]
    return page("Playbooks", "the playbooks themselves", lines)
