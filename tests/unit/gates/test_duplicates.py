"""Logic is written once: in Python by pylint's duplicate-code checker, in roles by comparing what their tasks do."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.unit.gates.tree import Task, tasks_in

# Lines that two places may share before they count as copied. Shorter runs are imports, signatures and tables of options.
LINES = 8
# Of the values of two tasks, how many must be the same ones, and from how many values on a task says anything at all.
SHARED, VALUES = 0.8, 6

# Pairs of roles whose tasks may be alike, with the module. Each says why it is not one piece.
ALIKE = {
    # One command, on other hosts and in another state of theirs.
    ("kubeadm_control_plane", "kubeadm_worker", "ansible.builtin.command"),
}


def copied_lines(*folders: Path) -> str:
    """What pylint says about copies among the Python files below `folders`; empty when there are none."""
    command = [sys.executable, "-m", "pylint", "--rcfile=/dev/null", "--score=n", "--reports=n", "--disable=all"]
    command += ["--enable=duplicate-code", f"--min-similarity-lines={LINES}", "--ignore-imports=y"]
    command += ["--ignore-signatures=y", "--recursive=y", *map(str, folders)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    # Bit 0: it could not read something; bit 5: it was called wrongly.
    assert ended.returncode & 0b100001 == 0, ended.stdout + ended.stderr
    return ended.stdout


def values(task: Task) -> set[tuple[str, str]]:
    """What a task does, as paths and values. Names of its own role's variables count as the same in every role."""
    role = task.path.split("/")[1]
    told = ("name", "register", "notify", "listen", "tags", "block", "rescue", "always")
    keys = {key: value for key, value in task.keys.items() if key not in told}
    return {(path, re.sub(rf"\b(__)?{role}_", r"\1ROLE_", value)) for path, value in _leaves(keys, "")}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, f"{path}/-")
    else:
        yield path, str(value)


def alike(tasks: list[Task]) -> list[tuple[Task, Task]]:
    """Pairs of tasks of different roles that do nearly the same."""
    found = []
    for one, other in combinations(tasks, 2):
        if one.path.split("/")[1] == other.path.split("/")[1]:
            continue
        mine, theirs = values(one), values(other)
        if min(len(mine), len(theirs)) >= VALUES and len(mine & theirs) >= SHARED * len(mine | theirs):
            found.append((one, other))
    return found


def pair(one: Task, other: Task) -> tuple[str, str, str]:
    first, second = sorted((one.path.split("/")[1], other.path.split("/")[1]))
    return first, second, str(one.module)


def test_no_lines_of_python_are_copied(root: Path) -> None:
    assert copied_lines(root / "plugins", root / "lab", root / "tools") == ""


def test_copied_lines_of_python_are_caught(tmp_path: Path) -> None:
    body = "".join(f"    total += step_{number}(total)\n" for number in range(LINES + 1))
    (tmp_path / "one.py").write_text(f"def one(total):\n{body}    return total\n", encoding="utf-8")
    assert copied_lines(tmp_path) == ""
    (tmp_path / "two.py").write_text(f"def other(total):\n{body}    return -total\n", encoding="utf-8")
    assert "Similar lines in 2 files" in copied_lines(tmp_path)


def test_no_two_roles_do_the_same(tasks: list[Task]) -> None:
    of_roles = [task for task in tasks if task.path.startswith("roles/")]
    assert of_roles
    found = {pair(*both): f"{both[0]} ~ {both[1]}" for both in alike(of_roles)}
    assert {key: text for key, text in found.items() if key not in ALIKE} == {}
    assert set(found) >= ALIKE, "allowed, and not alike any more"


FIRST = """
- name: Install the binary
  ansible.builtin.get_url:
    url: "{{ first_url }}"
    dest: /usr/local/bin/tool
    checksum: "sha256:{{ first_sha256 }}"
    mode: "0755"
    owner: root
  register: __first_binary
  when: __first_wanted
"""


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (("", ""), 1),  # the variables' names differ already
        (("Install the binary", "Fetch the program"), 1),
        (("/usr/local/bin/tool", "/usr/local/bin/other"), 0),
    ],
)
def test_the_same_task_in_two_roles_is_caught(change: tuple[str, str], count: int) -> None:
    second = FIRST.replace("first", "second").replace(*change)
    one = tasks_in("roles/first/tasks/main.yml", FIRST)
    assert len(alike([*one, *tasks_in("roles/second/tasks/main.yml", second)])) == count
    assert alike([*one, *tasks_in("roles/first/tasks/other.yml", FIRST)]) == []
