"""The order of a change against a real API server: versions, leases, marks, evictions and rights are the server's own; no host is changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import change_machine as machine
from ansible_collections.baremetal.gpu.plugins.module_utils.change_machine import NodeChange, Outcome, Result, Settings
from ansible_collections.baremetal.gpu.plugins.module_utils.drain import Limits
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import connect
from ansible_collections.baremetal.gpu.plugins.module_utils.node_lease import (
    BUDGET,
    CLAIM_ANNOTATION,
    LEASES,
    REASON_ANNOTATION,
    NodeLease,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import Cluster
from ansible_collections.baremetal.gpu.plugins.plugin_utils.change_journal import drive, opened
from ansible_collections.baremetal.gpu.plugins.plugin_utils.node_changing import Answer, NodeChanging, Options, Progress
from ansible_collections.baremetal.gpu.tests.support.real_cluster import MERGE, PODS, RealCluster, running

pytestmark = pytest.mark.lab

NODES = ("n1", "n2", "n3")


class CrashError(Exception):
    """The controller is killed."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with running(tmp_path_factory.mktemp("change")) as found:
        for node in NODES:
            found.add_node(node)
        yield found


class Controller:
    """Changes nodes with journals of its own; ``dies_at`` is the request that it is killed after."""

    def __init__(self, cluster: RealCluster, directory: Path, name: str) -> None:
        self.cluster, self.directory, self.name = cluster, directory / name, name
        self.connection = Cluster(connect({"kubeconfig": cluster.kubeconfig}), 10)
        self.requests = 0
        self.most_out = 0

    def change(self, node: str, dies_at: int | None = None) -> Result:
        lease = NodeLease(self.connection, node, 60)
        self.requests = 0

        def answer(request: Any) -> Any:
            found = lease.answer(request)
            self.requests += 1
            if isinstance(request, machine.Write):
                self.most_out = max(self.most_out, len(out(self.cluster)))
            if self.requests == dies_at:
                raise CrashError
            return found

        with opened(self.directory, node) as journal:
            holder = machine.holder_of(journal.entries) or self.name
            steps = NodeChange(node, holder, journal.entries, Settings()).run()
            result = drive(steps, journal, answer, lambda _step: Outcome())
        assert isinstance(result, Result)
        return result


def out(cluster: RealCluster) -> list[str]:
    items = cluster.ask("GET", "/api/v1/nodes")["items"]
    return [item["metadata"]["name"] for item in items if CLAIM_ANNOTATION in item["metadata"].get("annotations", {})]


def require_clean(cluster: RealCluster) -> None:
    """No node is out, nobody holds a lock, the budget is free."""
    assert (out(cluster), [node for node in NODES if cluster.cordoned(node)]) == ([], [])
    leases = cluster.ask("GET", LEASES)["items"]
    ours = [item for item in leases if item["metadata"]["name"].startswith("baremetal-gpu-")]
    assert [item["metadata"]["name"] for item in ours if item["spec"].get("holderIdentity")] == []
    budget = next(item for item in ours if item["metadata"]["name"] == BUDGET)
    assert list(budget["metadata"]["annotations"].values()) == ["{}"]


def test_killed_after_any_request_a_rerun_finishes(cluster: RealCluster, tmp_path: Path) -> None:
    controller = Controller(cluster, tmp_path, "a")
    assert controller.change("n1").steps == machine.STEPS
    whole = controller.requests
    assert whole > 30
    for dies_at in range(1, whole + 1):
        with pytest.raises(CrashError):
            controller.change("n1", dies_at)
        assert controller.change("n1").error is None
        require_clean(cluster)


