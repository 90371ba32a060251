"""What somebody asks: a host's attributes, the features it uses, and its versions, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, List, Mapping, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.table import DRIVER, GPU, Table
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.version import Version, declared
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import did_you_mean

FEATURES = "features"
KERNEL_MODULES = "kernel_modules"
# How packages and people write a driver of NVIDIA's open kernel modules (580-open).
OPEN = "-open"


@dataclass(frozen=True)
class Combination:
    """What is to meet. What is not in it was not asked about."""

    attributes: Mapping[str, str]
    features: FrozenSet[str]
    versions: Mapping[str, Version]

    def key(self) -> Tuple[Any, ...]:
        """The same for equal combinations."""
        versions = frozenset((name, version.text) for name, version in self.versions.items())
        return frozenset(self.attributes.items()), self.features, versions

    def value(self, name: str) -> Any:
        """A version's text, an attribute's value, or whether a feature is used."""
        version = self.versions.get(name)
        return version.text if version is not None else self.attributes.get(name, name in self.features)

    def without(self, name: str) -> Combination:
        """The same without a component, an attribute or a feature."""
        return Combination(
            {key: value for key, value in self.attributes.items() if key != name},
            self.features - {name},
            {key: value for key, value in self.versions.items() if key != name},
        )

    def with_version(self, name: str, version: Version) -> Combination:
        return Combination(self.attributes, self.features, {**self.versions, name: version})

    def with_attribute(self, name: str, value: str) -> Combination:
        return Combination({**self.attributes, name: value}, self.features, self.versions)

    def as_dict(self) -> Dict[str, Any]:
        """As it would be asked."""
        asked: Dict[str, Any] = dict(self.attributes)
        if self.features:
            asked[FEATURES] = sorted(self.features)
        return {**asked, **{name: version.text for name, version in self.versions.items()}}


@dataclass(frozen=True)
class Fault:
    """Why a part of a question cannot be used, and what to do about it."""

    name: str
    what: str
    hint: str


def parse_question(table: Table, asked: Mapping[str, Any]) -> Tuple[Combination, List[Fault]]:
    """The combination that is asked about, without what is wrong in it, and what is wrong."""
    attributes: Dict[str, str] = {}
    versions: Dict[str, Version] = {}
    features: List[str] = []
    faults: List[Fault] = []
    for name, value in asked.items():
        if value in (None, "") or value == []:
            continue
        if name == FEATURES:
            features, unknown = _features(table, value)
            faults += unknown
        elif name in table.attributes:
            if str(value) in table.attributes[name]:
                attributes[name] = str(value)
            else:
                hint = did_you_mean(str(value), table.attributes[name])
                faults.append(Fault(name, "{0} is {1!r}, which is unknown".format(name, value), hint))
        elif name in table.titles:
            try:
                versions[name] = declared(value)
            except ValueError as error:
                hint = 'write a version in quotes, for example "13.0": without them 25.10 becomes 25.1'
                faults.append(Fault(name, "{0} is {1!r}: {2}".format(name, value, error), hint))
        else:
            hint = did_you_mean(str(name), [*table.attributes, *table.titles, FEATURES])
            faults.append(Fault(str(name), "{0} is no part of a combination".format(name), hint))
    if DRIVER in versions and OPEN in versions[DRIVER].text:
        attributes.setdefault(KERNEL_MODULES, "open")
    return Combination(attributes, frozenset(features), versions), faults


def _features(table: Table, value: Any) -> Tuple[List[str], List[Fault]]:
    if not isinstance(value, (list, tuple)):
        return [], [Fault(FEATURES, "{0} is {1!r}".format(FEATURES, value), "write it as a list")]
    known = [str(name) for name in value if str(name) in table.features]
    unknown = [
        Fault(FEATURES, "the feature {0!r} is unknown".format(name), did_you_mean(str(name), table.features))
        for name in value
        if str(name) not in table.features
    ]
    return known, unknown


def title(table: Table, name: str) -> str:
    """What people call a component, an attribute or a feature."""
    return table.titles.get(name) or ("GPU" if name == GPU else name.replace("_", " "))
