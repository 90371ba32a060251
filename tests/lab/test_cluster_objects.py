"""The roles nvidia_device_plugin and pod_network apply to a real API server, and their entry points verify judge what is there.

No controller and no kubelet run: what they would count is written by the test, so that each fault comes alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.support.real_cluster import MERGE, RealCluster
from ansible_collections.baremetal.gpu.tests.unit.plugins.action.test_plays import play
from lab import golang
from tools.bench import apiserver

pytestmark = pytest.mark.lab

FLANNEL = Path(__file__).resolve().parents[2] / "lab/manifests/lab-flannel.yaml"
APPS = "/apis/apps/v1/namespaces"
PLUGIN = f"{APPS}/gpu-operands/daemonsets/nvidia-device-plugin"
NETWORK = f"{APPS}/kube-flannel/daemonsets"
OK = {"BG-DP-002": "ok", "BG-DP-003": "ok", "BG-K8S-011": "ok", "BG-K8S-012": "ok"}


class Applied:
    """A cluster to which both roles have applied; a verification takes a few seconds."""

    def __init__(self, cluster: RealCluster, folder: Path, definitions: Path) -> None:
        self.cluster, self._folder = cluster, folder
        self._variables = {
            "nvidia_device_plugin_kubeconfig": cluster.kubeconfig,
            "nvidia_device_plugin_nfd_crds_url": f"file://{definitions}",
            "nvidia_device_plugin_nfd_crds_sha256": hashlib.sha256(definitions.read_bytes()).hexdigest(),
            "nvidia_device_plugin_sharing": "mps",
            "nvidia_device_plugin_replicas": 10,
            "nvidia_device_plugin_rollout_timeout": 0,
            "pod_network_kubeconfig": cluster.kubeconfig,
            "pod_network_manifest_url": f"file://{FLANNEL}",
            "pod_network_manifest_sha256": hashlib.sha256(FLANNEL.read_bytes()).hexdigest(),
            "pod_network_rollout_timeout": 0,
        }

    def run(self, entry: str) -> list[dict[str, Any]]:
        roles = ("nvidia_device_plugin", "pod_network")
        tasks = [
            {
                "name": f"Run {role}",
                "ansible.builtin.include_role": {"name": f"baremetal.gpu.{role}", "tasks_from": entry},
                "vars": self._variables,
            }
            for role in roles
        ]
        told = {role: f"{{{{ __{role}_objects | default({{}}) }}}}" for role in roles}
        results = play(self._folder, *tasks, {"name": "Tell", "ansible.builtin.debug": {"msg": told}})
        assert [each.get("msg") for each in results if each.get("failed")] == []
        return [item for one in results[-1]["msg"].values() for item in one.get("baremetal_gpu_findings", [])]

    def verify(self) -> dict[str, str]:
        return {finding["code"]: finding["status"] for finding in self.run("verify.yml")}

    def count(self) -> None:
        """Say of every workload what its controller says when all is there."""
        for namespace in ("gpu-operands", "node-feature-discovery", "kube-flannel"):
            for kind in ("daemonsets", "deployments"):
                for each in self.cluster.ask("GET", f"{APPS}/{namespace}/{kind}")["items"]:
                    counts = {"observedGeneration": each["metadata"]["generation"]}
                    if kind == "daemonsets":
                        names = (
                            "desiredNumberScheduled",
                            "currentNumberScheduled",
                            "updatedNumberScheduled",
                            "numberReady",
                        )
                        counts.update(dict.fromkeys(names, 1), numberMisscheduled=0)
                    else:
                        counts.update(replicas=1, updatedReplicas=1, readyReplicas=1, availableReplicas=1)
                    path = f"{APPS}/{namespace}/{kind}/{each['metadata']['name']}/status"
                    self.cluster.ask("PATCH", path, {"status": counts}, content_type=MERGE)

    def patch(self, path: str, body: dict[str, Any]) -> None:
        self.cluster.ask("PATCH", path, body, content_type=MERGE)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    folder = tmp_path_factory.mktemp("objects")
    apiserver.lab_programs()
    (module,) = (each for each in golang.modules() if each.folder == "node-feature-discovery")
    definitions = golang.programs(module).path / "nfd-api-crds.yaml"
    with apiserver.running(folder / "api", authorization="RBAC") as server:
        found = Applied(RealCluster(server.kubeconfig), folder, definitions)
        found.run("main.yml")
        yield found


@pytest.fixture
def healthy(applied: Applied) -> Applied:
    applied.run("main.yml")
    applied.count()
    assert applied.verify() == OK
    return applied


def test_what_no_controller_has_counted_is_not_rolled_out(applied: Applied) -> None:
    assert applied.verify() == {"BG-DP-002": "ok", "BG-DP-003": "fail", "BG-K8S-011": "ok", "BG-K8S-012": "fail"}


def test_an_edited_operand_is_told(healthy: Applied) -> None:
    healthy.patch(PLUGIN, {"spec": {"template": {"spec": {"priorityClassName": "mine"}}}})
    healthy.count()
    assert healthy.verify() == {**OK, "BG-DP-002": "fail"}


def test_what_others_add_is_no_fault(healthy: Applied) -> None:
    healthy.patch(PLUGIN, {"metadata": {"labels": {"team": "others"}}})
    assert healthy.verify() == OK


def test_an_operand_without_a_node_is_told(healthy: Applied) -> None:
    healthy.patch(f"{PLUGIN}/status", {"status": {"desiredNumberScheduled": 0, "numberReady": 0}})
    assert healthy.verify() == {**OK, "BG-DP-003": "fail"}


def test_a_removed_part_of_the_network_is_told(healthy: Applied) -> None:
    (network,) = healthy.cluster.ask("GET", NETWORK)["items"]
    healthy.cluster.ask("DELETE", f"{NETWORK}/{network['metadata']['name']}")
    assert healthy.verify()["BG-K8S-011"] == "fail"


def test_a_pod_of_the_network_that_is_not_ready_is_told(healthy: Applied) -> None:
    (network,) = healthy.cluster.ask("GET", NETWORK)["items"]
    healthy.patch(f"{NETWORK}/{network['metadata']['name']}/status", {"status": {"numberReady": 0}})
    assert healthy.verify() == {**OK, "BG-K8S-012": "fail"}
