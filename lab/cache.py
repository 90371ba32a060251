"""Content-addressed cache of expensive artefacts: `<cache>/<kind>/<content key>/`, built once, never changed afterwards.

An entry's key is made from its *inputs* (versions, sources, the keys of other entries), so finding a finished entry costs
milliseconds however large it is. What later steps need to know about an entry's content is stored inside the entry.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.progress import say, step
from lab.settings import CACHE

Part = str | bytes | Path
"""One input of an entry: text, bytes, or a file or folder that is read. A path inside the cache stands for its own key."""

_KEY_LENGTH = 32
"""Hexadecimal digits kept of the SHA-256: 128 bits, and paths stay short enough to read."""


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


def finished(kind: str, key: Iterable[Part], *, root: Path | None = None) -> Path | None:
    """The folder of an entry that exists already."""
    cache = root or CACHE
    entry = cache / kind / content_key(key, cache)
    return entry if entry.is_dir() else None


def cached(
    kind: str,
    key: Iterable[Part],
    build: Callable[[Path], None],
    *,
    title: str | None = None,
    root: Path | None = None,
) -> Path:
    """The folder of the entry; `build` fills it when it does not exist yet.

    `build` gets an empty folder beside the final place, which is renamed when it returns: an entry is complete or absent,
    also after a crash. One lock per entry lets a second process or thread wait instead of building the same twice.
    `title` names the step for the person who waits. Whatever `build` raises is passed on and leaves nothing behind.
    """
    cache = root or CACHE
    name = content_key(key, cache)
    entry = cache / kind / name
    if entry.is_dir():
        return entry
    entry.parent.mkdir(parents=True, exist_ok=True)
    with _lock(cache / "locks" / f"{kind}-{name}", title or kind):
        if entry.is_dir():
            return entry
        unfinished = entry.with_name(f".{name}.unfinished")
        _remove(unfinished)  # left by a process that was killed: we hold its lock, so it is gone
        unfinished.mkdir()
        try:
            with step(title or f"Build {kind}"):
                build(unfinished)
            unfinished.rename(entry)
        except BaseException:
            _remove(unfinished)
            raise
    return entry


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


@contextmanager
def _lock(path: Path, title: str) -> Iterator[None]:
    """Hold an exclusive lock on a file; it ends with the process that holds it, so it cannot be left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{title}: waiting for another process that builds it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
