"""Finds the node, rail or link behind a slow collective, by bandwidth tests between pairs of nodes.

A pure state machine. ``isolation()`` is a generator: it yields a ``Round`` of pairs that may be measured side by side, is
sent one ``Measurement`` per pair, and returns a ``Conclusion``; ``run()`` drives it with a ``measure`` callable. So the
same code runs against a cluster and against a simulation, and check mode can show the first round.

Stages:

2. every node in one of n/2 disjoint pairs inside its topology class; a node without a partner is measured with one that passed;
3. every member of a bad pair against different nodes that passed, until its bad votes lead by two (convicted) or its good ones
   prevail (cleared); by three where both members of one pair would be convicted, because usually one of them is healthy;
4. bad pairs of which no member has a bad vote once more: good again is transient and clears both, bad again while both are cleared is
   a fault of the link between them;
5. every convicted node rail by rail, where rails are declared: the bad rails, or all of them, which means the host;
6. when all pairs pass although the whole was slow: pairs across classes, which point at the links between the classes.

Stages 3 and 4 share rounds where their nodes differ, because a round costs about a minute. A pair whose members both did well with
their first partner is measured again at once instead of letting each vote a second time: a disturbance ends there, one round earlier.

One-sided: a fast pair is never an outlier. One bad pair convicts nobody by itself, two independent partners do. A node whose votes
stay torn is undecided, never guessed. With two nodes nothing can be attributed.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass, field
from typing import Callable, Generator, Iterable, Mapping, Sequence

RELATIVE_MINIMUM = 0.90
"""Below this share of the median of its class a pair is slow. In public pair data of 17 H100 nodes healthy pairs spread
by 0.1 to 3.2 %, and slow ones lie at 0.54 to 0.79 of the median with nothing between 0.90 and 0.95."""

FEWEST_FOR_A_MEDIAN = 3
"""With fewer pairs in a class one bad pair moves the median itself: then only the absolute minimum judges."""

LEAD = 2
"""By how much bad results with different healthy partners must lead to convict a node."""

LEAD_OF_BOTH = 3
"""The same where both members of one pair would be convicted."""

TRANSIENT = "transient"
NODE = "node"
RAIL = "rail"
LINK = "link"
CLASS_LINK = "class-link"
CLUSTER_WIDE = "cluster-wide"
UNDECIDED = "undecided"


@dataclass(frozen=True, order=True)
class Pair:
    """Two nodes to measure together; ``rail`` restricts both to one GPU with its own network adapter."""

    first: str
    second: str
    rail: int | None = None

    def partner(self, node: str) -> str:
        return self.second if node == self.first else self.first

    @property
    def nodes(self) -> tuple[str, str]:
        return self.first, self.second


@dataclass(frozen=True)
class Round:
    """Pairs without a common node, to be measured side by side. ``stage`` says what for, 2 to 6."""

    number: int
    stage: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Measurement:
    """What one pair gave. ``busbw_gb_per_s`` is None when the test failed, and then ``failure`` says how."""

    pair: Pair
    busbw_gb_per_s: float | None
    failure: str | None = None


@dataclass(frozen=True)
class Evidence:
    """One measurement, with what it was held against and whether it was bad."""

    round_number: int
    stage: int
    measurement: Measurement
    minimum_gb_per_s: float
    bad: bool


@dataclass(frozen=True)
class Culprit:
    """What is to blame: ``kind`` is one of the constants above, ``nodes`` whom it is about, ``rails`` the bad rails."""

    kind: str
    nodes: tuple[str, ...]
    rails: tuple[int, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Conclusion:
    """The result: culprits, cleared suspects, and every measurement in order."""

    culprits: tuple[Culprit, ...]
    cleared: tuple[str, ...]
    rounds: int
    evidence: tuple[Evidence, ...]

    def of_kind(self, kind: str) -> tuple[Culprit, ...]:
        return tuple(culprit for culprit in self.culprits if culprit.kind == kind)

    @property
    def convicted(self) -> tuple[str, ...]:
        """Nodes that were convicted, as a whole or by a rail."""
        return tuple(node for culprit in self.culprits if culprit.kind in (NODE, RAIL) for node in culprit.nodes)


@dataclass(frozen=True)
class Topology:
    """The nodes in inventory order, the class (leaf or rail group) of each, and the number of rails per node."""

    nodes: tuple[str, ...]
    classes: Mapping[str, str] = field(default_factory=dict)
    rails: int = 0

    def class_of(self, node: str) -> str:
        return self.classes.get(node, "")

    def label(self, pair: Pair) -> str:
        """Pairs with the same label may be compared: same classes, and whole nodes or the same single rail's worth."""
        names = sorted({self.class_of(pair.first), self.class_of(pair.second)})
        return "|".join([*names, "" if pair.rail is None else "rail"])


