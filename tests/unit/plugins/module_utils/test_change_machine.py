"""The order in which nodes are changed, over random histories of two controllers that crash, fail, wait too long and take over."""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import change_machine as machine
from ansible_collections.baremetal.gpu.plugins.module_utils.change_machine import (
    Claim,
    Entry,
    Lock,
    Node,
    NodeChange,
    Outcome,
    Result,
    Settings,
    Versioned,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

HISTORIES = 10_000
NODES = ("n1", "n2", "n3")


@dataclass
class World:
    """Everything that controllers share, and what is true of each node. ``proved`` names who proved a node since its last change."""

    budget: int = 1
    now: float = 0.0
    objects: dict[tuple[str, str], Any] = field(default_factory=dict)
    versions: dict[tuple[str, str], int] = field(default_factory=dict)
    journals: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)
    proved: dict[str, str] = field(default_factory=dict)
    boots: dict[str, int] = field(default_factory=dict)
    failing: set[tuple[str, str]] = field(default_factory=set)
    calls: list[tuple[str, str]] = field(default_factory=list)

    def key(self, what: str, node: str) -> tuple[str, str]:
        return (what, "" if what == machine.SLOT else node)

    def get(self, what: str, node: str) -> Any:
        default: Any = {machine.SLOT: {}, machine.CLAIM: Node()}.get(what)
        return self.objects.get(self.key(what, node), default)

    def journal(self, controller: str, node: str) -> list[Entry]:
        return self.journals.setdefault((controller, node), [])

    def out(self) -> list[str]:
        return [node for node in NODES if self.get(machine.CLAIM, node).claim is not None]

    def answer(self, controller: str, node: str, request: Any) -> Any:
        """Carry out one request, and hold the world against what must hold after it."""
        if isinstance(request, machine.Append):
            self.journal(controller, node).append(request.entry)
            return None
        if isinstance(request, machine.Now):
            return self.now
        if isinstance(request, machine.Read):
            key = self.key(request.what, node)
            return Versioned(self.get(request.what, node), str(self.versions.get(key, 0)))
        # Whatever follows changes something, so the journal must say that it was begun.
        last = self.journal(controller, node)[-1]
        assert (last.step, last.phase) != (machine.UNLOCK, machine.DONE), (
            "nothing is changed before the journal says so"
        )
        return self.write(node, request) if isinstance(request, machine.Write) else self.do(controller, node, request)

    def write(self, node: str, request: machine.Write) -> bool:
        key = self.key(request.what, node)
        if str(self.versions.get(key, 0)) != request.version:
            return False
        before = self.get(request.what, node)
        self.objects[key] = request.value
        self.versions[key] = self.versions.get(key, 0) + 1
        if request.what == machine.CLAIM:
            if request.value.claim is None:
                assert self.proved.get(node) == before.claim.holder, "no node is let in that has not proved itself"
            elif before.claim != request.value.claim:
                self.proved.pop(node, None)
            assert len(self.out()) <= self.budget, "no more nodes are out than the budget allows"
        return True

    def do(self, controller: str, node: str, request: machine.Do) -> Outcome:
        self.calls.append((node, request.step))
        boot = self.boots.get(node, 1)
        if request.step in (machine.DRAIN, machine.CHANGE, machine.REBOOT):
            self.proved.pop(node, None)
            assert self.get(machine.CLAIM, node).claim is not None, "what disturbs a node is done while it is out"
        if (node, request.step) in self.failing:
            return Outcome("BG-TEST", "injected")
        if request.step == machine.CHANGE:
            return Outcome(data={"reboot": "yes", "boot_id": str(boot)})
        if request.step == machine.REBOOT:
            self.boots[node] = boot + 1 if str(boot) == request.data["boot_id"] else boot
            return Outcome(data={"boot_id": str(self.boots[node])})
        if request.step == machine.PROVE:
            self.proved[node] = self.journal(controller, node)[-1].holder
        return Outcome()


