"""The table of what may meet (``data/compat.yml``), with what hardware profiles say about drivers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.version import Version, bound

GPU = "gpu"
DRIVER = "driver"
FEATURE = "feature"


@dataclass(frozen=True)
class Bounds:
    """From one of ``at_least`` on (one minimum, or one for each of several lines) and before ``below``."""

    at_least: Tuple[Version, ...] = ()
    below: Optional[Version] = None

    def hold(self, version: Version) -> bool:
        """Whether a version is inside."""
        if self.below is not None and not version < self.below:
            return False
        if len(self.at_least) <= 1:
            return all(version >= minimum for minimum in self.at_least)
        if version.line > max(minimum.line for minimum in self.at_least):
            return True
        return any(version.line == minimum.line and version >= minimum for minimum in self.at_least)

    def __str__(self) -> str:
        parts = [" or ".join(map(str, self.at_least)) + " or later"] if self.at_least else []
        parts += ["before {0}".format(self.below)] if self.below else []
        return " and ".join(parts)


@dataclass(frozen=True)
class Row:
    """One rule: where everything in ``when_*`` is the case, the subject must be as the rest says.

    ``choices`` are values of an attribute, ``excluded`` versions that may not be, ``branches`` first numbers.
    ``advises`` rows refuse nothing.
    """

    id: str
    subject: str
    because: str
    source: str
    requirements: Tuple[str, ...] = ()
    when_attributes: Tuple[Tuple[str, FrozenSet[str]], ...] = ()
    when_features: FrozenSet[str] = frozenset()
    when_components: Tuple[Tuple[str, Bounds], ...] = ()
    bounds: Bounds = Bounds()
    choices: FrozenSet[str] = frozenset()
    excluded: FrozenSet[Version] = frozenset()
    branches: FrozenSet[int] = frozenset()
    same_as: str = ""
    unsupported: bool = False
    advises: bool = False

    @property
    def conditions(self) -> FrozenSet[str]:
        """Everything that the row depends on beside its subject."""
        return (
            frozenset(name for name, _values in self.when_attributes)
            | frozenset(name for name, _bounds in self.when_components)
            | self.when_features
            | frozenset({self.same_as} - {""})
        )

    @property
    def only_minimum(self) -> bool:
        """Whether the row asks for nothing but one minimum."""
        others = (self.bounds.below, self.choices, self.excluded, self.branches, self.same_as, self.unsupported)
        return len(self.bounds.at_least) == 1 and not any(others)


@dataclass(frozen=True)
class Release:
    """What one release contains: what it ``installs``, its ``defaults``, and what it ``carries`` for itself."""

    version: Version
    installs: Mapping[str, Version] = field(default_factory=dict)
    defaults: Mapping[str, Version] = field(default_factory=dict)
    carries: Mapping[str, Version] = field(default_factory=dict)
    built_with: Optional[Version] = None
    minimum_driver: Optional[Version] = None
    compute_capability: Optional[Version] = None


@dataclass(frozen=True)
class Releases:
    """All known releases of a component. ``agrees`` names components of which the host must have the carried major version."""

    component: str
    source: str
    requirements: Tuple[str, ...]
    agrees: Tuple[str, ...]
    versions: Mapping[Version, Release]


@dataclass(frozen=True)
class GpuFacts:
    """What a hardware profile says: the driver's branches, the compute capability, and whether there is a fabric manager (None: not said)."""

    branches: FrozenSet[int]
    compute_capability: Version
    fabric_manager: Optional[bool] = None
    source: str = ""
    requirements: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Everything that is known. ``titles`` are the names of components for people; ``covered`` where rows exist at all."""

    attributes: Mapping[str, Mapping[str, str]]
    features: Mapping[str, str]
    titles: Mapping[str, str]
    covered: Mapping[str, Bounds]
    known: Mapping[str, Tuple[Version, ...]]
    rows: Tuple[Row, ...]
    releases: Mapping[str, Releases]
    gpus: Mapping[str, GpuFacts]

    def row_ids(self) -> FrozenSet[str]:
        """Whatever a site can accept by name."""
        own = {"{0}-releases".format(name) for name in self.releases} | {"{0}-covered".format(n) for n in self.covered}
        return frozenset(row.id for row in self.rows) | own


def parse_table(data: Mapping[str, Any], gpus: Mapping[str, GpuFacts]) -> Table:
    """The table from its file's data. Raises ``KeyError``, ``TypeError`` or ``ValueError`` on a broken one."""
    if data["schema"] != 1:
        raise ValueError("schema {0!r} is not 1".format(data["schema"]))
    attributes = {name: dict(entry.get("values") or {}) for name, entry in data["attributes"].items()}
    attributes[GPU] = dict.fromkeys(gpus, "")
    components = data["components"]
    releases = {name: _releases(name, entry) for name, entry in data["releases"].items()}
    rows = (*_rows_of_profiles(gpus), *(_row(entry, attributes) for entry in data["rows"]))
    return Table(
        attributes=attributes,
        features=dict(data["features"]),
        titles={name: str(entry["title"]) for name, entry in components.items()},
        covered={name: _bounds(entry["covered"]) for name, entry in components.items() if "covered" in entry},
        known=_known(components, releases, rows),
        rows=rows,
        releases=releases,
        gpus=dict(gpus),
    )


