"""What runs on managed hosts runs on the oldest Python that they may have.

Names and syntax are checked everywhere, by parsing for that version here and by ruff in `make lint`. Where the interpreter
itself is found everything is also imported by it, and the module that only reads is run.
"""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

import ansible
import pytest

pytestmark = pytest.mark.lane

OLDEST = (3, 9)
IMPORT_ALL = (
    "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print(sys.version_info[:2])"
)


def shipped(root: Path) -> list[Path]:
    """Modules, and the code that they share."""
    return sorted(path for folder in ("modules", "module_utils") for path in (root / "plugins" / folder).rglob("*.py"))


def oldest_python(root: Path) -> str:
    """The interpreter's path, by the same search that makes environments; skips where there is none."""
    search = '. tools/environments.sh; find_python "$1"'
    command = ["sh", "-c", f"root=$PWD; {search}", "sh", ".".join(map(str, OLDEST))]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    if not found:
        pytest.skip(f"no Python {OLDEST[0]}.{OLDEST[1]} is found on this machine; its syntax was checked without it")
    return found


@pytest.fixture
def library(root: Path, tmp_path: Path) -> Path:
    """What Ansible ships to a host: its own module_utils and this collection, without the rest of the controller."""
    (tmp_path / "ansible").mkdir()
    (tmp_path / "ansible/__init__.py").touch()
    (tmp_path / "ansible/module_utils").symlink_to(Path(ansible.__file__).parent / "module_utils")
    (tmp_path / "ansible_collections").symlink_to(root / "collections/ansible_collections")
    return tmp_path


def test_syntax_is_the_oldest_python_s(root: Path) -> None:
    assert len(shipped(root)) > 20
    for path in shipped(root):
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=OLDEST)


def test_newer_syntax_is_caught() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("match x:\n    case 1: pass\n", feature_version=OLDEST)


def test_everything_is_imported_by_the_oldest_python(root: Path, library: Path) -> None:
    names = [
        ".".join(("ansible_collections.baremetal.gpu", *path.relative_to(root).with_suffix("").parts))
        for path in shipped(root)
    ]
    command = [oldest_python(root), "-B", "-c", IMPORT_ALL, *names]
    done = subprocess.run(command, env={"PYTHONPATH": str(library)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, str(OLDEST)), done.stderr


@pytest.mark.parametrize(
    ("module", "options"),
    [("gpu_info", {}), ("gpu_health", {"minimum_window_s": 0, "_ansible_check_mode": True})],
)
def test_a_module_that_only_reads_runs_on_the_oldest_python(
    root: Path, library: Path, module: str, options: dict[str, object]
) -> None:
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": options})
    start = (
        f"from ansible.module_utils import basic; basic._ANSIBLE_PROFILE = 'legacy'; basic._ANSIBLE_ARGS = {arguments!r}.encode(); "
        f"from ansible_collections.baremetal.gpu.plugins.modules import {module}; {module}.main()"
    )
    command = [oldest_python(root), "-B", "-c", start]
    done = subprocess.run(command, env={"PYTHONPATH": str(library)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["readings"]["schema"] >= 1


def test_captures_are_read_by_the_oldest_python(root: Path, library: Path) -> None:
    read = (
        "import sys; from ansible_collections.baremetal.gpu.plugins.module_utils.health_readings import read_captures; "
        "print([item['reason'] for item in read_captures(sys.argv[1:])])"
    )
    files = [str(root / "tests/data/nvidia-smi" / name) for name in ("gb10.xml", "h100-report.txt", "table.txt")]
    command = [oldest_python(root), "-B", "-c", read, *files]
    done = subprocess.run(command, env={"PYTHONPATH": str(library)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[None, None, None]"), done.stderr
