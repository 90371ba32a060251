"""Rolls over the nodes of a lab, a service that is used meanwhile, and everything that the API tells of the nodes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils import change_machine as machine
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import connect
from ansible_collections.baremetal.gpu.plugins.module_utils.node_lease import CLAIM_ANNOTATION, REASON_ANNOTATION
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import NODES, Cluster
from ansible_collections.baremetal.gpu.plugins.plugin_utils.change_journal import read
from ansible_collections.baremetal.gpu.tests.support.breaking import Spark, until
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab
from ansible_collections.baremetal.gpu.tests.support.playbooks import PlaybookRun

TASKS = Path(__file__).resolve().parents[1] / "lab/playbooks"
"""Files of tasks that change a node."""


@dataclass(frozen=True)
class Roll:
    """Nodes in the order of the inventory, and rolls over them with journals of a test's own."""

    system: Spark
    lab: Lab
    journal: Path
    nodes: tuple[str, ...]

    def options(self, **variables: Any) -> tuple[str, ...]:
        settings = {"node_change_journal": str(self.journal), "node_change_hosts": "spark", **variables}
        return (f"--extra-vars={json.dumps(settings)}",)

    def node(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.system.kubectl("get", "node", name, "--output=json"))
        return found

    def annotations(self, name: str) -> dict[str, str]:
        """What a change has left on a node."""
        found = self.node(name)["metadata"]["annotations"]
        return {key: found[key] for key in (CLAIM_ANNOTATION, REASON_ANNOTATION) if key in found}

    def cordoned(self, name: str) -> bool:
        return bool(self.node(name)["spec"].get("unschedulable"))

    def boot(self, name: str) -> str:
        """Which boot the host is in, by its console."""
        return self.system.shell(name, "cat /proc/sys/kernel/random/boot_id").strip()

    def require_in(self) -> None:
        """The nodes take pods, nothing of a change is left on them, and their journals have ended."""
        for name in self.nodes:
            assert (name, self.cordoned(name), self.annotations(name)) == (name, False, {})
            assert machine.unfinished(read(self.journal, name)) == ()


def changed_nodes(run: PlaybookRun) -> list[str]:
    """Nodes that a roll came to, each once, in its order."""
    return list(dict.fromkeys(result.host for result in run.results if result.module == "baremetal.gpu.node_change"))


def evicted(run: PlaybookRun, prefix: str) -> list[str]:
    """Pods with such names that the drains of a roll evicted."""
    drains = [
        result.result.get("drained") or {} for result in run.results if result.module == "baremetal.gpu.node_change"
    ]
    pods = [each["pod"].partition("/")[2] for drain in drains for each in drain.get("evicted", ())]
    return [pod for pod in pods if pod.startswith(prefix)]


# ---- What the API tells of the nodes ----


@dataclass(frozen=True)
class Seen:
    """A node as the API told it at one moment."""

    name: str
    cordoned: bool
    claimed: bool
    ready: bool
    boot_id: str


class NodeWatch:
    """Every state of the nodes in the API's own order: a list, and a watch from there on that leaves none out."""

    def __init__(self, kubeconfig: Path) -> None:
        self._cluster = Cluster(connect({"kubeconfig": str(kubeconfig)}), 30)
        self.seen: list[Seen] = []
        self._error: Exception | None = None
        self._end = threading.Event()
        listed = self._cluster.objects(NODES, self._take, self.seen.clear)
        self._thread = threading.Thread(target=self._follow, args=(listed.resource_version,), daemon=True)
        self._thread.start()

    def _take(self, item: Mapping[str, Any]) -> None:
        status, annotations = item.get("status", {}), item["metadata"].get("annotations", {})
        ready = [each["status"] for each in status.get("conditions", []) if each["type"] == "Ready"]
        self.seen.append(
            Seen(
                item["metadata"]["name"],
                bool(item.get("spec", {}).get("unschedulable")),
                CLAIM_ANNOTATION in annotations,
                ready == ["True"],
                status.get("nodeInfo", {}).get("bootID", ""),
            )
        )

    def _follow(self, version: str) -> None:
        try:
            while not self._end.is_set():
                for event in self._cluster.events(NODES, version, 2.0):
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._take(event["object"])
        except Exception as error:
            # Told to the test, which is another thread.
            self._error = error

    def finish(self) -> tuple[Seen, ...]:
        """End the watch. Raises what ended it before: then states may be missing, and nothing is proved by the others."""
        self._end.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return tuple(self.seen)


def turns(seen: Iterable[Seen]) -> list[str]:
    """Nodes in the order in which they were taken out. Raises AssertionError when two were out at once, or one was disturbed while in."""
    now: dict[str, Seen] = {}
    order: list[str] = []
    for each in seen:
        before = now.get(each.name)
        now[each.name] = each
        if each.cordoned and not (before and before.cordoned):
            order.append(each.name)
        out = sorted(name for name, state in now.items() if state.cordoned or state.claimed)
        assert len(out) <= 1, f"{', '.join(out)} are out at once"
        assert each.cordoned == each.claimed, f"{each} is cordoned by another change, or in while its change goes on"
        assert each.ready or each.cordoned, f"{each.name} is not Ready and takes pods"
        assert each.cordoned or not before or each.boot_id == before.boot_id, (
            f"{each.name} was rebooted while it was in"
        )
    return order


