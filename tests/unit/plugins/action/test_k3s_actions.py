"""What the controller decides about k3s before a host is asked."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.action.k3s_credentials import differs, with_server, write
from ansible_collections.baremetal.gpu.plugins.action.k3s_node import (
    check_authority,
    check_skew,
    check_step,
    machine_of,
    read_token,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.tests.unit.plugins.action.test_plays import play

HASH = "a" * 64
TOKEN = f"K10{HASH}::server:canary"
KUBECONFIG = (
    "clusters:\n- cluster:\n    certificate-authority-data: QQ==\n    server: https://127.0.0.1:6443\n  name: default\n"
)


def test_a_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    assert read_token(str(tmp_path / "token"), full=True) == TOKEN


@pytest.mark.parametrize("content", [None, "", "\n", "canary", "K10abc::server:canary"])
def test_an_agent_s_token_without_the_authority_s_hash_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(GpuError, match="BG-K3S-001") as refusal:
        read_token(str(path), full=True)
    assert "canary" not in str(refusal.value)


def test_a_server_s_own_token_may_be_short(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("canary", encoding="utf-8")
    assert read_token(str(tmp_path / "token"), full=False) == "canary"


@pytest.mark.parametrize(
    ("release", "server", "refused"),
    [
        ("v1.34.4+k3s1", "v1.34.4+k3s1", False),
        ("v1.34.4+k3s2", "v1.34.4+k3s1", False),
        ("v1.31.9+k3s1", "v1.34.4+k3s1", False),
        ("v1.34.5+k3s1", "v1.34.4+k3s1", True),
        ("v1.35.0+k3s1", "v1.34.4+k3s1", True),
        ("v1.30.9+k3s1", "v1.34.4+k3s1", True),
        ("v2.0.0+k3s1", "v1.34.4+k3s1", True),
        ("unknown", "v1.34.4+k3s1", False),
    ],
)
def test_a_release_outside_the_skew_is_refused(release: str, server: str, refused: bool) -> None:
    if not refused:
        check_skew(release, server)
        return
    with pytest.raises(GpuError, match="BG-K3S-005"):
        check_skew(release, server)


@pytest.mark.parametrize(
    ("release", "server", "kubelet", "said"),
    [
        ("v1.34.4+k3s1", "v1.34.4+k3s1", "v1.34.4+k3s1", ""),
        ("v1.34.4+k3s2", "v1.34.4+k3s1", "v1.31.0+k3s1", ""),
        ("v1.35.0+k3s1", "v1.34.9+k3s1", "v1.32.0+k3s1", ""),
        ("v1.36.0+k3s1", "v1.34.9+k3s1", "v1.34.9+k3s1", "one minor version at a time"),
        ("v1.33.9+k3s1", "v1.34.4+k3s1", "v1.33.9+k3s1", "never back"),
        ("v2.0.0+k3s1", "v1.34.4+k3s1", "v1.34.4+k3s1", "one minor version at a time"),
        ("v1.35.0+k3s1", "v1.34.4+k3s1", "v1.31.9+k3s1", "agents first"),
        ("unknown", "v1.34.4+k3s1", "v1.34.4+k3s1", ""),
        ("v1.35.0+k3s1", "v1.34.4+k3s1", "unknown", ""),
    ],
)
def test_a_server_goes_one_step_and_leaves_no_node_behind(release: str, server: str, kubelet: str, said: str) -> None:
    cluster = {"server_version": server, "nodes": {"spark-01": {"kubelet_version": kubelet}}}
    if not said:
        check_step(release, cluster)
        return
    with pytest.raises(GpuError, match="BG-K3S-020") as refusal:
        check_step(release, cluster)
    assert said in refusal.value.remedy


def test_a_token_and_a_kubeconfig_of_different_authorities_are_refused() -> None:
    check_authority(TOKEN, HASH)
    with pytest.raises(GpuError, match="BG-K3S-009") as refusal:
        check_authority(TOKEN, "b" * 64)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(("token", "authority"), [("short", HASH), (TOKEN, "")])
def test_an_authority_that_is_not_known_refuses_nothing(token: str, authority: str) -> None:
    check_authority(token, authority)


@pytest.mark.parametrize("cluster", [{}, {"nodes": None}, {"nodes": {"other": {"machine_id": "x"}}}])
def test_a_node_that_the_cluster_does_not_have_has_no_machine(cluster: dict[str, Any]) -> None:
    assert machine_of(cluster, "spark-01") == ""


def test_the_kubeconfig_gets_the_server_s_address_and_keeps_the_rest() -> None:
    document = yaml.safe_load(with_server(KUBECONFIG, "https://10.0.0.20:6443"))
    assert document["clusters"][0]["cluster"] == {
        "certificate-authority-data": "QQ==",
        "server": "https://10.0.0.20:6443",
    }


@pytest.mark.parametrize("text", ["", KUBECONFIG + KUBECONFIG, KUBECONFIG.replace("127.0.0.1", "10.0.0.9")])
def test_a_kubeconfig_that_is_not_k3s_s_own_is_refused(text: str) -> None:
    with pytest.raises(GpuError, match="BG-K3S-016"):
        with_server(text, "https://10.0.0.20:6443")


def test_a_written_file_is_private_and_does_not_differ(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token"
    assert differs(path, TOKEN)
    write(path, TOKEN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not differs(path, TOKEN)
    assert differs(path, "other")
    assert differs(path, None), "what is not known yet differs"
    path.chmod(0o640)
    assert differs(path, TOKEN), "others may read it"


def node(**arguments: Any) -> dict[str, Any]:
    base = {"service": "agent", "release": "v9.1.0+k3s1", "binary_url": "http://127.0.0.1:9/k3s", "binary_sha256": HASH}
    return {"name": "Install", "baremetal.gpu.k3s_node": {**base, **arguments}, "ignore_errors": True}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("play")
    (folder / "token").write_text(TOKEN, encoding="utf-8")
    good = {"token_file": str(folder / "token"), "node_name": "n"}
    cluster = {"server_version": "v9.1.0+k3s1", "ca_sha256": HASH, "nodes": {"n": {"machine_id": "another machine"}}}
    in_lan = {"nodes": {"calypso": {"pod_network_address": "10.0.0.20"}}}
    observed = {
        "name": "n",
        "machine_id": "",
        "kubelet_version": "v1",
        "ready": True,
        "heartbeat": "",
        "unschedulable": False,
        "labels": {"a": "1"},
        "taints": [],
        "owned_labels": ["a"],
        "owned_taints": [],
        "resource_version": "1",
    }
    settle = {"kubeconfig": str(folder / "absent"), "name": "n", "observed": observed, "wait_timeout_s": 0}
    certificates = {"paths": [f"{folder}/*.crt"], "requirements": ["SPARK-12"], "simulated": True}
    return play(
        folder,
        node(),
        node(**good, settings={"node-lable": ["a=1"]}),
        node(**good, cluster={**cluster, "server_version": "v9.0.0+k3s1"}),
        node(**good, cluster={**cluster, "ca_sha256": "b" * 64}),
        node(**good, cluster=cluster),
        {"name": "Settle", "baremetal.gpu.cluster_node": {**settle, "labels": ["a=1"]}},
        {"name": "Settle", "baremetal.gpu.cluster_node": {**settle, "labels": ["a=2"]}, "ignore_errors": True},
        {"name": "Settle", "baremetal.gpu.cluster_node": {**settle, "taints": ["x"]}, "ignore_errors": True},
        {"name": "Read", "baremetal.gpu.certificates": certificates},
        node(**good, cluster={**cluster, **in_lan}, over_tailnet=True),
        check_mode=True,
    )


@pytest.mark.parametrize(
    ("index", "code"),
    [(0, "BG-K3S-001"), (1, "BG-K3S-004"), (2, "BG-K3S-005"), (3, "BG-K3S-009"), (4, "BG-K3S-007"), (9, "BG-K3S-023")],
)
def test_what_the_controller_knows_refuses_a_host_before_it_changes(
    results: list[dict[str, Any]], index: int, code: str
) -> None:
    assert (results[index]["failed"], results[index]["code"], results[index]["changed"]) == (True, code, False)
    assert "canary" not in str(results)


def test_a_node_that_is_as_wanted_costs_no_request(results: list[dict[str, Any]]) -> None:
    assert results[5]["changed"] is False
    assert results[5]["node"]["labels"] == {"a": "1"}


def test_a_node_that_is_not_as_wanted_is_asked_for(results: list[dict[str, Any]]) -> None:
    assert results[6]["code"] == "BG-CAP-103", "there is no kubeconfig to ask with"


def test_a_malformed_taint_is_refused_on_the_controller(results: list[dict[str, Any]]) -> None:
    assert results[7]["code"] == "BG-NODE-001"


def test_a_host_without_certificates_is_unknown(results: list[dict[str, Any]]) -> None:
    (finding,) = results[8]["baremetal_gpu_findings"]
    assert (finding["code"], finding["subject"], finding["status"]) == ("BG-CERT-001", "localhost", "unknown")
    assert (finding["simulated"], finding["requirements"]) == (True, ["SPARK-12"])
