"""The repository's files, for tests that look at all of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.baremetal.gpu.tests.unit.gates.tree import Task, task_texts, tasks_in


@pytest.fixture(scope="session")
def files(root: Path) -> list[Path]:
    """Every file of the repository, committed or about to be; links are left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    paths = [root / name for name in listed if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


@pytest.fixture(scope="session")
def texts(files: list[Path]) -> dict[Path, str]:
    """Every text file of the repository with its content."""
    found = {}
    for path in files:
        try:
            found[path] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


@pytest.fixture(scope="session")
def roles(root: Path) -> list[Path]:
    return sorted(path for path in (root / "roles").iterdir() if path.is_dir())


@pytest.fixture(scope="session")
def tasks(root: Path, texts: dict[Path, str]) -> list[Task]:
    """Every task, handler and block of roles, playbooks and molecule scenarios."""
    found = [task for path, text in task_texts(root, texts).items() for task in tasks_in(path, text)]
    assert len(found) > 50, "the gates below would look at nothing"
    return found
