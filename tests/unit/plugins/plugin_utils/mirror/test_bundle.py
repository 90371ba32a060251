"""A bundle is filled with what the manifest says and nothing else; what is wrong is refused and leaves what was there."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror import bundle, package_index
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.drift import drift
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.manifest import Artefact
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.mirror.conftest import Upstream
from tools import mirror

CONTENT = b"a program" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "files/k3s/v1/arm64/k3s"


def a_file(upstream: Upstream, **changes: object) -> Artefact:
    upstream.put("k3s", CONTENT)
    known = {"sha256": SHA256, "size": len(CONTENT), **changes}
    unknown = {name: "not told" for name in ("sha256", "size") if known[name] is None}
    return Artefact("file", "k3s", "k3s", "v1", "arm64", f"{upstream.url}/k3s", PATH, unknown=unknown, **known)  # type: ignore[arg-type]


def a_package(upstream: Upstream, kind: str = "apt", **changes: object) -> Artefact:
    unknown = dict.fromkeys(("path", "sha256", "size"), "in the index")
    architecture = "arm64" if kind == "apt" else "amd64"
    found = Artefact(
        kind, "driver", "driver", "580.1-1", architecture, f"{upstream.url}/repo", None,
        platform="dgx-os-7" if kind == "apt" else "rocky-9", suite="/" if kind == "apt" else None, unknown=unknown,
    )  # fmt: skip
    return replace(found, **changes)  # type: ignore[arg-type]


def fill(artefact: Artefact, folder: Path, establish: bool = False) -> bundle.Filled:
    (found,) = bundle.fill([artefact], folder, establish)
    return found


def code(filled: bundle.Filled) -> str:
    return filled.error.code if filled.error else ""


def test_a_file_comes_with_its_checksum_and_is_not_fetched_again(upstream: Upstream, tmp_path: Path) -> None:
    artefact = a_file(upstream)
    assert [fill(artefact, tmp_path).downloaded for _ in range(2)] == [True, False]
    assert (tmp_path / PATH).read_bytes() == CONTENT
    assert upstream.asked == ["/k3s"]


def test_a_file_that_was_changed_in_the_bundle_is_fetched_again(upstream: Upstream, tmp_path: Path) -> None:
    artefact = a_file(upstream)
    fill(artefact, tmp_path)
    (tmp_path / PATH).write_bytes(b"other")
    assert fill(artefact, tmp_path).downloaded
    assert (tmp_path / PATH).read_bytes() == CONTENT


@pytest.mark.parametrize("changes", [{"sha256": "a" * 64}, {"size": 7}])
def test_another_file_than_expected_is_refused_and_the_old_one_stays(
    upstream: Upstream, tmp_path: Path, changes: dict[str, object]
) -> None:
    (tmp_path / PATH).parent.mkdir(parents=True)
    (tmp_path / PATH).write_bytes(b"old")
    assert code(fill(a_file(upstream, **changes), tmp_path, establish=True)) == "BG-MIRROR-002"
    assert (tmp_path / PATH).read_bytes() == b"old"
    assert list(tmp_path.rglob("*.part")) == []


def test_a_download_that_is_cut_short_is_refused(upstream: Upstream, tmp_path: Path) -> None:
    artefact = a_file(upstream, sha256=None, size=None)
    upstream.cut.add("k3s")
    assert code(fill(artefact, tmp_path, establish=True)) == "BG-MIRROR-001"
    assert not (tmp_path / PATH).exists()
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.parametrize("source", ["/absent", "://nowhere"])
def test_what_no_server_gives_is_told(upstream: Upstream, tmp_path: Path, source: str) -> None:
    url = upstream.url + source if source.startswith("/") else "file:///etc/passwd"
    assert code(fill(replace(a_file(upstream), source=url), tmp_path)) == "BG-MIRROR-001"


def test_the_first_download_is_trusted_only_where_that_is_asked_for(upstream: Upstream, tmp_path: Path) -> None:
    artefact = a_file(upstream, sha256=None, size=None)
    assert code(fill(artefact, tmp_path)) == "BG-MIRROR-003"
    assert upstream.asked == []
    found = fill(artefact, tmp_path, establish=True).artefact
    assert (found.sha256, found.size, found.unknown) == (SHA256, len(CONTENT), {})


def test_one_that_fails_does_not_stop_the_others(upstream: Upstream, tmp_path: Path) -> None:
    good = a_file(upstream)
    bad = replace(good, source=f"{upstream.url}/absent", path="files/x")
    found = list(bundle.fill([bad, good], tmp_path, establish=False))
    assert [code(each) for each in found] == ["BG-MIRROR-001", ""]


def test_a_server_that_asks_for_an_account_is_told(upstream: Upstream, tmp_path: Path) -> None:
    upstream.guarded = "/k3s"
    assert code(fill(a_file(upstream), tmp_path)) == "BG-MIRROR-001"


def test_an_image_needs_the_consent_to_trust_its_tag_once(upstream: Upstream, tmp_path: Path) -> None:
    upstream.image("nvidia/plugin", "v1", [b"layer"])
    image = Artefact(
        "image", "plugin", "nvidia/plugin", "v1", "arm64", f"{upstream.host}/nvidia/plugin:v1", "images/plugin/v1/arm64.tar",
        unknown={"sha256": "of the registry", "size": "of the registry"},
    )  # fmt: skip
    assert code(fill(image, tmp_path)) == "BG-MIRROR-003"
    known = fill(image, tmp_path, establish=True).artefact
    assert (known.sha256 is not None, known.unknown) == (True, {})
    assert not fill(known, tmp_path).downloaded
    upstream.image("nvidia/plugin", "v1", [b"moved to another image"])
    assert not fill(known, tmp_path).downloaded
    assert code(fill(known, tmp_path / "elsewhere")) == "BG-MIRROR-002"


@pytest.mark.parametrize("folder", ["", "main"])
def test_an_apt_package_is_found_by_the_index(upstream: Upstream, tmp_path: Path, folder: str) -> None:
    upstream.apt("repo", {"driver": ("580.1-1", CONTENT), "other": ("1", b"x")}, folder)
    artefact = a_package(upstream)
    if folder:
        artefact = replace(artefact, suite="noble", components=(folder,))
    found = fill(artefact, tmp_path, establish=True)
    assert (code(found), found.artefact.sha256, found.artefact.size) == ("", SHA256, len(CONTENT))
    assert found.artefact.path == "apt/dgx-os-7/arm64/driver_580.1-1_arm64.deb"
    assert (tmp_path / found.artefact.path).read_bytes() == CONTENT


def test_an_rpm_is_found_by_the_index(upstream: Upstream, tmp_path: Path) -> None:
    upstream.rpm("repo", {"driver": ("580.1", "1", CONTENT)})
    found = fill(a_package(upstream, "rpm"), tmp_path, establish=True)
    assert (code(found), found.artefact.sha256) == ("", SHA256)
    assert found.artefact.path == "rpm/rocky-9/amd64/driver.rpm"


@pytest.mark.parametrize("version", ["580.2-1", "580", "58"])
def test_no_other_version_is_taken(upstream: Upstream, tmp_path: Path, version: str) -> None:
    upstream.apt("repo", {"driver": ("580.1-1", CONTENT)})
    found = fill(a_package(upstream, version=version), tmp_path, establish=True)
    assert code(found) == "BG-MIRROR-011"
    assert "580.1-1" in str(found.error)


@pytest.mark.parametrize("there", ["580.1-1", "2:580.1-3", "580.1+x"])
def test_a_version_without_release_takes_the_only_one_with_it(upstream: Upstream, tmp_path: Path, there: str) -> None:
    upstream.apt("repo", {"driver": (there, CONTENT)})
    assert code(fill(a_package(upstream, version="580.1"), tmp_path, establish=True)) == ""


def test_an_index_that_the_repository_does_not_list_is_refused(upstream: Upstream, tmp_path: Path) -> None:
    upstream.apt("repo", {"driver": ("580.1-1", CONTENT)})
    upstream.put("repo/Packages.gz", b"another one")
    assert code(fill(a_package(upstream), tmp_path, establish=True)) == "BG-MIRROR-004"


def test_a_package_that_was_replaced_below_its_index_is_refused(upstream: Upstream, tmp_path: Path) -> None:
    upstream.apt("repo", {"driver": ("580.1-1", CONTENT)})
    upstream.put("repo/pool/driver_580.1-1_arm64.deb", b"another one")
    assert code(fill(a_package(upstream), tmp_path, establish=True)) == "BG-MIRROR-002"


@pytest.mark.parametrize("repomd", [b"<x", b"<repomd/>", b'<!DOCTYPE x [<!ENTITY a "b">]><repomd/>'])
def test_a_broken_rpm_index_is_refused(upstream: Upstream, tmp_path: Path, repomd: bytes) -> None:
    upstream.put("repo/repodata/repomd.xml", repomd)
    assert code(fill(a_package(upstream, "rpm"), tmp_path, establish=True)) == "BG-MIRROR-004"


def test_packages_need_the_consent_to_trust_an_index_without_its_signature(upstream: Upstream, tmp_path: Path) -> None:
    assert code(fill(a_package(upstream), tmp_path)) == "BG-MIRROR-003"


def test_what_is_recorded_needs_no_consent_again(upstream: Upstream, tmp_path: Path) -> None:
    upstream.apt("repo", {"driver": ("580.1-1", CONTENT)})
    known = fill(a_package(upstream), tmp_path, establish=True).artefact
    assert [code(fill(known, tmp_path)), fill(known, tmp_path).downloaded] == ["", False]
    (tmp_path / str(known.path)).unlink()
    assert fill(known, tmp_path).downloaded
    # The same version with other contents is not taken any more.
    upstream.apt("repo", {"driver": ("580.1-1", CONTENT[::-1])})
    assert code(fill(known, tmp_path / "elsewhere")) == "BG-MIRROR-002"


def test_a_path_that_leads_out_of_the_bundle_is_refused(upstream: Upstream, tmp_path: Path) -> None:
    for path in ("../x", "/etc/x", "a/../../x", ""):
        assert code(fill(replace(a_file(upstream), path=path), tmp_path)) == "BG-MIRROR-004"


def test_a_compressed_index_that_is_broken_is_refused() -> None:
    for name in ("Packages.gz", "Packages.xz"):
        with pytest.raises(Exception, match="BG-MIRROR-004"):
            package_index.unpacked(name, b"not packed")


def run(*arguments: object) -> int:
    return mirror.main([str(argument) for argument in arguments])


def test_the_commands_fill_a_bundle_that_a_mirror_then_serves_without_drift(
    upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.apt("repo", {"driver": ("580.1-1", CONTENT)})
    artefacts = [a_file(upstream), a_package(upstream)]
    wanted, folder = tmp_path / "wanted", upstream.root / "mirror"
    bundle.record(wanted, artefacts)
    assert run("fill", wanted / "manifest.json", folder) == 1
    assert "BG-MIRROR-003" in capsys.readouterr().out
    assert run("fill", wanted / "manifest.json", folder, "--establish") == 0
    known, address = folder / "manifest.json", f"{upstream.url}/mirror"
    assert run("compare", known, address, "--read") == 0
    assert run("compare", known, folder) == 0
    capsys.readouterr()
    # Sizes alone prove no content.
    assert run("compare", known, address) == 1
    assert "BG-MIRROR-009 unknown" in capsys.readouterr().out

    (folder / PATH).write_bytes(CONTENT[::-1])
    assert run("compare", known, address, "--read") == 1
    assert f"BG-MIRROR-007 different {PATH}" in capsys.readouterr().out
    (folder / PATH).write_bytes(CONTENT[:-1])
    assert run("compare", known, address) == 1
    assert f"BG-MIRROR-007 different {PATH}" in capsys.readouterr().out
    (folder / PATH).unlink()
    assert run("compare", known, address, "--read") == 1
    assert f"BG-MIRROR-006 missing {PATH}" in capsys.readouterr().out


def test_surplus_is_told_and_does_not_matter(
    upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = upstream.root / "mirror"
    old = replace(a_file(upstream), path="files/k3s/v0/arm64/k3s", version="v0")
    artefacts = [fill(each, folder).artefact for each in (a_file(upstream), old)]
    bundle.record(folder, artefacts)
    bundle.record(tmp_path / "now", artefacts[:1])
    for place in (f"{upstream.url}/mirror", folder):
        assert run("compare", tmp_path / "now/manifest.json", place, "--read") == 0
        assert f"BG-MIRROR-008 surplus {old.path}" in capsys.readouterr().out


def test_a_mirror_that_does_not_answer_is_no_empty_mirror(upstream: Upstream, tmp_path: Path) -> None:
    bundle.record(tmp_path, [a_file(upstream)])
    assert run("compare", tmp_path / "manifest.json", "http://127.0.0.1:9/") == 1
    with pytest.raises(Exception, match="BG-MIRROR-001"):
        bundle.served_by_mirror("http://127.0.0.1:9/", [a_file(upstream)], read=False)


def test_what_has_no_checksum_is_unknown_also_when_it_is_there(upstream: Upstream, tmp_path: Path) -> None:
    artefact = a_file(upstream, sha256=None, size=None)
    fill(artefact, tmp_path / "bundle", establish=True)
    assert [each.code for each in drift([artefact], bundle.served_by_folder(tmp_path / "bundle"))] == ["BG-MIRROR-009"]


def test_the_manifest_command_takes_the_site_s_checksums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("manifest", "--target", "dgx-os-7/arm64", "--system", "spark") == 0
    (tmp_path / "manifest.json").write_text(capsys.readouterr().out, encoding="utf-8")
    path = next(each.path for each in bundle.read_manifest(tmp_path / "manifest.json") if each.name == "k3s-arm64")
    (tmp_path / "site.yml").write_text(f"{path}: {'a' * 64}\n", encoding="utf-8")
    assert run("manifest", "--target", "dgx-os-7/arm64", "--system", "spark", "--site", tmp_path / "site.yml") == 0
    assert "a" * 64 in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [("manifest", "--target", "dgx-os-9/arm64", "--system", "spark"), ("compare", "absent", "x")]
)
def test_a_command_that_cannot_be_used_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments) == 2
