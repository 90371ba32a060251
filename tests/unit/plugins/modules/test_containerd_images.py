"""The module containerd_images with a stand-in for ctr that keeps a store in a file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.containerd_store import parse_list
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.image_archive import normal_reference, read_archive
from ansible_collections.baremetal.gpu.plugins.modules import containerd_images
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import add_program, run_module

NAME = "mirror.example/pause:3.10"

# Answers as ctr does: `images ls` prints a table of target digests, `content get` prints a manifest, `images import`
# adds the images of a docker archive. A file STORE.broken makes it fail as without containerd.
CTR = """
import hashlib, json, os, sys, tarfile
store_path = os.environ["STORE"]
arguments = sys.argv[5:]
assert sys.argv[1] == "--address" and sys.argv[3:5] == ["--namespace", "k8s.io"], sys.argv
if os.path.exists(store_path + ".broken"):
    sys.exit("ctr: failed to dial: connection refused")
store = json.load(open(store_path)) if os.path.exists(store_path) else {"images": {}, "content": {}}
if arguments == ["images", "ls"]:
    print("REF TYPE DIGEST SIZE PLATFORMS LABELS")
    for name, digest in store["images"].items():
        print(name, "application/vnd.docker.distribution.manifest.v2+json", digest, "1.0 MiB linux/amd64 -")
elif arguments[:2] == ["content", "get"]:
    if arguments[2] not in store["content"]:
        sys.exit("ctr: content not found")
    print(store["content"][arguments[2]])
elif arguments[:2] == ["images", "import"]:
    if os.path.exists(store_path + ".full"):
        sys.exit("ctr: no space left on device")
    with open(store_path + ".imports", "a") as log:
        log.write(arguments[2] + "\\n")
    archive = tarfile.open(arguments[2])
    for entry in json.load(archive.extractfile("manifest.json")):
        config = hashlib.sha256(archive.extractfile(entry["Config"]).read()).hexdigest()
        manifest = json.dumps({"config": {"digest": "sha256:" + config}})
        digest = "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
        store["content"][digest] = manifest
        for name in entry["RepoTags"]:
            store["images"][name] = digest
    json.dump(store, open(store_path, "w"))
else:
    sys.exit("unexpected: %r" % arguments)
"""


def make_archive(path: Path, images: dict[str, str]) -> str:
    """A docker archive of images by name; the text makes their configs different."""
    entries, files = [], {}
    for number, (name, text) in enumerate(images.items()):
        files[f"{number}.json"] = json.dumps({"text": text}).encode()
        entries.append({"Config": f"{number}.json", "RepoTags": [name], "Layers": []})
    files["manifest.json"] = json.dumps(entries).encode()
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


class Host:
    """A host with a stand-in for containerd."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = directory / "store.json"
        script = directory / "ctr.py"
        script.write_text(CTR, encoding="utf-8")
        self.ctr = str(add_program(directory, "ctr", f'exec {sys.executable} {script} "$@"\n'))

    def run(self, *archives: str, check_mode: bool = False, ctr: str | None = None) -> dict[str, Any]:
        arguments = {"archives": list(archives), "ctr": [ctr or self.ctr]}
        return run_module(containerd_images, arguments, check_mode=check_mode)

    @property
    def imports(self) -> list[str]:
        log = Path(f"{self.store}.imports")
        return log.read_text(encoding="utf-8").split() if log.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("STORE", str(tmp_path / "store.json"))
    return Host(tmp_path)


def test_an_absent_image_is_imported_once(host: Host) -> None:
    archive = make_archive(host.directory / "a.tar", {NAME: "one", "mirror.example/other:1": "two"})
    first, second = host.run(archive), host.run(archive)
    assert (first["changed"], first["imported"]) == (True, [archive])
    assert (second["changed"], second["imported"]) == (False, [])
    assert host.imports == [archive]
    assert second["diff"]["before"] == second["diff"]["after"]


def test_another_image_under_the_same_name_is_replaced(host: Host) -> None:
    old = make_archive(host.directory / "old.tar", {NAME: "old"})
    new = make_archive(host.directory / "new.tar", {NAME: "new"})
    host.run(old)
    result = host.run(new)
    assert result["changed"]
    assert result["diff"]["before"].startswith(NAME + " sha256:")
    assert result["diff"]["before"] != result["diff"]["after"]
    assert not host.run(new)["changed"]


def test_only_archives_with_a_difference_are_imported(host: Host) -> None:
    first = make_archive(host.directory / "a.tar", {NAME: "one"})
    second = make_archive(host.directory / "b.tar", {"mirror.example/other:1": "two"})
    host.run(first)
    assert host.run(first, second)["imported"] == [second]


def test_check_mode_predicts_and_imports_nothing(host: Host) -> None:
    archive = make_archive(host.directory / "a.tar", {NAME: "one"})
    predicted = host.run(archive, check_mode=True)
    assert host.imports == []
    done = host.run(archive)
    assert (predicted["changed"], predicted["imported"], predicted["diff"]) == (True, done["imported"], done["diff"])
    assert not host.run(archive, check_mode=True)["changed"]


