"""A real API server and disruption controller, with what a kubelet does for pods that end done by a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import connect
from tools.bench import apiserver

PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
MERGE = "application/merge-patch+json"
STUCK = "stuck"
"""A pod with this label never ends."""


class RealCluster:
    """Objects of the cluster; whatever is refused raises AssertionError with the server's words."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = str(kubeconfig)
        self.api = KubeApi(connect({"kubeconfig": self.kubeconfig}), 30)

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        status, answer = self.api.request(method, path, body, **more)
        assert status < 300, (method, path, status, answer)
        return answer

    def add_node(self, name: str) -> None:
        """A node that is Ready."""
        self.ask("POST", "/api/v1/nodes", {"metadata": {"name": name}})
        status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        self.ask("PATCH", f"/api/v1/nodes/{name}/status", status, content_type=MERGE)

    def add_pod(self, name: str, node: str, app: str, phase: str = "Running", **labels: str) -> None:
        """A pod of a ReplicaSet (that is not there: nothing starts it again), running and ready unless it is in another phase."""
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app, "uid": f"uid-{app}", "controller": True}
        body = {
            "metadata": {"name": name, "labels": {"app": app, **labels}, "ownerReferences": [owner]},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "none"}]},
        }
        self.ask("POST", PODS, body)
        conditions = [{"type": "Ready", "status": "True" if phase == "Running" else "False"}]
        status = {"status": {"phase": phase, "conditions": conditions}}
        self.ask("PATCH", f"{PODS}/{name}/status", status, content_type=MERGE)

    def allow(self, user: str, rules: list[dict[str, Any]]) -> None:
        """Give a user these rights in the whole cluster, and no others."""
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        self.ask("POST", f"{rbac}/clusterroles", {"metadata": {"name": user}, "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
        self.ask(
            "POST", f"{rbac}/clusterrolebindings", {"metadata": {"name": user}, "roleRef": role, "subjects": [subject]}
        )

    def add_budget(self, name: str, app: str, least: int) -> None:
        """A budget that keeps so many pods of an app; waits until its controller has counted them."""
        spec = {"minAvailable": least, "selector": {"matchLabels": {"app": app}}}
        self.ask("POST", BUDGETS, {"metadata": {"name": name}, "spec": spec})

    def budget_status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"{BUDGETS}/{name}").get("status") or {}
        return found

    def pods_on(self, node: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", PODS, query={"fieldSelector": f"spec.nodeName={node}"})["items"]
        return found

    def cordoned(self, node: str) -> bool:
        return bool(self.ask("GET", f"/api/v1/nodes/{node}")["spec"].get("unschedulable"))


@contextmanager
def running(folder: Path) -> Iterator[RealCluster]:
    """Start everything in `folder`, and end it with the block."""
    with apiserver.running(folder / "api", authorization="RBAC") as server:
        programs = apiserver.lab_programs()
        command = [
            *(str(programs["hyperkube"]), "kube-controller-manager", f"--kubeconfig={server.kubeconfig}"),
            *("--controllers=disruption", "--leader-elect=false", "--secure-port=0"),
        ]
        with apiserver.in_background(command, folder / "controllers.log"):
            cluster = RealCluster(server.kubeconfig)
            end = threading.Event()
            kubelet = threading.Thread(target=_end_pods, args=(RealCluster(server.kubeconfig), end), daemon=True)
            kubelet.start()
            try:
                yield cluster
            finally:
                end.set()
                kubelet.join()


def _end_pods(cluster: RealCluster, end: threading.Event) -> None:
    """What a kubelet confirms: a pod that was asked to end has ended."""
    while not end.wait(0.1):
        for each in cluster.ask("GET", PODS)["items"]:
            metadata = each["metadata"]
            if metadata.get("deletionTimestamp") and STUCK not in metadata.get("labels", {}):
                options = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
                cluster.api.request("DELETE", f"{PODS}/{metadata['name']}", options)
