"""A server and its agent go from one minor release of Kubernetes to the next, and the programs that run are really of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.support.breaking import Spark
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab
from ansible_collections.baremetal.gpu.tests.support.playbooks import PlaybookRun, good
from ansible_collections.baremetal.gpu.tests.support.rolls import (
    Roll,
    changed_nodes,
    evicted,
    service,
    shop_image,
)
from lab.versions import version

pytestmark = [pytest.mark.lab, pytest.mark.full]

SERVER, AGENT = "calypso", "spark-01"
BEFORE, AFTER = version("k3s_before"), version("k3s")
UPGRADE = "k3s_upgrade.yml"


def releases(system: Spark) -> dict[str, str]:
    """What the API says of itself and of each kubelet."""
    api = json.loads(system.kubectl("version", "--output=json"))["serverVersion"]["gitVersion"]
    nodes = json.loads(system.kubectl("get", "nodes", "--output=json"))["items"]
    kubelets = {item["metadata"]["name"]: item["status"]["nodeInfo"]["kubeletVersion"] for item in nodes}
    return {"api": api, **kubelets}


def all_at(release: str) -> dict[str, str]:
    return {"api": release, SERVER: release, AGENT: release}


def starts(lab: Lab) -> dict[str, str]:
    """systemd's identifier of each running service; a changed one is a restart."""
    return {
        host: lab.ssh(host, f"systemctl show --value --property=InvocationID {unit}").stdout.strip()
        for host, unit in ((SERVER, "k3s"), (AGENT, "k3s-agent"))
    }


@pytest.fixture(scope="module")
def before(before_lab: Lab) -> Lab:
    """Both at the release before, proved. The tests below go on from each other in their order."""
    run = before_lab.play("spark.yml")
    good(run)
    assert run.verdict["proven"] is True
    assert releases(Spark(before_lab.root, before_lab.state)) == all_at(BEFORE)
    return before_lab


@pytest.fixture
def roll(before: Lab, tmp_path: Any) -> Roll:
    return Roll(Spark(before.root, before.state), before, tmp_path / "journal", (AGENT,))


def upgrade(roll: Roll, *options: str) -> PlaybookRun:
    return roll.lab.play(UPGRADE, *roll.options(site_k3s_release=AFTER), *options)


@pytest.mark.parametrize("mode", [("--check",), ()], ids=["predicted", "run"])
def test_an_agent_does_not_go_before_its_server(roll: Roll, mode: tuple[str, ...]) -> None:
    running = starts(roll.lab)
    refused = upgrade(roll, f"--limit={AGENT}", *mode)
    assert refused.returncode != 0
    assert "BG-K3S-005" in "\n".join(refused.failures())
    assert (releases(roll.system), starts(roll.lab)) == (all_at(BEFORE), running)
    roll.require_in()


def test_an_upgrade_is_predicted_then_made_server_first_and_nobody_notices(
    roll: Roll, record_property: Callable[[str, object], None]
) -> None:
    running = starts(roll.lab)
    predicted = upgrade(roll, "--check")
    good(predicted)
    assert (releases(roll.system), starts(roll.lab), roll.journal.exists()) == (all_at(BEFORE), running, False)
    with service(roll.system, shop_image(roll.system)) as served:
        assert set(served.places()) == {SERVER, AGENT}
        run = upgrade(roll)
        good(run)
        served.requests().require_none_lost_but_in_flight(len(evicted(run, "roll-")))
        record_property("told", f"{run.seconds:.0f} s; {served.requests()}")
    assert releases(roll.system) == all_at(AFTER)
    assert predicted.changed() == run.changed()
    begun = [result.host for result in run.results if result.changed and result.handler]
    assert begun == [SERVER, AGENT]
    assert changed_nodes(run) == [AGENT], "a server is not drained"
    assert all(each != running[host] for host, each in starts(roll.lab).items())
    for host in (SERVER, AGENT):
        kept = roll.lab.ssh(host, "/usr/local/bin/k3s.previous --version").stdout
        assert BEFORE in kept, "the way back is there"
    roll.require_in()


def test_a_second_upgrade_changes_nothing_and_the_node_is_proved(roll: Roll) -> None:
    running = starts(roll.lab)
    again = upgrade(roll)
    good(again)
    assert (again.changed(), starts(roll.lab)) == (set(), running)
    assert releases(roll.system) == all_at(AFTER)
    proof = roll.lab.play("spark.yml", *roll.options(site_k3s_release=AFTER))
    good(proof)
    assert (proof.verdict["proven"], proof.changed(), starts(roll.lab)) == (True, set(), running)


def test_a_server_never_goes_back(roll: Roll) -> None:
    running = starts(roll.lab)
    refused = roll.lab.play(UPGRADE, *roll.options(site_k3s_release=BEFORE))
    assert refused.returncode != 0
    assert "BG-K3S-020" in "\n".join(refused.failures())
    assert (releases(roll.system), starts(roll.lab)) == (all_at(AFTER), running)