def test_two_controllers_never_have_more_than_one_node_out(cluster: RealCluster, tmp_path: Path) -> None:
    pair = [Controller(cluster, tmp_path, name) for name in ("a", "b")]
    refused: list[str] = []

    def roll(controller: Controller, nodes: list[str]) -> None:
        for _round in range(4):
            for node in nodes:
                error = controller.change(node).error
                refused.extend([error.code] if error else [])

    threads = [
        threading.Thread(target=roll, args=(controller, nodes))
        for controller, nodes in zip(pair, (list(NODES), list(NODES[::-1])), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(controller.most_out for controller in pair) == 1
    assert set(refused) <= {"BG-CHANGE-102", "BG-CHANGE-104"}
    require_clean(cluster)


def test_a_second_controller_is_told_who_holds_the_lock(cluster: RealCluster, tmp_path: Path) -> None:
    first, second = (Controller(cluster, tmp_path, name) for name in ("first", "second"))
    with pytest.raises(CrashError):
        first.change("n1", dies_at=15)
    error = second.change("n1").error
    assert error is not None
    assert (error.code, "locked by first for" in error.what) == ("BG-CHANGE-102", True)
    assert first.change("n1").error is None
    require_clean(cluster)


# ---- As a task asks for it ----


def options(journal: Path, **more: Any) -> Options:
    found: dict[str, Any] = {
        "name": "n2",
        "title": "settings",
        "journal": journal,
        "settings": Settings(may_reboot=True),
        "drain_limits": Limits(5.0),
        "ready_s": 3.0,
        **more,
    }
    return Options(**found)


def changing(cluster: RealCluster, journal: Path, user: str | None = None, **more: Any) -> NodeChanging:
    connection = Cluster(connect({"kubeconfig": cluster.kubeconfig, "impersonate_user": user}), 10)
    return NodeChanging(connection, options(journal, **more))


def booted(cluster: RealCluster, boot_id: str) -> None:
    """The kubelet of the node reports from another boot."""
    status = {"status": {"nodeInfo": {"bootID": boot_id}}}
    cluster.ask("PATCH", "/api/v1/nodes/n2/status", status, content_type=MERGE)


def test_nothing_is_done_where_nothing_is_wanted(cluster: RealCluster, tmp_path: Path) -> None:
    assert changing(cluster, tmp_path).begin(wanted=False) == Progress()
    assert cluster.cordoned("n2") is False


def test_a_change_with_a_reboot_goes_step_by_step(cluster: RealCluster, tmp_path: Path) -> None:
    cluster.add_pod("roll-a", "n2", "roll-a")
    booted(cluster, "b1")
    begun = changing(cluster, tmp_path).begin(wanted=True)
    assert (begun.next, begun.out, cluster.cordoned("n2"), cluster.pods_on("n2")) == (machine.CHANGE, True, True, [])
    assert begun.drained is not None
    assert [pod["pod"] for pod in begun.drained["evicted"]] == ["default/roll-a"]
    # Each step is another task, which knows nothing but the journal.
    reboot = changing(cluster, tmp_path).go_on(Answer(machine.CHANGE, reboot=True, boot_id="b1"))
    assert (reboot.next, dict(reboot.data)) == (machine.REBOOT, {"boot_id": "b1"})
    # The host is back before its kubelet has reported: the API still shows the boot of before.
    early = changing(cluster, tmp_path).go_on(Answer(machine.REBOOT, boot_id="b2"))
    assert early.error is not None
    assert (early.error.code, early.out, cluster.cordoned("n2")) == ("BG-READY-102", True, True)
    assert changing_code(cluster) == "BG-READY-102"
    booted(cluster, "b2")
    end = changing(cluster, tmp_path).begin(wanted=False)
    assert (end.error, end.next, end.out) == (None, "", False)
    require_clean(cluster)


def changing_code(cluster: RealCluster) -> str | None:
    annotations = cluster.ask("GET", "/api/v1/nodes/n2")["metadata"].get("annotations", {})
    code: str | None = annotations.get(REASON_ANNOTATION)
    return code


def test_a_step_that_fails_leaves_its_code_on_the_node(cluster: RealCluster, tmp_path: Path) -> None:
    changing(cluster, tmp_path).begin(wanted=True)
    assert changing_code(cluster) == machine.UNFINISHED == "BG-CHANGE-106"
    failed = changing(cluster, tmp_path).go_on(
        Answer(machine.CHANGE, failure="Upgrade: BG-K3S-014: it did not come up")
    )
    assert failed.error is not None
    assert (failed.error.code, changing_code(cluster), cluster.cordoned("n2")) == ("BG-K3S-014", "BG-K3S-014", True)
    with pytest.raises(GpuError, match="BG-CHANGE-111"):
        changing(cluster, tmp_path, title="other").begin(wanted=True)
    uncoded = changing(cluster, tmp_path).go_on(Answer(machine.CHANGE, failure="Write the file: no space left"))
    assert uncoded.error is not None
    assert (uncoded.error.code, changing_code(cluster)) == ("BG-CHANGE-116", "BG-CHANGE-116")
    again = changing(cluster, tmp_path).begin(wanted=False)
    assert again.next == machine.CHANGE
    assert changing(cluster, tmp_path).go_on(Answer(machine.CHANGE)).error is None
    require_clean(cluster)


def test_what_the_drain_refuses_is_refused_before_the_cordon(cluster: RealCluster, tmp_path: Path) -> None:
    pod = {"metadata": {"name": "bare"}, "spec": {"nodeName": "n2", "containers": [{"name": "c", "image": "none"}]}}
    cluster.ask("POST", PODS, pod)
    try:
        for progress in (changing(cluster, tmp_path).begin(wanted=True),):
            assert progress.error is not None
            assert (progress.error.code, progress.out, cluster.cordoned("n2")) == ("BG-DRAIN-103", False, False)
        with pytest.raises(GpuError, match="BG-DRAIN-103"):
            changing(cluster, tmp_path).predict(wanted=True)
    finally:
        cluster.ask("DELETE", f"{PODS}/bare", {"gracePeriodSeconds": 0})
    require_clean(cluster)


def test_a_prediction_writes_nothing_and_names_the_steps(cluster: RealCluster, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    steps = (machine.ANNOUNCE, machine.CHANGE, machine.PROVE)
    leases = [item["metadata"]["resourceVersion"] for item in cluster.ask("GET", LEASES)["items"]]
    seen = [changing(cluster, journal, host_steps=steps).predict(wanted=True).next]
    for answer in (
        Answer(machine.ANNOUNCE),
        Answer(machine.CHANGE, reboot=True),
        Answer(machine.REBOOT),
        Answer(machine.PROVE),
    ):
        seen.append(changing(cluster, journal, host_steps=steps).predict(wanted=True, answer=answer).next)
    assert seen == [machine.ANNOUNCE, machine.CHANGE, machine.REBOOT, machine.PROVE, ""]
    refused = changing(cluster, journal, settings=Settings()).predict(True, Answer(machine.CHANGE, reboot=True))
    assert refused.error is not None
    assert refused.error.code == "BG-CHANGE-107"
    assert (cluster.cordoned("n2"), journal.exists()) == (False, False)
    assert [item["metadata"]["resourceVersion"] for item in cluster.ask("GET", LEASES)["items"]] == leases


def test_a_prediction_tells_who_holds_the_lock(cluster: RealCluster, tmp_path: Path) -> None:
    changing(cluster, tmp_path / "first").begin(wanted=True)
    try:
        with pytest.raises(GpuError, match="BG-CHANGE-102"):
            changing(cluster, tmp_path / "second").predict(wanted=True)
        with pytest.raises(GpuError, match="BG-CHANGE-104"):
            changing(cluster, tmp_path / "second", name="n3").predict(wanted=True)
    finally:
        assert changing(cluster, tmp_path / "first").go_on(Answer(machine.CHANGE)).error is None
    require_clean(cluster)


def test_what_cannot_be_is_refused_before_anything_is_written(cluster: RealCluster, tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"settings": Settings(budget=0)},
        {"settings": Settings(lock_s=-1.0)},
        {"drain_limits": Limits(-1.0)},
        {"ready_s": float("nan")},
        {"title": "two words"},
        {"name": ""},
        {"host_steps": ("lock",)},
    ]
    for each in wrong:
        with pytest.raises(GpuError, match="BG-CHANGE-101"):
            changing(cluster, tmp_path, **each)
    with pytest.raises(GpuError, match="BG-CHANGE-112"):
        changing(cluster, tmp_path, name="nobody").begin(wanted=True)
    with pytest.raises(GpuError, match="BG-CHANGE-117"):
        changing(cluster, tmp_path).go_on(Answer(machine.CHANGE))
    leases = [item["metadata"]["name"] for item in cluster.ask("GET", LEASES)["items"]]
    assert "baremetal-gpu-nobody" not in leases


def test_missing_rights_are_named_before_anything_is_written(cluster: RealCluster, tmp_path: Path) -> None:
    cluster.allow("reader", [{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["get", "list", "watch"]}])
    with pytest.raises(GpuError, match="BG-CHANGE-118") as refused:
        changing(cluster, tmp_path, "reader").begin(wanted=True)
    for right in ("patch nodes", "create leases in namespace kube-system"):
        assert right in refused.value.what
    assert cluster.cordoned("n2") is False
