"""cluster_objects by real plays against a server that speaks the API's wire format: findings, and no error whatever the server says."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.action import cluster_objects
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.tests.unit.plugins.action.test_plays import play
from ansible_collections.baremetal.gpu.tests.unit.plugins.fake_api import FakeCluster, serving, status, write_kubeconfig

MANIFEST: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "flannel", "namespace": "net"},
    "spec": {"selector": {"matchLabels": {"app": "flannel"}}, "template": {"image": "declared"}},
}
PLACE = "/apis/apps/v1/namespaces/net/daemonsets/flannel"
PODS = "/api/v1/namespaces/net/pods"
ROLLED_OUT = {"observedGeneration": 1, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1}
SOURCE = yaml.safe_dump(MANIFEST)


class Objects(FakeCluster):
    """One DaemonSet and its pods. A dry run answers what an apply would make of it, and changes nothing."""

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/apis/apps/v1":
            return 200, {"resources": [{"name": "daemonsets", "kind": "DaemonSet", "namespaced": True}]}
        if path == "/manifest.yaml":
            return 200, SOURCE.encode()
        if path == PLACE:
            return (200, self.live) if self.live else (404, status(404))
        if path == PODS:
            return 200, {"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": self.pods}
        return super().answer(path, query)

    def write(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        if method != "PATCH" or path != PLACE or query.get("dryRun") != "All":
            return 405, status(405, path)
        return 200, {**(self.live or {"metadata": {}, "status": {}}), "spec": body["spec"], "metadata": self.metadata}

    live: dict[str, Any] | None = None
    metadata: dict[str, Any] = {"name": "flannel", "namespace": "net", "generation": 1}  # noqa: RUF012 - never changed


def live(image: str = "declared", **counts: int) -> dict[str, Any]:
    found = copy.deepcopy(MANIFEST)
    found["spec"]["template"]["image"] = image
    return {**found, "metadata": dict(Objects.metadata), "status": {**ROLLED_OUT, **counts}}


def judged(folder: Path, cluster: Objects, **options: Any) -> dict[str, tuple[str, str]]:
    """Status and reason by code; the play itself must not fail."""
    with serving(cluster) as address:
        kubeconfig = options.pop("kubeconfig", None) or write_kubeconfig(folder, address)
        sources = [{"url": f"{address}/manifest.yaml", "sha256": hashlib.sha256(SOURCE.encode()).hexdigest()}]
        arguments = {
            "kubeconfig": kubeconfig,
            "subject": "pod network",
            "sources": sources,
            "field_manager": "test",
            "codes": {"declared": "BG-K8S-011", "running": "BG-K8S-012"},
            "needed": ["flannel"],
            "wait_timeout_s": 0,
            **options,
        }
        result = play(folder, {"name": "Judge", "baremetal.gpu.cluster_objects": arguments})[0]
    assert not result.get("failed"), result
    assert result["changed"] is False
    return {each["code"]: (each["status"], each["reason"]) for each in result["baremetal_gpu_findings"]}


def test_objects_as_declared_that_run_are_ok(tmp_path: Path) -> None:
    cluster = Objects()
    cluster.live = live()
    assert judged(tmp_path, cluster) == {
        "BG-K8S-011": ("ok", "1 objects are as declared"),
        "BG-K8S-012": ("ok", "1 workloads are rolled out"),
    }


def test_an_edited_object_is_told_apart_from_pods_that_do_not_run(tmp_path: Path) -> None:
    cluster = Objects()
    cluster.live = live("mine")
    found = judged(tmp_path, cluster)
    assert found["BG-K8S-011"][0] == "fail"
    assert "spec.template.image is mine, declared is declared" in found["BG-K8S-011"][1]
    assert found["BG-K8S-012"][0] == "ok"


def test_a_pod_that_does_not_get_ready_is_named_with_its_node(tmp_path: Path) -> None:
    cluster = Objects()
    cluster.live = live(numberReady=0)
    waiting = [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]
    cluster.pods = [
        {"metadata": {"name": "flannel-x"}, "spec": {"nodeName": "n1"}, "status": {"containerStatuses": waiting}}
    ]
    found = judged(tmp_path, cluster)
    assert found["BG-K8S-011"][0] == "ok"
    assert found["BG-K8S-012"][0] == "fail"
    assert "flannel-x on n1: ImagePullBackOff" in found["BG-K8S-012"][1]


def test_a_removed_object_fails_both(tmp_path: Path) -> None:
    assert {code: found[0] for code, found in judged(tmp_path, Objects()).items()} == {
        "BG-K8S-011": "fail",
        "BG-K8S-012": "fail",
    }


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"sources": [{"url": "http://127.0.0.1:9/x", "sha256": "0"}]}, "BG-APPLY-105: http://127.0.0.1:9/x cannot be read"),
        ({"kubeconfig": "/none"}, "BG-CAP-103"),
        ({"sources": [], "manifests": ["a: [b"]}, "BG-APPLY-104"),
        ({"sources": [], "manifests": ["{apiVersion: v9, kind: Thing, metadata: {name: x}}"]}, "BG-APPLY-103"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_unknown_and_no_error(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    for code, (state, why) in judged(tmp_path, Objects(), **options).items():
        assert (code, state) in {("BG-K8S-011", "unknown"), ("BG-K8S-012", "unknown")}
        assert why.startswith(reason)


def test_a_manifest_with_another_checksum_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(SOURCE, encoding="utf-8")
    source = {"url": f"file://{tmp_path}/m.yaml", "sha256": "0" * 64}
    with pytest.raises(GpuError, match=r"BG-APPLY-105.*declared is 0000"):
        cluster_objects._fetched(source)
    source["sha256"] = hashlib.sha256(SOURCE.encode()).hexdigest()
    assert cluster_objects._fetched(source) == SOURCE
