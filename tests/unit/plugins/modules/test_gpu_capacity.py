"""The module gpu_capacity against a real server that speaks the API's wire format."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import incluster_config

from ansible_collections.baremetal.gpu.plugins.module_utils import capacity_reading, capacity_verdict, kube_connection
from ansible_collections.baremetal.gpu.plugins.modules import gpu_capacity
from ansible_collections.baremetal.gpu.tests.support import capacity_objects as objects
from ansible_collections.baremetal.gpu.tests.support.capacity_objects import GPU, gpu_pod
from ansible_collections.baremetal.gpu.tests.unit.plugins.fake_api import (
    TOKEN,
    Authority,
    FakeCluster,
    server_tls,
    serving,
    write_kubeconfig,
)
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import run_module


def node(name: str, capacity: str, allocatable: str | None = None, **options: Any) -> dict[str, Any]:
    """A node as of now: the server's clock is this machine's."""
    offered = {GPU: capacity if allocatable is None else allocatable}
    return objects.node(name, {GPU: capacity}, offered, now=datetime.datetime.now(datetime.UTC), **options)


def operand(name: str, **options: Any) -> dict[str, Any]:
    return objects.operand(name, "nvidia-device-plugin", now=datetime.datetime.now(datetime.UTC), **options)


@pytest.fixture
def api() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def server(api: FakeCluster) -> Iterator[str]:
    with serving(api) as address:
        yield address


@pytest.fixture
def kubeconfig(server: str, tmp_path: Path) -> str:
    return write_kubeconfig(tmp_path, server)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kubelet takes 20 s to confirm takes it a tenth of one."""
    monkeypatch.setattr(capacity_verdict, "CONFIRM_S", 0.1)
    monkeypatch.setattr(capacity_reading, "_FIRST_PAUSE_S", 0.01)


