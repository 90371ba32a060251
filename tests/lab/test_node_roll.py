"""Changes of a node with everything real: the role, the API, the kubelet, reboots of the host, and clients of what runs on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils import change_machine as machine
from ansible_collections.baremetal.gpu.plugins.module_utils.node_lease import CLAIM_ANNOTATION, REASON_ANNOTATION
from ansible_collections.baremetal.gpu.plugins.plugin_utils.change_journal import read
from ansible_collections.baremetal.gpu.tests.support.breaking import HEALTHY_AFTER_S, Spark, until
from ansible_collections.baremetal.gpu.tests.support.killing import run_until
from ansible_collections.baremetal.gpu.tests.support.playbooks import PlaybookRun

pytestmark = pytest.mark.lab

NODE = "spark-01"
PLAYBOOKS = Path(__file__).with_name("playbooks")
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


class Roll:
    """The node, and rolls over it with a journal of this test's own."""

    def __init__(self, system: Spark, lab: Any, journal: Path) -> None:
        self.system, self.lab, self.journal = system, lab, journal

    def options(self, **variables: Any) -> tuple[str, ...]:
        settings = {"node_change_journal": str(self.journal), "node_change_hosts": "spark", **variables}
        return (f"--extra-vars={json.dumps(settings)}",)

    def settings(self, pods: int) -> tuple[str, ...]:
        """Options of a roll that changes how many pods the kubelet runs, which restarts the agent."""
        tasks = str(PLAYBOOKS / "agent_settings.yml")
        return self.options(node_change_title=f"max-pods-{pods}", node_change_tasks=tasks, change_pods=pods)

    def node(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.system.kubectl("get", "node", NODE, "--output=json"))
        return found

    def annotations(self) -> dict[str, str]:
        return {
            name: value
            for name, value in self.node()["metadata"]["annotations"].items()
            if name in (CLAIM_ANNOTATION, REASON_ANNOTATION)
        }

    def cordoned(self) -> bool:
        return bool(self.node()["spec"].get("unschedulable"))

    def pods(self) -> str:
        return str(self.node()["status"]["capacity"]["pods"])

    def require_in(self) -> None:
        """The node takes pods, nothing of a change is left on it, and its journal has ended."""
        assert (self.cordoned(), self.annotations()) == (False, {})
        assert machine.unfinished(read(self.journal, NODE)) == ()


@pytest.fixture
def roll(breakable: Spark, spark: Any, tmp_path: Path) -> Iterator[Roll]:
    found = Roll(breakable, spark.lab, tmp_path / "journal")
    yield found
    found.require_in()


def good(run: PlaybookRun) -> None:
    assert run.returncode == 0, "\n".join(run.failures()) or run.output[-3000:]


@contextmanager
def used(system: Spark, image: str) -> Iterator[None]:
    """A service of three replicas under a budget, at least one of them on the node, and a client that asks it all the time."""
    path = "/root/roll.yml"
    text = yaml.safe_dump_all(workload(image))
    system.shell("calypso", f"cat > {path} <<'END'\n{text}\nEND")
    try:
        system.kubectl("apply", "--filename", path)
        until(
            lambda: system.kubectl("get", "deployment", "roll", "--output=jsonpath={.status.readyReplicas}") == "3", 120
        )
        until(lambda: len(system.kubectl("logs", "roll-client").splitlines()) > 20, 120)
        placed = system.kubectl("get", "pods", "--selector=app=roll", "--output=jsonpath={.items[*].spec.nodeName}")
        assert set(placed.split()) == {NODE, "calypso"}
        yield
        lines = [line.split() for line in system.kubectl("logs", "roll-client").splitlines()]
        lost = [number for number, line in enumerate(lines) if line[1] != "200"]
        # One that is under way when its server ends is lost with it; the next one is answered by another server.
        assert len(lost) <= placed.split().count(NODE), [lines[number] for number in lost]
        assert [number for number in lost if number + 1 in lost] == []
        assert len(lines) > 100
        print(f"{len(lines)} requests, {len(lost)} lost")
    finally:
        system.kubectl("delete", "--filename", path, "--wait=true", "--ignore-not-found=true")