# ---- A service and its client ----

CLIENT = "roll-client"
_ASK = (
    "while :; do status=$(wget -S -T 10 -O /dev/null http://$ROLL_SERVICE_HOST/ 2>&1 | "
    "sed -n 's/^ *HTTP[^ ]* \\([0-9]*\\).*/\\1/p'); echo \"$(cut -d ' ' -f 1 /proc/uptime) ${status:-none}\"; sleep 0.1; done"
)


@dataclass(frozen=True)
class Requests:
    """What a client that asks one after the other got: of each the second (of its host's uptime) and the HTTP status, or ``none``."""

    answers: tuple[tuple[float, str], ...]

    @property
    def lost(self) -> list[int]:
        return [number for number, (_at, status) in enumerate(self.answers) if status != "200"]

    @property
    def longest_s(self) -> float:
        """The longest time between two answers."""
        times = [at for at, _status in self.answers]
        return max((after - before for before, after in pairwise(times)), default=0.0)

    def require_none_lost_but_in_flight(self, ended: int) -> None:
        """One that is under way when its server ends is lost with it; the next is answered by another server."""
        lost = self.lost
        assert len(self.answers) > 100, "a client that asked so seldom has measured nothing"
        assert len(lost) <= ended, [self.answers[number] for number in lost]
        assert [number for number in lost if number + 1 in lost] == [], [self.answers[number] for number in lost]

    def __str__(self) -> str:
        return f"{len(self.answers)} requests, {len(self.lost)} lost, the longest pause {self.longest_s:.1f} s"


@dataclass(frozen=True)
class Service:
    """Three replicas under a budget that keeps two, and their client on calypso. ``since`` is the client's first request that counts."""

    system: Spark
    since: int = 0

    def requests(self) -> Requests:
        lines = [line.split() for line in self.system.kubectl("logs", CLIENT).splitlines()[self.since :]]
        return Requests(tuple((float(at), status) for at, status in lines))

    def places(self) -> list[str]:
        """The node of each replica."""
        found = self.system.kubectl("get", "pods", "--selector=app=roll", "--output=jsonpath={.items[*].spec.nodeName}")
        return sorted(found.split())

    def await_ready(self) -> None:
        path = "--output=jsonpath={.status.readyReplicas}"
        until(lambda: self.system.kubectl("get", "deployment", "roll", path) == "3", 120, self.places)


@contextmanager
def service(system: Spark, image: str, selector: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Have it at work on nodes with these labels, and remove it at the end."""
    path = "/root/roll.yml"
    text = yaml.safe_dump_all(_objects(image, selector or {}))
    system.shell("calypso", f"cat > {path} <<'END'\n{text}\nEND")
    try:
        system.kubectl("apply", "--filename", path)
        found = Service(system)
        found.await_ready()
        # The client is there before the servers are; what it asked until all of them answered says nothing.
        until(lambda: {status for _at, status in found.requests().answers[-20:]} == {"200"}, 120)
        yield Service(system, len(found.requests().answers))
    finally:
        system.kubectl("delete", "--filename", path, "--wait=true", "--ignore-not-found=true")


def shop_image(system: Spark) -> str:
    """The image of the workload that the lab always has."""
    return system.kubectl("get", "pods", "--output=jsonpath={.items[0].spec.containers[0].image}")


def _objects(image: str, selector: Mapping[str, str]) -> list[dict[str, Any]]:
    """Servers that go on for a while after they have been told to end, because the service still sends them clients."""
    labels = {"app": "roll"}
    chosen = {"matchLabels": labels}
    server = {
        **_container(
            "server", image, "mkdir -p /tmp/www && hostname > /tmp/www/index.html && exec httpd -f -p 80 -h /tmp/www"
        ),
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "10"]}}},
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": chosen,
    }
    servers = {
        "terminationGracePeriodSeconds": 20,
        "nodeSelector": dict(selector),
        "tolerations": [{"operator": "Exists", "key": "nvidia.com/gpu"}],
        "topologySpreadConstraints": [spread],
        "containers": [server],
    }
    client = {
        "nodeName": "calypso",
        "terminationGracePeriodSeconds": 0,
        "containers": [_container("client", image, _ASK)],
    }
    named = {"metadata": {"name": "roll"}}
    return [
        {"apiVersion": "v1", "kind": "Service", **named, "spec": {"selector": labels, "ports": [{"port": 80}]}},
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            **named,
            "spec": {"minAvailable": 2, "selector": chosen},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            **named,
            "spec": {
                "replicas": 3,
                "selector": chosen,
                "template": {"metadata": {"labels": labels}, "spec": servers},
            },
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": CLIENT}, "spec": client},
    ]


def _container(name: str, image: str, command: str) -> dict[str, Any]:
    return {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", command]}