Machine = Generator[Round, Sequence[Measurement], Conclusion]
Measure = Callable[[Round], Sequence[Measurement]]


def run(topology: Topology, measure: Measure, minimum_gb_per_s: float = 0.0, seed: int | None = None) -> Conclusion:
    """Drive the machine to its conclusion. Raises ``ValueError`` on fewer than two nodes or on a name that comes twice."""
    machine = isolation(topology, minimum_gb_per_s, seed)
    wanted = next(machine)
    while True:
        try:
            wanted = machine.send(measure(wanted))
        except StopIteration as stop:
            conclusion: Conclusion = stop.value
            return conclusion


def isolation(topology: Topology, minimum_gb_per_s: float = 0.0, seed: int | None = None) -> Machine:
    """The machine. Pairs follow the inventory's order, or are drawn from ``seed``; either way they repeat exactly.

    ``minimum_gb_per_s`` is the absolute minimum of a whole-node pair; without one a cluster that is slow everywhere
    cannot be told from a healthy one, and fewer than three pairs of a class cannot be judged.
    """
    nodes = topology.nodes
    if len(nodes) < 2:
        raise ValueError("isolation needs at least two nodes")
    if len(set(nodes)) != len(nodes):
        raise ValueError("a node is named twice")
    return _Isolation(topology, minimum_gb_per_s, seed).steps()


class _Ballot:
    """Votes about suspects: whether each was bad with a healthy partner, in order."""

    def __init__(self, suspects: Sequence[str], bad_pairs: Sequence[Pair]) -> None:
        self._votes: dict[str, list[bool]] = {node: [] for node in suspects}
        self._partners = {node: pair.partner(node) for pair in bad_pairs for node in pair.nodes}

    def add(self, node: str, bad: bool) -> None:
        self._votes[node].append(bad)

    def open(self) -> list[str]:
        """Suspects that another vote may decide, those with fewest votes first."""
        waiting = [node for node in self._votes if not self._is_closed(node)]
        return sorted(waiting, key=lambda node: len(self._votes[node]))

    def is_calm(self, pair: Pair) -> bool:
        """Whether nothing but their pair speaks against either member, so that the pair itself is to be measured again."""
        return all(
            (bool(self._votes[node]) and not any(self._votes[node])) or self.is_cleared(node) for node in pair.nodes
        )

    def is_convicted(self, node: str, is_last_word: bool = False) -> bool:
        """``is_last_word``: no more votes come, and two bad ones without a good one must do for both members of a pair."""
        lead = self._lead(node)
        return lead >= LEAD if is_last_word and all(self._votes[node]) else lead >= self._wanted(node)

    def is_cleared(self, node: str) -> bool:
        return len(self._votes[node]) >= LEAD and self._lead(node) < 0

    def doubt(self, node: str) -> str:
        """Why a suspect is neither convicted nor cleared."""
        if len(self._votes[node]) < LEAD:
            return "too few healthy partners to confirm"
        return f"bad with {sum(self._votes[node])} of {len(self._votes[node])} healthy partners: measure it again, it may be intermittent"

    def _is_closed(self, node: str) -> bool:
        # Two more than needed for a verdict without a doubt: beyond that a node is intermittent.
        is_torn = len(self._votes[node]) >= self._wanted(node) + 2
        return self.is_convicted(node) or self.is_cleared(node) or is_torn

    def _lead(self, node: str) -> int:
        bad = sum(self._votes[node])
        return bad - (len(self._votes[node]) - bad)

    def _wanted(self, node: str) -> int:
        firsts = [self._votes.get(name, [])[:LEAD] for name in (node, self._partners[node])]
        return LEAD_OF_BOTH if all(len(votes) == LEAD and all(votes) for votes in firsts) else LEAD


