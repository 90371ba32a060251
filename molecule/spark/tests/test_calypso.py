"""What the cluster says, and that its own work went on while the GPU node joined."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

testinfra_hosts = ["ansible://calypso"]


def get(host: Any, what: str) -> Any:
    return json.loads(host.check_output(f"k3s kubectl get {what} --output=json"))


@pytest.mark.requirement("MPS-02", "MPS-09")
def test_node_offers_ten_shares_of_its_gpu(host: Any) -> None:
    status = get(host, "node spark-01")["status"]
    assert status["capacity"]["nvidia.com/gpu"] == "10"
    assert status["allocatable"]["nvidia.com/gpu"] == "10"


@pytest.mark.requirement("SPARK-12", part="node Ready with its capacity, in the stand-in for k3s, without GPU operator")
def test_node_is_ready(host: Any) -> None:
    conditions = {entry["type"]: entry["status"] for entry in get(host, "node spark-01")["status"]["conditions"]}
    assert conditions["Ready"] == "True"


@pytest.mark.requirement("MPS-02")
def test_node_says_that_the_gpu_is_shared_by_mps(host: Any) -> None:
    labels = get(host, "node spark-01")["metadata"]["labels"]
    assert labels["nvidia.com/gpu.sharing-strategy"] == "mps"
    assert labels["nvidia.com/gpu.replicas"] == "10"


@pytest.mark.requirement("SPARK-21", part="pods that ran before the join")
def test_workload_that_was_there_before_is_undisturbed(host: Any) -> None:
    """After a join and the agent's restarts: the same pods as before, with the restarts they had, on the server."""
    before = json.loads(host.file("/root/pods-before.json").content_string)
    pods = get(host, "pods --namespace=default")["items"]
    now = {pod["metadata"]["name"]: pod for pod in pods}
    assert len(before) == 3
    for name, (uid, restarts) in before.items():
        assert now[name]["metadata"]["uid"] == uid
        assert now[name]["spec"]["nodeName"] == "calypso"
        assert [status["restartCount"] for status in now[name]["status"]["containerStatuses"]] == [restarts]
        assert all(status["ready"] for status in now[name]["status"]["containerStatuses"])


@pytest.mark.requirement("SPARK-21", part="requests of a client from before the join on")
def test_client_of_the_workload_saw_no_failure(host: Any) -> None:
    """Every request from before the first join until now was answered."""
    lines = [line.split() for line in host.check_output("k3s kubectl logs shop-client").splitlines()]
    moments = [float(moment) for moment, _status in lines]
    failed = [(moment, status) for moment, status in lines if status != "200"]
    print(
        f"{len(lines)} requests, {len(lines) / (moments[-1] - moments[0]):.1f}/s, longest pause {longest(moments):.1f} s"
    )
    assert len(lines) > 100
    assert failed == []


def longest(moments: list[float]) -> float:
    """The longest time between two answers, in seconds."""
    return max(after - before for before, after in itertools.pairwise(moments))


def test_pods_of_the_verification_are_gone(host: Any) -> None:
    names = [pod["metadata"]["name"] for pod in get(host, "pods --namespace=default")["items"]]
    assert [name for name in names if not name.startswith("shop-")] == [], "the guest of day two is gone, too"
