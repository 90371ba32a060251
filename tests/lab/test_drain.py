"""Drains against a real API server with its disruption controller; only kubelets are stood in for."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import eviction
from ansible_collections.baremetal.gpu.plugins.module_utils.drain_plan import Pod, parse_pod
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import connect
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import Cluster
from ansible_collections.baremetal.gpu.plugins.modules import node_drain
from ansible_collections.baremetal.gpu.tests.support.real_cluster import RealCluster, running
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import run_module
from tools.bench.cluster import kubectl_folder

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with running(tmp_path_factory.mktemp("drain")) as found:
        yield found


@pytest.fixture
def node(cluster: RealCluster, request: pytest.FixtureRequest) -> str:
    """A node of the test's own, which is also the name of its app."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:40].rstrip("-")
    cluster.add_node(name)
    return str(name)


def drain(cluster: RealCluster, node: str, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    values = {"kubeconfig": cluster.kubeconfig, "name": node, "timeout_s": 30, **options}
    return run_module(node_drain, values, check_mode=check_mode)


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)


def add_counted_budget(cluster: RealCluster, app: str, least: int, pods: int) -> None:
    """A budget whose controller has seen that so many pods are healthy."""
    cluster.add_budget(app, app, least)
    until(lambda: cluster.budget_status(app).get("currentHealthy") == pods)


def test_a_budget_that_never_allows_is_named_with_its_figures(cluster: RealCluster, node: str) -> None:
    cluster.add_pod(f"{node}-0", node, node)
    add_counted_budget(cluster, node, 1, 1)
    result = drain(cluster, node, timeout_s=2)
    assert (result["code"], result["changed"], cluster.cordoned(node)) == ("BG-DRAIN-106", False, False)
    figures = {"current_healthy": 1, "desired_healthy": 1, "disruptions_allowed": 0}
    assert result["blocked"][0]["budgets"] == [{"name": f"default/{node}", **figures}]


def test_a_budget_that_frees_later_lets_the_drain_end(cluster: RealCluster, node: str) -> None:
    cluster.add_node(f"{node}-other")
    cluster.add_pod(f"{node}-0", node, node)
    add_counted_budget(cluster, node, 1, 1)
    threading.Timer(3, lambda: cluster.add_pod(f"{node}-1", f"{node}-other", node)).start()
    result = drain(cluster, node)
    assert (result.get("code"), cluster.pods_on(node), cluster.cordoned(node)) == (None, [], True)
    assert result["seconds"] > 2


def test_pods_under_a_budget_go_in_turns_when_their_successors_come(cluster: RealCluster, node: str) -> None:
    """Each eviction uses up the one disruption that is allowed; a successor elsewhere gives it back."""
    cluster.add_node(f"{node}-other")
    for number in range(3):
        cluster.add_pod(f"{node}-{number}", node, node)
    add_counted_budget(cluster, node, 2, 3)
    ended = threading.Event()

    def replace() -> None:
        missing = 0
        while not ended.wait(0.1):
            while missing < 3 - len(cluster.pods_on(node)):
                cluster.add_pod(f"{node}-new-{missing}", f"{node}-other", node)
                missing += 1

    successor = threading.Thread(target=replace)
    successor.start()
    try:
        result = drain(cluster, node)
    finally:
        ended.set()
        successor.join()
    assert (result.get("code"), len(result["evicted"]), cluster.pods_on(node)) == (None, 3, [])
    assert result["in_turns"] == [{"budget": f"default/{node}", "pods": 3, "disruptions_allowed": 1}]


def test_a_pod_stuck_while_ending_is_no_success(cluster: RealCluster, node: str) -> None:
    cluster.add_pod(f"{node}-0", node, node, stuck="yes")
    cluster.add_pod(f"{node}-1", node, node)
    result = drain(cluster, node, timeout_s=2)
    assert (result["code"], len(result["evicted"]), cluster.cordoned(node)) == ("BG-DRAIN-107", 1, True)
    assert [each["pod"] for each in result["blocked"]] == [f"default/{node}-0"]


def test_check_mode_evicts_nothing_and_names_what_would_block(cluster: RealCluster, node: str) -> None:
    cluster.add_pod(f"{node}-0", node, node)
    cluster.add_pod(f"{node}-1", node, "free")
    add_counted_budget(cluster, node, 1, 1)
    result = drain(cluster, node, check_mode=True)
    assert [each["pod"] for each in result["evicted"]] == [f"default/{node}-1"]
    assert [each["pod"] for each in result["blocked"]] == [f"default/{node}-0"]
    assert (cluster.cordoned(node), [each["metadata"].get("deletionTimestamp") for each in cluster.pods_on(node)]) == (
        False,
        [None, None],
    )


def test_a_pod_that_never_ran_is_held_against_no_budget(cluster: RealCluster, node: str) -> None:
    cluster.add_pod(f"{node}-0", node, node, phase="Pending")
    cluster.add_budget(node, node, 1)
    until(lambda: "currentHealthy" in cluster.budget_status(node))
    assert drain(cluster, node).get("code") is None
    assert cluster.pods_on(node) == []


def ask(cluster: RealCluster, pod: Pod) -> eviction.Attempt:
    return eviction.evict(Cluster(connect({"kubeconfig": cluster.kubeconfig}), 10), pod, None)


def test_two_budgets_over_a_pod_are_what_the_server_refuses_for_good(cluster: RealCluster, node: str) -> None:
    cluster.add_pod(f"{node}-0", node, node)
    for name in ("first", "second"):
        cluster.add_budget(f"{node}-{name}", node, 0)
    assert drain(cluster, node)["code"] == "BG-DRAIN-105"
    assert ask(cluster, parse_pod(cluster.pods_on(node)[0])).kind == eviction.REFUSED


def test_an_eviction_is_for_one_pod_and_not_for_another_of_its_name(cluster: RealCluster, node: str) -> None:
    cluster.add_pod(f"{node}-0", node, node)
    attempt = ask(cluster, Pod("default", f"{node}-0", "00000000-0000-0000-0000-000000000000"))
    assert (attempt.kind, "409" in attempt.said, len(cluster.pods_on(node))) == (eviction.PASSING, True, 1)
    assert ask(cluster, Pod("default", "nobody", "0")).kind == eviction.GONE


def test_uncordoning_lets_pods_on_the_node_again(cluster: RealCluster, node: str) -> None:
    assert (drain(cluster, node)["changed"], cluster.cordoned(node)) == (True, True)
    assert (drain(cluster, node)["changed"], drain(cluster, node, state="uncordoned")["changed"]) == (False, True)
    assert not cluster.cordoned(node)


def test_a_hundred_pods_beside_kubectl(
    cluster: RealCluster, node: str, record_property: Callable[[str, object], None]
) -> None:
    """Both empty the same node; the figures are told, not judged: they depend on the machine's load."""
    took = {}
    for way in ("kubectl", "node_drain"):
        for number in range(100):
            cluster.add_pod(f"{way.replace('_', '-')}-{number}", node, node)
        begun = time.monotonic()
        if way == "kubectl":
            command = [str(kubectl_folder() / "kubectl"), "drain", node, f"--kubeconfig={cluster.kubeconfig}"]
            subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
        else:
            result = drain(cluster, node)
            assert len(result["evicted"]) == 100
        took[way] = time.monotonic() - begun
        assert (cluster.pods_on(node), cluster.cordoned(node)) == ([], True)
        drain(cluster, node, state="uncordoned")
    record_property("told", ", ".join(f"{way} {seconds:.1f} s" for way, seconds in took.items()))
