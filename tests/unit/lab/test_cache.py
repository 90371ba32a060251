"""The artefact cache: complete or absent, built once, found by what it was made from."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab.cache import cached, content_key, finished


def write_greeting(out: Path) -> None:
    (out / "greeting").write_text("hello", encoding="utf-8")


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    calls: list[Path] = []

    def build(out: Path) -> None:
        calls.append(out)
        write_greeting(out)

    first = cached("kind", ["a"], build, root=tmp_path)
    assert cached("kind", ["a"], build, root=tmp_path) == first
    assert len(calls) == 1
    assert (first / "greeting").read_text(encoding="utf-8") == "hello"


def test_the_builder_works_beside_the_entry_and_not_in_it(tmp_path: Path) -> None:
    seen: list[Path] = []
    entry = cached("kind", ["a"], seen.append, root=tmp_path)
    assert seen[0] != entry
    assert seen[0].parent == entry.parent
    assert not seen[0].exists()


def test_a_failed_build_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    def fail(out: Path) -> None:
        write_greeting(out)
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        cached("kind", ["a"], fail, root=tmp_path)
    assert list((tmp_path / "kind").iterdir()) == []
    assert finished("kind", ["a"], root=tmp_path) is None
    assert (cached("kind", ["a"], write_greeting, root=tmp_path) / "greeting").exists()


def test_the_rest_of_a_killed_build_is_cleared_before_building(tmp_path: Path) -> None:
    name = content_key(["a"], tmp_path)
    rest = tmp_path / "kind" / f".{name}.unfinished"
    rest.mkdir(parents=True)
    (rest / "half").touch()
    entry = cached("kind", ["a"], write_greeting, root=tmp_path)
    assert sorted(path.name for path in entry.iterdir()) == ["greeting"]


def test_two_builders_at_once_build_once(tmp_path: Path) -> None:
    building, go_on = threading.Event(), threading.Event()
    calls: list[str] = []

    def slow(out: Path) -> None:
        calls.append("slow")
        building.set()
        assert go_on.wait(10)
        write_greeting(out)

    def other(_: Path) -> None:
        calls.append("other")

    results: list[Path] = []
    first = threading.Thread(target=lambda: results.append(cached("kind", ["a"], slow, root=tmp_path)))
    second = threading.Thread(target=lambda: results.append(cached("kind", ["a"], other, root=tmp_path)))
    first.start()
    assert building.wait(10)
    second.start()
    go_on.set()
    first.join(10)
    second.join(10)
    assert calls == ["slow"]
    assert len(results) == 2
    assert results[0] == results[1]


def test_finished_finds_only_what_was_built(tmp_path: Path) -> None:
    assert finished("kind", ["a"], root=tmp_path) is None
    entry = cached("kind", ["a"], write_greeting, root=tmp_path)
    assert finished("kind", ["a"], root=tmp_path) == entry


def test_the_borders_of_parts_matter() -> None:
    assert content_key(["ab", "c"]) != content_key(["a", "bc"])
    assert content_key(["a", "b"]) != content_key(["b", "a"])
    assert content_key(["a"]) != content_key([b"a"])


def test_a_files_content_and_mode_are_the_key_not_its_name(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_text("one", encoding="utf-8")
    copy.write_text("one", encoding="utf-8")
    cache = tmp_path / "cache"
    before = content_key([source], cache)
    assert content_key([copy], cache) == before
    source.chmod(0o755)
    assert content_key([source], cache) != before
    copy.write_text("two", encoding="utf-8")
    assert content_key([copy], cache) != before


def test_a_folders_names_and_contents_are_the_key(tmp_path: Path) -> None:
    folder, cache = tmp_path / "folder", tmp_path / "cache"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("one", encoding="utf-8")
    before = content_key([folder], cache)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"compiled")
    assert content_key([folder], cache) == before
    (folder / "inner" / "file").rename(folder / "inner" / "renamed")
    assert content_key([folder], cache) != before


def test_a_path_in_the_cache_counts_by_name_without_being_read(tmp_path: Path) -> None:
    entry = cached("kind", ["a"], write_greeting, root=tmp_path)
    before = content_key([entry / "greeting"], tmp_path)
    (entry / "greeting").write_text("changed", encoding="utf-8")
    assert content_key([entry / "greeting"], tmp_path) == before
    assert content_key([entry], tmp_path) != before
