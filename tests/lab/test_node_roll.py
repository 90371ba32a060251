"""Changes of a node with everything real: the role, the API, the kubelet, reboots of the host, and clients of what runs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import change_machine as machine
from ansible_collections.baremetal.gpu.plugins.module_utils.node_lease import REASON_ANNOTATION
from ansible_collections.baremetal.gpu.plugins.plugin_utils.change_journal import read
from ansible_collections.baremetal.gpu.tests.support.breaking import HEALTHY_AFTER_S, Spark, until
from ansible_collections.baremetal.gpu.tests.support.killing import run_until
from ansible_collections.baremetal.gpu.tests.support.playbooks import good
from ansible_collections.baremetal.gpu.tests.support.rolls import TASKS, Roll, evicted, service, shop_image

pytestmark = pytest.mark.lab

NODE = "spark-01"
NO_BOOT = "BG-CHANGE-108"

# Where a controller is killed: as soon as the journal has this line. The first two in every run of the tests.
POINTS = (
    (machine.CHANGE, machine.BEGUN),
    (machine.ADMIT, machine.BEGUN),
    (machine.LOCK, machine.BEGUN),
    (machine.SLOT, machine.DONE),
    (machine.CLAIM, machine.BEGUN),
    (machine.DRAIN, machine.BEGUN),
    (machine.DRAIN, machine.DONE),
    (machine.CHANGE, machine.DONE),
    (machine.PROVE, machine.BEGUN),
    (machine.FREE, machine.BEGUN),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "point" in metafunc.fixturenames:
        points = POINTS if metafunc.config.getoption("--full") else POINTS[:2]
        metafunc.parametrize("point", points, ids=["-".join(point) for point in points])


def settings(roll: Roll, pods: int) -> tuple[str, ...]:
    """Options of a roll that changes how many pods the kubelet runs, which restarts the agent."""
    tasks = str(TASKS / "agent_settings.yml")
    return roll.options(node_change_title=f"max-pods-{pods}", node_change_tasks=tasks, change_pods=pods)


def pods(roll: Roll) -> str:
    return str(roll.node(NODE)["status"]["capacity"]["pods"])


@pytest.fixture
def roll(breakable: Spark, spark: Any, tmp_path: Path) -> Iterator[Roll]:
    found = Roll(breakable, spark.lab, tmp_path / "journal", (NODE,))
    yield found
    found.require_in()


def test_a_reboot_loses_no_request_of_a_service_under_a_budget(
    roll: Roll, record_property: Callable[[str, object], None]
) -> None:
    before = roll.boot(NODE)
    with service(roll.system, shop_image(roll.system)) as served:
        assert set(served.places()) == {NODE, "calypso"}
        run = roll.lab.play("reboot.yml", *roll.options())
        good(run)
        ended = evicted(run, "roll-")
        assert ended != []
        served.requests().require_none_lost_but_in_flight(len(ended))
        record_property("told", str(served.requests()))
    assert (roll.system.node()["Ready"], roll.boot(NODE) != before) == ("True", True)
    assert [result.status for result in run.results if result.module == "ansible.builtin.reboot"] == ["ok"]
    roll.require_in()


def test_a_change_is_predicted_made_once_and_taken_back(roll: Roll) -> None:
    ordinary = pods(roll)
    predicted = roll.lab.play("node_change.yml", "--check", *settings(roll, 120))
    good(predicted)
    assert (roll.cordoned(NODE), pods(roll), roll.journal.exists()) == (False, ordinary, False)
    restarts = "baremetal.gpu.k3s_agent : Restart k3s-agent"
    assert (NODE, restarts) in predicted.changed()
    good(roll.lab.play("node_change.yml", *settings(roll, 120)))
    assert pods(roll) == "120"
    roll.require_in()
    good(roll.lab.play("spark.yml"))
    assert pods(roll) == ordinary


def test_a_controller_that_is_killed_is_followed_by_one_that_finishes(roll: Roll, point: tuple[str, str]) -> None:
    def reached() -> bool:
        return point in [(entry.step, entry.phase) for entry in read(roll.journal, NODE)]

    killed = run_until(roll.lab, "node_change.yml", reached, *settings(roll, 121))
    assert not killed.ended, killed.output[-3000:]
    # It may have come further before it was dead.
    begun = {entry.step for entry in read(roll.journal, NODE)}
    if machine.DRAIN in begun and machine.ADMIT not in begun:
        assert (roll.cordoned(NODE), roll.annotations(NODE)[REASON_ANNOTATION]) == (True, machine.UNFINISHED)
    # Another change does not go on from there; where this one had just ended, there is nothing to go on from.
    if machine.unfinished(read(roll.journal, NODE)):
        other = roll.lab.play("node_change.yml", *settings(roll, 99))
        assert other.returncode != 0
        assert "BG-CHANGE-111" in other.failures()[0]
    again = roll.lab.play("node_change.yml", *settings(roll, 121))
    good(again)
    assert pods(roll) == "121"
    roll.require_in()
    good(roll.lab.play("spark.yml"))


def test_a_host_that_does_not_come_back_stays_out_with_its_code_and_is_finished_later(roll: Roll) -> None:
    tasks = str(TASKS / "lose_ssh.yml")
    options = roll.options(node_change_tasks=tasks, node_change_reboot_timeout=15)
    try:
        lost = roll.lab.play("reboot.yml", *options)
        assert lost.returncode != 0
        assert NO_BOOT in "\n".join(lost.failures())
        assert (roll.cordoned(NODE), roll.annotations(NODE)[REASON_ANNOTATION]) == (True, NO_BOOT)
    finally:
        roll.system.shell(NODE, "systemctl enable --now ssh.service")
    until(lambda: roll.lab.ssh(NODE, "true", check=False).returncode == 0, HEALTHY_AFTER_S)
    booted = roll.boot(NODE)
    good(roll.lab.play("reboot.yml", *roll.options(node_change_reboot_timeout=240)))
    assert roll.boot(NODE) == booted, "it is not rebooted twice"
    roll.require_in()


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"node_change_budget": 0}, "BG-CHANGE-101"),
        ({"node_change_drain": {"timeout_s": -1}}, "BG-CHANGE-101"),
        ({"node_change_title": "two words"}, "BG-CHANGE-101"),
        ({"node_change_node_name": "nobody"}, "BG-CHANGE-112"),
    ],
)
def test_what_cannot_be_is_refused_before_the_node_is_cordoned(roll: Roll, wrong: dict[str, Any], code: str) -> None:
    run = roll.lab.play("reboot.yml", *roll.options(**wrong))
    assert run.returncode != 0
    assert code in run.failures()[0]
