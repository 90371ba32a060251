"""Content-addressed cache of expensive artefacts: `<cache>/<kind>/<content key>/`, built once, never changed afterwards.

An entry's key is made from its *inputs* (versions, sources, the keys of other entries), so finding a finished entry costs
milliseconds however large it is, and where an entry will lie is known before it is built. What later steps need to know about an
entry's content is stored inside the entry.

Beside each entry lies its manifest, written when it is finished: every file with size, time and SHA-256. Using an entry compares
sizes and times (`Entry.finished`), `make cache-check` compares the contents. The manifest's own time is when the entry was last used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lab.progress import Activity, say, step
from lab.settings import CACHE

Part = str | bytes | Path
"""One input of an entry: text, bytes, or a file or folder that is read. A path inside the cache stands for its own key."""

_KEY_LENGTH = 32
"""Hexadecimal digits kept of the SHA-256: 128 bits, and paths stay short enough to read."""

_BLOCK = 1 << 20


def content_key(parts: Iterable[Part], root: Path | None = None) -> str:
    """The key of an entry with these inputs. The order and the borders of the parts matter. `root` is the cache."""
    digest = hashlib.sha256()
    for part in parts:
        for piece in _pieces(part, root or CACHE):
            digest.update(b"%d:" % len(piece))
            digest.update(piece)
    return digest.hexdigest()[:_KEY_LENGTH]


def _pieces(part: Part, root: Path) -> Iterator[bytes]:
    """What a part contributes: its kind first, so that a text and a file with that text differ."""
    if isinstance(part, str):
        yield b"text"
        yield part.encode()
    elif isinstance(part, bytes):
        yield b"bytes"
        yield part
    elif part.is_relative_to(root):
        # Entries never change, so the name (kind and key) says everything: no need to read hundreds of megabytes.
        yield b"entry"
        yield str(part.relative_to(root)).encode()
    elif part.is_dir():
        yield b"folder"
        for path in sorted(part.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(part)).encode()
                yield from _file(path)
    else:
        yield from _file(part)


def _file(path: Path) -> Iterator[bytes]:
    yield b"program" if os.access(path, os.X_OK) else b"file"
    yield path.read_bytes()


@dataclass(frozen=True)
class Entry:
    """One entry, known by its inputs before it is built.

    `build` gets an empty folder beside the final place, which is renamed when it returns: an entry is complete or absent, also
    after a crash; and the activity whose detail it may set. `title` names the step for the person who waits. `root` is another
    cache than the user's.
    """

    kind: str
    key: tuple[Part, ...]
    build: Callable[[Path, Activity], object]
    title: str
    root: Path | None = None

    @property
    def cache(self) -> Path:
        """The cache that the entry belongs to."""
        return self.root or CACHE

    @cached_property
    def name(self) -> str:
        """The entry's key."""
        return content_key(self.key, self.cache)

    @property
    def path(self) -> Path:
        """Where the finished entry lies, or will lie."""
        return self.cache / self.kind / self.name

    def finished(self) -> bool:
        """Whether the entry exists and its files are, by size and time, those that were built."""
        return self.path.is_dir() and not damage(self.path)

    def ensure(self, activity: Activity | None = None) -> Path:
        """The entry's folder; it is built when it does not exist yet or is damaged.

        One lock per entry lets a second process or thread wait instead of building the same twice. Whatever `build` raises is
        passed on and leaves nothing behind. Without an activity of the caller's the building is told of as a step of its own.
        """
        if self.finished():
            mark_used(self.path)
            return self.path
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with lock(self.path, self.title):
            if self.path.is_dir():
                problems = damage(self.path)
                if not problems:
                    mark_used(self.path)
                    return self.path
                say(f"{self.title}: what the cache had of it is damaged ({problems[0]}), it is built again")
                remove(self.path)
            if activity is None:
                with step(self.title) as own:
                    self._build(own)
            else:
                self._build(activity)
        return self.path

    def _build(self, activity: Activity) -> None:
        unfinished = self.path.with_name(f".{self.name}.unfinished")
        _delete(unfinished)  # left by a process that was killed: we hold its lock, so it is gone
        unfinished.mkdir()
        try:
            self.build(unfinished, activity)
            write_manifest(unfinished, manifest_of(self.path))
            unfinished.rename(self.path)
        except BaseException:
            _delete(unfinished)
            raise


