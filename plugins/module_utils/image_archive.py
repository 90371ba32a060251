"""Reads which images an archive holds: of ``docker save``, or an OCI layout in a tar file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

# Annotations by which tools name an image in an OCI index; containerd prefers its own.
_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_MAXIMUM_JSON_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class ArchivedImage:
    """An image in an archive. The config's digest identifies it: it covers all layers and the platform."""

    reference: str
    config_digest: str
    archive: str


def read_archive(path: str) -> Tuple[ArchivedImage, ...]:
    """The named images of an archive. Raises ``GpuError`` BG-IMG-001."""
    try:
        with tarfile.open(path, "r:*") as archive:
            members = {os.path.normpath(member.name): member for member in archive.getmembers() if member.isfile()}
            read = _Reader(archive, members)
            images = _from_docker(read) if "manifest.json" in members else _from_oci(read)
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, _why(error)) from error
    if not images:
        raise _unreadable(path, "it names no image")
    return tuple(ArchivedImage(normal_reference(name), digest, path) for name, digest in images)


def normal_reference(name: str) -> str:
    """A reference with registry and tag, as containerd stores it: ``busybox`` is docker.io/library/busybox:latest."""
    first, slash, _rest = name.partition("/")
    if not slash:
        name = "docker.io/library/" + name
    elif not re.search(r"[.:]", first) and first != "localhost":
        name = "docker.io/" + name
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else name + ":latest"


class _Reader:
    """Small files of an archive."""

    def __init__(self, archive: tarfile.TarFile, members: Dict[str, tarfile.TarInfo]) -> None:
        self._archive = archive
        self._members = members

    def bytes(self, name: str) -> bytes:
        member = self._members[os.path.normpath(name)]
        file = self._archive.extractfile(member)
        if file is None or member.size > _MAXIMUM_JSON_BYTES:
            raise ValueError("{0} is no small file".format(name))
        return file.read()

    def json(self, name: str) -> Any:
        return json.loads(self.bytes(name).decode("utf-8"))

    def blob(self, digest: str) -> Any:
        return self.json("blobs/" + digest.replace(":", "/", 1))


def _from_docker(read: _Reader) -> List[Tuple[str, str]]:
    images = []
    for entry in read.json("manifest.json"):
        # The file's name is not trusted to be its digest: containerd computes it from the content as well.
        digest = "sha256:" + hashlib.sha256(read.bytes(entry["Config"])).hexdigest()
        images += [(str(name), digest) for name in entry.get("RepoTags") or ()]
    return images


def _from_oci(read: _Reader) -> List[Tuple[str, str]]:
    images = []
    for entry in read.json("index.json")["manifests"]:
        annotations = entry.get("annotations") or {}
        name: Optional[str] = next((annotations[key] for key in _NAME_ANNOTATIONS if annotations.get(key)), None)
        # A bare tag ("latest") is no name: it says nothing about the repository.
        if name is not None and ("/" in name or ":" in name):
            images.append((name, str(read.blob(str(entry["digest"]))["config"]["digest"])))
    return images


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return "it has no {0}".format(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _unreadable(path: str, why: str) -> GpuError:
    return GpuError(
        "BG-IMG-001",
        "the image archive {0} cannot be read ({1})".format(path, why),
        "its images cannot be imported",
        "fetch the archive again and compare its checksum",
    )
