"""The module gpu_capacity against a real HTTP server that speaks the API's list of nodes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils import node_list
from ansible_collections.baremetal.gpu.plugins.modules import gpu_capacity
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import run_module

GPU = "nvidia.com/gpu"


def node(name: str, capacity: str, allocatable: str | None = None, ready: str = "True") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {},
        "status": {
            "capacity": {"cpu": "2", GPU: capacity},
            "allocatable": {"cpu": "2", GPU: capacity if allocatable is None else allocatable},
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


class Api:
    """The state of the served cluster. ``polls`` counts lists that were begun; ``errors`` are answered first."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.later: list[list[dict[str, Any]]] = []
        self.errors: list[int] = []
        self.expire_once = False
        self.requests: list[dict[str, list[str]]] = []

    def answer(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        self.requests.append(query)
        if self.errors:
            code = self.errors.pop(0)
            return code, {"kind": "Status", "code": code, "message": "no"}
        start = int(query.get("continue", ["0"])[0])
        if start and self.expire_once:
            self.expire_once = False
            return 410, {"kind": "Status", "code": 410, "reason": "Expired"}
        if not start and self.later and len(self.requests) > 1:
            self.nodes = self.later.pop(0)
        limit = int(query["limit"][0])
        rest = start + limit < len(self.nodes)
        metadata = {"continue": str(start + limit)} if rest else {}
        return 200, {"kind": "NodeList", "metadata": metadata, "items": self.nodes[start : start + limit]}


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def kubeconfig(api: Api, tmp_path: Path) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            code, body = api.answer(parse_qs(url.query)) if url.path == "/api/v1/nodes" else (404, {})
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield write_kubeconfig(tmp_path, server.server_address[1])
    server.shutdown()
    server.server_close()


def write_kubeconfig(directory: Path, port: int) -> str:
    path = directory / "kubeconfig.yaml"
    data = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "not-a-real-token"}}],
        "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "main",
    }
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return str(path)


def run(kubeconfig: str, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    values = {"wait_timeout_s": 0, "poll_interval_s": 0.05, "expected": {"n1": {GPU: 8}}, **arguments}
    return run_module(gpu_capacity, {"kubeconfig": kubeconfig, **values}, check_mode=check_mode)


def codes(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(item["code"], item["subject"], item["status"]) for item in result["baremetal_gpu_findings"]]


def test_a_node_as_declared_is_ok(api: Api, kubeconfig: str) -> None:
    api.nodes = [node("n1", "8"), node("control", "0")]
    result = run(kubeconfig, requirements=["ONYX-R057"], simulated=True)
    assert codes(result) == [("BG-CAP-001", "n1", "ok")]
    assert (result["changed"], result["settled"], result["node_count"], result["polls"]) == (False, True, 2, 1)
    assert result["nodes"]["n1"]["allocatable"] == {GPU: "8"}
    finding = result["baremetal_gpu_findings"][0]
    assert (finding["simulated"], finding["requirements"]) == (True, ["ONYX-R057"])


def test_a_list_of_several_pages_is_read_whole(api: Api, kubeconfig: str) -> None:
    api.nodes = [node(f"n{number:04d}", "8") for number in range(1201)]
    expected = {f"n{number:04d}": {GPU: 8} for number in range(1201)}
    result = run(kubeconfig, expected=expected)
    assert result["node_count"] == 1201
    assert {item["code"] for item in result["baremetal_gpu_findings"]} == {"BG-CAP-001"}
    assert [request.get("continue") for request in api.requests] == [None, ["500"], ["1000"]]
    assert {request["limit"][0] for request in api.requests} == {"500"}


def test_a_list_that_expires_between_pages_is_read_again(api: Api, kubeconfig: str) -> None:
    api.nodes = [node(f"n{number}", "8") for number in range(501)]
    api.expire_once = True
    assert run(kubeconfig)["node_count"] == 501
    assert [request.get("continue") for request in api.requests] == [None, ["500"], None, ["500"]]


def test_a_plugin_that_registers_late_is_waited_for(api: Api, kubeconfig: str) -> None:
    api.nodes = [node("n1", "0")]
    api.later = [[node("n1", "0")], [node("n1", "8", "0")], [node("n1", "8")]]
    result = run(kubeconfig, wait_timeout_s=20)
    assert codes(result) == [("BG-CAP-001", "n1", "ok")]
    assert result["polls"] == 4


def test_waiting_ends_at_the_deadline_with_what_was_read_last(api: Api, kubeconfig: str) -> None:
    api.nodes = [node("n1", "8", "7")]
    result = run(kubeconfig, wait_timeout_s=0.3)
    assert codes(result) == [("BG-CAP-003", "n1", "fail")]
    assert 0.3 <= result["elapsed_s"] < 5
    assert (result["settled"], result["exit_status"]) == (False, 0)


def test_an_overloaded_server_is_asked_again_until_the_deadline(api: Api, kubeconfig: str) -> None:
    api.nodes = [node("n1", "8")]
    api.errors = [429, 503, 500]
    result = run(kubeconfig, wait_timeout_s=20)
    assert codes(result) == [("BG-CAP-001", "n1", "ok")]
    assert result["polls"] == 4


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "BG-CAP-102"), (403, "BG-CAP-102"), (404, "BG-CAP-106"), (429, "BG-CAP-106"), (503, "BG-CAP-106")],
)
def test_an_answer_that_is_an_error_has_its_code(api: Api, kubeconfig: str, status: int, code: str) -> None:
    api.errors = [status]
    result = run(kubeconfig)
    assert (result["failed"], result["code"]) == (True, code)
    assert "Traceback" not in result["msg"]
    assert len(api.requests) == 1


