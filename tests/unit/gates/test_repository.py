"""The repository is one collection, at one version, and reads nothing outside itself."""

from __future__ import annotations

import json
import re
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

LINK = "collections/ansible_collections/baremetal/gpu"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_link_makes_the_checkout_a_collection(root: Path) -> None:
    link = root / LINK
    assert link.is_symlink()
    assert str(link.readlink()) == "../../.."
    assert link.resolve() == root


def test_environment_holds_the_checkout_itself_not_a_copy(root: Path) -> None:
    installed = Path(sysconfig.get_paths()["purelib"]) / "ansible_collections/baremetal/gpu"
    assert installed.resolve() == root


def test_tools_do_not_follow_the_link(root: Path) -> None:
    """Following it would lint and test everything forty times over."""
    folder = "collections/ansible_collections/"
    assert folder in load(root / ".ansible-lint")["exclude_paths"]
    assert folder in load(root / ".yamllint")["ignore"]
    assert "collections" in load(root / "galaxy.yml")["build_ignore"]
    assert folder.rstrip("/") in (root / ".dockerignore").read_text(encoding="utf-8").split()
    settings = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'norecursedirs = \[.*"collections"', settings)
    assert 'testpaths = ["tests"]' in settings


def test_collection_s_version_is_the_newest_in_the_changelog(root: Path) -> None:
    newest = re.search(r"^## (\S+)", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert load(root / "galaxy.yml")["version"] == newest.group(1)


def test_needed_collections_are_declared_once_for_all(root: Path) -> None:
    listed = load(root / "collections/requirements.yml")["collections"]
    assert {entry["name"]: entry["version"] for entry in listed} == load(root / "galaxy.yml")["dependencies"]


def test_environment_holds_the_needed_collections_and_no_others(root: Path) -> None:
    folder = Path(sysconfig.get_paths()["purelib"]) / "ansible_collections"
    wanted = {entry["name"]: entry["version"] for entry in load(root / "collections/requirements.yml")["collections"]}
    present = {}
    for manifest in folder.glob("*/*/MANIFEST.json"):
        if not manifest.parent.is_symlink():
            information = json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]
            present[f"{information['namespace']}.{information['name']}"] = information["version"]
    assert set(present) == set(wanted)
    for name, version in wanted.items():
        floor = [int(part) for part in version.removeprefix(">=").split(".")]
        assert [int(part) for part in present[name].split(".")[:3]] >= floor, name


def environments(root: Path) -> list[Path]:
    """Folders of pins: the checkout's own environment, and one per lane."""
    return [root / "requirements", *sorted((root / "requirements/lanes").iterdir())]


def pin_faults(name: str, text: str) -> list[str]:
    """Packages without a version or a hash, and addresses, which differ from machine to machine."""
    entries = [line for line in text.splitlines() if re.match(r"[a-zA-Z0-9]", line)]
    faults = [f"{name}: {entry}" for entry in entries if "==" not in entry]
    faults += [f"{name}: {entry}" for entry in entries if not (entry.endswith("\\") or "--hash=sha256:" in entry)]
    return (
        faults
        + [f"{name}: {word}" for word in ("index-url", "://") if word in text]
        + ([] if entries else [f"{name}: empty"])
    )


def test_every_package_is_pinned_by_hash(root: Path) -> None:
    for folder in environments(root):
        for name in ("requirements.txt", "collections.txt"):
            text = (folder / name).read_text(encoding="utf-8")
            assert pin_faults(f"{folder.name}/{name}", text) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a==1 \\\n    --hash=sha256:00\n", 0),
        ("a==1 --hash=sha256:00\n", 0),
        ("a==1\n", 1),
        ("a>=1 --hash=sha256:00\n", 1),
        ("--index-url https://index.example.org\na==1 --hash=sha256:00\n", 2),
        ("", 1),
    ],
)
def test_a_package_without_pin_or_hash_is_caught(text: str, count: int) -> None:
    assert len(pin_faults("requirements.txt", text)) == count


def test_what_is_asked_for_is_what_is_pinned(root: Path) -> None:
    """Somebody who edits requirements.in has to resolve it."""
    for folder in environments(root):
        asked = re.findall(r"^([A-Za-z0-9-]+)(==\S+)?", (folder / "requirements.in").read_text(encoding="utf-8"), re.M)
        pinned = dict(
            re.findall(r"^([A-Za-z0-9-]+)(==\S+)", (folder / "requirements.txt").read_text(encoding="utf-8"), re.M)
        )
        assert asked
        for name, version in asked:
            assert version in ("", pinned[name.lower()]), f"{folder.name}: {name}"


def test_every_environment_names_its_pythons(root: Path) -> None:
    for folder in environments(root):
        versions = (folder / "python-versions").read_text(encoding="utf-8").split()
        assert versions
        assert all(re.fullmatch(r"3\.\d+", version) for version in versions)
        assert f"for CPython {versions[0]};" in (folder / "requirements.txt").read_text(encoding="utf-8")


def test_file_names_have_no_spaces(root: Path, files: list[Path]) -> None:
    """tools/lint.sh relies on it."""
    assert [path for path in files if re.search(r"\s", path.relative_to(root).as_posix())] == []


def test_nothing_reads_what_lies_outside_the_checkout(root: Path, texts: dict[Path, str]) -> None:
    """Only tests/shared may look beside the checkout, and only when something is there."""
    outside = _outside(root, Path.home())
    found = [
        path.relative_to(root).as_posix()
        for path, text in texts.items()
        if outside.search(text) and path.relative_to(root).parts[:2] != ("tests", "shared")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see /build/checkout/data", True),
        ("cd /build/checkout", True),
        ("see '/build/notes'", True),
        ("see /home/someone/notes", True),
        ("/".join(["copied from ..", "shared", "notes"]), True),  # in one piece it would be found here
        ("~/.cache/baremetal-gpu", False),
        ("https://example.org/build/notes", False),
        ("/builders/notes", False),
        ("image: shared/notes", False),
    ],
)
def test_paths_outside_the_checkout_are_told_from_others(text: str, expected: bool) -> None:
    assert bool(_outside(Path("/build/checkout"), Path("/home/someone")).search(text)) is expected


def test_folders_that_every_system_has_are_no_sign_of_this_machine() -> None:
    home = Path("/", "root")
    assert not _outside(Path("/tmp/checkout"), home).search(f"/tmp/x {home}/.ssh")


# They may hold a checkout, and are also named where lab hosts are meant.
_EVERYWHERE = {Path(name) for name in ("/", "/home", "/opt", "/root", "/srv", "/tmp", "/usr/src", "/var/tmp")}


def _outside(root: Path, home: Path) -> re.Pattern[str]:
    """Paths of this very machine: the checkout, what lies beside it, and the home folder."""
    places = sorted(str(place) for place in {root, root.parent, home} - _EVERYWHERE)
    return re.compile(rf"(?<![\w.])(?:\.\./shared\b|(?:{'|'.join(map(re.escape, places))})(?![\w.-]))")


def test_scripts_are_executable_or_called_by_their_shell(root: Path, files: list[Path]) -> None:
    scripts = [path for path in files if path.parent.name == ".ci"]
    assert scripts
    assert all(path.stat().st_mode & 0o100 for path in scripts)