def run(kubeconfig: str | None, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    values = {"wait_timeout_s": 0, "expected": {"n1": {GPU: 8}}, **arguments}
    if kubeconfig:
        values["kubeconfig"] = kubeconfig
    return run_module(gpu_capacity, values, check_mode=check_mode)


def codes(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    assert "baremetal_gpu_findings" in result, result
    return [(item["code"], item["subject"], item["status"]) for item in result["baremetal_gpu_findings"]]


# ---- One reading ----


def test_a_node_as_declared_is_ok(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8"), node("control", "0"))
    result = run(kubeconfig, requirements=["ONYX-R057"], simulated=True)
    assert codes(result) == [("BG-CAP-001", "n1", "ok")]
    assert (result["changed"], result["settled"], result["node_count"], result["polls"]) == (False, True, 2, 1)
    assert (result["nodes"]["n1"]["allocatable"], result["nodes"]["n1"]["verdict"]) == ({GPU: "8"}, "ok")
    assert result["verdicts"] == {"n1": "ok"}
    assert (result["summary"], result["undeclared"]) == ({"ok": 1}, {})
    finding = result["baremetal_gpu_findings"][0]
    assert (finding["simulated"], finding["requirements"]) == (True, ["ONYX-R057"])


def test_one_list_of_nodes_is_all_that_a_cluster_as_declared_is_asked(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8"))
    run(kubeconfig, wait_timeout_s=30)
    assert [path for path, _query in api.requests] == ["/api/v1/nodes"]
    assert api.headers[0]["Authorization"] == f"Bearer {TOKEN}"


def test_a_list_of_several_pages_is_read_whole(api: FakeCluster, kubeconfig: str) -> None:
    api.put(*(node(f"n{number:04d}", "8") for number in range(601)))
    result = run(kubeconfig, expected={f"n{number:04d}": {GPU: 8} for number in range(601)})
    assert (result["node_count"], result["summary"]) == (601, {"ok": 601})
    assert [request.get("continue") for request in api.lists()] == [None, "250", "500"]
    assert {request["limit"] for request in api.lists()} == {"250"}


def test_a_list_that_expires_between_pages_is_read_again(api: FakeCluster, kubeconfig: str) -> None:
    api.put(*(node(f"n{number}", "8") for number in range(251)))
    api.expire_once = True
    assert run(kubeconfig)["node_count"] == 251
    assert [request.get("continue") for request in api.lists()] == [None, "250", None, "250"]


def test_undeclared_nodes_are_listed_unless_only_some_are_declared(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8"), node("n2", "4"))
    assert run(kubeconfig)["undeclared"] == {"n2": {GPU: "4"}}
    partial = run(kubeconfig, partial=True)
    assert (partial["undeclared"], codes(partial)) == ({}, [("BG-CAP-001", "n1", "ok")])


def test_a_group_is_judged_node_by_node(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8"), node("n2", "7"))
    result = run(kubeconfig, expected={}, expected_groups=[{"nodes": ["n1", "n2", "n3"], "expect": {"gpus": 8}}])
    assert result["summary"] == {"missing": 1, "ok": 1, "short": 1}


def test_nodes_as_declared_can_share_one_finding(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8"), node("n2", "7"), node("n3", "8", cordoned=True))
    expected = {name: {GPU: 8} for name in ("n1", "n2", "n3")}
    result = run(kubeconfig, expected=expected, summarize_ok=True)
    assert codes(result) == [
        ("BG-CAP-001", "cluster", "ok"),
        ("BG-CAP-002", "n2", "fail"),
        ("BG-CAP-008", "n3", "warn"),
    ]
    assert result["baremetal_gpu_findings"][0]["evidence"]["nodes"] == 2
    assert result["verdicts"] == {"n1": "ok", "n2": "short", "n3": "ok"}
    assert set(result["nodes"]) == {"n2"}


def test_with_no_selectors_only_nodes_are_read(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8", "0"))
    assert codes(run(kubeconfig, operand_selectors=[])) == [("BG-CAP-003", "n1", "fail")]
    assert api.lists("/api/v1/pods") == []


def test_free_is_allocatable_without_what_pods_hold(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8"), node("n2", "8"))
    api.pods = [gpu_pod("n1", 1, 2), gpu_pod("n1", 3, phase="Succeeded"), gpu_pod("n3", 1)]
    result = run(kubeconfig, expected={"n1": {GPU: 8}, "n2": {GPU: 8}}, free=True)
    assert {name: shown["free"] for name, shown in result["nodes"].items()} == {"n1": {GPU: "5"}, "n2": {GPU: "8"}}


@pytest.mark.parametrize("version", ["v1", "v1beta2", "v1beta1"])
@pytest.mark.parametrize(("tainted", "code"), [(0, "BG-CAP-001"), (1, "BG-CAP-003")])
def test_gpus_of_the_dra_driver_are_read_from_resource_slices(
    api: FakeCluster, kubeconfig: str, version: str, tainted: int, code: str
) -> None:
    api.put(objects.node("n1", {}))
    devices = objects.resource_slice("n1", 8, tainted=tainted, beta=version == "v1beta1")
    api.slices = {f"/apis/resource.k8s.io/{version}/resourceslices": [devices]}
    result = run(kubeconfig, expected={"n1": {"gpus": 8, "dra": True}})
    assert [found for found, _subject, _status in codes(result)] == [code]


def test_a_server_without_resource_slices_is_an_error(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8"))
    assert_error(run(kubeconfig, expected={"n1": {"gpus": 8, "dra": True}}), "BG-CAP-106")


# ---- Pods of operands, when a node is not as declared ----


def test_operands_are_listed_once_by_their_labels(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8", "0"), node("n2", "7"))
    api.pods = [operand("n1", ready=False, waiting="ImagePullBackOff"), operand("n2")]
    result = run(kubeconfig, expected={"n1": {GPU: 8}, "n2": {GPU: 8}})
    assert codes(result) == [("BG-CAP-010", "n1", "unknown"), ("BG-CAP-002", "n2", "fail")]
    assert [query["labelSelector"] for query in api.lists("/api/v1/pods")] == [
        "app.kubernetes.io/name in (nvidia-device-plugin,gpu-feature-discovery,nvidia-mps-control-daemon)"
    ]


def test_operands_of_the_operator_are_found_by_their_own_labels(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "0"))
    api.pods = [operand("n1", ready=False, labels={"app": "nvidia-device-plugin-daemonset"})]
    assert codes(run(kubeconfig)) == [("BG-CAP-010", "n1", "unknown")]
    assert len(api.lists("/api/v1/pods")) == 2


def test_without_the_right_to_list_pods_the_verdict_stays_open(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "0"))
    api.refused = {"/api/v1/pods": 403}
    result = run(kubeconfig)
    assert codes(result) == [("BG-CAP-010", "n1", "unknown")]
    assert "the operand pods cannot be listed" in result["baremetal_gpu_findings"][0]["reason"]


# ---- Waiting ----


def test_a_plugin_that_registers_late_is_followed_by_a_watch(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "0"))
    api.pods = [operand("n1", for_s=2)]
    api.on_watch = [lambda: api.put(node("n1", "8", "0")), lambda: api.put(node("n1", "8"))]
    result = run(kubeconfig, wait_timeout_s=20)
    assert codes(result) == [("BG-CAP-001", "n1", "ok")]
    assert (result["polls"], result["events"], len(api.lists())) == (1, 2, 1)


def test_changes_of_other_nodes_do_not_end_a_watch(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "0"))
    api.pods = [operand("n1", for_s=2)]
    api.on_watch = [lambda: api.put(node("n2", "8"), node("n3", "0"), node("n1", "8"))]
    result = run(kubeconfig, wait_timeout_s=20)
    assert len(api.watches()) == 1
    assert (result["node_count"], result["undeclared"]) == (3, {"n2": {GPU: "8"}})


def test_a_node_that_joins_and_one_that_leaves_are_seen(api: FakeCluster, kubeconfig: str, impatient: None) -> None:
    api.put(node("n2", "8"))
    api.on_watch = [lambda: api.remove("n2"), lambda: api.put(node("n1", "8"))]
    result = run(kubeconfig, wait_timeout_s=20, expected={"n1": {GPU: 8}, "n2": {GPU: 0}})
    assert result["summary"] == {"missing": 1, "ok": 1}


def test_a_forgotten_version_is_read_anew(api: FakeCluster, kubeconfig: str, impatient: None) -> None:
    api.put(node("n1", "0"))
    api.pods = [operand("n1", for_s=2)]
    api.forgotten = api.version + 1
    api.on_watch = [lambda: api.put(node("n1", "8"))]
    api.watch_errors = [410]
    # What was forgotten is known again once the list is of a later version.
    api.version += 1
    result = run(kubeconfig, wait_timeout_s=20)
    assert codes(result) == [("BG-CAP-001", "n1", "ok")]
    assert result["polls"] == 2


def test_an_event_that_says_gone_is_read_anew(api: FakeCluster, kubeconfig: str, impatient: None) -> None:
    api.put(node("n1", "0"))
    api.pods = [operand("n1", for_s=2)]
    api.forgotten = api.version + 1
    result = run(kubeconfig, wait_timeout_s=0.4)
    assert codes(result) == [("BG-CAP-010", "n1", "fail")]
    assert result["polls"] > 2


@pytest.mark.parametrize("trouble", [0, 429, 500])
def test_a_watch_that_is_lost_or_refused_for_now_goes_on_from_where_it_was(
    api: FakeCluster, kubeconfig: str, impatient: None, trouble: int
) -> None:
    api.put(node("n1", "0"))
    api.pods = [operand("n1", for_s=2)]
    api.watch_errors = [trouble, trouble]
    api.on_watch = [lambda: api.put(node("n1", "8"))]
    result = run(kubeconfig, wait_timeout_s=20)
    assert codes(result) == [("BG-CAP-001", "n1", "ok")]
    assert (result["polls"], len({query["resourceVersion"] for query in api.watches()})) == (1, 1)


def test_a_connection_that_breaks_in_the_middle_of_a_watch_is_made_again(
    api: FakeCluster, kubeconfig: str, impatient: None
) -> None:
    api.put(node("n1", "0"))
    api.pods = [operand("n1", for_s=2)]
    # One event about another node, half of the next one, and nothing more.
    api.broken_after = 1
    api.on_watch = [lambda: api.put(node("n2", "0"), node("n3", "0")), lambda: api.put(node("n1", "8"))]
    result = run(kubeconfig, wait_timeout_s=20)
    assert codes(result) == [("BG-CAP-001", "n1", "ok")]
    first, second = (int(query["resourceVersion"]) for query in api.watches())
    assert (result["polls"], result["node_count"], second - first) == (1, 3, 1)


def test_a_refused_watch_is_an_error(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "0"))
    api.pods = [operand("n1", for_s=2)]
    api.watch_errors = [403]
    result = run(kubeconfig, wait_timeout_s=20)
    assert result["code"] == "BG-CAP-102"
    assert "watch on nodes" in result["msg"]


def test_waiting_ends_at_the_deadline_with_what_was_read_last(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8", "0"))
    result = run(kubeconfig, wait_timeout_s=0.3)
    assert codes(result) == [("BG-CAP-010", "n1", "fail")]
    assert result["elapsed_s"] >= 0.3
    assert (result["settled"], result["exit_status"]) == (False, 0)


def test_what_cannot_get_better_is_not_waited_for(api: FakeCluster, kubeconfig: str, impatient: None) -> None:
    api.put(node("n1", "8", "7"))
    api.pods = [operand("n1")]
    result = run(kubeconfig, wait_timeout_s=60)
    assert codes(result) == [("BG-CAP-003", "n1", "fail")]
    assert result["elapsed_s"] < 60


def test_an_overloaded_server_is_asked_again_until_the_deadline(
    api: FakeCluster, kubeconfig: str, impatient: None
) -> None:
    api.put(node("n1", "8"))
    api.errors = [429, 503, 500]
    assert codes(run(kubeconfig, wait_timeout_s=20)) == [("BG-CAP-001", "n1", "ok")]
    assert len(api.requests) == 4


# ---- Bad input and bad servers: one error with code, reason and remedy ----


def assert_error(result: dict[str, Any], code: str) -> None:
    assert (result["failed"], result["code"], result["exit_status"]) == (True, code, 1)
    assert result["msg"].startswith(f"{code}: ")
    assert result["remedy"]
    assert "Traceback" not in json.dumps(result)


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "BG-CAP-102"), (403, "BG-CAP-102"), (404, "BG-CAP-106"), (429, "BG-CAP-106"), (503, "BG-CAP-106")],
)
def test_an_answer_that_is_an_error_has_its_code(api: FakeCluster, kubeconfig: str, status: int, code: str) -> None:
    api.errors = [status]
    assert_error(run(kubeconfig), code)
    assert len(api.requests) == 1


def test_refused_credentials_are_not_tried_again(api: FakeCluster, kubeconfig: str) -> None:
    api.errors = [401] * 10
    assert_error(run(kubeconfig, wait_timeout_s=30), "BG-CAP-102")
    assert len(api.requests) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"items": 1}', b'{"items": [1]}', b"\xff", b'{"a":'])
def test_a_server_that_is_no_kubernetes_is_named(api: FakeCluster, kubeconfig: str, body: bytes) -> None:
    api.errors = [body]
    assert_error(run(kubeconfig), "BG-CAP-106")


def test_a_server_that_does_not_listen_is_an_error(tmp_path: Path) -> None:
    result = run(write_kubeconfig(tmp_path, "http://127.0.0.1:1"))
    assert_error(result, "BG-CAP-101")
    assert "http://127.0.0.1:1" in result["msg"]


@pytest.mark.parametrize("text", ["", "not: a kubeconfig", "{", "\x00"])
def test_a_kubeconfig_that_is_none_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig.yaml"
    path.write_text(text, encoding="utf-8")
    assert_error(run(str(path)), "BG-CAP-103")


def test_a_missing_kubeconfig_or_context_is_an_error(tmp_path: Path, kubeconfig: str) -> None:
    assert_error(run(str(tmp_path / "absent.yaml")), "BG-CAP-103")
    assert_error(run(kubeconfig, context="other"), "BG-CAP-103")
    assert_error(run(str(tmp_path)), "BG-CAP-103")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"expected": {"n1": {GPU: -1}}}, "BG-CAP-104"),
        ({"expected": {"n1": {"gpus": 1, "replicas": -10}}}, "BG-CAP-104"),
        ({"expected": {"n1": {"gpus": 8, "mig": {"9g.1gb": 1}, "mig_strategy": "single"}}}, "BG-CAP-104"),
        ({"expected": {}}, "BG-CAP-104"),
        ({"wait_timeout_s": -1}, "BG-CAP-104"),
        ({"wait_timeout_s": float("nan")}, "BG-CAP-104"),
        ({"request_timeout_s": 0}, "BG-CAP-104"),
        ({"expected_groups": [{"nodes": ["n1"], "expect": {"gpus": 8}}]}, "BG-CAP-107"),
    ],
)
def test_bad_input_is_refused_before_the_cluster_is_asked(
    api: FakeCluster, kubeconfig: str, arguments: dict[str, Any], code: str
) -> None:
    assert_error(run(kubeconfig, **arguments), code)
    assert api.requests == []


