"""A roll over all agents of a cluster while a service runs on nothing but them: never both out, and nobody notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import change_machine as machine
from ansible_collections.baremetal.gpu.plugins.module_utils.node_lease import REASON_ANNOTATION
from ansible_collections.baremetal.gpu.plugins.plugin_utils.change_journal import read
from ansible_collections.baremetal.gpu.tests.support.breaking import HEALTHY_AFTER_S, Spark, until
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab
from ansible_collections.baremetal.gpu.tests.support.playbooks import good
from ansible_collections.baremetal.gpu.tests.support.rolls import (
    TASKS,
    NodeWatch,
    Roll,
    Service,
    changed_nodes,
    evicted,
    service,
    shop_image,
    turns,
)

pytestmark = [pytest.mark.lab, pytest.mark.full]

FIRST, SECOND = AGENTS = ("spark-01", "spark-03")
ONLY_AGENTS = {"accelerator": "gb10"}


@pytest.fixture(scope="module")
def pair(pair_lab: Lab) -> Lab:
    """Both agents in the cluster, and proved."""
    run = pair_lab.play("spark.yml")
    good(run)
    assert set(run.verdict["hosts"]) >= set(AGENTS)
    assert run.verdict["proven"] is True
    return pair_lab


@pytest.fixture
def roll(pair: Lab, tmp_path: Path) -> Iterator[Roll]:
    found = Roll(Spark(pair.root, pair.state), pair, tmp_path / "journal", AGENTS)
    found.require_in()
    yield found
    found.require_in()


@pytest.fixture
def watch(roll: Roll) -> Iterator[NodeWatch]:
    found = NodeWatch(roll.lab.state / "kubeconfig/calypso.yaml")
    yield found
    found.finish()


@pytest.fixture
def served(roll: Roll) -> Iterator[Service]:
    """The service on both agents, and on no other node: when both are out it is gone."""
    with service(roll.system, shop_image(roll.system), ONLY_AGENTS) as found:
        assert set(found.places()) == set(AGENTS)
        yield found


def boots(roll: Roll) -> dict[str, str]:
    return {name: roll.boot(name) for name in AGENTS}


def test_all_agents_are_rebooted_one_after_the_other_and_no_request_is_lost(
    roll: Roll, watch: NodeWatch, served: Service, record_property: Callable[[str, object], None]
) -> None:
    before = boots(roll)
    run = roll.lab.play("reboot.yml", *roll.options())
    good(run)
    requests, ended = served.requests(), evicted(run, "roll-")
    assert changed_nodes(run) == turns(watch.finish()) == list(AGENTS)
    after = boots(roll)
    assert all(after[name] != before[name] for name in AGENTS)
    # Each replica had to move at least once, since each agent was out.
    assert len(ended) >= 3
    requests.require_none_lost_but_in_flight(len(ended))
    record_property("told", f"{requests}; {len(ended)} replicas evicted")
    for name in AGENTS:
        steps = [entry.step for entry in read(roll.journal, name) if entry.phase == machine.DONE]
        # The lock and what is out are taken anew whenever the host's tasks have done a step.
        assert tuple(dict.fromkeys(steps)) == machine.STEPS


def test_a_first_agent_that_fails_leaves_the_second_untouched_and_a_rerun_does_both(
    roll: Roll, watch: NodeWatch, served: Service, record_property: Callable[[str, object], None]
) -> None:
    before = boots(roll)
    spec = roll.node(SECOND)["spec"]
    try:
        options = roll.options(node_change_tasks=str(TASKS / "lose_ssh.yml"), node_change_reboot_timeout=15)
        failed = roll.lab.play("reboot.yml", *options)
        assert failed.returncode != 0
        assert "BG-CHANGE-108" in "\n".join(failed.failures())
        assert changed_nodes(failed) == [FIRST]
        assert (roll.cordoned(FIRST), roll.annotations(FIRST)[REASON_ANNOTATION]) == (True, "BG-CHANGE-108")
        assert (roll.boot(SECOND), roll.annotations(SECOND), read(roll.journal, SECOND)) == (before[SECOND], {}, [])
        assert roll.node(SECOND)["spec"] == spec
        # Nor is it touched by a roll that leaves the first one alone: the budget is spent.
        other = roll.lab.play("reboot.yml", *roll.options(), f"--limit={SECOND}")
        assert other.returncode != 0
        assert "BG-CHANGE-104" in "\n".join(other.failures())
        assert (roll.boot(SECOND), roll.cordoned(SECOND)) == (before[SECOND], False)
    finally:
        # Of both: whichever it was, the next test needs its host.
        for name in AGENTS:
            roll.system.shell(name, "systemctl enable --now ssh.service")
    until(lambda: roll.lab.ssh(FIRST, "true", check=False).returncode == 0, HEALTHY_AFTER_S)
    rebooted = roll.boot(FIRST)
    assert rebooted != before[FIRST]
    again = roll.lab.play("reboot.yml", *roll.options(node_change_reboot_timeout=240))
    good(again)
    assert (roll.boot(FIRST), roll.boot(SECOND) != before[SECOND]) == (rebooted, True), (
        "the first is not rebooted twice"
    )
    ended = evicted(failed, "roll-") + evicted(again, "roll-")
    served.requests().require_none_lost_but_in_flight(len(ended))
    assert turns(watch.finish()) == list(AGENTS)
    record_property("told", f"{served.requests()}; {len(ended)} replicas evicted")
