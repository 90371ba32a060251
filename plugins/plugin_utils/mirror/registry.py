"""Takes container images from registries, without an account, into archives that containerd and k3s import."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.image_archive import normal_reference
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.fetching import (
    NOTHING_KEPT,
    NotAuthorizedError,
    digest_of_file,
    download,
    small,
)

# Media types of lists of images for several processors, and of one image (OCI image specification; Docker's older names).
INDICES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
ACCEPT = ", ".join((*INDICES, *MANIFESTS))
# Docker Hub answers by another name than the one in references.
HOSTS = {"docker.io": "registry-1.docker.io"}
MAXIMUM_MANIFEST_BYTES = 4 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


def not_usable(reference: str, why: object) -> GpuError:
    return GpuError(
        "BG-MIRROR-010",
        f"image {reference} cannot be taken from its registry: {why}",
        NOTHING_KEPT,
        "correct the image in data/versions.yml, or copy it into the site's registry by other means",
    )


def pull(reference: str, architecture: str, path: Path, sha256: str | None) -> tuple[str, int]:
    """Write an image as an archive, which is the same for the same image. Returns its SHA-256 and size.

    Everything is checked against the digest that names it. Raises ``GpuError`` BG-MIRROR-001, -002 or -010.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remote = _Remote(reference)
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        folder = Path(place)
        descriptor, manifest = remote.manifest(architecture)
        blobs = {descriptor["digest"]: manifest}
        files = {}
        for part in _parts(reference, manifest):
            files[part["digest"]] = remote.blob(part, folder)
        archive = folder / "archive"
        _write(archive, normal_reference(reference), descriptor, blobs, files)
        found = digest_of_file(archive)
        if found is None:
            raise FileNotFoundError(archive)
        if sha256 not in (None, found[0]):
            raise GpuError(
                "BG-MIRROR-002",
                f"the archive of image {reference} has SHA-256 {found[0]}, and {sha256} is expected",
                NOTHING_KEPT,
                "find out whether the tag was moved to another image",
            )
        archive.replace(path)
    return found


def _parts(reference: str, manifest: bytes) -> list[Mapping[str, Any]]:
    """The configuration and the layers of an image."""
    try:
        data = json.loads(manifest)
        parts = [data["config"], *data["layers"]]
        if not all(_DIGEST.fullmatch(part["digest"]) and isinstance(part["size"], int) for part in parts):
            raise ValueError("a digest or a size is none")
    except (ValueError, KeyError, TypeError) as error:
        raise not_usable(reference, f"its manifest cannot be read ({error})") from error
    return parts


@dataclass
class _Remote:
    """One image in its registry."""

    reference: str
    token: str = ""
    base: str = field(init=False)
    tag: str = field(init=False)

    def __post_init__(self) -> None:
        name, _colon, self.tag = normal_reference(self.reference).rpartition(":")
        host, _slash, repository = name.partition("/")
        # As Docker does: a registry on the machine itself is asked without TLS.
        scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
        self.base = f"{scheme}://{HOSTS.get(host, host)}/v2/{repository}"

    def manifest(self, architecture: str) -> tuple[dict[str, Any], bytes]:
        """The descriptor and the manifest of the image for a processor."""
        data = self._get(f"{self.base}/manifests/{self.tag}")
        parsed = self._parsed(data)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        media_type = str(parsed.get("mediaType", ""))
        if media_type in INDICES or "manifests" in parsed:
            chosen = self._chosen(parsed, architecture)
            digest, media_type = str(chosen["digest"]), str(chosen.get("mediaType", ""))
            data = self._get(f"{self.base}/manifests/{digest}")
            if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
                raise not_usable(self.reference, f"its manifest is not the one with digest {digest}")
        if media_type not in MANIFESTS:
            # OCI manifests need not say of what type they are.
            media_type = str(self._parsed(data).get("mediaType") or MANIFESTS[0])
        if media_type not in MANIFESTS:
            raise not_usable(self.reference, f"its manifest is of type {media_type or 'nothing'}")
        return {"mediaType": media_type, "digest": digest, "size": len(data)}, data

    def blob(self, part: Mapping[str, Any], folder: Path) -> Path:
        """A layer or the configuration, as a file."""
        digest = str(part["digest"])
        path = folder / digest.partition(":")[2]
        url = f"{self.base}/blobs/{digest}"
        try:
            download(url, path, path.name, part["size"], self.token)
        except NotAuthorizedError as error:
            self._authorize(error.challenge)
            download(url, path, path.name, part["size"], self.token)
        return path

    def _chosen(self, index: Mapping[str, Any], architecture: str) -> Mapping[str, Any]:
        for entry in index.get("manifests") or ():
            platform = entry.get("platform") or {} if isinstance(entry, dict) else {}
            fits = (platform.get("os"), platform.get("architecture")) == ("linux", architecture)
            if fits and _DIGEST.fullmatch(str(entry.get("digest"))):
                return dict(entry)
        raise not_usable(self.reference, f"it has no image for linux/{architecture}")

    def _parsed(self, data: bytes) -> Mapping[str, Any]:
        try:
            parsed = json.loads(data)
        except ValueError as error:
            raise not_usable(self.reference, f"its manifest is no JSON ({error})") from error
        if not isinstance(parsed, dict):
            raise not_usable(self.reference, "its manifest is no object")
        return parsed

    def _get(self, url: str) -> bytes:
        try:
            return small(url, MAXIMUM_MANIFEST_BYTES, ACCEPT, self.token)
        except NotAuthorizedError as error:
            self._authorize(error.challenge)
            return small(url, MAXIMUM_MANIFEST_BYTES, ACCEPT, self.token)

    def _authorize(self, challenge: str) -> None:
        """Get the token that everybody may have (distribution specification, token authentication)."""
        fields = dict(_CHALLENGE.findall(challenge))
        if not challenge.lower().startswith("bearer ") or "realm" not in fields:
            raise not_usable(self.reference, "its registry asks for an account")
        query = urlencode({name: fields[name] for name in ("service", "scope") if name in fields})
        try:
            answer = json.loads(small(f"{fields['realm']}?{query}", MAXIMUM_MANIFEST_BYTES))
            self.token = str(answer.get("token") or answer["access_token"])
        except (ValueError, KeyError, AttributeError) as error:
            raise not_usable(self.reference, "its registry gives no token without an account") from error


def _write(
    archive: Path, name: str, descriptor: Mapping[str, Any], blobs: Mapping[str, bytes], files: Mapping[str, Path]
) -> None:
    """An OCI layout in a tar file (OCI image layout specification); containerd and k3s take the image's name from the annotation."""
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = {"schemaVersion": 2, "manifests": [{**descriptor, "annotations": annotations}]}
    texts = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(index, sort_keys=True).encode(),
        **{_place(digest): data for digest, data in blobs.items()},
    }
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for place, data in sorted(texts.items()):
            tar.addfile(_member(place, len(data)), io.BytesIO(data))
        for digest, path in sorted(files.items()):
            with path.open("rb") as file:
                tar.addfile(_member(_place(digest), path.stat().st_size), file)


def _place(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _member(name: str, size: int) -> tarfile.TarInfo:
    """Without times and owners, so that the same image gives the same archive."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member
