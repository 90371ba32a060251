"""The module node_ready against a server that speaks the API's wire format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import followed_objects, node_readiness
from ansible_collections.baremetal.gpu.plugins.modules import node_ready
from ansible_collections.baremetal.gpu.tests.unit.plugins.fake_api import serving, write_kubeconfig
from ansible_collections.baremetal.gpu.tests.unit.plugins.fake_nodes import FakeNodes, pod
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import run_module

GPU = "nvidia.com/gpu"


def node(ready: str = "True", gpus: str = "8", boot: str = "b2", **spec: Any) -> dict[str, Any]:
    status = {
        "conditions": [{"type": "Ready", "status": ready, "reason": "KubeletReady"}],
        "allocatable": {GPU: gpus},
        "nodeInfo": {"bootID": boot},
    }
    return {"metadata": {"name": "n1", "uid": "node-1"}, "spec": spec, "status": status}


def daemon(ready: str = "True") -> dict[str, Any]:
    found = pod("plugin", "DaemonSet/plugin")
    found["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
    return found


@pytest.fixture
def api() -> FakeNodes:
    return FakeNodes(nodes={"n1": node()})


@pytest.fixture
def kubeconfig(api: FakeNodes, tmp_path: Path) -> Iterator[str]:
    with serving(api) as address:
        yield write_kubeconfig(tmp_path, address)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed_objects, "_PAUSE_S", 0.02)
    monkeypatch.setattr(node_readiness, "_PAUSE_S", 0.02)


def run(kubeconfig: str, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    values = {"kubeconfig": kubeconfig, "name": "n1", "timeout_s": 0.3, "resources": {GPU: 8}, **arguments}
    return run_module(node_ready, values, check_mode=check_mode)


def test_a_node_as_wanted_is_ready_at_once(api: FakeNodes, kubeconfig: str) -> None:
    api.pods = [daemon()]
    result = run(kubeconfig, not_boot_id="b1")
    assert (result["ready"], result["missing"], result["boot_id"], result["changed"]) == (True, [], "b2", False)


@pytest.mark.parametrize(
    ("found", "pods", "missing"),
    [
        (node(ready="False"), [], "it is not Ready (KubeletReady)"),
        (node(ready="Unknown"), [], "it is not Ready (KubeletReady)"),
        (node(unschedulable=True), [], "it is cordoned"),
        (node(gpus="7"), [], "allocatable nvidia.com/gpu is 7, not 8"),
        (node(boot="b1"), [], "its kubelet has not reported since the reboot (boot b1)"),
        (node(boot=""), [], "its kubelet has not reported since the reboot (boot is not reported)"),
        (node(), [daemon("False")], "team/plugin: it is Running, not Ready"),
    ],
)
def test_what_is_missing_at_the_deadline_is_named(
    api: FakeNodes, kubeconfig: str, found: dict[str, Any], pods: list[Any], missing: str
) -> None:
    api.nodes, api.pods = {"n1": found}, pods
    result = run(kubeconfig, not_boot_id="b1")
    assert (result["failed"], result["code"], result["ready"], result["missing"]) == (
        True,
        "BG-READY-102",
        False,
        [missing],
    )
    assert missing in result["msg"]


def test_a_node_that_is_not_in_the_cluster_is_missing(api: FakeNodes, kubeconfig: str) -> None:
    api.nodes = {}
    assert run(kubeconfig)["missing"] == ["it is not in the cluster"]


def test_a_resource_that_is_not_reported_is_not_nought(api: FakeNodes, kubeconfig: str) -> None:
    result = run(kubeconfig, resources={"nvidia.com/mig-1g.10gb": 7})
    assert result["missing"] == ["allocatable nvidia.com/mig-1g.10gb is not reported, not 7"]


def test_a_node_that_becomes_ready_is_followed_by_a_watch(api: FakeNodes, kubeconfig: str) -> None:
    api.nodes = {"n1": node(ready="False")}
    api.on_watch = [lambda: api.put(node())]
    result = run(kubeconfig, timeout_s=20)
    assert (result["ready"], result["seconds"] < 10, len(api.watches())) == (True, True, 1)


def test_pods_of_daemonsets_are_followed_when_the_node_is_ready(api: FakeNodes, kubeconfig: str) -> None:
    api.pods = [daemon("False")]

    def start() -> None:
        api.pods[:] = [daemon()]
        api._event("MODIFIED", api.pods[0])

    api.on_watch = [start]
    result = run(kubeconfig, timeout_s=20)
    assert (result["ready"], result["seconds"] < 10) == (True, True)


def test_a_cordon_and_pods_do_not_matter_when_that_is_said(api: FakeNodes, kubeconfig: str) -> None:
    api.nodes, api.pods = {"n1": node(unschedulable=True)}, [daemon("False")]
    assert run(kubeconfig, schedulable=False, daemonsets=False)["ready"]
    assert api.lists("/api/v1/pods") == []


def test_an_api_that_answers_again_is_read_again(api: FakeNodes, kubeconfig: str) -> None:
    api.errors = [500, 429, 503]
    assert run(kubeconfig, timeout_s=20)["ready"]


def test_an_api_that_never_answers_is_no_readiness(api: FakeNodes, kubeconfig: str) -> None:
    api.refused = {"/api/v1/nodes": 500}
    result = run(kubeconfig)
    assert (result["failed"], result["code"], result["ready"]) == (True, "BG-READY-103", False)


def test_in_check_mode_what_is_missing_is_said_and_no_failure(api: FakeNodes, kubeconfig: str) -> None:
    api.nodes = {"n1": node(gpus="0")}
    result = run(kubeconfig, check_mode=True, timeout_s=600)
    assert (result.get("failed"), result["ready"], len(result["missing"])) == (None, False, 1)


@pytest.mark.parametrize(
    "arguments",
    [{"timeout_s": 0}, {"timeout_s": "nan"}, {"name": ""}, {"resources": {GPU: "x"}}, {"resources": {"cpu": 1}}],
)
def test_what_cannot_be_waited_for_is_refused(api: FakeNodes, kubeconfig: str, arguments: dict[str, Any]) -> None:
    result = run(kubeconfig, **arguments)
    assert (result["failed"], result["code"], api.requests) == (True, "BG-READY-101", [])
