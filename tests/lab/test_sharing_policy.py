"""The admission policy and the example manifests against a real API server: its own admission decides, pods are created as dry runs."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.filter.mps_environment import mps_environment
from ansible_collections.baremetal.gpu.plugins.filter.pod_sharing_faults import pod_sharing_faults
from ansible_collections.baremetal.gpu.plugins.filter.sharing_policy import sharing_policy
from ansible_collections.baremetal.gpu.plugins.filter.tier_resources import tier_resources
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import connect
from ansible_collections.baremetal.gpu.tests.support.shared_gpu_pods import POLICY_FAULTS, Spoil
from tools.bench import apiserver

pytestmark = pytest.mark.lab

TWO = {"strategy": "mps", "replicas": 2}
FOUR = {"strategy": "mps", "replicas": 4}
ON_H100 = {"strategy": "mps", "replicas": 3}
BASE = "/apis/admissionregistration.k8s.io/v1"
KINDS = {
    "ValidatingAdmissionPolicy": f"{BASE}/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": f"{BASE}/validatingadmissionpolicybindings",
}
EFFECTIVE_S = 30.0


class Cluster:
    """An API server with a namespace for each policy, and one that no policy is about."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = str(kubeconfig)
        self.api = KubeApi(connect({"kubeconfig": self.kubeconfig}), 30)

    def create(self, path: str, body: Any, dry_run: bool = False) -> tuple[int, str]:
        """Status and the server's words."""
        status, answer = self.api.request("POST", path, body, query={"dryRun": "All"} if dry_run else {})
        return status, str(answer.get("message") or "") if isinstance(answer, dict) else str(answer)

    def require(self, path: str, body: Any) -> None:
        status, message = self.create(path, body)
        assert status == 201, message

    def admit(self, pod: Any, namespace: str) -> tuple[int, str]:
        return self.create(f"/api/v1/namespaces/{namespace}/pods", pod, dry_run=True)


def pod(tier: str, sharing: dict[str, Any], profile: str = "gb10") -> dict[str, Any]:
    container = {
        "name": "c",
        "image": "none",
        "env": mps_environment(tier, sharing, profile),
        "resources": tier_resources(tier, sharing),
    }
    spec = {"securityContext": {"runAsUser": 1000}, "containers": [container]}
    labels = {"baremetal.gpu/tier": tier}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": labels}, "spec": spec}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with apiserver.running(tmp_path_factory.mktemp("sharing") / "api") as server:
        found = Cluster(server.kubeconfig)
        for name, sharing, profile in (("two", TWO, "gb10"), ("four", FOUR, "gb10"), ("h100", ON_H100, "h100-sxm-8")):
            found.require("/api/v1/namespaces", {"metadata": {"name": name, "labels": {"nodes": name}}})
            for each in sharing_policy(sharing, profile, 1000, {"nodes": name}, name):
                found.require(KINDS[each["kind"]], each)
            _await_policy(found, name)
        found.require("/api/v1/namespaces", {"metadata": {"name": "other"}})
        yield found


def _await_policy(cluster: Cluster, namespace: str) -> None:
    """The server reads policies after they were made: a pod without limits is admitted until then."""
    bad = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
    bad["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": 1}}  # type: ignore[index]
    end = time.monotonic() + EFFECTIVE_S
    while cluster.admit(bad, namespace)[0] == 201:
        assert time.monotonic() < end, f"the policy of {namespace} has no effect"
        time.sleep(0.2)


@pytest.mark.requirement("MPS-04", part="limits accepted by a real API server, and others refused by its admission")
@pytest.mark.parametrize("tier", ["small", "medium", "large"])
def test_a_pod_of_a_tier_that_nodes_give_is_admitted(cluster: Cluster, tier: str) -> None:
    assert cluster.admit(pod(tier, TWO), "two") == (201, "")


