"""What the cluster says, and that its own work went on while the GPU node joined."""

from __future__ import annotations

import json
from typing import Any

testinfra_hosts = ["ansible://calypso"]


def get(host: Any, what: str) -> Any:
    return json.loads(host.check_output(f"k3s kubectl get {what} --output=json"))


def test_node_offers_ten_shares_of_its_gpu(host: Any) -> None:
    status = get(host, "node spark-01")["status"]
    assert status["capacity"]["nvidia.com/gpu"] == "10"
    assert status["allocatable"]["nvidia.com/gpu"] == "10"


def test_node_is_ready(host: Any) -> None:
    conditions = {entry["type"]: entry["status"] for entry in get(host, "node spark-01")["status"]["conditions"]}
    assert conditions["Ready"] == "True"


def test_node_says_that_the_gpu_is_shared_by_mps(host: Any) -> None:
    labels = get(host, "node spark-01")["metadata"]["labels"]
    assert labels["nvidia.com/gpu.sharing-strategy"] == "mps"
    assert labels["nvidia.com/gpu.replicas"] == "10"


def test_workload_that_was_there_before_is_undisturbed(host: Any) -> None:
    """The same pods as before the join, never restarted, still on the server."""
    joined = get(host, "node spark-01")["metadata"]["creationTimestamp"]
    pods = get(host, "pods --namespace=default --selector=app=shop")["items"]
    assert len(pods) == 2
    for pod in pods:
        # Timestamps are in UTC with a fixed format, so they compare as text.
        assert pod["metadata"]["creationTimestamp"] <= joined
        assert pod["spec"]["nodeName"] == "calypso"
        assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0]
        assert all(status["ready"] for status in pod["status"]["containerStatuses"])


def test_pods_of_the_verification_are_gone(host: Any) -> None:
    names = [pod["metadata"]["name"] for pod in get(host, "pods --namespace=default")["items"]]
    assert [name for name in names if not name.startswith("shop-")] == []