def test_without_the_client_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, kubeconfig: str) -> None:
    message = "Traceback\nModuleNotFoundError: No module named 'kubernetes'"
    monkeypatch.setattr(kube_connection, "IMPORT_ERROR", message)
    assert_error(run(kubeconfig), "BG-CAP-105")


# ---- Ways to reach the cluster ----


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_tls_is_verified_by_default_and_a_foreign_server_is_not_asked_again(
    api: FakeCluster, authority: Authority, tmp_path: Path
) -> None:
    with serving(api, server_tls(authority.issue("server"))) as address:
        result = run(write_kubeconfig(tmp_path, address), wait_timeout_s=30)
        assert_error(result, "BG-CAP-102")
        assert f"TLS with {address} failed" in result["msg"]
        assert api.requests == []


def test_a_server_of_the_kubeconfigs_authority_is_believed(
    api: FakeCluster, authority: Authority, tmp_path: Path
) -> None:
    api.put(node("n1", "8"))
    trust: dict[str, Any] = {"certificate-authority": str(authority.certificate)}
    with serving(api, server_tls(authority.issue("server"))) as address:
        assert codes(run(write_kubeconfig(tmp_path, address, None, **trust))) == [("BG-CAP-001", "n1", "ok")]


def test_an_expired_certificate_of_the_server_is_named(api: FakeCluster, authority: Authority, tmp_path: Path) -> None:
    trust: dict[str, Any] = {"certificate-authority": str(authority.certificate)}
    with serving(api, server_tls(authority.issue("old-server", days=-1))) as address:
        result = run(write_kubeconfig(tmp_path, address, None, **trust))
    assert_error(result, "BG-CAP-108")
    assert "certificate has expired" in result["msg"]


