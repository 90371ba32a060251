"""The manifest: every artefact that chosen hosts need, computed from ``data/versions.yml``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files

APT, RPM, IMAGE, CHART, FILE = "apt", "rpm", "image", "chart", "file"
ANY = "any"
# Operating systems whose packages are RPMs; the others have apt.
RPM_PLATFORMS = ("rocky-",)

BY_SITE = "established by the site that mirrors it"
BY_INDEX = "it stands in the repository's index, whose signature hosts check and the one who fills a bundle does not"
BY_REGISTRY = "the archive is made when the bundle is filled, from the image that its registry has"
NO_SIZE = "upstream's size is not recorded in data/versions.yml"
NO_KEY = "the repository's signing key is not established in data/versions.yml"


@dataclass(frozen=True)
class Target:
    """A kind of host: its operating system as in ``data/compat.yml``, and ``amd64`` or ``arm64``."""

    platform: str
    architecture: str


@dataclass(frozen=True)
class Artefact:
    """One thing to mirror. ``None`` means not known, and ``unknown`` says why, by field.

    ``path`` is where a mirror serves it, relative to the mirror's root; packages get theirs when the index was read. An image is
    served as an archive. ``source`` is an
    address, an image's reference, or a repository's base.
    """

    kind: str
    component: str
    name: str
    version: str
    architecture: str
    source: str
    path: str | None
    sha256: str | None = None
    size: int | None = None
    platform: str = ANY
    suite: str | None = None
    components: tuple[str, ...] = ()
    key: str | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "components": list(self.components), "unknown": dict(self.unknown)}

    def established(self, sha256: str, size: int | None) -> Artefact:
        """The same with a checksum, and a size where one is given."""
        known = {"sha256"} | ({"size"} if size is not None else set())
        unknown = {name: reason for name, reason in self.unknown.items() if name not in known}
        return replace(self, sha256=sha256, size=self.size if size is None else size, unknown=unknown)


def target(attributes: Mapping[str, Any], platform: str, architecture: str) -> Target:
    """A kind of host. Raises ``ValueError`` for what the attributes of ``data/compat.yml`` do not have."""
    for name, value in (("platform", platform), ("architecture", architecture)):
        known = attributes[name]["values"]
        if value not in known:
            raise ValueError(f"{name} {value!r} is unknown: {data_files.suggestion(value, known)}")
    return Target(platform, architecture)


def manifest(
    versions: Mapping[str, Any],
    targets: Iterable[Target],
    systems: Iterable[str],
    site: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Artefact, ...]:
    """Every artefact that hosts of these kinds need in these systems, each once, in a stable order.

    ``versions`` is the content of ``data/versions.yml``; ``site`` gives ``sha256`` and ``size`` by path, as the site established them.
    Raises ``GpuError`` BG-MIRROR-005 when the site's checksum contradicts the established one.
    """
    wanted, known, chosen = (
        set(systems),
        site or {},
        sorted(set(targets), key=lambda each: (each.platform, each.architecture)),
    )
    found: dict[tuple[str, ...], Artefact] = {}
    for component, entry in versions["components"].items():
        if wanted.isdisjoint(entry["systems"]):
            continue
        for target in chosen:
            for artefact in _of_component(component, entry, target, versions["keys"]):
                found[(artefact.kind, artefact.source, artefact.platform, artefact.architecture, artefact.name)] = (
                    artefact
                )
    return tuple(_with_site(artefact, known) for _key, artefact in sorted(found.items()))


def document(artefacts: Iterable[Artefact]) -> dict[str, Any]:
    """The manifest as a file holds it (``data/schemas/artifacts.schema.json``)."""
    return {"schema": 1, "artefacts": [artefact.as_dict() for artefact in artefacts]}


def parse_document(data: Any) -> tuple[Artefact, ...]:
    """The artefacts of a manifest's file. Raises ``ValueError``."""
    try:
        if data["schema"] != 1:
            raise ValueError(f"schema {data['schema']!r} is not 1")
        return tuple(Artefact(**{**entry, "components": tuple(entry["components"])}) for entry in data["artefacts"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"no manifest: {error}") from error


def _of_component(
    component: str, entry: Mapping[str, Any], target: Target, keys: Mapping[str, Any]
) -> Iterator[Artefact]:
    version = str(entry["version"])
    for place, first in (("urls", True), ("more_urls", False)):
        for architecture in (target.architecture, ANY):
            listed = entry.get(place, {}).get(architecture, [])
            for pattern in [listed] if isinstance(listed, str) else listed:
                yield _file(component, entry, version, architecture, filled(pattern, version), first)
    for pattern in entry.get("images", ()):
        yield _image(component, version, target, pattern)
    yield from _packages(component, entry, target, keys)


def filled(pattern: str, version: str) -> str:
    """An address from its pattern; a plus sign of the version is spelt as addresses do."""
    number = version.removeprefix("v")
    return pattern.replace("{version}", version.replace("+", "%2B")).replace("{number}", number.replace("+", "%2B"))


def _file(component: str, entry: Mapping[str, Any], version: str, architecture: str, url: str, first: bool) -> Artefact:
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    # A release has one checksum for each architecture: that of its first file.
    sha256 = entry.get("sha256", {}).get(architecture) if first else None
    unknown = {"size": NO_SIZE} if sha256 else {"sha256": BY_SITE, "size": NO_SIZE}
    return Artefact(
        kind=CHART if entry.get("form") == CHART and name.endswith(".tgz") else FILE,
        component=component,
        name=name,
        version=version,
        architecture=architecture,
        source=url,
        path=f"files/{component}/{version}/{architecture}/{name}",
        sha256=sha256,
        unknown=unknown,
    )


def _image(component: str, version: str, target: Target, pattern: str) -> Artefact:
    reference = pattern.replace("{version}", version).replace("{number}", version.removeprefix("v"))
    repository, _colon, tag = reference.rpartition(":")
    return Artefact(
        kind=IMAGE,
        component=component,
        name=repository,
        version=tag,
        architecture=target.architecture,
        source=reference,
        path=f"images/{repository}/{tag}/{target.architecture}.tar",
        unknown={"sha256": BY_REGISTRY, "size": BY_REGISTRY},
    )


def _packages(component: str, entry: Mapping[str, Any], target: Target, keys: Mapping[str, Any]) -> Iterator[Artefact]:
    group = entry.get("packages", {}).get(target.platform)
    repository = group["repository"].get(target.architecture) if group else None
    if repository is None:
        return
    key = keys[group["key"]]["fingerprint"] if "key" in group else None
    unknown = dict.fromkeys(("path", "sha256", "size"), BY_INDEX) | ({} if key else {"key": NO_KEY})
    for name in group["names"]:
        yield Artefact(
            kind=RPM if target.platform.startswith(RPM_PLATFORMS) else APT,
            component=component,
            name=name,
            # Packages have no v before their version.
            version=str(group.get("version", entry["version"])).removeprefix("v"),
            architecture=target.architecture,
            source=repository,
            path=None,
            platform=target.platform,
            suite=group.get("suite"),
            components=tuple(group.get("components", ())),
            key=key,
            unknown=unknown,
        )


def _with_site(artefact: Artefact, site: Mapping[str, Mapping[str, Any]]) -> Artefact:
    told = site.get(artefact.path or "")
    if not told:
        return artefact
    sha256 = str(told["sha256"])
    if artefact.sha256 not in (None, sha256):
        raise GpuError(
            "BG-MIRROR-005",
            f"the site's checksum of {artefact.path} is {sha256}, and data/versions.yml has {artefact.sha256}",
            "one of them is of another file",
            "download the artefact anew and compare",
        )
    return artefact.established(sha256, told.get("size"))
