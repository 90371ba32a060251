"""A run of nccl-tests as a Job through a real API server and kubelet: its log, its deadline, its removal, and its refusals.

What the pod prints was prepared, and its GPU is simulated: only what starts, reads, ends and removes the job is real here. The image
is by tag, because the lab has none by digest.
"""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import node_list
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import data, kube_runs, runs
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import GIB, row_line, run_text
from lab.images import REGISTRY
from lab.versions import version

pytestmark = pytest.mark.lab

NODE = "spark-01"


@pytest.fixture
def cluster(spark: Any) -> kube_runs.Cluster:
    client = node_list.connect(str(spark.lab.state / "kubeconfig/calypso.yaml"), None)
    return kube_runs.Cluster(
        KubeApi(client, timeout_s=10), kube_runs.Settings(poll_interval_s=0.5), list(data.raw_signatures())
    )


def job(name: str, script: str, limits: runs.Limits) -> dict[str, Any]:
    """The Job as it is built for a node, but with a script that prints what was prepared."""
    image = f"{REGISTRY}/busybox:{version('busybox')}"
    run = runs.Run(name, (NODE,), runs.Test("all_reduce", GIB, 4 * GIB, 1, limits), {"NCCL_DEBUG": "WARN"})
    manifest = runs.job(run, runs.PodSettings("default", image, runtime_class="nvidia", shared_memory="64Mi"))
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    container["command"] = ["sh", "-c", script]
    container["env"].append({"name": "LOG", "value": run_text(per_host=1, rows=(row_line(4 * GIB, "0.00"),))})
    return manifest


def left_over(cluster: kube_runs.Cluster, name: str) -> list[Any]:
    _status, answer = cluster._api.request(
        "GET", "/api/v1/namespaces/default/pods", query={"labelSelector": f"job-name={name}"}
    )
    return list(answer["items"])


def test_a_job_runs_on_the_node_is_read_and_removed(cluster: kube_runs.Cluster) -> None:
    manifest = job("nccl-health-lab-1", 'printf "%s" "$LOG"; exit 3', runs.Limits(20, 40, 60))
    (outcome,) = cluster.run_all([manifest], 45)
    assert (outcome["ended"], outcome["exit_code"]) == ("by-itself", 3), outcome["message"]
    assert outcome["reading"]["blocks"][0]["concluded"]
    assert list(outcome["pods"].values()) == [NODE]
    assert left_over(cluster, "nccl-health-lab-1") == []


def test_a_job_that_hangs_is_ended_by_its_deadline_with_what_it_printed(cluster: kube_runs.Cluster) -> None:
    manifest = job("nccl-health-lab-2", 'printf "%s" "$LOG"; exec sleep 600', runs.Limits(2, 4, 60))
    (outcome,) = cluster.run_all([manifest], 45)
    assert outcome["ended"] == "deadline", outcome["message"]
    assert outcome["reading"]["lines"] > 0
    assert left_over(cluster, "nccl-health-lab-2") == []


def test_a_gpu_that_is_shared_refuses_a_run(cluster: kube_runs.Cluster) -> None:
    """The node offers its GPU ten times under MPS."""
    (found,) = cluster.obstacles([NODE], 1)
    assert found.code == "BG-NCCL-109"
