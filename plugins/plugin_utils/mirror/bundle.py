"""Fills a folder with what a manifest asks for, and reads what a mirror serves."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urljoin

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror import package_index, registry
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.drift import Served
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.fetching import (
    NOTHING_KEPT,
    digest,
    digest_of_file,
    download,
    opened,
    small,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.manifest import (
    APT,
    IMAGE,
    RPM,
    Artefact,
    document,
    parse_document,
)

MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
OWN_FILES = frozenset({MANIFEST, SUMS})
DEBIAN_ALL, RPM_ALL = "all", "noarch"
RPM_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Filled:
    """What became of one artefact: as it is known now, whether it was downloaded, and what went wrong, if anything."""

    artefact: Artefact
    downloaded: bool = False
    error: GpuError | None = None


def fill(artefacts: Iterable[Artefact], folder: Path, establish: bool) -> Iterator[Filled]:
    """Bring every artefact into the folder, one after another; what is there and right is not downloaded again.

    Without ``establish`` what nobody knows a checksum of is refused; with it, its first download is trusted and recorded.
    """
    indices = Indices()
    for artefact in artefacts:
        try:
            yield _one(artefact, folder, establish, indices)
        except GpuError as error:
            yield Filled(artefact, error=error)


def _one(artefact: Artefact, folder: Path, establish: bool, indices: Indices) -> Filled:
    if artefact.path is not None and artefact.sha256 is not None:
        there = digest_of_file(inside(folder, artefact.path))
        if there is not None and there[0] == artefact.sha256:
            return Filled(artefact.established(*there))
    elif not establish:
        raise _unestablished(artefact)
    if artefact.kind == IMAGE:
        path = inside(folder, artefact.path or "")
        known = registry.pull(artefact.source, artefact.architecture, path, artefact.sha256)
    else:
        url = artefact.source
        if artefact.kind in (APT, RPM):
            artefact, url = indices.resolved(artefact)
        known = download(url, inside(folder, artefact.path or ""), artefact.sha256, artefact.size)
    return Filled(artefact.established(*known), downloaded=True)


def _unestablished(artefact: Artefact) -> GpuError:
    why = artefact.unknown.get("sha256", "nobody says why")
    return GpuError(
        "BG-MIRROR-003",
        f"no checksum of {artefact.kind} {artefact.name} {artefact.version} is known ({why})",
        "a file that is trusted because it came first may be anybody's",
        "give its checksum with --site, or trust the first download with --establish and look at the file",
    )


def inside(folder: Path, path: str) -> Path:
    """A path below the folder. Raises ``GpuError`` BG-MIRROR-004 for one that leads out of it."""
    relative = PurePosixPath(path)
    if not path or relative.is_absolute() or ".." in relative.parts:
        raise package_index.broken(f"{path!r} leads out of the mirror")
    return folder / relative


class Indices:
    """Indices of repositories, each read once."""

    def __init__(self) -> None:
        self._packages: dict[tuple[str, ...], list[package_index.Package]] = {}

    def resolved(self, artefact: Artefact) -> tuple[Artefact, str]:
        """The artefact with its file's path, checksum and size, and the file's address."""
        key = (artefact.source, artefact.suite or "", *artefact.components, artefact.architecture)
        if key not in self._packages:
            read = _read_rpm if artefact.kind == RPM else _read_apt
            self._packages[key] = list(read(artefact))
        own = RPM_ARCHITECTURES[artefact.architecture] if artefact.kind == RPM else artefact.architecture
        architectures = (own, RPM_ALL if artefact.kind == RPM else DEBIAN_ALL)
        package = package_index.named(iter(self._packages[key]), artefact.name, artefact.version, architectures)
        name = posixpath.basename(package.path)
        path = f"{artefact.kind}/{artefact.platform}/{artefact.architecture}/{name}"
        if artefact.sha256 not in (None, package.sha256):
            raise GpuError(
                "BG-MIRROR-002",
                f"the repository has another {artefact.name} {artefact.version}, with SHA-256 {package.sha256} instead of {artefact.sha256}",
                NOTHING_KEPT,
                "find out why a package was replaced under its version",
            )
        known = replace(artefact, path=path, unknown={k: why for k, why in artefact.unknown.items() if k != "path"})
        return known.established(package.sha256, package.size), urljoin(_base(artefact), quote(package.path))


def _base(artefact: Artefact) -> str:
    return artefact.source.rstrip("/") + "/"


def _read_apt(artefact: Artefact) -> Iterator[package_index.Package]:
    base, suite = _base(artefact), artefact.suite or "/"
    top = base if suite == "/" else urljoin(base, f"dists/{suite}/")
    listed = package_index.release_checksums(_first(top, ("InRelease", "Release"))[1].decode("utf-8", "replace"))
    folders = [f"{part}/binary-{artefact.architecture}/" for part in artefact.components] or [""]
    for folder in folders:
        known = [folder + name for name in package_index.APT_INDICES if folder + name in listed]
        if not known:
            raise package_index.broken(f"{top} lists no packages in {folder or 'itself'}")
        data = package_index.checked(known[0], small(urljoin(top, known[0])), listed[known[0]])
        yield from package_index.apt_packages(package_index.unpacked(known[0], data))


def _read_rpm(artefact: Artefact) -> Iterator[package_index.Package]:
    base = _base(artefact)
    path, sha256 = package_index.rpm_primary(small(urljoin(base, "repodata/repomd.xml")))
    data = small(urljoin(base, path))
    package_index.checked(path, data, (sha256, len(data)))
    yield from package_index.rpm_packages(package_index.unpacked(path, data))


def _first(base: str, names: tuple[str, ...]) -> tuple[str, bytes]:
    """The first of these files that is there."""
    for name in names[:-1]:
        try:
            return name, small(urljoin(base, name))
        except GpuError:
            continue
    return names[-1], small(urljoin(base, names[-1]))


def record(folder: Path, artefacts: Iterable[Artefact]) -> None:
    """Write the manifest with what is known now, and the checksums in the form of sha256sum, for those that are there."""
    known = tuple(artefacts)
    there = [each for each in known if each.path and each.sha256 and inside(folder, each.path).exists()]
    lines = sorted(f"{each.sha256}  {each.path}\n" for each in there)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ((MANIFEST, json.dumps(document(known), indent=2) + "\n"), (SUMS, "".join(lines))):
        part = folder / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / name)


def read_manifest(path: Path) -> tuple[Artefact, ...]:
    """A manifest from its file. Raises ``OSError`` or ``ValueError``."""
    return parse_document(json.loads(path.read_text(encoding="utf-8")))


def served_by_folder(folder: Path) -> dict[str, Served]:
    """Everything in a bundle, read whole."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in OWN_FILES:
            sha256, size = digest_of_file(path) or ("", 0)
            found[name] = Served(size, sha256)
    return found


