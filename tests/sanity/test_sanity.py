"""ansible-test's sanity checks over what a release would hold; and the preparation for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import sanity


@pytest.mark.sanity
def test_sanity(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """All of them pass, and nothing is left in the checkout."""
    with capfd.disabled():
        print(flush=True)
        assert subprocess.run([sys.executable, "tools/sanity.py"], cwd=root, check=False).returncode == 0
    assert not (root / "tests/output").exists()


def test_a_release_holds_what_galaxy_would_build() -> None:
    names = ["plugins/modules/x.py", "tests/unit/x.py", "tests/sanity/ignore-2.19.txt", ".ansible-lint", "testsuite.md"]
    assert sanity.released(names, ["tests", ".ansible-lint"]) == [
        "plugins/modules/x.py",
        "tests/sanity/ignore-2.19.txt",
        "testsuite.md",
    ]


def test_the_copy_follows_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("a/one", "b/two"):
        (source / name).parent.mkdir(parents=True)
        (source / name).write_text(name, encoding="utf-8")
    target.mkdir()
    (target / ".git").mkdir()
    (target / ".git/config").touch()
    sanity.copy(["a/one", "b/two"], source, target)
    unchanged = (target / "a/one").stat().st_mtime_ns
    sanity.copy(["a/one"], source, target)
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*")) == [
        ".git",
        ".git/config",
        "a",
        "a/one",
    ]
    assert (target / "a/one").stat().st_mtime_ns == unchanged
    (source / "a/one").write_text("changed", encoding="utf-8")
    sanity.copy(["a/one"], source, target)
    assert (target / "a/one").read_text(encoding="utf-8") == "changed"


def test_pip_keeps_its_settings_in_another_home() -> None:
    listed = "global.index-url='https://index.example.org/simple'\n:env:.timeout='60'\nfreeze.timeout='10'\n"
    assert sanity.pip_configuration(listed, "/cache") == (
        "[global]\ncache-dir = /cache\nindex-url = https://index.example.org/simple\ntimeout = 60\n"
    )
