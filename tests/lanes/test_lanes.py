"""The collection on the oldest and on the newest ansible-core, each in an environment of its own below .venv/lanes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.lane

LANES = ("floor", "current")
# Exit status of tools/bootstrap.sh: no Python that the environment needs is found.
NO_PYTHON = 3
# How a test says that it runs Ansible, or code that runs inside it.
NEEDS_ANSIBLE = re.compile(r"^(?:from|import) ansible[. ]|ansible-playbook|\"ansible\"|\brun_module\b", re.MULTILINE)


def files_that_need_ansible(root: Path) -> list[str]:
    """Unit tests whose outcome may depend on ansible-core; gates look at files, and the lab has only the one environment."""
    found = [
        path.relative_to(root).as_posix()
        for path in sorted((root / "tests/unit").rglob("test_*.py"))
        if NEEDS_ANSIBLE.search(path.read_text(encoding="utf-8"))
    ]
    return [
        name for name in found if not name.startswith(("tests/unit/gates/", "tests/unit/lab/", "tests/unit/tools/"))
    ]


@pytest.mark.parametrize("lane", LANES)
def test_lane(lane: str, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The tests that need Ansible pass there, and so do playbooks, argument specs and documentation."""
    with capfd.disabled():
        print(flush=True)
        made = subprocess.run(["sh", "tools/bootstrap.sh", lane], cwd=root, check=False).returncode
        if made == NO_PYTHON:
            versions = (root / "requirements/lanes" / lane / "python-versions").read_text(encoding="utf-8").split()
            pytest.skip(f"no Python {' or '.join(versions)} is found on this machine")
        assert made == 0, "the lane's environment cannot be made"
        python = str(root / ".venv/lanes" / lane / "bin/python")
        # Arguments of this run, such as a selection of tests, are not handed on.
        options = [
            "-q",
            f"--override-ini=cache_dir=.venv/cache/pytest-{lane}",
            "--override-ini=addopts=--strict-markers --import-mode=importlib",
        ]
        files = ["tests/lanes/test_every_core.py", *files_that_need_ansible(root)]
        assert subprocess.run([python, "-m", "pytest", *options, *files], cwd=root, check=False).returncode == 0


def test_lanes_are_the_declared_ones(root: Path) -> None:
    assert {path.name for path in (root / "requirements/lanes").iterdir()} == set(LANES)


def test_the_floor_is_the_one_that_the_collection_declares(root: Path) -> None:
    declared = re.search(r">=(\d+\.\d+)\.0", (root / "meta/runtime.yml").read_text(encoding="utf-8"))
    pinned = (root / "requirements/lanes/floor/requirements.in").read_text(encoding="utf-8")
    assert declared is not None
    assert f"ansible-core=={declared.group(1)}." in pinned


def test_tests_that_run_ansible_are_found(root: Path) -> None:
    found = files_that_need_ansible(root)
    assert "tests/unit/preflight/test_preflight_action.py" in found
    assert "tests/unit/plugins/modules/test_gpu_info.py" in found
    assert "tests/unit/preflight/test_checks.py" not in found