@pytest.mark.parametrize(("name", "spoil", "code"), POLICY_FAULTS, ids=[name for name, _spoil, _code in POLICY_FAULTS])
def test_each_fault_is_refused_with_its_code(cluster: Cluster, name: str, spoil: Spoil, code: str) -> None:
    spoilt = pod("small", TWO)
    spoil(spoilt)
    status, message = cluster.admit(spoilt, "two")
    assert status == 422, message
    assert code in message
    # Pods elsewhere are nobody's business here, and what the policy refuses is wrong by the filter, too, but for what it is stricter in.
    assert cluster.admit(spoilt, "other")[0] == 201
    assert pod_sharing_faults([spoilt], TWO, "gb10", user=1000) or name in (
        "no tier",
        "amount with B",
        "another device's UUID",
    )


def test_a_tier_that_nodes_do_not_give_in_full_is_refused(cluster: Cluster) -> None:
    assert cluster.admit(pod("medium", FOUR), "four") == (201, "")
    status, message = cluster.admit(pod("large", TWO), "four")
    assert status == 422
    assert "BG-SHARE-006" in message


def test_memory_above_the_daemon_s_is_refused_where_it_limits_memory(cluster: Cluster) -> None:
    """A third of an H100 is 27186 MiB: small fits, medium does not."""
    assert cluster.admit(pod("small", ON_H100, "h100-sxm-8"), "h100") == (201, "")
    spoilt = pod("small", ON_H100, "h100-sxm-8")
    spoilt["spec"]["containers"][0]["env"][1]["value"] = "0=27187M"
    status, message = cluster.admit(spoilt, "h100")
    assert (status, "BG-SHARE-007" in message) == (422, True), message
    spoilt["spec"]["containers"][0]["env"][1]["value"] = "0=27186M"
    assert "BG-SHARE-014" in cluster.admit(spoilt, "h100")[1]


def test_pods_without_gpus_are_left_alone(cluster: Cluster) -> None:
    plain = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
    assert cluster.admit(plain, "two") == (201, "")
    mixed = pod("small", TWO)
    mixed["spec"]["containers"].append({"name": "sidecar", "image": "none", "resources": {"limits": {"cpu": "1"}}})
    mixed["spec"]["initContainers"] = [{"name": "first", "image": "none"}]
    assert cluster.admit(mixed, "two") == (201, "")


def test_init_containers_are_looked_at(cluster: Cluster) -> None:
    found = pod("small", TWO)
    first = copy.deepcopy(found["spec"]["containers"][0])
    first["name"] = "first"
    found["spec"]["initContainers"] = [first]
    assert cluster.admit(found, "two") == (201, "")
    first["env"] = []
    assert "BG-SHARE-013" in cluster.admit(found, "two")[1]


def test_a_pod_keeps_its_tier(cluster: Cluster) -> None:
    """And one that was there before a policy can still be labelled and end."""
    path = "/api/v1/namespaces/two/pods"
    kept = pod("small", TWO)
    kept["metadata"]["name"] = "kept"
    cluster.require(path, kept)
    merge: dict[str, Any] = {"content_type": "application/merge-patch+json"}

    def label(**labels: str) -> tuple[int, str]:
        status, answer = cluster.api.request("PATCH", f"{path}/kept", {"metadata": {"labels": labels}}, **merge)
        return status, str(answer.get("message") or "")

    assert label(team="a")[0] == 200
    status, message = label(**{"baremetal.gpu/tier": "large"})
    assert (status, "BG-SHARE-014" in message) == (422, True), message
    assert cluster.api.request("DELETE", f"{path}/kept", {"gracePeriodSeconds": 0})[0] == 200


def test_a_policy_is_as_the_server_keeps_it(cluster: Cluster) -> None:
    """Nothing of it is dropped or filled in otherwise: applying it again changes nothing."""
    for each in sharing_policy(TWO, "gb10", 1000, {"nodes": "two"}, "two"):
        status, kept = cluster.api.request("GET", f"{KINDS[each['kind']]}/two")
        assert status == 200
        for key, value in each["spec"].items():
            assert _within(value, kept["spec"][key]), key