class _Isolation:
    """What has been measured so far, and who is suspected of what."""

    def __init__(self, topology: Topology, minimum_gb_per_s: float, seed: int | None) -> None:
        self.topology = topology
        self.absolute = minimum_gb_per_s
        self.evidence: list[Evidence] = []
        self.rounds = 0
        self.references: dict[str, float] = {}
        order = list(topology.nodes)
        if seed is not None:
            random.Random(seed).shuffle(order)  # a draw of pairs is no secret
        self.order = tuple(order)
        self.good: set[str] = set()

    def steps(self) -> Machine:
        bad_pairs = yield from self._all_nodes_in_pairs()
        if not bad_pairs:
            return (yield from self._across_classes())
        if not self.good:
            return self._nobody_to_compare_with(bad_pairs)
        suspects = [node for node in self.order if any(node in pair.nodes for pair in bad_pairs)]
        ballot = _Ballot(suspects, bad_pairs)
        again = yield from self._votes(ballot, bad_pairs)
        convicted = [node for node in suspects if ballot.is_convicted(node, is_last_word=True)]
        cleared = tuple(node for node in suspects if ballot.is_cleared(node))
        culprits = yield from self._rails_of(convicted)
        culprits += self._links(bad_pairs, convicted, again)
        culprits += [
            Culprit(UNDECIDED, (node,), reason=ballot.doubt(node))
            for node in suspects
            if node not in convicted and node not in cleared
        ]
        return self._conclusion(culprits, cleared)

    # Stage 2

    def _all_nodes_in_pairs(self) -> Generator[Round, Sequence[Measurement], list[Pair]]:
        pairs: list[Pair] = []
        left: list[str] = []
        for label in dict.fromkeys(self.topology.class_of(node) for node in self.order):
            members = [node for node in self.order if self.topology.class_of(node) == label]
            pairs += [Pair(first, second) for first, second in zip(members[::2], members[1::2], strict=False)]
            left += members[len(members) // 2 * 2 :]
        # Without a partner of their own class, nodes are measured across classes, where only like is compared with like.
        crossing = [Pair(first, second) for first, second in zip(left[::2], left[1::2], strict=False)]
        single = left[len(left) // 2 * 2 :]
        found = yield from self._measure(2, pairs + crossing)
        for node in single:
            partners = self._partners(node, {node})
            if partners:
                found += yield from self._measure(2, [Pair(node, partners[0])])
        # Where nobody passed, the one left over is not measured: it could not be told from its partner.
        return [entry.measurement.pair for entry in found if entry.bad]

    # Stages 3 and 4

    def _votes(
        self, ballot: _Ballot, bad_pairs: Sequence[Pair]
    ) -> Generator[Round, Sequence[Measurement], dict[Pair, bool]]:
        """Rounds until every suspect is decided or nobody is left to measure it with; the bad pairs that were bad again or not."""
        again: dict[Pair, bool] = {}
        while True:
            calm = [pair for pair in bad_pairs if pair not in again and ballot.is_calm(pair)]
            voters = self._voters(ballot, calm)
            if not calm and not voters:
                return again
            for entry in (yield from self._measure(3 if voters else 4, [*calm, *voters])):
                pair = entry.measurement.pair
                if pair in voters:
                    ballot.add(voters[pair], entry.bad)
                    continue
                again[pair] = entry.bad
                if not entry.bad:
                    # Good together, both are good.
                    for node in pair.nodes:
                        ballot.add(node, bad=False)

    def _voters(self, ballot: _Ballot, calm: Sequence[Pair]) -> dict[Pair, str]:
        """Pairs of a suspect and a healthy node that it has not met, beside ``calm``; those with fewest votes come first."""
        busy = {node for pair in calm for node in pair.nodes}
        chosen: dict[Pair, str] = {}
        for node in ballot.open():
            partners = [] if node in busy else self._partners(node, self._met(node) | busy)
            if partners:
                pair = Pair(node, partners[0])
                chosen[pair] = node
                busy.update(pair.nodes)
        return chosen

    # What the votes mean for links, rails and classes

    def _links(self, bad_pairs: Sequence[Pair], convicted: Sequence[str], again: Mapping[Pair, bool]) -> list[Culprit]:
        culprits = []
        for pair in bad_pairs:
            if not set(pair.nodes).isdisjoint(convicted) or pair not in again:
                continue
            if again[pair]:
                reason = "the pair is bad twice while both nodes are healthy with others"
                culprits.append(Culprit(LINK, pair.nodes, reason=reason))
            else:
                culprits.append(Culprit(TRANSIENT, pair.nodes, reason="the same pair was healthy when measured again"))
        return culprits

    def _rails_of(self, convicted: Sequence[str]) -> Generator[Round, Sequence[Measurement], list[Culprit]]:
        reason = "bad with two different healthy nodes"
        if not self.topology.rails or not convicted:
            return [Culprit(NODE, (node,), reason=reason) for node in convicted]
        found: list[Evidence] = []
        waiting = [(node, rail) for rail in range(self.topology.rails) for node in convicted]
        reference = yield from self._rail_reference(convicted)
        while waiting:
            busy: set[str] = set()
            pairs: list[Pair] = []
            for node, rail in list(waiting):
                partners = self._partners(node, {node} | busy)
                if node not in busy and partners:
                    pairs.append(Pair(node, partners[0], rail))
                    busy.update(pairs[-1].nodes)
                    waiting.remove((node, rail))
            if not pairs:
                break
            found += yield from self._measure(5, pairs, reference)
        culprits = []
        for node in convicted:
            measured = [entry for entry in found if entry.measurement.pair.first == node]
            bad = tuple(sorted(entry.measurement.pair.rail or 0 for entry in measured if entry.bad))
            if bad and len(bad) < self.topology.rails:
                culprits.append(Culprit(RAIL, (node,), bad, f"{reason}; only these rails are slow"))
            else:
                which = "all its rails are slow" if bad else "no single rail is slow"
                culprits.append(Culprit(NODE, (node,), bad, f"{reason}; {which}"))
        return culprits

    def _rail_reference(self, convicted: Sequence[str]) -> Generator[Round, Sequence[Measurement], float | None]:
        """What one rail gives between two healthy nodes; None where there are no two."""
        healthy = [node for node in self.order if node in self.good and node not in convicted]
        if len(healthy) < 2:
            return None
        found = yield from self._measure(5, [Pair(healthy[0], healthy[1], 0)])
        value = found[0].measurement.busbw_gb_per_s
        return None if value is None else value * RELATIVE_MINIMUM

    def _across_classes(self) -> Machine:
        classes = list(dict.fromkeys(self.topology.class_of(node) for node in self.order))
        members = {label: [node for node in self.order if self.topology.class_of(node) == label] for label in classes}
        culprits: list[Culprit] = []
        for step in range(1, len(classes)):
            # Every class meets every other one once; in each step all classes are disjoint pairs of classes as far as possible.
            meetings = _meetings(classes, step)
            pairs = [
                Pair(first, second)
                for one, other in meetings
                for first, second in zip(members[one], members[other], strict=False)
            ]
            if not pairs:
                continue
            found = yield from self._measure(6, pairs)
            for one, other in meetings:
                between = [
                    entry for entry in found if set(entry.measurement.pair.nodes) <= {*members[one], *members[other]}
                ]
                if between and all(entry.bad for entry in between):
                    reason = "healthy inside, slow between: the links or switches between these classes"
                    culprits.append(Culprit(CLASS_LINK, (one, other), reason=reason))
        return self._conclusion(culprits, ())

    def _nobody_to_compare_with(self, bad_pairs: Sequence[Pair]) -> Conclusion:
        if len(self.topology.nodes) == 2:
            reason = (
                "with two nodes a slow pair cannot be attributed; test each half of the link and each host by itself"
            )
            return self._conclusion([Culprit(UNDECIDED, bad_pairs[0].nodes, reason=reason)], ())
        reason = "every pair is bad: look at configuration, switches and software before any node"
        return self._conclusion([Culprit(CLUSTER_WIDE, self.topology.nodes, reason=reason)], ())

    # Shared

    def _measure(
        self, stage: int, pairs: Sequence[Pair], minimum: float | None = None
    ) -> Generator[Round, Sequence[Measurement], list[Evidence]]:
        self.rounds += 1
        wanted = Round(self.rounds, stage, tuple(pairs))
        measured = yield wanted
        by_pair = {item.pair: item for item in measured}
        results = [by_pair.get(pair) or Measurement(pair, None, "no result was returned") for pair in pairs]
        if stage == 2:
            self._learn(results)
        found = [self._judged(stage, item, minimum) for item in results]
        self.evidence += found
        if stage == 2:
            self.good.update(node for entry in found if not entry.bad for node in entry.measurement.pair.nodes)
        return found

    def _learn(self, results: Iterable[Measurement]) -> None:
        values: dict[str, list[float]] = {}
        for item in results:
            if item.busbw_gb_per_s is not None:
                values.setdefault(self.topology.label(item.pair), []).append(item.busbw_gb_per_s)
        for label, known in values.items():
            if len(known) >= FEWEST_FOR_A_MEDIAN:
                self.references.setdefault(label, statistics.median(known))

    def _judged(self, stage: int, item: Measurement, minimum: float | None) -> Evidence:
        if minimum is None:
            # Pairs across classes that were not measured before are held against the slowest class.
            lowest = min(self.references.values(), default=0.0) if item.pair.rail is None else 0.0
            reference = self.references.get(self.topology.label(item.pair), lowest)
            absolute = self.absolute if item.pair.rail is None else 0.0
            minimum = max(absolute, RELATIVE_MINIMUM * reference)
        bad = item.busbw_gb_per_s is None or item.busbw_gb_per_s < minimum
        return Evidence(self.rounds, stage, item, minimum, bad)

    def _partners(self, node: str, without: set[str]) -> list[str]:
        """Healthy nodes to measure a suspect with, those of its own class first."""
        known = [other for other in self.order if other in self.good and other not in without and other != node]
        return sorted(known, key=lambda other: self.topology.class_of(other) != self.topology.class_of(node))

    def _met(self, node: str) -> set[str]:
        return {entry.measurement.pair.partner(node) for entry in self.evidence if node in entry.measurement.pair.nodes}

    def _conclusion(self, culprits: Sequence[Culprit], cleared: tuple[str, ...]) -> Conclusion:
        return Conclusion(tuple(culprits), cleared, self.rounds, tuple(self.evidence))


def _meetings(classes: Sequence[str], step: int) -> list[tuple[str, str]]:
    """Disjoint pairs of classes; over all steps every two meet (round-robin by the circle method)."""
    ring: list[str | None] = [*classes, *([None] if len(classes) % 2 else [])]
    turned = [
        ring[0],
        *ring[1:][-(step - 1) % max(1, len(ring) - 1) :],
        *ring[1:][: -(step - 1) % max(1, len(ring) - 1)],
    ]
    pairs = zip(turned[: len(turned) // 2], reversed(turned[len(turned) // 2 :]), strict=True)
    return [(one, other) for one, other in pairs if one is not None and other is not None]
