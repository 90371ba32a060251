"""What the cache keeps, what may go, and what is never removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lab import cache, upkeep
from lab.cache import Entry, lock_at_once, manifest_of
from lab.upkeep import DAY_S, Stored, removable, stored

NOW = 1_000 * DAY_S


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a state folder of their own."""
    root = tmp_path / "cache"
    monkeypatch.setattr(cache, "CACHE", root)
    monkeypatch.setattr(upkeep, "CACHE", root)
    monkeypatch.setattr(upkeep, "STATE", tmp_path / "state")
    (tmp_path / "state").mkdir()
    return root


def entry(name: str) -> Entry:
    return Entry("kind", (name,), lambda out, _: (out / "file").write_text(name, encoding="utf-8"), name)


def age(entry: Entry, days: float) -> None:
    """Let the entry look as if it was last used so long ago."""
    used = manifest_of(entry.path).stat().st_mtime - days * DAY_S
    os.utime(manifest_of(entry.path), (used, used))


def at(name: str, days_ago: float) -> Stored:
    return Stored(Path("cache/kind") / name, NOW - days_ago * DAY_S)


@pytest.mark.parametrize(
    ("days_ago", "wanted", "leased", "unpinned", "goes"),
    [
        (29, False, False, False, False),
        (31, False, False, False, True),
        (31, True, False, False, True),
        (1, False, False, True, True),
        (1, True, False, True, False),
        (31, False, True, True, False),
    ],
)
def test_what_is_old_or_unpinned_goes_unless_a_lab_is_made_of_it(
    days_ago: float, wanted: bool, leased: bool, unpinned: bool, goes: bool
) -> None:
    found = removable(
        [at("x", days_ago)],
        now=NOW,
        days=30,
        wanted={"kind/x"} if wanted else (),
        leased={"kind/x"} if leased else (),
        unpinned=unpinned,
    )
    assert bool(found) == goes


def test_only_finished_entries_are_listed(root: Path) -> None:
    first = entry("a").ensure()
    (root / "podman/storage").mkdir(parents=True)
    (root / "kind/.b.unfinished").mkdir()
    assert [each.path for each in stored(root)] == [first]


def test_an_entry_of_a_former_release_can_be_pruned(root: Path) -> None:
    old = entry("old")
    old.ensure()
    manifest_of(old.path).unlink()
    used = old.path.stat().st_mtime - 40 * DAY_S
    os.utime(old.path, (used, used))
    upkeep.prune([], days=30, unpinned=False)
    assert not old.path.exists()


def test_pruning_removes_what_was_not_used_for_long_and_nothing_else(root: Path) -> None:
    old, new = entry("old"), entry("new")
    for each in (old, new):
        each.ensure()
    age(old, days=40)
    upkeep.prune([], days=30, unpinned=False)
    assert not old.path.exists()
    assert not manifest_of(old.path).exists()
    assert new.finished()


def test_pruning_leaves_alone_what_another_process_works_on(root: Path) -> None:
    old = entry("old")
    old.ensure()
    age(old, days=40)
    with lock_at_once(old.path) as ours:
        assert ours
        upkeep.prune([], days=30, unpinned=False)
    assert old.finished()


def test_what_a_lab_is_made_of_stays_until_the_lab_is_gone(root: Path) -> None:
    old = entry("old")
    old.ensure()
    age(old, days=40)
    upkeep.take_lease([old])
    upkeep.prune([], days=30, unpinned=True)
    assert old.finished()
    age(old, days=40)
    upkeep.end_lease()
    upkeep.prune([], days=30, unpinned=False)
    assert not old.path.exists()


def test_a_lease_grows_with_what_the_lab_moves_on_to(root: Path) -> None:
    upkeep.take_lease([entry("one")])
    upkeep.take_lease([entry("two")])
    assert upkeep.leased(root) == {f"kind/{entry(name).name}" for name in ("one", "two")}


def test_the_lease_of_a_deleted_lab_counts_no_more(root: Path, tmp_path: Path) -> None:
    upkeep.take_lease([entry("one")])
    (tmp_path / "state").rmdir()
    assert upkeep.leased(root) == set()
    assert list((root / "leases").iterdir()) == []


def test_pruning_clears_what_a_killed_build_left(root: Path) -> None:
    rest = root / "kind/.0123.unfinished"
    rest.mkdir(parents=True)
    upkeep.prune([], days=30, unpinned=False)
    assert not rest.exists()


@pytest.mark.parametrize("name", [upkeep.GO, upkeep.DOWNLOADS])
def test_downloads_that_nobody_asked_for_in_long_go_too(root: Path, name: str) -> None:
    mark = upkeep.used_mark(name)
    mark.parent.mkdir(parents=True)
    mark.touch()
    upkeep.prune([], days=30, unpinned=False)
    assert mark.exists()
    used = mark.stat().st_mtime - 40 * DAY_S
    os.utime(mark, (used, used))
    upkeep.prune([], days=30, unpinned=False)
    assert not mark.parent.exists()


def corrupt(entry: Entry) -> None:
    """Another content of the same size and time, as a failing disk leaves it."""
    file = entry.path / "file"
    times = file.stat()
    file.write_text("X" * times.st_size, encoding="utf-8")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_the_full_check_finds_and_removes_a_damaged_entry(root: Path) -> None:
    good, bad = entry("good"), entry("bad")
    for each in (good, bad):
        each.ensure()
    corrupt(bad)
    assert bad.finished()  # sizes and times tell nothing
    assert upkeep.check() == 1
    assert good.finished()
    assert not bad.path.exists()
    assert upkeep.check() == 0


def test_the_full_check_only_tells_of_damage_in_what_a_lab_is_made_of(root: Path) -> None:
    bad = entry("bad")
    bad.ensure()
    upkeep.take_lease([bad])
    corrupt(bad)
    assert upkeep.check() == 1
    assert bad.path.exists()


def test_a_lease_names_the_lab_s_folder(root: Path, tmp_path: Path) -> None:
    upkeep.take_lease([entry("one")])
    (lease,) = (root / "leases").iterdir()
    assert json.loads(lease.read_text(encoding="utf-8"))["state"] == str(tmp_path / "state")
