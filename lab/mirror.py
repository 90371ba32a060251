"""The static tree that the lab's mirror serves: repositories, archives, manifests, keys, and the checksums of the single files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.cache import Entry, Part, sha256
from lab.progress import Activity
from lab.settings import CACHE

REPOSITORIES = ("apt", "rpm", "tailscale")
"""Folders of the tree whose files are vouched for by a signature instead of a listed checksum."""


@dataclass(frozen=True)
class Mirror:
    """A finished tree and the SHA-256 of each of its files outside the repositories, by the path below the tree."""

    tree: Path
    sha256: Mapping[str, str]


def assembly(sources: Mapping[str, Path]) -> Entry:
    """An entry with a mirror of these files and folders, which need not exist yet; `sources` maps a path below the tree to what lies there.

    Sources in the cache never change and are hard-linked, so a tree costs no space; others are copied. Checksums are computed once and kept with it.
    """

    def build(out: Path, _: Activity) -> None:
        tree = out / "tree"
        for path, source in sources.items():
            place(source, tree / path)
        table = json.dumps(checksums(tree), indent=1, sort_keys=True)
        (out / "sha256.json").write_text(table, encoding="utf-8")

    key: list[Part] = ["2", *(part for path, source in sorted(sources.items()) for part in (path, source))]
    return Entry("mirror", tuple(key), build, "Assemble the mirror")


def opened(entry: Path) -> Mirror:
    """The mirror in a finished entry."""
    return Mirror(tree=entry / "tree", sha256=json.loads((entry / "sha256.json").read_text(encoding="utf-8")))


def place(source: Path, destination: Path) -> None:
    """Hard-link a file of the cache, or every file of a folder there, to where the mirror serves it; copy any other file."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                place(path, destination / path.relative_to(source))
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    if source.is_relative_to(CACHE) and source.stat().st_mode & 0o444 == 0o444:
        os.link(source, destination)
        return
    destination.write_bytes(source.read_bytes())
    destination.chmod(0o644)


def checksums(tree: Path) -> dict[str, str]:
    """SHA-256 of every file of the tree that is not in a signed repository, by its path below the tree."""
    table = {}
    for path in sorted(tree.rglob("*")):
        relative = path.relative_to(tree)
        if path.is_file() and relative.parts[0] not in REPOSITORIES:
            table[relative.as_posix()] = sha256(path)
    return table
