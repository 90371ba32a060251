"""Holds a combination against the table: what objects to it, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.question import Combination, title
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.table import (
    DRIVER,
    GPU,
    Release,
    Releases,
    Row,
    Table,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.version import Version

ALLOWED = "allowed"
REFUSED = "refused"
UNKNOWN = "unknown"

OTHER_VERSION = "BG-COMPAT-001"
NOT_THE_SAME = "BG-COMPAT-002"
NOT_THERE = "BG-COMPAT-003"
CARRIED = "BG-COMPAT-005"
INSTALLED = "BG-COMPAT-006"
NO_ROW = "BG-COMPAT-007"


@dataclass(frozen=True)
class Objection:
    """One row that a combination does not fulfil. ``involved`` are the names of which one must change."""

    code: str
    row: str
    what: str
    because: str
    source: str
    requirements: Tuple[str, ...]
    involved: FrozenSet[str]
    advises: bool = False
    subject: str = ""

    def as_dict(self) -> Dict[str, Any]:
        return {
            "code": self.code,
            "row": self.row,
            "what": self.what,
            "because": self.because,
            "source": self.source,
            "requirements": list(self.requirements),
        }


@dataclass(frozen=True)
class Answer:
    """What objects, what no row knows, and what should be known of a combination that is allowed all the same."""

    objections: Tuple[Objection, ...] = ()
    unknown: Tuple[Objection, ...] = ()
    advice: Tuple[Objection, ...] = ()

    @property
    def status(self) -> str:
        if self.objections:
            return REFUSED
        return UNKNOWN if self.unknown else ALLOWED

    @property
    def against(self) -> Tuple[Objection, ...]:
        """Whatever keeps the combination from being allowed."""
        return self.objections + self.unknown


class Judge:
    """Answers combinations by one table. Hosts share combinations, and these share their parts: each is looked at once."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._rows: Dict[str, List[Row]] = {}
        for row in table.rows:
            self._rows.setdefault(row.subject, []).append(row)
        # What the rows about a subject depend on, the subject itself first.
        self._names = {
            subject: (subject, *sorted({name for row in rows for name in row.conditions} - {subject}))
            for subject, rows in self._rows.items()
        }
        carried = {name for table in table.releases.values() for one in table.versions.values() for name in one.carries}
        around = {
            name: {other for names in self._names.values() if name in names for other in names} for name in carried
        }
        # What of the host decides about a container.
        self._around = tuple(sorted({GPU, DRIVER}.union(*around.values()) - carried))
        self._containers: Dict[Tuple[Any, ...], Tuple[Objection, ...]] = {}
        self._broken_rows: Dict[Tuple[Any, ...], Tuple[Objection, ...]] = {}
        self._answers: Dict[Any, Answer] = {}

    def answer(self, combination: Combination, accepted: FrozenSet[str] = frozenset()) -> Answer:
        """What the table says, without the rows that a site accepted by their ids."""
        key = (combination.key(), accepted)
        found = self._answers.get(key)
        if found is None:
            found = self._answers[key] = self._answer(combination, accepted)
        return found

    def _answer(self, combination: Combination, accepted: FrozenSet[str]) -> Answer:
        against: List[Objection] = []
        unknown = [*self._uncovered(combination)]
        whole, installed_by = combination, {}
        for name, releases in self.table.releases.items():
            version = combination.versions.get(name)
            if version is None:
                continue
            release = releases.versions.get(version)
            if release is None:
                unknown.append(self._no_release(releases, combination))
                continue
            against += self._installs(releases, release, combination)
            against += self._agrees(releases, release, combination)
            if release.carries:
                key = (name, version.text, *map(combination.value, self._around))
                told = self._containers.get(key)
                if told is None:
                    told = self._containers[key] = tuple(self._carries(releases, release, combination))
                against += told
            for implied, its in {**release.defaults, **release.installs}.items():
                if implied not in combination.versions:
                    whole = whole.with_version(implied, its)
                    installed_by[implied] = name
        for each in self._broken(whole):
            against.append(self._told_by_its_owner(each, whole, installed_by) if installed_by else each)
        remaining = [each for each in against if each.row not in accepted]
        return Answer(
            tuple(each for each in remaining if not each.advises),
            tuple(each for each in unknown if each.row not in accepted),
            tuple(each for each in remaining if each.advises),
        )

    def _broken(self, combination: Combination, about: str = "") -> Iterator[Objection]:
        """Rows that a combination does not fulfil; with ``about`` only of subjects that have to do with that name."""
        for subject in (*combination.versions, *combination.attributes, *combination.features):
            names = self._names.get(subject)
            if names is None or (about and about not in names):
                continue
            key = (subject, *map(combination.value, names))
            found = self._broken_rows.get(key)
            if found is None:
                rows = self._rows[subject]
                broken = [row for row in rows if _applies(row, combination) and not _holds(row, combination)]
                found = self._broken_rows[key] = tuple(_objection(self.table, row, combination) for row in broken)
            yield from found

    def _told_by_its_owner(
        self, objection: Objection, combination: Combination, installed_by: Mapping[str, str]
    ) -> Objection:
        """An objection to what a release installs, as one to that release."""
        for name in sorted(objection.involved & installed_by.keys()):
            owner = installed_by[name]
            head = "{0} brings {1}".format(
                _named(self.table, owner, combination), _named(self.table, name, combination)
            )
            what, involved = "{0}: {1}".format(head, objection.what), (objection.involved - {name}) | {owner}
            objection = replace(objection, code=INSTALLED, what=what, involved=involved)
        return objection

    def _uncovered(self, combination: Combination) -> Iterator[Objection]:
        for name, bounds in self.table.covered.items():
            version = combination.versions.get(name)
            if version is not None and not bounds.hold(version):
                what = "{0} {1} is in no row".format(title(self.table, name), version)
                because = "rows are known for {0}".format(bounds)
                yield Objection(NO_ROW, name + "-covered", what, because, "data/compat.yml", (), frozenset({name}))

    def _no_release(self, releases: Releases, combination: Combination) -> Objection:
        name = releases.component
        what = "what {0} {1} contains is not known".format(title(self.table, name), combination.versions[name])
        versions = sorted(releases.versions)
        because = "releases from {0} to {1} are known, some of them".format(versions[0], versions[-1])
        row = name + "-releases"
        return Objection(NO_ROW, row, what, because, releases.source, releases.requirements, frozenset({name}))

    def _installs(self, releases: Releases, release: Release, combination: Combination) -> Iterator[Objection]:
        name = releases.component
        for other, version in release.installs.items():
            wanted = combination.versions.get(other)
            if wanted is not None and wanted != version:
                what = "{0} {1} installs {2} {3}, and {4} is declared".format(
                    title(self.table, name), combination.versions[name], title(self.table, other), version, wanted
                )
                because = "a cluster has one of them, and the release was tested with its own"
                involved = frozenset({name, other})
                yield Objection(
                    INSTALLED, name + "-releases", what, because, releases.source, releases.requirements, involved
                )

    def _agrees(self, releases: Releases, release: Release, combination: Combination) -> Iterator[Objection]:
        """Where the host has another major version of what a container carries."""
        name = releases.component
        for other in releases.agrees:
            own, carried = combination.versions.get(other), release.carries.get(other)
            if own is not None and carried is not None and own.parts[0] != carried.parts[0]:
                what = "{0} carries {1} {2}, and the host has {3}".format(
                    _named(self.table, name, combination), title(self.table, other), carried, own
                )
                because = "what is built on the host must run in it, and that ends at the major version"
                names, row = frozenset({name, other}), name + "-releases"
                yield Objection(CARRIED, row, what, because, releases.source, releases.requirements, names)

    def _carries(self, releases: Releases, release: Release, combination: Combination) -> Iterator[Objection]:
        """What objects to the copies that a container carries."""
        name = releases.component
        head = _named(self.table, name, combination)
        row_id = name + "-releases"

        def objection(what: str, because: str, *involved: str) -> Objection:
            names = frozenset({name, *involved})
            return Objection(CARRIED, row_id, what, because, releases.source, releases.requirements, names)

        driver, gpu = combination.versions.get(DRIVER), self.table.gpus.get(combination.attributes.get(GPU, ""))
        if release.minimum_driver is not None and driver is not None and driver < release.minimum_driver:
            what = "{0} needs driver {1} or later, not {2}".format(head, release.minimum_driver, driver)
            yield objection(what, "its release notes name it as the least one", DRIVER)
        needed = release.compute_capability
        if needed is not None and gpu is not None and gpu.compute_capability < needed:
            what = "{0} needs compute capability {1}".format(head, needed)
            yield objection(what, "the GPU has {0}".format(gpu.compute_capability), GPU)
        for carried, version in release.carries.items():
            inside = combination.with_version(carried, version)
            for each in self._broken(inside, carried):
                # The container's own release notes know better than the rule for any CUDA.
                if carried in each.involved and not (each.subject == DRIVER and release.minimum_driver):
                    what = "{0} carries {1}: {2}".format(head, _named(self.table, carried, inside), each.what)
                    yield replace(each, code=CARRIED, what=what, involved=(each.involved - {carried}) | {name})