class Controller:
    """Rolls over nodes one after another, stops at the first that fails, and after a crash begins again with its journals."""

    def __init__(self, world: World, name: str, nodes: list[str]) -> None:
        self.world, self.name, self.nodes = world, name, nodes
        self.running: Generator[Any, Any, Result] | None = None
        self.settings = Settings(budget=world.budget, lock_s=100, may_reboot=True)
        self.node, self.run_number, self.last = "", 0, None
        self.left: list[str] = []
        self.answer: Any = None

    def start(self, take_over: bool = False, only: list[str] | None = None) -> None:
        self.run_number += 1
        self.settings = Settings(self.world.budget, 100, True, take_over)
        # As playbooks do it (lookup unfinished_change): nodes that are out already come first, others would find no room in the budget.
        self.left = sorted(
            self.nodes if only is None else only,
            key=lambda node: not machine.holder_of(self.world.journal(self.name, node)),
        )
        self.last = None
        self._next()

    def _next(self) -> None:
        self.running = None
        if self.left:
            self.node = self.left.pop(0)
            journal = self.world.journal(self.name, self.node)
            holder = machine.holder_of(journal) or f"{self.name}-{self.run_number}"
            self.running = NodeChange(self.node, holder, journal, self.settings).run()
            self.answer = None

    def crash(self) -> None:
        self.running = None

    def step(self, crash_after: bool = False) -> None:
        """One request; with ``crash_after`` it is served, but its answer never comes."""
        assert self.running is not None
        try:
            request = self.running.send(self.answer)
        except StopIteration as ended:
            self.last = ended.value
            # A roll stops at the first node that fails.
            self.left = [] if ended.value.error else self.left
            self._next()
            return
        self.answer = self.world.answer(self.name, self.node, request)
        if crash_after:
            self.crash()

    def finish(self) -> None:
        while self.running is not None:
            self.step()


def begin(journal: list[Entry] | None = None, world: World | None = None, **settings: Any) -> tuple[World, Result]:
    """One change of n1 from beginning to end by one controller."""
    world = world or World()
    world.journals.setdefault(("a", "n1"), journal or [])
    controller = Controller(world, "a", ["n1"])
    controller.start()
    controller.settings = Settings(**{"may_reboot": True, **settings})
    holder = machine.holder_of(world.journal("a", "n1")) or "a-1"
    controller.running = NodeChange("n1", holder, world.journal("a", "n1"), controller.settings).run()
    controller.finish()
    assert controller.last is not None
    return world, controller.last


def history(seed: int) -> None:
    """Two controllers over three nodes in random turns; afterwards nothing fails any more, and everything has to come right."""
    chance = random.Random(seed)
    world = World(budget=chance.choice((1, 1, 2)))
    pair = [Controller(world, name, chance.sample(NODES, chance.choice((1, 2, 3)))) for name in ("a", "b")]
    hosts_down = {(node, machine.REBOOT) for node in NODES if chance.random() < 0.1}
    for _turn in range(chance.randrange(20, 140)):
        luck = chance.random()
        controller, other = pair if chance.random() < 0.5 else pair[::-1]
        if luck < 0.02:
            world.now += chance.choice((10, 200))
        elif luck < 0.04:
            world.failing = hosts_down | {(chance.choice(NODES), chance.choice(machine.STEPS))}
        elif controller.running is None:
            # The word that takes over is true: the other one does not run.
            controller.start(take_over=other.running is None and chance.random() < 0.3)
        elif luck < 0.06:
            controller.crash()
        else:
            controller.step(crash_after=luck < 0.08)
    settle(world, pair)


def settle(world: World, pair: list[Controller]) -> None:
    """No more faults: running again what was begun finishes all of it, without a word to take over, and nothing is left."""
    world.failing = set()
    for controller in pair:
        controller.crash()
    for _round in range(2 * len(NODES)):
        for controller in pair:
            cut_off = [node for node in controller.nodes if machine.unfinished(world.journal(controller.name, node))]
            controller.start(only=cut_off)
            controller.finish()
    assert (world.out(), world.get(machine.SLOT, "")) == ([], {})
    for node in NODES:
        assert (world.get(machine.LOCK, node), world.get(machine.CLAIM, node)) == (None, Node())


@pytest.mark.requirement("ONYX-R101", part="the order in which nodes are changed")
def test_what_must_hold_holds_over_ten_thousand_random_histories() -> None:
    for seed in range(HISTORIES):
        history(seed)


def histories(count: int = 300) -> None:
    for seed in range(count):
        history(seed)


