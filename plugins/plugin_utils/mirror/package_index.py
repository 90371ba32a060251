"""Packages in the indices of apt and dnf repositories. Pure: the indices arrive as bytes."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

# Names that an index of packages may have below its folder, best first.
APT_INDICES = ("Packages.gz", "Packages.xz", "Packages")
_COMMON = "{http://linux.duke.edu/metadata/common}"
_REPO = "{http://linux.duke.edu/metadata/repo}"


@dataclass(frozen=True)
class Package:
    """A package in an index: its file's path below the repository's base, its size and its checksum."""

    name: str
    version: str
    architecture: str
    path: str
    size: int
    sha256: str


def broken(what: str) -> GpuError:
    return GpuError(
        "BG-MIRROR-004",
        f"the index of a repository cannot be used: {what}",
        "what it names might be anything",
        "fetch it again, or ask who serves the repository",
    )


def release_checksums(text: str) -> dict[str, tuple[str, int]]:
    """SHA-256 and size by path, from the file Release or InRelease of an apt repository."""
    found: dict[str, tuple[str, int]] = {}
    inside = False
    for line in text.splitlines():
        if line.startswith(" ") and inside:
            parts = line.split()
            if len(parts) == 3 and parts[1].isdigit():
                found[parts[2].removeprefix("./")] = (parts[0].lower(), int(parts[1]))
        else:
            inside = line.rstrip() == "SHA256:"
    return found


def checked(name: str, data: bytes, expected: tuple[str, int] | None) -> bytes:
    """The same bytes, when they are those that the repository's top file lists. Raises ``GpuError`` BG-MIRROR-004."""
    if expected is None:
        raise broken(f"{name} is not listed by the repository")
    if (hashlib.sha256(data).hexdigest(), len(data)) != expected:
        raise broken(f"{name} is not the one that the repository lists")
    return data


def unpacked(name: str, data: bytes) -> bytes:
    """An index without its compression. Raises ``GpuError`` BG-MIRROR-004."""
    try:
        if name.endswith(".gz"):
            return gzip.decompress(data)
        return lzma.decompress(data) if name.endswith(".xz") else data
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise broken(f"{name}: {error}") from error


def apt_packages(data: bytes) -> Iterator[Package]:
    """Every complete entry of a file Packages."""
    for paragraph in data.decode("utf-8", "replace").split("\n\n"):
        fields: Mapping[str, str] = {
            name: value.strip()
            for name, colon, value in (line.partition(":") for line in paragraph.splitlines() if line[:1].strip())
            if colon
        }
        if {"Package", "Version", "Filename", "Size", "SHA256"} <= fields.keys() and fields["Size"].isdigit():
            yield Package(
                fields["Package"],
                fields["Version"],
                fields.get("Architecture", "all"),
                fields["Filename"].removeprefix("./"),
                int(fields["Size"]),
                fields["SHA256"].lower(),
            )


def rpm_primary(repomd: bytes) -> tuple[str, str]:
    """Path and SHA-256 of the list of packages, from repomd.xml. Raises ``GpuError`` BG-MIRROR-004."""
    for data in _tree("repomd.xml", repomd).iter(f"{_REPO}data"):
        location, checksum = data.find(f"{_REPO}location"), data.find(f"{_REPO}checksum")
        if data.get("type") != "primary" or location is None or checksum is None or checksum.get("type") != "sha256":
            continue
        return location.get("href", ""), (checksum.text or "").strip().lower()
    raise broken("repomd.xml names no list of packages with a SHA-256")


def rpm_packages(data: bytes) -> Iterator[Package]:
    """Every complete entry of primary.xml."""
    for entry in _tree("primary.xml", data).iter(f"{_COMMON}package"):
        parts = {
            name: entry.find(_COMMON + name) for name in ("name", "arch", "version", "checksum", "size", "location")
        }
        if any(part is None for part in parts.values()):
            continue
        text = {name: (part.text or "").strip() for name, part in parts.items() if part is not None}
        attributes = {name: part.attrib for name, part in parts.items() if part is not None}
        if attributes["checksum"].get("type") == "sha256" and attributes["size"].get("package", "").isdigit():
            version = f"{attributes['version'].get('ver', '')}-{attributes['version'].get('rel', '')}"
            path, size = attributes["location"].get("href", ""), int(attributes["size"]["package"])
            yield Package(text["name"], version, text["arch"], path, size, text["checksum"].lower())


def _tree(name: str, data: bytes) -> ElementTree.Element:
    # Entities could blow up; repositories have none.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise broken(f"{name} declares entities")
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise broken(f"{name}: {error}") from error


def named(packages: Iterator[Package], name: str, version: str, architectures: tuple[str, ...]) -> Package:
    """The package of that name and version. A version without a release takes the only one with it.

    Raises ``GpuError`` BG-MIRROR-011 when there is none, or several.
    """
    of_name = [each for each in packages if each.name == name and each.architecture in architectures]
    fitting = [each for each in of_name if each.version == version] or [
        each for each in of_name if without_epoch(each.version).startswith((version + "-", version + "+"))
    ]
    if len({each.sha256 for each in fitting}) == 1:
        return fitting[0]
    there = ", ".join(sorted({each.version for each in (fitting or of_name)})) or "none"
    raise GpuError(
        "BG-MIRROR-011",
        f"the repository has {'several packages' if fitting else 'no package'} {name} of version {version} (there: {there})",
        "nothing newer is taken instead",
        "correct the version in data/versions.yml, or add the release to it",
    )


def without_epoch(version: str) -> str:
    """A version without what stands before its colon."""
    return version.rpartition(":")[2]
