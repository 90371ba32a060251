"""Docker archives: what a container runtime reads from them, and that equal input gives equal bytes."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab.podimages import Image, Layer, folders, install, link, write_archive


def make_root(folder: Path, text: str = "content") -> Path:
    program = folder.with_name(f"{folder.name}-program")
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(text, encoding="utf-8")
    folder.mkdir()
    folders(folder, "/tmp", "/etc")
    install(folder, "/bin/program", program)
    link(folder, "/bin/alias", "program")
    return folder


def documents(archive: Path) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """The manifest of an archive and all its members."""
    with tarfile.open(archive) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    return json.loads(members["manifest.json"]), members


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    archives: list[bytes] = []
    for name in ("first", "second"):
        root = make_root(tmp_path / name / "root")
        os.utime(root / "bin/program", (len(archives), len(archives)))
        archive = tmp_path / f"{name}.tar"
        write_archive(archive, [Image("registry/app:1", [Layer(root)], {"Cmd": ["/bin/program"]})])
        archives.append(archive.read_bytes())
    assert archives[0] == archives[1]


def test_the_manifest_names_members_and_digests_that_agree(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    write_archive(archive, [Image("registry/app:1", [Layer(make_root(tmp_path / "root"))], {"User": "65534:65534"})])
    (entry,), members = documents(archive)
    assert entry["RepoTags"] == ["registry/app:1"]
    configuration = members[entry["Config"]]
    assert entry["Config"] == f"{hashlib.sha256(configuration).hexdigest()}.json"
    document = json.loads(configuration)
    assert document["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(members[name]).hexdigest()}" for name in entry["Layers"]
    ]
    assert document["config"]["User"] == "65534:65534"
    assert document["config"]["Env"][0].startswith("PATH=")
    assert (document["os"], document["architecture"]) == ("linux", "amd64")


def test_a_shared_layer_is_stored_once(tmp_path: Path) -> None:
    layer = Layer(make_root(tmp_path / "root"))
    archive = tmp_path / "a.tar"
    write_archive(
        archive,
        [Image("registry/one:1", [layer], {"Cmd": ["one"]}), Image("registry/two:1", [layer], {"Cmd": ["two"]})],
    )
    manifest, members = documents(archive)
    assert manifest[0]["Layers"] == manifest[1]["Layers"]
    assert manifest[0]["Config"] != manifest[1]["Config"]
    assert sum(name.endswith(".tar") for name in members) == 1


def test_layers_keep_their_order(tmp_path: Path) -> None:
    lower, upper = Layer(make_root(tmp_path / "lower", "1")), Layer(make_root(tmp_path / "upper", "2"))
    archive = tmp_path / "a.tar"
    write_archive(archive, [Image("registry/app:1", [lower, upper])])
    (entry,), _ = documents(archive)
    assert entry["Layers"] == [f"{lower.digest}.tar", f"{upper.digest}.tar"]


def test_files_in_a_layer_belong_to_root_and_keep_modes_and_links(tmp_path: Path) -> None:
    with tarfile.open(Layer(make_root(tmp_path / "root")).tar) as tar:
        members = {member.name: member for member in tar}
    assert list(members) == ["bin", "bin/alias", "bin/program", "etc", "tmp"]
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}
    assert members["bin/program"].mode == 0o755
    assert members["tmp"].mode == 0o1777
    assert members["bin/alias"].linkname == "program"


def test_a_hard_link_in_a_layer_is_refused(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    os.link(root / "bin/program", root / "bin/second")
    with pytest.raises(RuntimeError, match="hard link"):
        Layer(root).tar  # noqa: B018