def test_a_machine_without_a_budget_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "take_slot", lambda out, node, holder, _budget: {**out, node: holder})
    with pytest.raises(AssertionError, match="the budget allows"):
        histories()


def test_a_machine_that_takes_an_earlier_proof_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    step = NodeChange._step

    def trusting(self: NodeChange, name: str, work: Any, again: bool = False) -> Any:
        return step(self, name, work, again and name != machine.PROVE)

    monkeypatch.setattr(NodeChange, "_step", trusting)
    with pytest.raises(AssertionError, match="has not proved itself"):
        histories()


def test_a_machine_that_forgets_its_journal_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "unfinished", lambda _journal: ())
    with pytest.raises(AssertionError):
        histories()


def test_a_change_takes_its_steps_in_order_and_leaves_nothing() -> None:
    world, result = begin()
    assert (result.steps, result.out, result.error) == (machine.STEPS, False, None)
    assert [step for _node, step in world.calls] == ["preflight", "announce", "drain", "change", "reboot", "prove"]
    assert (world.get(machine.CLAIM, "n1"), world.get(machine.SLOT, ""), world.boots) == (Node(), {}, {"n1": 2})


@pytest.mark.parametrize("after", [False, True])
def test_cut_off_at_any_request_a_rerun_finishes(after: bool) -> None:
    """Before each request was served, and after it without its answer. The host is rebooted once all the same."""
    requests = 0
    while True:
        world = World()
        controller = Controller(world, "a", ["n1"])
        controller.start()
        for _served in range(requests):
            if controller.running is not None:
                controller.step()
        if controller.running is None:
            break
        if after:
            controller.step(crash_after=True)
        controller.crash()
        settle(world, [controller])
        assert world.boots.get("n1", 2) == 2, "it was rebooted twice"
        requests += 1
    assert requests > 40


def test_a_rerun_does_not_change_again_what_was_changed() -> None:
    world = World(failing={("n1", machine.PROVE)})
    begin(world=world)
    world.failing, world.calls = set(), []
    _world, result = begin(world=world)
    assert ([step for _node, step in world.calls], result.error) == (["prove"], None)


@pytest.mark.parametrize("step", [machine.DRAIN, machine.CHANGE, machine.REBOOT, machine.PROVE])
def test_a_failure_leaves_the_node_cordoned_with_its_code_and_the_lock_held(step: str) -> None:
    world, result = begin(world=World(failing={("n1", step)}))
    assert result.error is not None
    assert (result.out, result.error.code, result.error.what) == (
        True,
        "BG-TEST",
        f"node n1: the step {step} failed: injected",
    )
    assert world.get(machine.CLAIM, "n1") == Node(True, Claim("a-1", False), "BG-TEST")
    assert (world.get(machine.LOCK, "n1").holder, world.get(machine.SLOT, "")) == ("a-1", {"n1": "a-1"})


@pytest.mark.parametrize("step", [machine.PREFLIGHT, machine.ANNOUNCE])
def test_a_failure_before_the_node_is_out_gives_everything_back(step: str) -> None:
    world, result = begin(world=World(failing={("n1", step)}))
    assert (result.out, world.get(machine.CLAIM, "n1"), world.get(machine.LOCK, "n1")) == (False, Node(), None)
    assert (world.get(machine.SLOT, ""), machine.unfinished(world.journal("a", "n1"))) == ({}, ())


def test_a_node_that_was_cordoned_before_stays_cordoned() -> None:
    world = World(objects={(machine.CLAIM, "n1"): Node(cordoned=True)})
    begin(world=world)
    assert world.get(machine.CLAIM, "n1") == Node(cordoned=True)


def refusal(**world: Any) -> tuple[str, str]:
    """Code and message of a change that is stopped, after which nothing was done to the node."""
    settings = world.pop("settings", {})
    return refusal_in(World(**world), **settings)


def refusal_in(world: World, **settings: Any) -> tuple[str, str]:
    found, result = begin(world=world, **settings)
    assert result.error is not None
    assert [step for _node, step in found.calls if step in (machine.DRAIN, machine.CHANGE, machine.REBOOT)] == []
    return result.error.code, result.error.message


