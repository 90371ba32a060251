"""The control plane, and what it says about the GPU worker."""

from __future__ import annotations

import json
from typing import Any

import pytest

testinfra_hosts = ["ansible://onyx-m1"]

ADMIN = "/etc/kubernetes/admin.conf"


def get(host: Any, what: str) -> Any:
    return json.loads(host.check_output(f"kubectl --kubeconfig={ADMIN} get {what} --output=json"))


@pytest.mark.requirement("ONYX-R057", part="whole GPUs")
def test_worker_offers_eight_gpus(host: Any) -> None:
    status = get(host, "node onyx-g1")["status"]
    assert status["capacity"]["nvidia.com/gpu"] == "8"
    assert status["allocatable"]["nvidia.com/gpu"] == "8"


@pytest.mark.requirement("ONYX-R053", part="one worker")
def test_both_nodes_are_ready(host: Any) -> None:
    ready = {
        node["metadata"]["name"]: condition["status"]
        for node in get(host, "nodes")["items"]
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    }
    assert ready == {"onyx-m1": "True", "onyx-g1": "True"}


def test_credentials_of_the_administrator_are_root_only(host: Any) -> None:
    file = host.file(ADMIN)
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)


def test_no_bootstrap_token_outlives_its_lifetime(host: Any) -> None:
    """A join token expires; one without an end could be used for ever."""
    secrets = get(host, "secrets --namespace=kube-system --field-selector=type=bootstrap.kubernetes.io/token")["items"]
    assert all("expiration" in secret["data"] for secret in secrets)