def test_check_mode_predicts_on_a_bare_host(host: Host) -> None:
    archive = make_archive(host.directory / "a.tar", {NAME: "one"})
    absent = str(host.directory / "absent.tar")
    result = host.run(archive, absent, check_mode=True, ctr="ctr-that-is-not-installed")
    assert (result["changed"], result["imported"], result["exit_status"]) == (True, [archive, absent], 0)
    assert f"all images of {absent}" in result["diff"]["after"]


def test_check_mode_predicts_while_containerd_is_stopped(host: Host) -> None:
    archive = make_archive(host.directory / "a.tar", {NAME: "one"})
    Path(f"{host.store}.broken").touch()
    assert host.run(archive, check_mode=True)["changed"]


def test_a_missing_client_is_an_error(host: Host) -> None:
    archive = make_archive(host.directory / "a.tar", {NAME: "one"})
    assert host.run(archive, ctr="ctr-that-is-not-installed")["code"] == "BG-IMG-002"


def test_a_containerd_that_does_not_answer_is_an_error(host: Host) -> None:
    archive = make_archive(host.directory / "a.tar", {NAME: "one"})
    Path(f"{host.store}.broken").touch()
    result = host.run(archive)
    assert result["code"] == "BG-IMG-002"
    assert "connection refused" in result["msg"]


def test_an_import_that_fails_is_an_error_with_containerds_words(host: Host) -> None:
    archive = make_archive(host.directory / "a.tar", {NAME: "one"})
    Path(f"{host.store}.full").touch()
    result = host.run(archive)
    assert result["code"] == "BG-IMG-003"
    assert "no space left on device" in result["msg"]


def test_an_archive_that_is_not_there_is_an_error_before_anything_is_imported(host: Host) -> None:
    archive = make_archive(host.directory / "a.tar", {NAME: "one"})
    assert host.run(archive, str(host.directory / "absent.tar"))["code"] == "BG-IMG-001"
    assert host.imports == []


def test_two_archives_that_disagree_are_refused(host: Host) -> None:
    first = make_archive(host.directory / "a.tar", {NAME: "one"})
    second = make_archive(host.directory / "b.tar", {NAME: "two"})
    assert host.run(first, second)["code"] == "BG-IMG-005"
    assert host.imports == []


def test_an_import_that_gives_another_image_is_an_error(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_archive(host.directory / "a.tar", {NAME: "one"})
    broken = CTR.replace('store["images"][name] = digest', "pass")
    (host.directory / "ctr.py").write_text(broken, encoding="utf-8")
    assert host.run(archive)["code"] == "BG-IMG-004"


def test_an_index_of_platforms_matches_by_any_manifest_that_is_there(host: Host) -> None:
    archive = make_archive(host.directory / "a.tar", {NAME: "one"})
    digest = read_archive(archive)[0].config_digest
    index = {"manifests": [{"digest": "sha256:absent"}, {"digest": "sha256:m"}]}
    content = {"sha256:i": json.dumps(index), "sha256:m": json.dumps({"config": {"digest": digest}})}
    host.store.write_text(json.dumps({"images": {NAME: "sha256:i"}, "content": content}), encoding="utf-8")
    result = host.run(archive)
    assert (result["changed"], result["images"][0]["found"]) == (False, [digest])


def test_an_oci_layout_is_read_by_its_annotations(tmp_path: Path) -> None:
    manifest = json.dumps({"config": {"digest": "sha256:c0ffee"}}).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    entry = {"digest": "sha256:" + digest, "annotations": {"io.containerd.image.name": NAME}}
    unnamed = {"digest": "sha256:" + digest, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
    files = {"index.json": json.dumps({"manifests": [entry, unnamed]}).encode(), f"blobs/sha256/{digest}": manifest}
    path = tmp_path / "oci.tar"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo("./" + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert [(image.reference, image.config_digest) for image in read_archive(str(path))] == [(NAME, "sha256:c0ffee")]


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("nvidia/cuda:12", "docker.io/nvidia/cuda:12"),
        ("localhost/a", "localhost/a:latest"),
        ("registry.example:5000/a/b:1", "registry.example:5000/a/b:1"),
        ("registry.example:5000/a", "registry.example:5000/a:latest"),
        (NAME, NAME),
    ],
)
def test_references_are_as_containerd_stores_them(name: str, normal: str) -> None:
    assert normal_reference(name) == normal


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = Path(make_archive(tmp_path / "a.tar", {NAME: "one"}))
    whole = path.read_bytes()[:4096]
    position = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:position] + data.draw(st.binary(max_size=20)) + whole[position + 20 :])
    with contextlib.suppress(GpuError):
        read_archive(str(path))


@given(st.text())
def test_any_list_is_read(text: str) -> None:
    parse_list(text)