def served_by_mirror(url: str, artefacts: Iterable[Artefact], read: bool) -> dict[str, Served]:
    """What a mirror serves of a manifest, and what its own list has beside it.

    With ``read`` every file is downloaded to be hashed; otherwise only sizes are asked for, and nothing is known of contents.
    What the list claims is taken for the surplus only: a mirror does not vouch for itself.
    """
    base = url.rstrip("/") + "/"
    paths = [artefact.path for artefact in artefacts if artefact.path is not None]
    found = {path: served for path in paths if (served := _served(urljoin(base, quote(path)), read)) is not None}
    return {**{path: Served(0) for path in _listed(base) if path not in paths}, **found}


def _served(url: str, read: bool) -> Served | None:
    try:
        with opened(url, "GET" if read else "HEAD") as response:
            if read:
                sha256, size = digest(response)
                return Served(size, sha256)
            return Served(int(response.headers.get("Content-Length") or 0))
    except GpuError as error:
        if "HTTP Error 404" in error.what:
            return None
        raise


def _listed(base: str) -> list[str]:
    try:
        text = small(urljoin(base, SUMS)).decode("utf-8", "replace")
    except GpuError as error:
        if "HTTP Error 404" in error.what:
            return []
        raise
    return [line[66:] for line in text.splitlines() if len(line) > 66]


def site_checksums(data: object) -> Mapping[str, Mapping[str, object]]:
    """A site's own checksums by path: a mapping of a path to a checksum, or to ``sha256`` and ``size``. Raises ``ValueError``."""
    if not isinstance(data, Mapping):
        raise ValueError("it is no mapping of paths")
    return {str(path): told if isinstance(told, Mapping) else {"sha256": str(told)} for path, told in data.items()}
