"""The artefact cache: complete or absent, built once, found by what it was made from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.cache import Entry, Part, cached, content_key, damage, manifest_of, remove
from lab.progress import Activity


def write_greeting(out: Path) -> None:
    (out / "greeting").write_text("hello", encoding="utf-8")


def greeting(root: Path, *key: Part) -> Entry:
    """An entry with one file and one link."""

    def build(out: Path, _: Activity) -> None:
        write_greeting(out)
        (out / "alias").symlink_to("greeting")

    return Entry("kind", key or ("a",), build, "Say hello", root)


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
    assert not greeting(tmp_path, "a").finished()
    assert (cached("kind", ["a"], write_greeting, root=tmp_path) / "greeting").exists()


def test_the_rest_of_a_killed_build_is_cleared_before_building(tmp_path: Path) -> None:
    name = content_key(["a"], tmp_path)
    rest = tmp_path / "kind" / f".{name}.unfinished"
    rest.mkdir(parents=True)
    (rest / "half").touch()
    entry = cached("kind", ["a"], write_greeting, root=tmp_path)
    assert [path.name for path in entry.iterdir()] == ["greeting"]
    assert not rest.exists()


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


def test_where_an_entry_will_lie_is_known_before_it_is_built(tmp_path: Path) -> None:
    entry = greeting(tmp_path)
    expected = entry.path
    assert not entry.finished()
    assert entry.ensure() == expected
    assert entry.finished()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda entry: (entry / "greeting").unlink(), "greeting is missing"),
        (lambda entry: (entry / "greeting").write_text("hello, world", encoding="utf-8"), "greeting was changed"),
        (lambda entry: (entry / "greeting").write_text("HELLO", encoding="utf-8"), "greeting was changed"),
        (lambda entry: (entry / "greeting").chmod(0o600), "greeting was changed"),
        (lambda entry: (entry / "alias").unlink(), "alias is missing"),
        (lambda entry: manifest_of(entry).write_text("{", encoding="utf-8"), "its manifest cannot be read"),
    ],
)
def test_a_damaged_entry_is_noticed_when_it_is_used_and_built_again(
    tmp_path: Path, change: Callable[[Path], object], expected: str
) -> None:
    entry = greeting(tmp_path)
    change(entry.ensure())
    assert damage(entry.path) == [expected]
    assert not entry.finished()
    entry.ensure()
    assert damage(entry.path, contents=True) == []
    assert (entry.path / "greeting").read_text(encoding="utf-8") == "hello"


def test_a_changed_content_with_the_old_size_and_time_is_found_by_the_full_check_only(tmp_path: Path) -> None:
    entry = greeting(tmp_path).ensure()
    file = entry / "greeting"
    times = file.stat()
    file.write_text("jello", encoding="utf-8")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert damage(entry) == []
    assert damage(entry, contents=True) == ["greeting has another content"]


def test_an_entry_of_a_former_release_gets_a_manifest_when_it_is_used(tmp_path: Path) -> None:
    entry = greeting(tmp_path).ensure()
    manifest_of(entry).unlink()
    assert greeting(tmp_path).finished()
    (entry / "greeting").unlink()
    assert damage(entry) == ["greeting is missing"]


def test_using_an_entry_is_noted(tmp_path: Path) -> None:
    entry = greeting(tmp_path).ensure()
    os.utime(manifest_of(entry), (1.0, 1.0))
    greeting(tmp_path).ensure()
    assert manifest_of(entry).stat().st_mtime > 1.0


def test_a_removed_entry_leaves_nothing_behind(tmp_path: Path) -> None:
    entry = greeting(tmp_path).ensure()
    remove(entry)
    assert list((tmp_path / "kind").iterdir()) == []


def test_a_builder_that_is_killed_leaves_no_entry(tmp_path: Path) -> None:
    """The process dies in the middle, without a chance to clean up; the next one builds the whole."""
    script = (
        "import os, signal, sys; from pathlib import Path; from lab.cache import cached\n"
        "def build(out):\n"
        "    (out / 'half').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "cached('kind', ['a'], build, root=Path(sys.argv[1]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert not greeting(tmp_path, "a").finished()
    entry = greeting(tmp_path, "a").ensure()
    assert sorted(path.name for path in entry.iterdir()) == ["alias", "greeting"]


def test_two_checkouts_that_build_the_same_at_once_build_it_once(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from lab.cache import cached\n"
        "def build(out):\n"
        "    with open(sys.argv[2], 'a') as log: log.write('built\\n')\n"
        "    time.sleep(0.5)\n"
        "    (out / 'file').write_text('whole')\n"
        "print((cached('kind', ['a'], build, root=Path(sys.argv[1])) / 'file').read_text())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "cache"), str(tmp_path / "log")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in both] == ["whole\n", "whole\n"]
    assert (tmp_path / "log").read_text(encoding="utf-8") == "built\n"


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
