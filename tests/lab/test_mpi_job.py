"""A run of nccl-tests over several nodes as an MPIJob: the real definition, the real MPI operator, a real API server and its controllers.

What kubelets do is done by a thread: it takes pods to their nodes, says that they run and how they end, and answers with prepared logs.
So nothing of MPI, ssh or NCCL is real here; what the operator makes of the manifest is, and so are its statuses.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import connect
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import data, kube_runs, runs
from ansible_collections.baremetal.gpu.tests.support.breaking import until
from ansible_collections.baremetal.gpu.tests.support.real_cluster import MERGE, PODS, RealCluster
from ansible_collections.baremetal.gpu.tests.unit.plugins.fake_api import Authority, server_tls
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import GIB, row_line, run_text
from lab import artefacts, golang
from tools.bench import apiserver

pytestmark = pytest.mark.lab

NODES = ("g1", "g2")
JOBS = "/apis/kubeflow.org/v2beta1/namespaces/default/mpijobs"
ROLE = "training.kubeflow.org/job-role"
LOG = run_text(hosts=NODES, per_host=8, rows=(row_line(4 * GIB, 380.0),))


class Kubelets:
    """What kubelets of all nodes do, a look every 0.1 s. ``exit_code`` is the launcher's; ``None`` lets it run on."""

    def __init__(self, cluster: RealCluster, port: int) -> None:
        self.cluster, self.port, self.exit_code = cluster, port, 0 if port else None
        self.seen: dict[str, str] = {}
        """Which node each pod ran on."""
        self.workers_at_launch: list[str] = []
        """What the workers were when the last launcher was made."""
        self._end = threading.Event()

    def add_node(self, name: str) -> None:
        self.cluster.add_node(name)
        address = [{"type": "InternalIP", "address": "127.0.0.1"}]
        status = {"addresses": address, "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}}}
        self.cluster.ask("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, content_type=MERGE)

    def look(self) -> None:
        pods = self.cluster.ask("GET", PODS)["items"]
        for pod in pods:
            metadata = pod["metadata"]
            path = f"{PODS}/{metadata['name']}"
            if metadata.get("deletionTimestamp"):
                self.cluster.api.request("DELETE", path, {"gracePeriodSeconds": 0})
            elif not pod["spec"].get("nodeName"):
                if metadata["labels"].get(ROLE) == "launcher":
                    self.workers_at_launch = [each["status"]["phase"] for each in pods if each is not pod]
                self._bind(pod)
            elif pod["status"]["phase"] == "Pending":
                self._say(pod, "Running", {"running": {"startedAt": "2026-01-01T00:00:00Z"}})
            elif metadata["labels"].get(ROLE) == "launcher" and pod["status"]["phase"] == "Running":
                self._end_launcher(pod)

    def _bind(self, pod: Mapping[str, Any]) -> None:
        """Each worker on a node of its own, as its affinity demands; the launcher anywhere."""
        index = int(pod["metadata"]["labels"].get("training.kubeflow.org/replica-index") or 0)
        self.seen[pod["metadata"]["name"]] = NODES[index]
        target = {"apiVersion": "v1", "kind": "Node", "name": NODES[index]}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]}, "target": target}
        self.cluster.api.request("POST", f"{PODS}/{pod['metadata']['name']}/binding", body)

    def _end_launcher(self, pod: Mapping[str, Any]) -> None:
        if self.exit_code is not None:
            ended = {"terminated": {"exitCode": self.exit_code, "reason": "Error" if self.exit_code else "Completed"}}
            self._say(pod, "Failed" if self.exit_code else "Succeeded", ended)

    def _say(self, pod: Mapping[str, Any], phase: str, state: Mapping[str, Any]) -> None:
        ready = {"type": "Ready", "status": "True" if phase == "Running" else "False"}
        (container,) = pod["spec"]["containers"]
        told = {"name": container["name"], "image": "x", "imageID": "x", "ready": phase == "Running", "restartCount": 0}
        status = {"phase": phase, "conditions": [ready], "containerStatuses": [{**told, "state": state}]}
        self.cluster.api.request(
            "PATCH", f"{PODS}/{pod['metadata']['name']}/status", {"status": status}, content_type=MERGE
        )

    @contextmanager
    def at_work(self) -> Iterator[None]:
        def work() -> None:
            while not self._end.wait(0.1):
                self.look()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()


class _Logs(BaseHTTPRequestHandler):
    """A kubelet's answer about the log of any container."""

    def do_GET(self) -> None:
        found = LOG.encode() if self.path.startswith("/containerLogs/") else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, *_arguments: Any) -> None:
        pass


@contextmanager
def kubelet_port(folder: Path) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Logs)
    server.socket = server_tls(Authority(folder).issue("kubelet")).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def operator_files() -> Path:
    """The operator and the definition of MPIJob, built when they are not in the cache."""
    (module,) = (each for each in golang.modules() if each.folder == "mpi-operator")
    entry = golang.programs(module)
    if not entry.finished():
        artefacts.build_all(["mpi-operator"])
    return entry.path