def test_an_expired_certificate_of_the_client_is_named(api: FakeCluster, authority: Authority, tmp_path: Path) -> None:
    """An API server answers 401 to it; it asks for certificates and verifies them itself."""
    api.errors = [401]
    old = authority.issue("old-client", days=-1)
    user = {"client-certificate": str(old.certificate), "client-key": str(old.key)}
    trust: dict[str, Any] = {"certificate-authority": str(authority.certificate)}
    with serving(api, server_tls(authority.issue("server"))) as address:
        result = run(write_kubeconfig(tmp_path, address, user, **trust))
    assert_error(result, "BG-CAP-108")
    assert "the client certificate ended on" in result["msg"]


def test_a_client_certificate_that_the_server_does_not_know_is_an_error(
    api: FakeCluster, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("stranger")
    user = {"client-certificate": str(stranger.certificate), "client-key": str(stranger.key)}
    trust: dict[str, Any] = {"certificate-authority": str(authority.certificate)}
    with serving(api, server_tls(authority.issue("server"), clients=authority.certificate)) as address:
        result = run(write_kubeconfig(tmp_path, address, user, **trust))
    assert result["code"] in ("BG-CAP-101", "BG-CAP-102"), (
        "TLS 1.3 tells a client late, and then it is a lost connection"
    )


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_address_token_and_authority_may_come_from_the_environment(
    api: FakeCluster, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put(node("n1", "8"))
    with serving(api, server_tls(authority.issue("server"))) as address:
        monkeypatch.setenv("K8S_AUTH_HOST", address)
        monkeypatch.setenv("K8S_AUTH_API_KEY", "from-the-environment")
        monkeypatch.setenv("K8S_AUTH_SSL_CA_CERT", str(authority.certificate))
        assert codes(run(None)) == [("BG-CAP-001", "n1", "ok")]
        assert api.headers[0]["Authorization"] == "Bearer from-the-environment"
        monkeypatch.delenv("K8S_AUTH_SSL_CA_CERT")
        monkeypatch.setenv("K8S_AUTH_VERIFY_SSL", "no")
        assert codes(run(None)) == [("BG-CAP-001", "n1", "ok")]


def test_kubeconfig_and_context_may_come_from_the_environment(
    api: FakeCluster, kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put(node("n1", "8"))
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", kubeconfig)
    monkeypatch.setenv("K8S_AUTH_CONTEXT", "main")
    assert codes(run(None)) == [("BG-CAP-001", "n1", "ok")]
    monkeypatch.setenv("K8S_AUTH_CONTEXT", "other")
    assert_error(run(None), "BG-CAP-103")


def test_a_pod_uses_its_service_account(
    api: FakeCluster, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put(node("n1", "8"))
    token = tmp_path / "token"
    token.write_text("of-the-pod", encoding="utf-8")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority.certificate))
    with serving(api, server_tls(authority.issue("server"))) as address:
        host, _colon, port = address.removeprefix("https://").rpartition(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        assert codes(run(None)) == [("BG-CAP-001", "n1", "ok")]
    assert api.headers[0]["Authorization"].lower() == "bearer of-the-pod"


def test_a_user_and_groups_can_be_impersonated(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8"))
    run(kubeconfig, impersonate_user="viewer", impersonate_groups=["readers", "auditors"])
    assert (api.headers[0]["Impersonate-User"], api.headers[0]["Impersonate-Group"]) == ("viewer", "readers|auditors")


# ---- Check mode ----


def test_check_mode_reads_once_and_judges_the_same(api: FakeCluster, kubeconfig: str) -> None:
    api.put(node("n1", "8", "7"))
    api.pods = [operand("n1")]
    result = run(kubeconfig, check_mode=True, wait_timeout_s=300)
    assert codes(result) == [("BG-CAP-003", "n1", "fail")]
    assert (result["polls"], api.watches()) == (1, [])


def test_check_mode_of_a_bare_site_does_not_fail_for_the_cluster_to_come(tmp_path: Path) -> None:
    for path in (str(tmp_path / "absent.yaml"), write_kubeconfig(tmp_path, "http://127.0.0.1:1")):
        result = run(path, check_mode=True, wait_timeout_s=300)
        assert codes(result) == [("BG-CAP-001", "n1", "skipped")]
        assert (result["exit_status"], result["node_count"]) == (0, None)