def _within(wanted: Any, kept: Any) -> bool:
    if isinstance(wanted, dict):
        return all(key in kept and _within(value, kept[key]) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(wanted) == len(kept) and all(map(_within, wanted, kept))
    return bool(wanted == kept)


APPLY = """\
- name: Apply the example
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Apply the manifests
      baremetal.gpu.manifests:
        kubeconfig: "{{ kubeconfig }}"
        field_manager: example
        manifests: ["{{ lookup('ansible.builtin.file', example_file) }}"]
"""


def play(root: Path, playbook: Path, **variables: Any) -> str:
    """What a playbook says; it must come to its end."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), str(playbook), "-e", json.dumps(variables)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=playbook.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.requirement("MPS-05", part="the example applied to a real API server")
def test_the_example_is_applied_twice_and_its_pods_are_admitted(root: Path, cluster: Cluster, tmp_path: Path) -> None:
    file, apply = tmp_path / "example.yml", tmp_path / "apply.yml"
    apply.write_text(APPLY, encoding="utf-8")
    sharing = {**TWO, "tiers": ["small", "medium", "large"]}
    play(root, root / "docs/examples/sharing/render.yml", gpu_sharing=sharing, example_file=str(file))
    variables = {"kubeconfig": cluster.kubeconfig, "example_file": str(file)}
    assert "changed=1" in play(root, apply, **variables)
    assert "changed=0" in play(root, apply, **variables)

    cluster.require("/apis/node.k8s.io/v1/runtimeclasses", {"metadata": {"name": "nvidia"}, "handler": "nvidia"})
    _await_policy(cluster, "gpu-workloads")
    objects = [each for each in yaml.safe_load_all(file.read_text(encoding="utf-8")) if each]
    deployments = [each for each in objects if each["kind"] == "Deployment"]
    assert len(deployments) == 3
    for deployment in deployments:
        template = deployment["spec"]["template"]
        body = {**template, "metadata": {**template["metadata"], "name": "a"}}
        assert cluster.admit(body, "gpu-workloads") == (201, "")

    two = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
    two["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": 2}}  # type: ignore[index]
    status, message = cluster.admit(two, "gpu-workloads")
    assert (status, "maximum nvidia.com/gpu usage per Container is 1" in message) == (403, True), message


def test_the_example_s_limits_give_no_gpu_to_a_pod_that_asks_for_none(
    root: Path, cluster: Cluster, tmp_path: Path
) -> None:
    """A maximum without a default would be every container's own request."""
    file = tmp_path / "example.yml"
    play(root, root / "docs/examples/sharing/render.yml", example_namespace="defaults", example_file=str(file))
    limits = next(each for each in yaml.safe_load_all(file.read_text(encoding="utf-8")) if each["kind"] == "LimitRange")
    plain = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "none"}]}}

    def given(namespace: str) -> str:
        status, answer = cluster.api.request(
            "POST", f"/api/v1/namespaces/{namespace}/pods", plain, query={"dryRun": "All"}
        )
        assert status == 201, answer
        resources = answer["spec"]["containers"][0]["resources"]
        assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"]
        return str(resources["limits"]["nvidia.com/gpu"])

    for namespace, spoilt in (("defaults", False), ("maximum", True)):
        cluster.require("/api/v1/namespaces", {"metadata": {"name": namespace}})
        body = copy.deepcopy({**limits, "metadata": {"name": "gpu-shares"}})
        if spoilt:
            for key in ("default", "defaultRequest"):
                del body["spec"]["limits"][0][key]["nvidia.com/gpu"]
        cluster.require(f"/api/v1/namespaces/{namespace}/limitranges", body)
        end = time.monotonic() + EFFECTIVE_S
        while not _has_limits(cluster, namespace, plain):
            assert time.monotonic() < end, f"the limits of {namespace} have no effect"
            time.sleep(0.2)
    assert (given("defaults"), given("maximum")) == ("0", "1")


def _has_limits(cluster: Cluster, namespace: str, pod: Any) -> bool:
    _status, answer = cluster.api.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod, query={"dryRun": "All"})
    return "limits" in answer["spec"]["containers"][0]["resources"]
