"""The module cluster_node and the action cluster_nodes against a real HTTP server that speaks the part of the API they use."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.action import cluster_nodes
from ansible_collections.baremetal.gpu.plugins.module_utils import node_list
from ansible_collections.baremetal.gpu.plugins.module_utils.node_settings import OWNED_LABELS, OWNED_TAINTS
from ansible_collections.baremetal.gpu.plugins.modules import cluster_node
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import run_module

CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def node(name: str = "spark-01", ready: str = "True", heartbeat: str = "t1", version: str = "v1") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": "1", "labels": {"theirs": "1"}, "annotations": {}},
        "spec": {},
        "status": {
            "nodeInfo": {"machineID": "abc", "kubeletVersion": version},
            "conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat, "message": "because"}],
        },
    }


class Api:
    """A cluster of nodes. ``later`` are states that the node takes one per request; ``conflicts`` patches are refused."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.later: list[dict[str, Any] | int] = []
        self.conflicts = 0
        self.patches: list[dict[str, Any]] = []
        self.content_types: list[str] = []
        self.reads = 0

    def get(self, path: str) -> tuple[int, Any]:
        if path == "/version/":
            return 200, {"gitVersion": "v9+k3s1"}
        if path == "/api/v1/nodes":
            return 200, {"kind": "NodeList", "metadata": {}, "items": list(self.nodes.values())}
        self.reads += 1
        if self.later:
            state = self.later.pop(0)
            if isinstance(state, int):
                return state, {"kind": "Status", "code": state}
            self.nodes["spark-01"] = state
        found = self.nodes.get(path.rpartition("/")[2])
        return (200, found) if found else (404, {"kind": "Status", "code": 404})

    def patch(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        found = self.nodes[path.rpartition("/")[2]]
        if self.conflicts or body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            self.conflicts -= 1
            found["metadata"]["resourceVersion"] = str(int(found["metadata"]["resourceVersion"]) + 1)
            return 409, {"kind": "Status", "code": 409}
        self.patches.append(body)
        for part in ("labels", "annotations"):
            merged = {**found["metadata"].get(part, {}), **body["metadata"].get(part, {})}
            found["metadata"][part] = {key: value for key, value in merged.items() if value is not None}
        found["spec"].update(body.get("spec", {}))
        return 200, found


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def kubeconfig(api: Api, tmp_path: Path) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self, code: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.answer(*api.get(self.path.split("?")[0]))

        def do_PATCH(self) -> None:
            api.content_types.append(self.headers["Content-Type"])
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(*api.patch(self.path, body))

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = tmp_path / "kubeconfig.yaml"
    cluster = {"server": f"http://127.0.0.1:{server.server_address[1]}"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "not-a-real-token"}}],
        "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "main",
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    yield str(path)
    server.shutdown()
    server.server_close()


def run(kubeconfig: str, check_mode: bool = False, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "kubeconfig": kubeconfig,
        "name": "spark-01",
        "labels": ["accelerator=gb10"],
        "taints": ["nvidia.com/gpu=present:NoSchedule"],
        "wait_timeout_s": 0,
        "poll_interval_s": 0.01,
        **changes,
    }
    return run_module(cluster_node, arguments, check_mode=check_mode)


def test_a_cluster_is_read_with_its_release_and_its_nodes(api: Api, kubeconfig: str) -> None:
    api.nodes = {"spark-01": node(), "calypso": node("calypso")}
    result = cluster_nodes.read({"kubeconfig": kubeconfig, "context": None, "request_timeout_s": 5})
    assert result["server_version"] == "v9+k3s1"
    assert sorted(result["nodes"]) == ["calypso", "spark-01"]
    assert result["nodes"]["spark-01"]["machine_id"] == "abc"


@pytest.mark.parametrize(
    ("content", "expected"), [(CA, hashlib.sha256(CA.encode()).hexdigest()), (CA + CA, ""), ("", ""), (None, "")]
)
def test_the_hash_of_one_authority_is_the_one_that_join_tokens_carry(
    tmp_path: Path, content: str | None, expected: str
) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    client = SimpleNamespace(configuration=SimpleNamespace(ssl_ca_cert=str(path)))
    assert node_list.authority_sha256(client) == expected


def test_labels_and_taints_are_corrected_once(api: Api, kubeconfig: str) -> None:
    api.nodes = {"spark-01": node()}
    predicted = run(kubeconfig, check_mode=True)
    assert api.patches == []
    first = run(kubeconfig)
    again = run(kubeconfig)
    assert (predicted["changed"], first["changed"], again["changed"]) == (True, True, False)
    assert predicted["diff"] == first["diff"]
    assert (len(api.patches), set(api.content_types)) == (1, {"application/merge-patch+json"})
    metadata = api.nodes["spark-01"]["metadata"]
    assert metadata["labels"] == {"theirs": "1", "accelerator": "gb10"}
    assert metadata["annotations"] == {
        OWNED_LABELS: '["accelerator"]',
        OWNED_TAINTS: '["nvidia.com/gpu:NoSchedule"]',
    }
    assert api.nodes["spark-01"]["spec"]["taints"] == [
        {"key": "nvidia.com/gpu", "effect": "NoSchedule", "value": "present"}
    ]


def test_a_label_that_is_no_longer_declared_is_removed(api: Api, kubeconfig: str) -> None:
    api.nodes = {"spark-01": node()}
    run(kubeconfig)
    result = run(kubeconfig, labels=[])
    assert result["changed"]
    assert api.nodes["spark-01"]["metadata"]["labels"] == {"theirs": "1"}


def test_a_node_that_changes_meanwhile_is_read_again(api: Api, kubeconfig: str) -> None:
    api.nodes, api.conflicts = {"spark-01": node()}, 2
    assert run(kubeconfig)["changed"]
    assert len(api.patches) == 1


def test_a_node_that_changes_without_pause_is_an_error(api: Api, kubeconfig: str) -> None:
    api.nodes, api.conflicts = {"spark-01": node()}, 99
    assert run(kubeconfig)["code"] == "BG-K3S-010"


def test_a_node_is_waited_for(api: Api, kubeconfig: str) -> None:
    api.later = [404, node(ready="False"), 503, node(version="v0"), node(version="v2", heartbeat="t2")]
    result = run(kubeconfig, wait_timeout_s=30, release="v2", reported_after="t1")
    assert result["changed"]
    assert result["node"]["kubelet_version"] == "v2"


@pytest.mark.parametrize(
    ("state", "changes", "said"),
    [
        (None, {}, "not in the cluster"),
        (node(ready="False"), {}, "not Ready (because)"),
        (node(), {"reported_after": "t1"}, "not reported since the restart"),
        (node(), {"release": "v2"}, "kubelet is v1, not v2"),
    ],
)
def test_what_is_missing_at_the_time_limit_is_said(
    api: Api, kubeconfig: str, state: dict[str, Any] | None, changes: dict[str, Any], said: str
) -> None:
    api.nodes = {"spark-01": state} if state else {}
    result = run(kubeconfig, **changes)
    assert (result["failed"], result["code"]) == (True, "BG-K3S-010")
    assert said in result["msg"]
    assert api.patches == []


def test_in_check_mode_an_absent_node_is_predicted_to_change(api: Api, kubeconfig: str) -> None:
    result = run(kubeconfig, check_mode=True)
    assert (result["changed"], result["node"], api.reads) == (True, None, 1)


def test_a_malformed_taint_is_refused_before_the_cluster_is_asked(api: Api, kubeconfig: str) -> None:
    assert run(kubeconfig, taints=["gpu"])["code"] == "BG-NODE-001"
    assert api.reads == 0
