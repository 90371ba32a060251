"""The action gpu_pod against a real HTTP server that keeps pods as the API does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils import node_list, proof_pod
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi

UUID = "GPU-00000000-0000-4000-8000-0123456789ab"
SUBJECT = proof_pod.Subject("spark-01", "nvidia.com/gpu", ("MPS-09",), simulated=True)
MANIFEST = {"metadata": {"generateName": "gpu-verify-", "namespace": "default"}, "spec": {}}


def with_state(state: dict[str, Any], phase: str = "Running") -> dict[str, Any]:
    return {"metadata": {"namespace": "default"}, "status": {"phase": phase, "containerStatuses": [{"state": state}]}}


def terminated(exit_code: int, message: str = "") -> dict[str, Any]:
    return with_state({"terminated": {"exitCode": exit_code, "message": message}})


class Cluster:
    """Pods by name; `states` are what a pod looks like at each reading; `errors` are answered first, by method."""

    def __init__(self) -> None:
        self.pods: set[str] = set()
        self.states: list[dict[str, Any]] = []
        self.errors: dict[str, list[int]] = {}
        self.asked: list[str] = []
        self.authorization: set[str | None] = set()

    def answer(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        self.asked.append(method)
        if self.errors.get(method):
            code = self.errors[method].pop(0)
            return code, {"kind": "Status", "code": code, "message": "no"}
        if method == "POST":
            self.pods.add("gpu-verify-x1")
            return 201, {"metadata": {"name": "gpu-verify-x1", "namespace": "default"}, "status": {"phase": "Pending"}}
        name = path.rpartition("/")[2]
        if name not in self.pods:
            return 404, {"kind": "Status", "code": 404, "message": "not found"}
        if method == "DELETE":
            self.pods.remove(name)
            return 200, {"kind": "Pod"}
        return 200, self.states.pop(0) if len(self.states) > 1 else self.states[0]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def api(cluster: Cluster, tmp_path: Path) -> Iterator[KubeApi]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            cluster.authorization.add(self.headers.get("Authorization"))
            code, body = cluster.answer(self.command, self.path)
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 # the server's own names

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kubeconfig = tmp_path / "kubeconfig.yaml"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
                "users": [{"name": "u", "user": {"token": "not-a-real-token"}}],
                "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "main",
            }
        )
    )
    yield KubeApi(node_list.connect(str(kubeconfig), None), timeout_s=5)
    server.shutdown()
    server.server_close()


def run(api: KubeApi, timeout_s: float = 5.0) -> dict[str, Any]:
    return proof_pod.run(api, MANIFEST, timeout_s, 0.01)


def test_a_pod_is_watched_until_it_ends_and_then_removed(api: KubeApi, cluster: Cluster) -> None:
    cluster.states = [with_state({"waiting": {}}), with_state({"running": {}}), terminated(0, UUID)]
    assert proof_pod.ended(run(api)) == proof_pod.Ended(0, UUID)
    assert cluster.asked == ["POST", "GET", "GET", "GET", "DELETE"]
    assert cluster.pods == set()


def test_requests_carry_the_kubeconfig_s_token(api: KubeApi, cluster: Cluster) -> None:
    cluster.states = [terminated(0, UUID)]
    run(api)
    assert cluster.authorization == {"Bearer not-a-real-token"}


def test_a_pod_that_does_not_end_is_removed_too(api: KubeApi, cluster: Cluster) -> None:
    cluster.states = [with_state({"running": {}})]
    pod = run(api, timeout_s=0.05)
    assert proof_pod.ended(pod) is None
    assert cluster.pods == set()


def test_an_api_that_stumbles_while_the_pod_runs_is_asked_again(api: KubeApi, cluster: Cluster) -> None:
    cluster.states = [terminated(0, UUID)]
    cluster.errors = {"GET": [503, 429], "DELETE": [500]}
    run(api)
    assert cluster.asked == ["POST", "GET", "GET", "GET", "DELETE", "DELETE"]
    assert cluster.pods == set()


def test_a_pod_that_somebody_removed_is_an_error_and_not_a_finding(api: KubeApi, cluster: Cluster) -> None:
    cluster.errors = {"GET": [404]}
    cluster.states = [terminated(0, UUID)]
    with pytest.raises(GpuError, match=r"BG-POD-101: .*HTTP 404"):
        run(api)


def test_a_refused_pod_says_who_refused_it(api: KubeApi, cluster: Cluster) -> None:
    cluster.errors = {"POST": [403]}
    with pytest.raises(GpuError, match=r"BG-POD-101: the Kubernetes API refused to create a pod \(HTTP 403: no\)"):
        run(api)
    assert cluster.asked == ["POST"]


def test_a_pod_that_cannot_be_removed_is_an_error(api: KubeApi, cluster: Cluster) -> None:
    cluster.states = [terminated(0, UUID)]
    cluster.errors = {"DELETE": [403]}
    with pytest.raises(GpuError, match="refused to remove the pod"):
        run(api)


def test_a_cluster_that_does_not_answer_is_an_error_with_the_pod_s_fate(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig.yaml"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
                "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
                "current-context": "main",
            }
        )
    )
    with pytest.raises(GpuError, match="BG-POD-102"):
        run(KubeApi(node_list.connect(str(kubeconfig), None), timeout_s=2))


@pytest.mark.parametrize(
    ("pod", "status", "reason"),
    [
        (terminated(0, f"GPU 0: NVIDIA GB10 (UUID: {UUID})"), OK, f"sees {UUID}"),
        (terminated(0, "No devices were found"), FAIL, "saw no GPU"),
        (terminated(9, UUID), FAIL, "exit status 9"),
        (terminated(0, "GPU-0"), FAIL, "saw no GPU"),
        (with_state({"running": {}}), UNKNOWN, "its phase is Running"),
        (with_state({"waiting": {"reason": "ErrImagePull", "message": "gone"}}), UNKNOWN, "ErrImagePull: gone"),
        (
            {
                "status": {
                    "phase": "Pending",
                    "conditions": [{"status": "False", "message": "Insufficient nvidia.com/gpu"}],
                }
            },
            UNKNOWN,
            "Insufficient nvidia.com/gpu",
        ),
        ({}, UNKNOWN, "its phase is unknown"),
    ],
)
def test_a_pod_is_judged_by_how_it_ended_and_what_it_saw(pod: dict[str, Any], status: str, reason: str) -> None:
    finding = proof_pod.judge(pod, SUBJECT, 5)
    assert finding.status == status
    assert reason in finding.reason
    assert bool(finding.remedy) is (status != OK)
    assert (finding.subject, finding.simulated, finding.requirements) == ("spark-01", True, ("MPS-09",))


def test_a_pod_that_was_not_started_is_skipped_with_the_reason() -> None:
    finding = proof_pod.not_run(SUBJECT, "check mode starts no pod")
    assert (finding.status, finding.reason) == (SKIPPED, "check mode starts no pod")
