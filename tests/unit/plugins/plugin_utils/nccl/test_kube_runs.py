"""Jobs of nccl-tests against a real HTTP server that keeps jobs and pods as the API does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import node_list
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import data, kube_runs, runs
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.kube_server import Server, end_job, serving
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import run_text
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.test_runs import ALONE, PAIR, PODS

SIGNATURES = [dict(entry) for entry in data.raw_signatures()]


@pytest.fixture
def server() -> Server:
    found = Server()
    for name in ("onyx-g1", "onyx-g2"):
        found.add_node(name)
    return found


@pytest.fixture
def cluster(server: Server, tmp_path: Path) -> Iterator[kube_runs.Cluster]:
    with serving(server, tmp_path) as kubeconfig:
        api = KubeApi(node_list.connect(str(kubeconfig), None), timeout_s=5)
        yield kube_runs.Cluster(api, kube_runs.Settings(poll_interval_s=0.01), SIGNATURES)


def job(number: int = 1) -> dict[str, Any]:
    run = runs.Run(f"nccl-health-a-{number}", ALONE.nodes, ALONE.test, ALONE.environment)
    return runs.job(run, runs.PodSettings("default", PODS.image))


def pod_of(manifest: dict[str, Any]) -> str:
    return f"{manifest['metadata']['name']}-x7k"


def works(server: Server, log: str, exit_code: int = 0) -> None:
    """Jobs get a pod, which ends with a log at the second look."""

    def begin(manifest: dict[str, Any]) -> None:
        server.add_pod(pod_of(manifest), "onyx-g1", labels={"job-name": manifest["metadata"]["name"]})

    def progress(manifest: dict[str, Any]) -> None:
        if server.asked.count("GET jobs") > 1:
            server.end_pod(pod_of(manifest), exit_code, log)
            end_job(manifest, "Complete" if exit_code == 0 else "Failed", message="it failed")

    server.begin, server.progress = begin, progress


def test_a_job_is_watched_read_and_removed(cluster: kube_runs.Cluster, server: Server) -> None:
    works(server, run_text())
    (outcome,) = cluster.run_all([job()], 10)
    assert (outcome["ended"], outcome["exit_code"]) == ("by-itself", 0)
    assert outcome["pods"] == {"nccl-health-a-1-x7k": "onyx-g1"}
    assert outcome["reading"]["blocks"][0]["concluded"]
    assert (server.jobs, server.pods) == ({}, {})


def test_a_job_that_failed_is_read_too(cluster: kube_runs.Cluster, server: Server) -> None:
    works(server, "Invalid number of GPUs: 8 requested but only 7 were found.\n", exit_code=5)
    (outcome,) = cluster.run_all([job()], 10)
    assert (outcome["ended"], outcome["exit_code"], outcome["message"]) == ("by-itself", 5, "it failed")
    assert [match["id"] for match in outcome["reading"]["matches"]] == ["cuda_invalid_ordinal"]


def test_jobs_run_side_by_side_and_their_outcomes_keep_their_order(cluster: kube_runs.Cluster, server: Server) -> None:
    works(server, run_text())
    outcomes = cluster.run_all([job(1), job(2)], 10)
    assert [outcome["name"] for outcome in outcomes] == ["nccl-health-a-1", "nccl-health-a-2"]
    assert server.asked[:2] == ["POST jobs", "POST jobs"]
    assert server.jobs == {}


def test_a_job_that_does_not_end_is_removed(cluster: kube_runs.Cluster, server: Server) -> None:
    server.begin = lambda manifest: void(
        server.add_pod(pod_of(manifest), "onyx-g1", labels={"job-name": manifest["metadata"]["name"]})
    )
    server.logs["nccl-health-a-1-x7k"] = run_text(end="")
    (outcome,) = cluster.run_all([job()], 0.05)
    assert outcome["ended"] == "deadline"
    assert outcome["reading"]["lines"] > 0
    assert (server.jobs, server.pods) == ({}, {})


def void(_value: object) -> None:
    return None


def test_a_pod_that_its_own_deadline_ended_keeps_its_log(cluster: kube_runs.Cluster, server: Server) -> None:
    works(server, run_text(end=""), exit_code=143)
    progress = server.progress

    def late(manifest: dict[str, Any]) -> None:
        progress(manifest)
        server.pods[pod_of(manifest)]["status"]["reason"] = "DeadlineExceeded"

    server.progress = late
    (outcome,) = cluster.run_all([job()], 10)
    assert outcome["ended"] == "deadline"
    assert outcome["reading"]["blocks"]


def test_a_pod_that_never_ran_says_why(cluster: kube_runs.Cluster, server: Server) -> None:
    def begin(manifest: dict[str, Any]) -> None:
        pod = server.add_pod(pod_of(manifest), "onyx-g1", labels={"job-name": manifest["metadata"]["name"]})
        waiting = {"reason": "ErrImagePull", "message": "manifest unknown"}
        pod["status"] = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}
        end_job(manifest, "Failed", "DeadlineExceeded")

    server.begin = begin
    (outcome,) = cluster.run_all([job()], 10)
    assert (outcome["ended"], outcome["reading"]["lines"]) == ("not-started", 0)
    assert outcome["message"] == "nccl-health-a-1-x7k: ErrImagePull: manifest unknown"


def test_an_api_that_stumbles_while_a_job_runs_is_asked_again(cluster: kube_runs.Cluster, server: Server) -> None:
    works(server, run_text())
    begin = server.begin

    def stumbling(manifest: dict[str, Any]) -> None:
        begin(manifest)
        server.refused = {"GET": [503, 429], "DELETE": [500]}

    server.begin = stumbling
    (outcome,) = cluster.run_all([job()], 10)
    assert outcome["ended"] == "by-itself"
    assert server.jobs == {}


def test_a_refused_job_leaves_nothing_of_those_before_it(cluster: kube_runs.Cluster, server: Server) -> None:
    works(server, run_text())
    begin = server.begin

    def once(manifest: dict[str, Any]) -> None:
        begin(manifest)
        server.refused = {"POST": [403]}

    server.begin = once
    with pytest.raises(GpuError, match=r"BG-NCCL-112: .*HTTP 403: no"):
        cluster.run_all([job(1), job(2)], 10)
    assert len(server.made) == 1
    assert (server.jobs, server.pods) == ({}, {})


def test_a_cluster_without_the_mpi_operator_is_told_so(cluster: kube_runs.Cluster, server: Server) -> None:
    server.refused = {"POST": [404]}
    manifest = runs.mpi_job(PAIR, runs.PodSettings("default", PODS.image))
    with pytest.raises(GpuError, match="MPI operator"):
        cluster.run_all([manifest], 10)


def test_what_cannot_be_removed_is_an_error_that_names_it(
    cluster: kube_runs.Cluster, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_runs, "REMOVAL_S", 0.1)
    works(server, run_text())
    server.keeps_pods = True
    with pytest.raises(GpuError, match="BG-NCCL-113: Job nccl-health-a-1 in namespace default"):
        cluster.run_all([job()], 10)


def test_an_mpi_job_is_read_from_its_launcher_with_the_nodes_of_its_workers(
    cluster: kube_runs.Cluster, server: Server
) -> None:
    name = PAIR.name

    def begin(manifest: dict[str, Any]) -> None:
        role = "training.kubeflow.org/job-role"
        of_job = {"training.kubeflow.org/job-name": name}
        server.add_pod(f"{name}-launcher-x7k", "onyx-m1", labels={**of_job, role: "launcher"})
        for number, node in enumerate(PAIR.nodes):
            server.add_pod(f"{name}-worker-{number}", node, labels={**of_job, role: "worker"})
        server.end_pod(f"{name}-launcher-x7k", 0, run_text(hosts=(f"{name}-worker-0", f"{name}-worker-1")))
        end_job(manifest, "Succeeded")

    server.begin = begin
    (outcome,) = cluster.run_all([runs.mpi_job(PAIR, runs.PodSettings("default", PODS.image))], 10)
    assert (outcome["ended"], outcome["exit_code"]) == ("by-itself", 0)
    assert outcome["pods"][f"{name}-worker-1"] == "onyx-g2"
    assert len(outcome["reading"]["blocks"][0]["ranks"]) == 16
    assert (server.jobs, server.pods) == ({}, {})


@pytest.mark.parametrize(("workers_run", "ended"), [(True, "deadline"), (False, "not-started")])
def test_an_mpi_job_past_its_deadline_has_lost_its_launcher_and_kept_its_workers(
    cluster: kube_runs.Cluster, server: Server, workers_run: bool, ended: str
) -> None:
    """As the operator leaves it. A worker that never ran means that there was no launcher either."""

    def begin(manifest: dict[str, Any]) -> None:
        labels = {"training.kubeflow.org/job-name": PAIR.name, "training.kubeflow.org/job-role": "worker"}
        for number, node in enumerate(PAIR.nodes):
            server.add_pod(f"{PAIR.name}-worker-{number}", node, labels=labels)
            if not workers_run:
                server.pods[f"{PAIR.name}-worker-{number}"]["status"] = {"phase": "Pending"}
        end_job(manifest, "Failed", "DeadlineExceeded")

    server.begin = begin
    (outcome,) = cluster.run_all([runs.mpi_job(PAIR, runs.PodSettings("default", PODS.image))], 10)
    assert (outcome["ended"], outcome["exit_code"], outcome["reading"]["lines"]) == (ended, None, 0)


def test_free_nodes_have_no_obstacle(cluster: kube_runs.Cluster, server: Server) -> None:
    server.add_pod("web", "onyx-g1")
    server.add_pod("other", "onyx-g3", gpus=8)
    server.add_pod("past", "onyx-g1", gpus=8)
    server.end_pod("past", 0, "")
    assert cluster.obstacles(["onyx-g1", "onyx-g2"], 8) == []
    assert {request.split()[0] for request in server.asked} == {"GET"}


def test_a_pod_with_a_gpu_is_an_obstacle_with_its_name(cluster: kube_runs.Cluster, server: Server) -> None:
    server.add_pod("training-0", "onyx-g1", gpus=1)
    (found,) = cluster.obstacles(["onyx-g1", "onyx-g2"], 8)
    assert (found.code, found.node) == ("BG-NCCL-110", "onyx-g1")
    assert "training-0" in found.what


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"allocatable": {"nvidia.com/gpu": "80"}}, "BG-NCCL-109", id="each GPU ten times"),
        pytest.param({"allocatable": {"nvidia.com/gpu": "7"}}, "BG-NCCL-111", id="seven of eight"),
        pytest.param({"allocatable": {}}, "BG-NCCL-111", id="none"),
        pytest.param({"allocatable": {"nvidia.com/gpu": "8", "nvidia.com/mig-1g.10gb": "7"}}, "BG-NCCL-109", id="MIG"),
        pytest.param(
            {"allocatable": {"nvidia.com/gpu": "8", "nvidia.com/gpu.shared": "10"}}, "BG-NCCL-109", id="renamed shares"
        ),
        pytest.param({"labels": {"nvidia.com/gpu.sharing-strategy": "mps"}}, "BG-NCCL-109", id="MPS by its label"),
        pytest.param({"labels": {"nvidia.com/gpu.product": "NVIDIA-H100-MIG-1g.10gb"}}, "BG-NCCL-109", id="MIG single"),
        pytest.param({"conditions": [{"type": "Ready", "status": "Unknown"}]}, "BG-NCCL-111", id="not Ready"),
    ],
)
def test_a_node_that_is_shared_or_not_known_is_an_obstacle(change: dict[str, Any], code: str) -> None:
    node = Server().add_node("onyx-g1")
    node["metadata"]["labels"].update(change.pop("labels", {}))
    node["status"].update(change)
    found = kube_runs.sharing(node, "nvidia.com/gpu", 8)
    assert found is not None
    assert found[0] == code


def test_a_node_that_is_not_there_is_an_obstacle(cluster: kube_runs.Cluster) -> None:
    (found,) = cluster.obstacles(["onyx-g9"], 8)
    assert (found.code, found.what) == ("BG-NCCL-111", "the cluster has no such node")


def test_whoever_may_not_read_nodes_is_told_so(cluster: kube_runs.Cluster, server: Server) -> None:
    server.refused = {"GET": [403]}
    with pytest.raises(GpuError, match="BG-NCCL-112"):
        cluster.obstacles(["onyx-g1"], 8)
