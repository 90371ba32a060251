"""Container images as docker archives, written without any engine and byte for byte the same for the same input."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

DEFAULT_PATH = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_EPOCH = "1970-01-01T00:00:00Z"
_BLOCK = 1 << 20
TEMPORARY = "/tmp"  # noqa: S108 - a path inside an image


@dataclass(frozen=True)
class Layer:
    """One layer: the content of a folder. Layers made from the same folder are stored once, in the archive and on every host."""

    root: Path

    @cached_property
    def tar(self) -> Path:
        """The uncompressed layer, as a file beside its folder: owned by root, without times, in the order of names."""
        path = self.root.with_name(f"{self.root.name}.layer.tar")
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
            for name in sorted(entry.name for entry in self.root.iterdir()):
                archive.add(self.root / name, arcname=name, filter=_anonymous)
        return path

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the uncompressed layer, which is also its identifier in an image's configuration."""
        digest = hashlib.sha256()
        with self.tar.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()


@dataclass(frozen=True)
class Image:
    """One image: its full reference and its layers, lowest first. `config` overrides the image's runtime configuration."""

    reference: str
    layers: Sequence[Layer]
    config: Mapping[str, object] = field(default_factory=dict)

    def configuration(self) -> bytes:
        """The image's configuration file (OCI image specification v1)."""
        document = {
            "architecture": "amd64",
            "os": "linux",
            "created": _EPOCH,
            "config": {"Env": [DEFAULT_PATH], "WorkingDir": "/", **self.config},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in self.layers]},
            "history": [{"created": _EPOCH, "created_by": "baremetal.gpu lab"} for _ in self.layers],
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def write_archive(path: Path, images: Sequence[Image]) -> None:
    """Write images that `ctr images import` takes, several in one file. Equal layers appear once."""
    manifest = []
    written: set[str] = set()
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for image in images:
            for layer in image.layers:
                if layer.digest not in written:
                    written.add(layer.digest)
                    with layer.tar.open("rb") as content:
                        archive.addfile(_member(f"{layer.digest}.tar", layer.tar.stat().st_size), content)
            configuration = image.configuration()
            name = f"{hashlib.sha256(configuration).hexdigest()}.json"
            if name not in written:
                written.add(name)
                archive.addfile(_member(name, len(configuration)), io.BytesIO(configuration))
            layers = [f"{layer.digest}.tar" for layer in image.layers]
            manifest.append({"Config": name, "RepoTags": [image.reference], "Layers": layers})
        listing = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
        archive.addfile(_member("manifest.json", len(listing)), io.BytesIO(listing))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Drop what differs between two builds of the same content."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    if member.islnk():
        raise RuntimeError(f"{member.name} is a hard link inside a layer; copy the file instead")
    return member


def install(root: Path, path: str, source: Path, mode: int = 0o755) -> None:
    """Copy a file into an image's root under an absolute path, following symbolic links."""
    destination = root / path.lstrip("/")
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, destination)
    destination.chmod(mode)


def link(root: Path, path: str, target: str) -> None:
    """Make a symbolic link in an image's root."""
    destination = root / path.lstrip("/")
    destination.parent.mkdir(parents=True, exist_ok=True)
    destination.symlink_to(target)


def folders(root: Path, *paths: str) -> None:
    """Make empty folders in an image's root. TEMPORARY is writable for everybody."""
    for path in paths:
        folder = root / path.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777 if path == TEMPORARY else 0o755)
