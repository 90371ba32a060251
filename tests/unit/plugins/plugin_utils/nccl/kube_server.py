"""A small API server for tests: nodes, pods, jobs and logs over real HTTP, as far as runs of nccl-tests use them.

It keeps the contract of what it stands for (paths, selectors, statuses, propagation of a deletion to pods) and nothing else: no
scheduler and no kubelet. What a job's pods do is said by the test.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

JOBS = {"jobs": "job-name", "mpijobs": "training.kubeflow.org/job-name"}
Answer = tuple[int, Any]


class Server:
    """`begin` makes the pods of a new job, `progress` is called before each look at a job and may change it and its pods."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.made: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.refused: dict[str, list[int]] = {}
        self.keeps_pods = False
        self.begin: Callable[[dict[str, Any]], None] = lambda _job: None
        self.progress: Callable[[dict[str, Any]], None] = lambda _job: None

    def add_node(self, name: str, gpus: int = 8, **labels: str) -> dict[str, Any]:
        self.nodes[name] = {
            "metadata": {"name": name, "labels": labels},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "allocatable": {"nvidia.com/gpu": str(gpus), "cpu": "8"},
            },
        }
        return self.nodes[name]

    def add_pod(
        self, name: str, node: str = "", gpus: int = 0, labels: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        resources = {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}
        self.pods[name] = {
            "metadata": {"name": name, "namespace": "default", "labels": dict(labels or {})},
            "spec": {"nodeName": node, "containers": [{"name": "c", "resources": resources}]},
            "status": {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]},
        }
        return self.pods[name]

    def end_pod(self, name: str, exit_code: int, log: str) -> None:
        self.pods[name]["status"] = {
            "phase": "Succeeded" if exit_code == 0 else "Failed",
            "containerStatuses": [{"state": {"terminated": {"exitCode": exit_code}}}],
        }
        self.logs[name] = log

    def answer(self, method: str, target: str, body: Any) -> Answer:
        parts = urlsplit(target)
        kind = parts.path.rpartition("/")[2] if method == "POST" else parts.path.split("/")[-2]
        self.asked.append(f"{method} {kind}")
        if self.refused.get(method):
            code = self.refused[method].pop(0)
            return code, {"kind": "Status", "code": code, "message": "no"}
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        words = parts.path.strip("/").split("/")
        if words[-1] == "log":
            log = self.logs.get(words[-2])
            return (404, _absent(words[-2])) if log is None else (200, log[: int(query["limitBytes"])])
        if words[-1] == "pods":
            return 200, {"kind": "PodList", "items": [pod for pod in self.pods.values() if _selected(pod, query)]}
        if words[-2] == "nodes":
            node = self.nodes.get(words[-1])
            return (404, _absent(words[-1])) if node is None else (200, node)
        return self._job(method, words, body)

    def _job(self, method: str, words: list[str], body: Any) -> Answer:
        if method == "POST":
            self.jobs[body["metadata"]["name"]] = body
            self.made.append(body)
            self.begin(body)
            return 201, body
        job = self.jobs.get(words[-1])
        if job is None:
            return 404, _absent(words[-1])
        if method == "DELETE":
            del self.jobs[words[-1]]
            if not self.keeps_pods:
                label = JOBS[words[-2]]
                for name in [
                    name for name, pod in self.pods.items() if pod["metadata"]["labels"].get(label) == words[-1]
                ]:
                    del self.pods[name]
            return 200, {"kind": "Status", "status": "Success"}
        self.progress(job)
        return 200, job


def end_job(job: dict[str, Any], kind: str, reason: str = "", message: str = "") -> None:
    job["status"] = {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": message}]}


def _absent(name: str) -> dict[str, Any]:
    return {"kind": "Status", "code": 404, "message": f"{name} not found"}


def _selected(pod: dict[str, Any], query: dict[str, str]) -> bool:
    for term in filter(None, query.get("labelSelector", "").split(",")):
        name, _equals, value = term.partition("=")
        if pod["metadata"]["labels"].get(name) != value:
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        name, _equals, value = term.partition("=")
        found = pod["spec"]["nodeName"] if name.startswith("spec") else pod["status"]["phase"]
        if (found == value) == name.endswith("!"):
            return False
    return True


@contextmanager
def serving(server: Server, directory: Path) -> Iterator[Path]:
    """The path of a kubeconfig for the server while it runs."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            code, answer = server.answer(self.command, self.path, body)
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = respond  # noqa: N815 # the server's own names

        def log_message(self, *_arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    kubeconfig = directory / "kubeconfig.yaml"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{http.server_address[1]}"}}],
                "users": [{"name": "u", "user": {"token": "not-a-real-token"}}],
                "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "main",
            }
        ),
        encoding="utf-8",
    )
    try:
        yield kubeconfig
    finally:
        http.shutdown()
        http.server_close()