def cached(
    kind: str,
    key: Iterable[Part],
    build: Callable[[Path], None],
    *,
    title: str | None = None,
    root: Path | None = None,
) -> Path:
    """The folder of the entry, built when it does not exist yet; see Entry."""
    return Entry(kind, tuple(key), lambda out, _: build(out), title or f"Build {kind}", root).ensure()


def manifest_of(entry: Path) -> Path:
    """Where the manifest of an entry lies: beside it, because what serves an entry's folder should not serve this."""
    return entry.with_name(f".{entry.name}.manifest.json")


def write_manifest(folder: Path, manifest: Path) -> None:
    """Note what the finished folder holds."""
    files = {str(path.relative_to(folder)): _describe(path, path.lstat(), digest=True) for path in _files(folder)}
    draft = manifest.with_name(f"{manifest.name}.{os.getpid()}")
    draft.write_text(json.dumps({"schema": 1, "files": files}, separators=(",", ":")), encoding="utf-8")
    draft.replace(manifest)


def damage(entry: Path, *, contents: bool = False) -> list[str]:
    """What of an entry is not as it was built, by size and time or, with `contents`, also by SHA-256; empty when all is well.

    An entry without a manifest is of a former release: it gets one now, as it is.
    """
    manifest = manifest_of(entry)
    if not manifest.exists():
        write_manifest(entry, manifest)
        return []
    try:
        known = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError):
        return ["its manifest cannot be read"]
    return [problem for name, noted in known.items() if (problem := _problem(entry / name, name, noted, contents))]


def _problem(path: Path, name: str, noted: list[str | int], contents: bool) -> str | None:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return f"{name} is missing"
    found = _describe(path, status, digest=contents)
    if found[:_COMPARED_ALWAYS] != noted[:_COMPARED_ALWAYS]:
        return f"{name} was changed"
    return f"{name} has another content" if contents and found != noted else None


_COMPARED_ALWAYS = 3
"""Of a file's description: mode, size and time, which cost next to nothing to read."""


def _describe(path: Path, status: os.stat_result, *, digest: bool) -> list[str | int]:
    """Mode, size in bytes, modification time in nanoseconds, and with `digest` the SHA-256 of a file or the target of a link."""
    known: list[str | int] = [status.st_mode, status.st_size, status.st_mtime_ns]
    if digest:
        known.append(str(path.readlink()) if stat.S_ISLNK(status.st_mode) else sha256(path))
    return known


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Regular files and links below a folder; devices and the like have no content."""
    for place, folders, names in os.walk(folder):
        for name in sorted([*names, *folders]):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                yield path


def mark_used(entry: Path) -> None:
    """Note that the entry was used now."""
    os.utime(manifest_of(entry))


def remove(entry: Path) -> None:
    """Remove an entry; the caller holds its lock. It is absent at once, however long the deletion takes."""
    doomed = entry.with_name(f".{entry.name}.unfinished")
    _delete(doomed)
    if entry.exists():
        entry.rename(doomed)
    manifest_of(entry).unlink(missing_ok=True)
    _delete(doomed)


def _delete(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def lock_file(entry: Path) -> Path:
    """The file whose lock lets one process at a time change an entry."""
    return entry.parent.parent / "locks" / f"{entry.parent.name}-{entry.name}"


@contextmanager
def lock(entry: Path, title: str) -> Iterator[None]:
    """Hold an exclusive lock on an entry; it ends with the process that holds it, so it cannot be left behind."""
    path = lock_file(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{title}: waiting for another process that builds it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def lock_at_once(entry: Path) -> Iterator[bool]:
    """Hold the lock unless somebody else has it; yields whether we do."""
    path = lock_file(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