def _rows_of_profiles(gpus: Mapping[str, GpuFacts]) -> List[Row]:
    rows = []
    for name, facts in gpus.items():
        when = ((GPU, frozenset({name})),)
        branches = " or ".join(map(str, sorted(facts.branches)))
        rows.append(
            Row(
                id="{0}-driver-branch".format(name),
                subject=DRIVER,
                because="its hardware profile names branch {0}".format(branches),
                source=facts.source,
                requirements=facts.requirements,
                when_attributes=when,
                branches=facts.branches,
            )
        )
        if facts.fabric_manager is False:
            rows.append(
                Row(
                    id="{0}-fabric-manager".format(name),
                    subject="fabric_manager",
                    because="its hardware profile has no NVSwitch",
                    source="data/hardware/{0}.yml".format(name),
                    requirements=facts.requirements,
                    when_attributes=when,
                    unsupported=True,
                )
            )
    return rows


def _row(entry: Mapping[str, Any], attributes: Mapping[str, Any]) -> Row:
    when = entry["when"]
    return Row(
        id=str(entry["id"]),
        subject=str(entry["subject"]),
        because=" ".join(str(entry["because"]).split()),
        source=str(entry["source"]),
        requirements=tuple(entry["requirements"]),
        when_attributes=tuple((name, frozenset(values)) for name, values in when.items() if name in attributes),
        when_features=frozenset(when.get(FEATURE, ())),
        when_components=tuple(
            (name, _bounds(bounds)) for name, bounds in when.items() if name not in attributes and name != FEATURE
        ),
        bounds=_bounds(entry),
        choices=frozenset(entry.get("one_of", ())),
        excluded=frozenset(map(bound, entry.get("none_of", ()))),
        same_as=str(entry.get("same_as", "")),
        unsupported=bool(entry.get("unsupported", False)),
        advises=entry.get("level") == "advise",
    )


def _bounds(entry: Mapping[str, Any]) -> Bounds:
    minimums = entry.get("at_least", ())
    minimums = [minimums] if isinstance(minimums, str) else minimums
    return Bounds(tuple(map(bound, minimums)), bound(entry["below"]) if "below" in entry else None)


def _releases(component: str, entry: Mapping[str, Any]) -> Releases:
    versions = {}
    for text, contents in entry["versions"].items():
        version = bound(text)
        versions[version] = Release(
            version=version,
            installs=_versions(contents.get("installs")),
            defaults=_versions(contents.get("defaults")),
            carries=_versions(contents.get("carries")),
            built_with=_version(contents.get("built_with")),
            minimum_driver=_version(contents.get("minimum_driver")),
            compute_capability=_version(contents.get("compute_capability")),
        )
    requirements, agrees = tuple(entry["requirements"]), tuple(entry.get("agrees", ()))
    return Releases(component, " ".join(entry["source"].split()), requirements, agrees, versions)


def _versions(entry: Optional[Mapping[str, str]]) -> Dict[str, Version]:
    return {name: bound(text) for name, text in (entry or {}).items()}


def _version(text: Optional[str]) -> Optional[Version]:
    return None if text is None else bound(text)


def _known(
    components: Mapping[str, Any], releases: Mapping[str, Releases], rows: Tuple[Row, ...]
) -> Dict[str, Tuple[Version, ...]]:
    """Versions of which each component has one at least: named ones, those of releases, and the rows' minimums."""
    found = {name: set(map(bound, entry.get("known", ()))) for name, entry in components.items()}
    for table in releases.values():
        found[table.component].update(table.versions)
        for release in table.versions.values():
            for contents in (release.installs, release.defaults):
                for name, version in contents.items():
                    found[name].add(version)
            if release.built_with is not None:
                found[DRIVER].add(release.built_with)
    # A minimum of few numbers is no release (driver 580), and one of a component with known releases need not be one.
    for row in rows:
        if row.subject in found and not found[row.subject]:
            found[row.subject].update(row.bounds.at_least)
    return {name: tuple(sorted(versions)) for name, versions in found.items()}