def workload(image: str) -> list[dict[str, Any]]:
    """Servers that go on for a while after they have been told to end, because the service still sends them clients."""
    server = {
        "name": "server",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [
            "sh",
            "-c",
            "mkdir -p /tmp/www && hostname > /tmp/www/index.html && exec httpd -f -p 80 -h /tmp/www",
        ],
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "10"]}}},
    }
    client = (
        "while :; do status=$(wget -S -T 10 -O /dev/null http://$ROLL_SERVICE_HOST/ 2>&1 | "
        "sed -n 's/^ *HTTP[^ ]* \\([0-9]*\\).*/\\1/p'); echo \"$(cut -d ' ' -f 1 /proc/uptime) ${status:-none}\"; sleep 0.1; done"
    )
    labels = {"app": "roll"}
    selector = {"matchLabels": labels}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "roll"},
            "spec": {"selector": labels, "ports": [{"port": 80}]},
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "roll"},
            "spec": {"minAvailable": 2, "selector": selector},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "roll"},
            "spec": {
                "replicas": 3,
                "selector": selector,
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "terminationGracePeriodSeconds": 20,
                        "tolerations": [{"operator": "Exists", "key": "nvidia.com/gpu"}],
                        "topologySpreadConstraints": [spread],
                        "containers": [server],
                    },
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "roll-client"},
            "spec": {
                "nodeName": "calypso",
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "client",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["sh", "-c", client],
                    }
                ],
            },
        },
    ]


def test_a_reboot_loses_no_request_of_a_service_under_a_budget(roll: Roll, spark: Any) -> None:
    image = roll.system.kubectl("get", "pods", "--output=jsonpath={.items[0].spec.containers[0].image}")
    before = roll.system.node()["boot_id"]
    with used(roll.system, image):
        run = roll.lab.play("reboot.yml", *roll.options())
        good(run)
        after = roll.system.node()
        assert (after["Ready"], after["boot_id"] != before) == ("True", True)
    assert [result.status for result in run.results if result.module == "ansible.builtin.reboot"] == ["ok"]
    roll.require_in()


def test_a_change_is_predicted_made_once_and_taken_back(roll: Roll) -> None:
    ordinary = roll.pods()
    predicted = roll.lab.play("node_change.yml", "--check", *roll.settings(120))
    good(predicted)
    assert (roll.cordoned(), roll.pods(), roll.journal.exists()) == (False, ordinary, False)
    restarts = "baremetal.gpu.k3s_agent : Restart k3s-agent"
    assert (NODE, restarts) in predicted.changed()
    good(roll.lab.play("node_change.yml", *roll.settings(120)))
    assert roll.pods() == "120"
    roll.require_in()
    good(roll.lab.play("spark.yml"))
    assert roll.pods() == ordinary


def test_a_controller_that_is_killed_is_followed_by_one_that_finishes(roll: Roll, point: tuple[str, str]) -> None:
    def reached() -> bool:
        return point in [(entry.step, entry.phase) for entry in read(roll.journal, NODE)]

    killed = run_until(roll.lab, "node_change.yml", reached, *roll.settings(121))
    assert not killed.ended, killed.output[-3000:]
    # It may have come further before it was dead.
    begun = {entry.step for entry in read(roll.journal, NODE)}
    if machine.DRAIN in begun and machine.ADMIT not in begun:
        assert (roll.cordoned(), roll.annotations()[REASON_ANNOTATION]) == (True, machine.UNFINISHED)
    # Another change does not go on from there; where this one had just ended, there is nothing to go on from.
    if machine.unfinished(read(roll.journal, NODE)):
        other = roll.lab.play("node_change.yml", *roll.settings(99))
        assert other.returncode != 0
        assert "BG-CHANGE-111" in other.failures()[0]
    again = roll.lab.play("node_change.yml", *roll.settings(121))
    good(again)
    assert roll.pods() == "121"
    roll.require_in()
    good(roll.lab.play("spark.yml"))


def test_a_host_that_does_not_come_back_stays_out_with_its_code_and_is_finished_later(roll: Roll) -> None:
    tasks = str(PLAYBOOKS / "lose_ssh.yml")
    options = roll.options(node_change_tasks=tasks, node_change_reboot_timeout=15)
    try:
        lost = roll.lab.play("reboot.yml", *options)
        assert lost.returncode != 0
        assert NO_BOOT in "\n".join(lost.failures())
        assert (roll.cordoned(), roll.annotations()[REASON_ANNOTATION]) == (True, NO_BOOT)
    finally:
        roll.system.shell(NODE, "systemctl enable --now ssh.service")
    until(lambda: roll.lab.ssh(NODE, "true", check=False).returncode == 0, HEALTHY_AFTER_S)
    booted = roll.system.shell(NODE, "cat /proc/sys/kernel/random/boot_id")
    good(roll.lab.play("reboot.yml", *roll.options(node_change_reboot_timeout=240)))
    assert roll.system.shell(NODE, "cat /proc/sys/kernel/random/boot_id") == booted, "it is not rebooted twice"
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
