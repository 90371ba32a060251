"""The mirror's tree and its table of checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lab import cache, mirror


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A repository folder and a single file in a cache of their own."""
    root = tmp_path / "cache"
    monkeypatch.setattr(cache, "CACHE", root)
    monkeypatch.setattr(mirror, "CACHE", root)
    repository = root / "apt/1"
    (repository / "dists").mkdir(parents=True)
    (repository / "dists" / "InRelease").write_text("signed", encoding="utf-8")
    (root / "images/1").mkdir(parents=True)
    archive = root / "images/1/archive"
    archive.write_bytes(b"images")
    return {"apt": repository, "images/a.tar": archive}


def opened(sources: dict[str, Path]) -> mirror.Mirror:
    return mirror.opened(mirror.assembly(sources).ensure())


def test_the_table_has_every_single_file_and_no_repository_file(sources: dict[str, Path]) -> None:
    result = opened(sources)
    assert result.sha256 == {"images/a.tar": hashlib.sha256(b"images").hexdigest()}
    assert (result.tree / "apt/dists/InRelease").read_text(encoding="utf-8") == "signed"


def test_files_of_the_cache_are_linked_and_not_copied(sources: dict[str, Path]) -> None:
    result = opened(sources)
    assert (result.tree / "images/a.tar").samefile(sources["images/a.tar"])


def test_a_file_of_the_checkout_is_copied_because_it_may_change(tmp_path: Path, sources: dict[str, Path]) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text("kind: List", encoding="utf-8")
    tree = opened({**sources, "manifests/a.yaml": manifest}).tree
    assert not manifest.samefile(tree / "manifests/a.yaml")


def test_a_second_assembly_reads_the_stored_table(sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(sources)
    monkeypatch.setattr(mirror, "checksums", lambda _: pytest.fail("hashed again"))
    assert opened(sources) == first


def test_another_path_or_source_makes_another_tree(sources: dict[str, Path]) -> None:
    first = opened(sources)
    moved = opened({"apt": sources["apt"], "images/b.tar": sources["images/a.tar"]})
    assert moved.tree != first.tree
    newer = sources["images/a.tar"].with_name("newer")
    newer.write_bytes(b"newer images")
    assert opened({**sources, "images/a.tar": newer}).tree != first.tree
    assert (first.tree / "images/a.tar").read_bytes() == b"images"


def test_a_private_file_is_served_as_a_readable_copy(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_bytes(b"x")
    private.chmod(0o600)
    mirror.place(private, tmp_path / "tree/public")
    assert (tmp_path / "tree/public").stat().st_mode & 0o777 == 0o644
    assert not private.samefile(tmp_path / "tree/public")
