#!/usr/bin/env python3
"""Run what the changes since a revision can affect: lint, then the tests that tools/affected.yml names for the changed files.

Run by `make test-since BASE=<revision>`. Changes are everything that differs from the revision's merge base with HEAD:
commits, what is not committed yet, and files that git does not know yet.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
MAP = ROOT / "tools" / "affected.yml"
ITSELF = "ITSELF"


def names_for(path: str, rules: Iterable[Mapping[str, Any]]) -> list[str]:
    """Targets that a changed file can affect."""
    for rule in rules:
        if re.fullmatch(rule["path"], path):
            return list(rule["run"])
    return ["everything"]


def selection(paths: Iterable[str], table: Mapping[str, Any], exists: Callable[[str], bool]) -> dict[str, str]:
    """Arguments of pytest, each with a changed file that is a reason for it. Empty when nothing changed.

    `exists` says whether a changed file is still there: a test that was removed cannot be run.
    """
    chosen: dict[str, str] = {}
    for path in paths:
        own = [path] if exists(path) else []
        for name in ["always", *names_for(path, table["rules"])]:
            for argument in own if name == ITSELF else table["targets"][name]:
                chosen.setdefault(argument, path)
    return {argument: reason for argument, reason in chosen.items() if not _covered(argument, chosen)}


def left_out(paths: Iterable[str], table: Mapping[str, Any]) -> list[str]:
    """Scenarios of systems that no change is about, unless one is about the lab as a whole."""
    names = {name for path in paths for name in names_for(path, table["rules"])}
    if names & {"lab", "everything"} or not names & set(table["scenarios"]):
        return []
    return [f"--deselect={test}" for system, test in table["scenarios"].items() if system not in names]


def _covered(argument: str, chosen: Iterable[str]) -> bool:
    """Whether a folder or file that contains it is run anyway."""
    return any(argument.startswith((f"{other}/", f"{other}::")) for other in chosen)


def git(*arguments: str) -> str:
    """What git says. Ends with git's own words when it refuses."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip())
    return done.stdout


def changed_since(base: str) -> list[str]:
    """Files that differ, by their old and their new name."""
    start = git("merge-base", base, "HEAD").strip()
    differing = git("diff", "--name-only", "--no-renames", "-z", start).split("\0")
    new = git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
    return sorted({path for path in (*differing, *new) if path})


def main(arguments: list[str]) -> int:
    """Say what is run and why, run lint, then pytest. Returns 2 when no revision is given."""
    if len(arguments) != 1 or not arguments[0]:
        print("usage: make test-since BASE=<revision>, for example BASE=main", file=sys.stderr)
        return 2
    table = yaml.safe_load(MAP.read_text(encoding="utf-8"))
    changed = changed_since(arguments[0])
    chosen = selection(changed, table, lambda path: (ROOT / path).exists())
    if not chosen:
        print(f"nothing differs from {arguments[0]}: no test is affected")
        return 0
    for argument, reason in sorted(chosen.items()):
        print(f"{argument}: for {reason}", flush=True)
    if subprocess.run(["sh", "tools/lint.sh"], cwd=ROOT, check=False).returncode != 0:
        return 1
    command = [sys.executable, "-m", "pytest", *left_out(changed, table), *sorted(chosen)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