@pytest.fixture(scope="module")
def kubelets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelets]:
    """A cluster of two nodes with the operator at work in it."""
    folder, files = tmp_path_factory.mktemp("mpi"), operator_files()
    with apiserver.running(folder / "api", authorization="RBAC") as server, kubelet_port(folder) as port:
        cluster = RealCluster(server.kubeconfig)
        definition = yaml.safe_load((files / "mpijobs.yaml").read_text(encoding="utf-8"))
        cluster.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        until(lambda: cluster.api.request("GET", JOBS)[0] == 200, 30)
        managers = [
            *(
                str(apiserver.lab_programs()["hyperkube"]),
                "kube-controller-manager",
                f"--kubeconfig={server.kubeconfig}",
            ),
            *("--controllers=job-controller,garbage-collector-controller", "--leader-elect=false", "--secure-port=0"),
        ]
        operator = [
            *(str(files / "mpi-operator"), f"-kubeConfig={server.kubeconfig}", "-lock-namespace=default"),
            *("-kube-api-qps=100", "-kube-api-burst=100"),
        ]
        found = Kubelets(RealCluster(server.kubeconfig), port)
        for node in NODES:
            found.add_node(node)
        with (
            apiserver.in_background(managers, folder / "controllers.log"),
            apiserver.in_background(operator, folder / "operator.log") as process,
            found.at_work(),
        ):
            yield found
            assert process.poll() is None, (folder / "operator.log").read_text(encoding="utf-8")[-2000:]


def mpi_job(name: str, limits: runs.Limits) -> dict[str, Any]:
    run = runs.Run(name, NODES, runs.Test("all_reduce", GIB, 4 * GIB, 8, limits), {"NCCL_DEBUG": "WARN"})
    settings = runs.PodSettings("default", f"registry.example/nccl-tests@sha256:{'0' * 64}")
    return runs.manifest(run, settings)


def executor(kubelets: Kubelets) -> kube_runs.Cluster:
    api = KubeApi(connect({"kubeconfig": kubelets.cluster.kubeconfig}), 10)
    return kube_runs.Cluster(api, kube_runs.Settings(poll_interval_s=0.3), list(data.raw_signatures()))


def left_over(kubelets: Kubelets) -> list[str]:
    """What is still there of any job, with what the operator made for it."""
    namespace = "/api/v1/namespaces/default"
    paths = (JOBS, PODS, "/apis/batch/v1/namespaces/default/jobs", f"{namespace}/secrets", f"{namespace}/configmaps")
    items = [item for path in paths for item in kubelets.cluster.ask("GET", path)["items"]]
    return [item["metadata"]["name"] for item in items if "nccl-health" in item["metadata"]["name"]]


def test_the_definition_accepts_every_field_of_the_manifest(kubelets: Kubelets) -> None:
    strict = {"fieldValidation": "Strict", "dryRun": "All"}
    status, answer = kubelets.cluster.api.request(
        "POST", JOBS, mpi_job("nccl-health-1", runs.Limits(20, 40, 60)), strict
    )
    assert (status, answer.get("kind")) == (201, "MPIJob"), answer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: spec.update(slotPerWorker=8), 'unknown field "spec.slotPerWorker"'),
        (lambda spec: spec.update(slotsPerWorker="8"), "spec.slotsPerWorker"),
        (lambda spec: spec.update(mpiImplementation="Other"), "spec.mpiImplementation"),
        (lambda spec: spec["mpiReplicaSpecs"]["Worker"].update(replica=2), "mpiReplicaSpecs.Worker.replica"),
        (lambda spec: spec["mpiReplicaSpecs"].pop("Launcher") and spec.pop("mpiReplicaSpecs"), "spec.mpiReplicaSpecs"),
    ],
)
def test_the_definition_refuses_what_it_does_not_have(kubelets: Kubelets, change: Any, message: str) -> None:
    """So that accepting the manifest says something."""
    manifest = copy.deepcopy(mpi_job("nccl-health-1", runs.Limits(20, 40, 60)))
    change(manifest["spec"])
    strict = {"fieldValidation": "Strict", "dryRun": "All"}
    status, answer = kubelets.cluster.api.request("POST", JOBS, manifest, strict)
    assert status in (400, 422)
    assert message in answer["message"]


@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_run_over_two_nodes_ends_with_its_launcher_and_leaves_nothing(kubelets: Kubelets, exit_code: int) -> None:
    kubelets.exit_code = exit_code
    name = f"nccl-health-{exit_code}-1"
    (outcome,) = executor(kubelets).run_all([mpi_job(name, runs.Limits(20, 40, 60))], 60)
    assert (outcome["ended"], outcome["exit_code"]) == ("by-itself", exit_code), outcome
    workers = {pod: node for pod, node in outcome["pods"].items() if "-worker-" in pod}
    assert workers == {f"{name}-worker-0": "g1", f"{name}-worker-1": "g2"}
    assert len(outcome["pods"]) == 3
    assert kubelets.workers_at_launch == ["Running", "Running"], "the launcher did not wait for its workers"
    assert outcome["reading"]["blocks"][0]["concluded"]
    until(lambda: left_over(kubelets) == [], 30, lambda: left_over(kubelets))


def test_a_launcher_that_hangs_is_ended_by_its_deadline(kubelets: Kubelets, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job's own deadline, a minute after that of the launcher's pod, which only a kubelet keeps."""
    monkeypatch.setattr(runs, "GRACE_S", 3)
    kubelets.exit_code = None
    (outcome,) = executor(kubelets).run_all([mpi_job("nccl-health-hang-1", runs.Limits(2, 4, 60))], 40)
    assert outcome["ended"] == "deadline", outcome
    until(lambda: left_over(kubelets) == [], 30, lambda: left_over(kubelets))
