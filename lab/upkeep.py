"""Looking after the artefact cache: is everything as it was built, and what is no longer worth its space?

An entry that a lab was made from is not removed while that lab exists: each lab keeps a lease, a file in `<cache>/leases` that names its
state folder and the entries.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from lab import cache, network
from lab.cache import Entry, damage, lock_at_once, manifest_of
from lab.podman import podman
from lab.progress import say
from lab.rootfs import REPOSITORY_OF_IMAGES
from lab.settings import CACHE, STATE

DAY_S = 86400.0
_KEY = re.compile(r"[0-9a-f]{32}")
GO = "go"
"""Folder of the Go toolchain's own caches: sources of modules, and compiled packages."""
DOWNLOADS = "debian"
"""Folder of downloaded Debian packages."""


@dataclass(frozen=True)
class Stored:
    """An entry that lies in the cache."""

    path: Path
    last_used: float
    """Seconds since the epoch."""

    @property
    def name(self) -> str:
        """`kind/key`, as leases name it."""
        return f"{self.path.parent.name}/{self.path.name}"


def stored(root: Path) -> list[Stored]:
    """Every finished entry of a cache, by name. What has no key for a name, such as podman's store, is no entry."""
    found = []
    for entry in root.glob("*/*"):
        if _KEY.fullmatch(entry.name) and entry.is_dir():
            manifest = manifest_of(entry)
            # One of a former release has no manifest; it was used at least when it was made.
            found.append(Stored(entry, (manifest if manifest.exists() else entry).stat().st_mtime))
    return sorted(found, key=lambda each: each.name)


def removable(
    entries: Iterable[Stored],
    *,
    now: float,
    days: float,
    wanted: Collection[str],
    leased: Collection[str],
    unpinned: bool,
) -> list[Stored]:
    """What may go: whatever was not used for so many days and, with `unpinned`, whatever this checkout's versions do not ask for.

    `wanted` and `leased` are names of entries; what is leased stays.
    """
    return [
        entry
        for entry in entries
        if entry.name not in leased
        and (now - entry.last_used > days * DAY_S or (unpinned and entry.name not in wanted))
    ]


def take_lease(entries: Iterable[Entry]) -> None:
    """Note that this lab is made of these entries."""
    lease = _lease()
    lease.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(f"{entry.kind}/{entry.name}" for entry in entries)
    # What its hosts were made of before may still be in use: a lease grows until the lab is removed.
    before = json.loads(lease.read_text(encoding="utf-8"))["entries"] if lease.exists() else []
    draft = lease.with_name(f".{lease.name}.{os.getpid()}")
    document = {"state": str(STATE), "entries": sorted({*names, *before})}
    draft.write_text(json.dumps(document, indent=1), encoding="utf-8")
    draft.replace(lease)


def end_lease() -> None:
    """This lab is gone."""
    _lease().unlink(missing_ok=True)


def leased(root: Path) -> set[str]:
    """The names of the entries that labs are made of. The lease of a lab whose folder was deleted counts no more."""
    names: set[str] = set()
    for lease in (root / "leases").glob("*.json"):
        document = json.loads(lease.read_text(encoding="utf-8"))
        if Path(document["state"]).is_dir():
            names.update(document["entries"])
        else:
            lease.unlink()
    return names


def _lease() -> Path:
    return CACHE / "leases" / f"{network.identity()}.json"


def prune(entries: Collection[Entry], *, days: float, unpinned: bool) -> None:
    """Remove what is not worth its space, and say what and how much. `entries` are those of this checkout's versions."""
    before = shutil.disk_usage(CACHE).free if CACHE.is_dir() else 0
    doomed = removable(
        stored(CACHE),
        now=time.time(),
        days=days,
        wanted={f"{entry.kind}/{entry.name}" for entry in entries},
        leased=leased(CACHE),
        unpinned=unpinned,
    )
    for entry in doomed:
        with lock_at_once(entry.path) as ours:
            if ours:
                cache.remove(entry.path)
                say(f"removed {entry.name}, last used {(time.time() - entry.last_used) / DAY_S:.1f} days ago")
            else:
                say(f"{entry.name} is being worked on by another process and stays")
    _remove_unfinished()
    _remove_old_downloads(days)
    _remove_images()
    freed = (shutil.disk_usage(CACHE).free - before if CACHE.is_dir() else 0) / 1e9
    say(f"{len(doomed)} entries removed, {max(freed, 0.0):.1f} GB more are free")


def _remove_unfinished() -> None:
    """What builds left that were killed: nobody holds their lock."""
    for rest in CACHE.glob("*/.*.unfinished"):
        name = rest.name.removeprefix(".").removesuffix(".unfinished")
        with lock_at_once(rest.with_name(name)) as ours:
            if ours:
                shutil.rmtree(rest)
                say(f"removed what a killed build of {rest.parent.name}/{name} left")


def _remove_old_downloads(days: float) -> None:
    """Sources and packages that no build asked for in so long; what is missing is downloaded again."""
    for name in (GO, DOWNLOADS):
        folder, mark = CACHE / name, used_mark(name)
        if mark.exists() and time.time() - mark.stat().st_mtime > days * DAY_S:
            shutil.rmtree(folder)
            say(f"removed the downloads and compiled packages below {folder}")


def used_mark(name: str) -> Path:
    """The file whose time says when a folder of downloads was last used."""
    return CACHE / name / ".used"


def _remove_images() -> None:
    """Host images in podman's store whose archive is gone and that no host uses."""
    store = CACHE / "podman" / "storage"
    if not store.is_dir() or shutil.which("podman") is None:
        return
    listing = podman("images", "--format={{.Repository}}:{{.Tag}}").stdout.split()
    for reference in listing:
        repository, _, key = reference.rpartition(":")
        orphan = repository.startswith(REPOSITORY_OF_IMAGES) and not (CACHE / "rootfs" / key).is_dir()
        # Refused by podman for an image that a container was made from.
        if orphan and not podman("rmi", reference, check=False).returncode:
            say(f"removed the host image {reference}")


def check() -> int:
    """Compare every entry's content with its manifest; what is damaged is removed, so that the next run builds it again.

    Returns how many entries are damaged. What a lab was made from is only told of: `make lab-clean` frees it.
    """
    entries, held, bad = stored(CACHE), leased(CACHE), 0
    for entry in entries:
        if not manifest_of(entry.path).exists():
            say(f"{entry.name} is of a former release and has no manifest to hold it against; from now on it has one")
        problems = damage(entry.path, contents=True)
        if not problems:
            continue
        bad += 1
        say(f"{entry.name} is damaged: {'; '.join(problems[:3])}{' …' if len(problems) > 3 else ''}")
        if entry.name in held:
            say(f"{entry.name} belongs to a lab that exists; remove the lab (make lab-clean), then check again")
            continue
        with lock_at_once(entry.path) as ours:
            if ours:
                cache.remove(entry.path)
                say(f"{entry.name} was removed; the next run builds it again")
    say(f"{len(entries)} entries checked, {bad} damaged")
    return bad
