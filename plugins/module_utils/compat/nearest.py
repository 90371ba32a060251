"""The nearest allowed combination: the one with the fewest changes, and of those the one with the shortest way."""

from __future__ import annotations

import bisect
import heapq
import itertools
from typing import Any, Dict, FrozenSet, Iterator, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.answer import (
    ALLOWED,
    NOT_THERE,
    Judge,
    Objection,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.question import FEATURES, Combination, title
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.table import GPU
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.version import Version

# So many combinations are looked at; beyond, none is near.
MAXIMUM_LOOKS = 3000
# Another version is nearer than going without something, and that is nearer than another operating system.
WITHOUT_FEATURE = 500
WITHOUT_COMPONENT = 800
OTHER_ATTRIBUTE = 1000

# How many names change, how long the way is, and how often it leads down.
Cost = Tuple[int, int, int]
# How long the way is, whether it leads down, and the combination after it.
Change = Tuple[int, int, Combination]


def nearest(judge: Judge, combination: Combination, accepted: FrozenSet[str] = frozenset()) -> Optional[Combination]:
    """The nearest allowed combination of known versions with the same GPU; None when no near one is known."""
    return _Search(judge, accepted).run(combination)


class _Search:
    """Looks at the changes to what the first objection is about: one of them is in every solution.

    Combinations are looked at in the order of their cost so far plus the least that they still need (A*), so the first allowed
    one is the nearest.
    """

    def __init__(self, judge: Judge, accepted: FrozenSet[str]) -> None:
        self._judge = judge
        self._accepted = accepted
        self._known_changes: Dict[Any, Sequence[Tuple[int, int, Version]]] = {}

    def run(self, combination: Combination) -> Optional[Combination]:
        order = itertools.count()
        looks = 0
        nothing: FrozenSet[str] = frozenset({GPU})
        waiting = [((0, 0, 0), next(order), (0, 0), combination, nothing)]
        while waiting and looks < MAXIMUM_LOOKS:
            _cost, _number, (way, down), current, changed = heapq.heappop(waiting)
            answer = self._judge.answer(current, self._accepted)
            if answer.status == ALLOWED:
                return current
            objection = answer.against[0]
            for name in sorted(objection.involved - changed):
                for further, leads_down, other in self._changes(current, name, objection):
                    looks += 1
                    after = changed | {name}
                    least = self._least(other, after)
                    if least is not None:
                        so_far = (way + further, down + leads_down)
                        cost = (len(after) - 1 + least[0], so_far[0] + least[1], so_far[1])
                        heapq.heappush(waiting, (cost, next(order), so_far, other, after))
        return None

    def _least(self, combination: Combination, changed: FrozenSet[str]) -> Optional[Tuple[int, int]]:
        """How many changes are still needed at least, and how long a way; None where what objects was changed already.

        Counts objections that share nothing. Where only one name is left to change, its shortest change is needed.
        """
        taken: FrozenSet[str] = frozenset()
        count, way = 0, 0
        for objection in self._judge.answer(combination, self._accepted).against:
            names = objection.involved - changed
            if not names:
                return None
            if names & taken:
                continue
            taken, count = taken | names, count + 1
            if len(names) == 1:
                ways = [change[0] for change in self._changes(combination, next(iter(names)), objection)]
                if not ways:
                    return None
                way += min(ways)
        return count, way

    def _changes(self, combination: Combination, name: str, objection: Objection) -> Iterator[Change]:
        """Every change of one name."""
        if name in combination.features:
            yield WITHOUT_FEATURE, 0, combination.without(name)
        elif name in combination.attributes:
            for value in sorted(self._judge.table.attributes[name]):
                if value != combination.attributes[name]:
                    yield OTHER_ATTRIBUTE, 0, combination.with_attribute(name, value)
        elif name in combination.versions:
            for way, down, version in self._versions(combination, name):
                yield way, down, combination.with_version(name, version)
            # What is supported in no version can only be left out.
            if objection.code == NOT_THERE:
                yield WITHOUT_COMPONENT, 0, combination.without(name)

    def _versions(self, combination: Combination, name: str) -> Iterator[Tuple[int, int, Version]]:
        """Other versions of a component: known ones, and those that another component has where both must be the same."""
        key = (combination.attributes.get(GPU), name, combination.versions[name])
        if key not in self._known_changes:
            self._known_changes[key] = [*self._known(combination, name)]
        yield from self._known_changes[key]
        for row in self._judge.table.rows:
            if row.subject == name and row.same_as in combination.versions:
                yield 1, 0, combination.versions[row.same_as]

    def _known(self, combination: Combination, name: str) -> Iterator[Tuple[int, int, Version]]:
        """Other known versions. What the GPU, which stays, cannot have need not be tried with the rest."""
        known, own = self._judge.table.known[name], combination.versions[name]
        gpu = {key: value for key, value in combination.attributes.items() if key == GPU}
        first, last = bisect.bisect_left(known, own), bisect.bisect_right(known, own)
        for index, version in enumerate(known):
            alone = Combination(gpu, frozenset(), {name: version})
            if any(name in each.involved for each in self._judge.answer(alone, self._accepted).against):
                continue
            if index >= last:
                yield index - last + 1, 0, version
            elif index < first:
                yield first - index, 1, version


def differences(judge: Judge, asked: Combination, found: Combination) -> str:
    """How to come from one combination to another: ``take driver B instead of A``; empty when they are equal."""
    before, after = asked.as_dict(), found.as_dict()
    gone = [name for name in before if name not in after and name != FEATURES] + sorted(asked.features - found.features)
    parts = [
        "take {0} {1} instead of {2}".format(title(judge.table, name), after[name], before[name])
        for name in after
        if name != FEATURES and before.get(name) != after[name]
    ]
    return " and ".join(parts + ["leave out {0}".format(title(judge.table, name)) for name in gone])