def test_a_second_controller_is_refused_with_who_holds_the_lock() -> None:
    locked: dict[tuple[str, str], Any] = {(machine.LOCK, "n1"): Lock("other", 60)}
    code, message = refusal(objects=locked)
    assert (code, "locked by other for 60 s more" in message) == ("BG-CHANGE-102", True)
    code, message = refusal(objects=locked, settings={"take_over": True})
    assert code == "BG-CHANGE-102", "the word is for a lock that has ended"


def test_a_lock_that_has_ended_is_taken_over_by_the_word_only() -> None:
    ended: dict[tuple[str, str], Any] = {(machine.LOCK, "n1"): Lock("other", -60)}
    code, message = refusal(objects=dict(ended))
    assert (code, "ended 60 s ago" in message) == ("BG-CHANGE-103", True)
    assert begin(world=World(objects=dict(ended)), take_over=True)[1].error is None


def test_a_budget_that_is_used_up_is_refused_with_who_is_out() -> None:
    code, message = refusal(objects={(machine.SLOT, ""): {"n2": "other"}})
    assert (code, "1 of at most 1 nodes are out already: n2" in message) == ("BG-CHANGE-104", True)


def test_a_node_that_is_out_for_another_change_is_refused() -> None:
    claimed = Node(True, Claim("other", False), "BG-X-001")
    code, message = refusal(objects={(machine.CLAIM, "n1"): claimed})
    assert (code, "out for a change of other" in message) == ("BG-CHANGE-110", True)


def test_a_controller_whose_node_was_taken_over_stops_and_touches_nothing() -> None:
    world = World()
    slow = Controller(world, "a", ["n1"])
    slow.start()
    while (("n1", machine.DRAIN)) not in world.calls:
        slow.step()
    world.now += 1000
    second = Controller(world, "b", ["n1"])
    second.start(take_over=True)
    second.finish()
    before = dict(world.objects)
    slow.finish()
    assert second.last is not None
    assert slow.last is not None
    assert slow.last.error is not None
    assert (second.last.error, slow.last.error.code, world.objects) == (None, "BG-CHANGE-105", before)


def test_a_reboot_that_is_needed_and_not_allowed_stops_the_change() -> None:
    world, result = begin(may_reboot=False)
    assert result.error is not None
    assert (result.error.code, world.boots, world.get(machine.CLAIM, "n1").reason) == (
        "BG-CHANGE-107",
        {},
        "BG-CHANGE-107",
    )


class SameBoot(World):
    """Its hosts say that they were rebooted, and are in the same boot."""

    def do(self, controller: str, node: str, request: machine.Do) -> Outcome:
        outcome = super().do(controller, node, request)
        return Outcome(data={"boot_id": "1"}) if request.step == machine.REBOOT else outcome


def test_a_host_that_shows_no_new_boot_is_not_proved() -> None:
    _world, result = begin(world=SameBoot())
    assert result.error is not None
    assert (result.error.code, result.out, "before 1, now 1" in result.error.message) == ("BG-CHANGE-108", True, True)


class Busy(World):
    """Somebody else always writes the lock first."""

    def write(self, node: str, request: machine.Write) -> bool:
        return request.what != machine.LOCK and super().write(node, request)


def test_objects_that_change_without_pause_stop_the_change() -> None:
    code, message = refusal_in(Busy())
    assert (code, "its lock is changed by others" in message) == ("BG-CHANGE-109", True)


@pytest.mark.parametrize(
    ("node", "holder", "settings"),
    [
        ("", "a", Settings()),
        ("n1", "", Settings()),
        ("n1", "a", Settings(budget=0)),
        ("n1", "a", Settings(lock_s=-1)),
        ("n1", "a", Settings(lock_s=float("nan"))),
    ],
)
def test_what_cannot_be_meant_is_refused(node: str, holder: str, settings: Settings) -> None:
    with pytest.raises(GpuError, match="BG-CHANGE-101"):
        NodeChange(node, holder, [], settings)


def test_only_a_change_that_has_not_ended_has_a_holder() -> None:
    cut_off = [Entry("a", machine.LOCK, machine.BEGUN)]
    ended = [*cut_off, Entry("a", machine.UNLOCK, machine.DONE)]
    assert (machine.holder_of([]), machine.holder_of(cut_off), machine.holder_of(ended)) == ("", "a", "")