def test_refused_credentials_are_not_tried_again(api: Api, kubeconfig: str) -> None:
    api.errors = [401] * 10
    assert run(kubeconfig, wait_timeout_s=30)["code"] == "BG-CAP-102"
    assert len(api.requests) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"items": 1}', b'{"items": [1]}', b"\xff"])
def test_a_server_that_is_no_kubernetes_is_named(
    api: Api, kubeconfig: str, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(api, "answer", lambda query: (200, body))
    assert run(kubeconfig)["code"] == "BG-CAP-106"


def test_a_server_that_does_not_listen_is_an_error(tmp_path: Path) -> None:
    result = run(write_kubeconfig(tmp_path, 1))
    assert result["code"] == "BG-CAP-101"
    assert "http://127.0.0.1:1" in result["msg"]


def test_a_server_that_fails_tls_is_not_asked_again(api: Api, kubeconfig: str) -> None:
    path = Path(kubeconfig)
    path.write_text(path.read_text(encoding="utf-8").replace("http://", "https://"), encoding="utf-8")
    result = run(kubeconfig, wait_timeout_s=30)
    assert result["code"] == "BG-CAP-102"
    assert result["msg"].startswith("BG-CAP-102: TLS with https://127.0.0.1:")
    assert api.requests == []


@pytest.mark.parametrize("text", ["", "not: a kubeconfig", "{", "\x00"])
def test_a_kubeconfig_that_is_none_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig.yaml"
    path.write_text(text, encoding="utf-8")
    assert run(str(path))["code"] == "BG-CAP-103"


def test_a_missing_kubeconfig_or_context_is_an_error(tmp_path: Path, kubeconfig: str) -> None:
    assert run(str(tmp_path / "absent.yaml"))["code"] == "BG-CAP-103"
    assert run(kubeconfig, context="other")["code"] == "BG-CAP-103"


def test_a_count_that_is_none_is_refused_before_the_cluster_is_asked(api: Api, kubeconfig: str) -> None:
    assert run(kubeconfig, expected={"n1": {GPU: -1}})["code"] == "BG-CAP-104"
    assert api.requests == []


def test_without_the_client_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, kubeconfig: str) -> None:
    monkeypatch.setattr(node_list, "IMPORT_ERROR", "Traceback\nModuleNotFoundError: No module named 'kubernetes'")
    result = run(kubeconfig)
    assert result["code"] == "BG-CAP-105"
    assert "Traceback" not in result["msg"]


def test_check_mode_reads_once_and_judges_the_same(api: Api, kubeconfig: str) -> None:
    api.nodes = [node("n1", "8", "7")]
    result = run(kubeconfig, check_mode=True, wait_timeout_s=300)
    assert codes(result) == [("BG-CAP-003", "n1", "fail")]
    assert result["polls"] == 1


def test_check_mode_of_a_bare_site_does_not_fail_for_the_cluster_to_come(tmp_path: Path) -> None:
    for path in (str(tmp_path / "absent.yaml"), write_kubeconfig(tmp_path, 1)):
        result = run(path, check_mode=True, wait_timeout_s=300)
        assert codes(result) == [("BG-CAP-001", "n1", "skipped")]
        assert (result["exit_status"], result["node_count"]) == (0, None)


def test_the_kubeconfig_may_come_from_the_environment(
    api: Api, kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", kubeconfig)
    api.nodes = [node("n1", "8")]
    result = run_module(gpu_capacity, {"expected": {"n1": {GPU: 8}}, "wait_timeout_s": 0})
    assert codes(result) == [("BG-CAP-001", "n1", "ok")]
