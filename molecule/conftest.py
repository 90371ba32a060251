"""What the scenarios' tests share: pods that look at a cluster's network from inside."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

NAMESPACE = "network-test"
WAIT_S = 90
VERSIONS = Path(__file__).resolve().parent.parent / "data/versions.yml"


@dataclass
class Pods:
    """Runs pods on chosen nodes of a cluster. `kubectl` is the command on `host` that reaches it."""

    host: Any
    kubectl: str
    made: list[str] = field(default_factory=list)

    def start(self, node: str, script: str, labels: dict[str, str] | None = None) -> str:
        """Start a pod on this node and return its name."""
        name = f"look-{uuid.uuid4().hex[:8]}"
        components = yaml.safe_load(VERSIONS.read_text(encoding="utf-8"))["components"]
        image = f"mirror.lab.internal/busybox:{components['busybox']['version']}"
        container = {"name": "look", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]}
        spec = {
            # By name, so past the scheduler: the control plane's taint is no obstacle.
            "nodeName": node,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        }
        self._apply(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}
        )
        return name

    def output(self, node: str, script: str) -> str:
        """What a pod on this node prints when it runs the script to a good end."""
        name = self.start(node, script)
        self._kubectl(f"wait pod/{name} --for=jsonpath='{{.status.phase}}'=Succeeded --timeout={WAIT_S}s")
        return str(self._kubectl(f"logs {name}"))

    def serve(self, node: str, service: str) -> None:
        """A web page that says the node's name, behind a service."""
        page = f"mkdir -p /tmp/www && echo {node} > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"
        name = self.start(node, page, {"app": service})
        spec = {"selector": {"app": service}, "ports": [{"port": 80, "targetPort": 8080}]}
        self._apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": service}, "spec": spec})
        self._kubectl(f"wait pod/{name} --for=condition=Ready --timeout={WAIT_S}s")

    def await_dns(self) -> None:
        """Wait until the cluster's name service is there."""
        command = f"{self.kubectl} --namespace=kube-system rollout status deployment/coredns --timeout={WAIT_S}s"
        self.host.check_output(command)

    def _apply(self, document: dict[str, Any]) -> None:
        command = f"apply --filename - <<'END'\n{json.dumps(document)}\nEND"
        self._kubectl(command)

    def _kubectl(self, arguments: str) -> Any:
        return self.host.check_output(f"{self.kubectl} --namespace={NAMESPACE} {arguments}")


@pytest.fixture
def pods_of(host: Any) -> Iterator[Any]:
    """Call it with the command that reaches the cluster to get its Pods; they are gone when the test ends."""
    used: list[str] = []

    def pods(kubectl: str) -> Pods:
        host.check_output(f"{kubectl} create namespace {NAMESPACE}")
        used.append(kubectl)
        return Pods(host, kubectl)

    yield pods
    for kubectl in used:
        host.check_output(f"{kubectl} delete namespace {NAMESPACE} --timeout={WAIT_S}s")
