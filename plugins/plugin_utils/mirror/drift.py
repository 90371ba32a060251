"""What a mirror serves against what the manifest asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.manifest import Artefact

MISSING, DIFFERENT, SURPLUS, UNKNOWN = "missing", "different", "surplus", "unknown"
CODES = {MISSING: "BG-MIRROR-006", DIFFERENT: "BG-MIRROR-007", SURPLUS: "BG-MIRROR-008", UNKNOWN: "BG-MIRROR-009"}
# What keeps an installation from the mirror from being what the manifest says.
HARMFUL = frozenset({MISSING, DIFFERENT, UNKNOWN})


@dataclass(frozen=True)
class Served:
    """What a mirror has at a path. ``sha256`` is None where it was not read."""

    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class Drift:
    """One difference, with what is expected and what is there."""

    kind: str
    path: str
    told: str

    @property
    def code(self) -> str:
        return CODES[self.kind]


def drift(artefacts: Iterable[Artefact], served: Mapping[str, Served]) -> tuple[Drift, ...]:
    """Every difference, by path. What the manifest has no checksum for is unknown, never equal."""
    wanted = tuple(artefacts)
    paths = {artefact.path for artefact in wanted}
    found = [each for artefact in wanted for each in _of(artefact, served)]
    found += [Drift(SURPLUS, path, "nothing in the manifest needs it") for path in served if path not in paths]
    return tuple(sorted(found, key=lambda each: (each.path, each.kind)))


def _of(artefact: Artefact, served: Mapping[str, Served]) -> Iterator[Drift]:
    told = f"{artefact.kind} {artefact.name} {artefact.version}"
    if artefact.path is None:
        yield Drift(UNKNOWN, f"{artefact.source} {artefact.name}", f"{told}: {artefact.unknown.get('path', 'no path')}")
        return
    there = served.get(artefact.path)
    if there is None:
        yield Drift(MISSING, artefact.path, f"{told} is not there")
    elif artefact.size is not None and artefact.size != there.size:
        yield Drift(DIFFERENT, artefact.path, f"it has {there.size} bytes, and {told} has {artefact.size}")
    elif artefact.sha256 is None:
        yield Drift(UNKNOWN, artefact.path, f"{told}: {artefact.unknown.get('sha256', 'no checksum')}")
    elif there.sha256 is None:
        yield Drift(UNKNOWN, artefact.path, f"{told} was not read")
    elif artefact.sha256 != there.sha256:
        yield Drift(DIFFERENT, artefact.path, f"its SHA-256 is {there.sha256}, and that of {told} is {artefact.sha256}")