def _objection(table: Table, row: Row, combination: Combination) -> Objection:
    code = NOT_THE_SAME if row.same_as else NOT_THERE if row.unsupported or row.choices else OTHER_VERSION
    return Objection(
        code,
        row.id,
        _what(table, row, combination),
        row.because,
        row.source,
        row.requirements,
        row.conditions | {row.subject},
        row.advises,
        row.subject,
    )


def _applies(row: Row, combination: Combination) -> bool:
    for name, values in row.when_attributes:
        if combination.attributes.get(name) not in values:
            return False
    if not row.when_features <= combination.features:
        return False
    for name, bounds in row.when_components:
        version = combination.versions.get(name)
        if version is None or not bounds.hold(version):
            return False
    return not row.same_as or row.same_as in combination.versions


def _holds(row: Row, combination: Combination) -> bool:
    """Whether the subject, which is there, is as the row says."""
    if row.unsupported:
        return False
    if row.choices:
        return combination.attributes.get(row.subject) in row.choices
    version = combination.versions[row.subject]
    if row.same_as and not version.same_release(combination.versions[row.same_as]):
        return False
    if row.branches and version.parts[0] not in row.branches:
        return False
    return version not in row.excluded and row.bounds.hold(version)


def _what(table: Table, row: Row, combination: Combination) -> str:
    """What is the case, in one sentence."""
    own = _named(table, row.subject, combination)
    others = [_named(table, name, combination) for name in sorted(row.conditions - {row.same_as})]
    where = " with " + ", ".join(others) if others else ""
    if row.same_as:
        return "{0} is not of the version of {1}".format(own, _named(table, row.same_as, combination))
    if row.unsupported:
        return "{0} is not supported{1}".format(own, where)
    return "{0} must be {1}{2}".format(own, _wanted(row), where)


def _wanted(row: Row) -> str:
    wishes = []
    if row.choices:
        wishes.append(" or ".join(sorted(row.choices)))
    if row.branches:
        wishes.append("of branch {0}".format(" or ".join(map(str, sorted(row.branches)))))
    if row.bounds.at_least or row.bounds.below:
        wishes.append(str(row.bounds))
    if row.excluded:
        wishes.append("another one than {0}".format(", ".join(map(str, sorted(row.excluded)))))
    return " and ".join(wishes)


def _named(table: Table, name: str, combination: Combination) -> str:
    """A component with its version, an attribute with its value, or a feature."""
    value: Optional[Version | str] = combination.versions.get(name) or combination.attributes.get(name)
    return title(table, name) if value is None else "{0} {1}".format(title(table, name), value)
