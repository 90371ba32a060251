"""What runs on managed hosts runs on every Python that they may have, from the oldest on.

Names and syntax are checked everywhere, by parsing for the oldest version here and by ruff in `make lint`. By each interpreter that is found
everything is also imported, and modules that only read are run.
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
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
IMPORT_ALL = (
    "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print(sys.version_info[:2])"
)


def shipped(root: Path) -> list[Path]:
    """Modules, and the code that they share."""
    return sorted(path for folder in ("modules", "module_utils") for path in (root / "plugins" / folder).rglob("*.py"))


@pytest.fixture(params=VERSIONS)
def python(root: Path, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A version and the path of its interpreter, by the same search that makes environments; skips where there is none."""
    version: str = request.param
    search = '. tools/environments.sh; find_python "$1"'
    command = ["sh", "-c", f"root=$PWD; {search}", "sh", version]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    if not found:
        pytest.skip(f"no Python {version} is found on this machine; the oldest one's syntax was checked without it")
    return version, found


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


def test_the_versions_begin_with_the_oldest() -> None:
    assert VERSIONS[0] == ".".join(map(str, OLDEST))


def test_everything_is_imported(root: Path, library: Path, python: tuple[str, str]) -> None:
    names = [
        ".".join(("ansible_collections.baremetal.gpu", *path.relative_to(root).with_suffix("").parts))
        for path in shipped(root)
    ]
    version, interpreter = python
    command = [interpreter, "-B", "-c", IMPORT_ALL, *names]
    done = subprocess.run(command, env={"PYTHONPATH": str(library)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, f"({version.replace('.', ', ')})"), done.stderr


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("gpu_info", {}),
        ("gpu_health", {"minimum_window_s": 0, "_ansible_check_mode": True}),
        ("host_preflight", {}),
        ("host_setup", {"packages": [{"code": "BG-CTRD-001", "names": ["none"], "version": "1"}]}),
        ("certificates", {"paths": ["/etc/ssl/certs/*.pem"]}),
    ],
)
def test_a_module_that_only_reads_runs(
    library: Path, python: tuple[str, str], module: str, options: dict[str, object]
) -> None:
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": options})
    start = (
        f"from ansible.module_utils import basic; basic._ANSIBLE_PROFILE = 'legacy'; basic._ANSIBLE_ARGS = {arguments!r}.encode(); "
        f"from ansible_collections.baremetal.gpu.plugins.modules import {module}; {module}.main()"
    )
    command = [python[1], "-B", "-c", start]
    done = subprocess.run(command, env={"PYTHONPATH": str(library)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["readings"]


def test_captures_are_read(root: Path, library: Path, python: tuple[str, str]) -> None:
    read = (
        "import sys; from ansible_collections.baremetal.gpu.plugins.module_utils.health_readings import read_captures; "
        "print([item['reason'] for item in read_captures(sys.argv[1:])])"
    )
    files = [str(root / "tests/data/nvidia-smi" / name) for name in ("gb10.xml", "h100-report.txt", "table.txt")]
    command = [python[1], "-B", "-c", read, *files]
    done = subprocess.run(command, env={"PYTHONPATH": str(library)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[None, None, None]"), done.stderr
