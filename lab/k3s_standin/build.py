"""Make the `k3s` file: Python modules and programs in one executable archive, the same bytes for the same input.

Only this module belongs to the machine that builds; it is not part of the archive.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from lab.images import REGISTRY, coredns_reference
from lab.versions import number as pinned_number

from .bundle import MANIFEST, PROGRAMS, PROGRAMS_FOLDER

_SHEBANG = b"#!/usr/bin/env python3\n"
_START = "import sys\n\nfrom k3s_standin.__main__ import main\n\nsys.exit(main())\n"
_PACKAGE = Path(__file__).parent
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip member can have."""

_LEVEL = 3
"""Deflate level: the archive is written once and read by every host; higher levels cost seconds and save a few percent."""

_BLOCK = 1 << 20


def build(out_file: Path, binaries: Mapping[str, Path], release: str) -> None:
    """Write the stand-in for this release with these programs, by name. Raises ValueError when one is missing or not known.

    Two releases of the same Kubernetes, with +k3s1 and +k3s2 in their names, differ in their names alone.
    """
    missing, unknown = sorted(set(PROGRAMS) - set(binaries)), sorted(set(binaries) - set(PROGRAMS))
    if missing or unknown:
        raise ValueError(f"programs of the k3s stand-in: missing {missing}, unknown {unknown}")
    manifest = {
        "hash": _content_hash(binaries),
        "version": release,
        "pause_image": f"{REGISTRY}/kubernetes/pause:{pinned_number('pause')}",
        "coredns_image": coredns_reference(),
    }
    draft = out_file.with_name(f".{out_file.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(_SHEBANG)
        with zipfile.ZipFile(file, "w") as archive:
            _add_text(archive, "__main__.py", _START)
            _add_text(archive, MANIFEST, json.dumps(manifest, indent=2, sort_keys=True) + "\n")
            for source in sources():
                if source.name != Path(__file__).name:
                    name = source.relative_to(_PACKAGE).as_posix()
                    _add_text(archive, f"k3s_standin/{name}", source.read_text(encoding="utf-8"))
            for name in sorted(binaries):
                _add_program(archive, name, binaries[name])
    draft.chmod(0o755)
    draft.replace(out_file)


def sources() -> list[Path]:
    """Everything in this folder that decides what the file is: its modules, and the manifests of the components that it brings along."""
    return sorted([*_PACKAGE.glob("*.py"), *_PACKAGE.glob("components/*.yaml")])


def next_release(release: str) -> str:
    """The release after this one, of the same Kubernetes: the one with +k3s2 after the one with +k3s1."""
    kubernetes, separator, number = release.rpartition("+k3s")
    if not separator:
        raise ValueError(f"{release} is no release of k3s")
    return f"{kubernetes}{separator}{int(number) + 1}"


def _content_hash(binaries: Mapping[str, Path]) -> str:
    """SHA-256 over the programs' names and contents: it names the folder they are extracted to."""
    digest = hashlib.sha256()
    for name in sorted(binaries):
        content = hashlib.sha256()
        with binaries[name].open("rb") as file:
            while block := file.read(_BLOCK):
                content.update(block)
        digest.update(f"{content.hexdigest()}  {name}\n".encode())
    return digest.hexdigest()


def _add_text(archive: zipfile.ZipFile, name: str, text: str) -> None:
    archive.writestr(_member(name, 0o644), text, zipfile.ZIP_DEFLATED, _LEVEL)


def _add_program(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    archive.writestr(_member(f"{PROGRAMS_FOLDER}/{name}", 0o755), path.read_bytes(), zipfile.ZIP_DEFLATED, _LEVEL)


def _member(name: str, mode: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _EARLIEST)
    member.external_attr = (0o100000 | mode) << 16
    return member
