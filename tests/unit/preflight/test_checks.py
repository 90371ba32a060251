"""Every spoilt inventory is refused with its code; the good one is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.checks import refusals
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import FileFacts, Inventory
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.skew import version_in

TOKEN = "K10" + "b" * 64 + "::server:" + "c" * 32


def codes(inventory: Inventory) -> list[str]:
    return [refusal.code for refusal in refusals(inventory)]


def test_good_inventory_is_not_refused(good: Inventory) -> None:
    assert refusals(good) == []


@pytest.mark.parametrize(
    ("host", "changes", "code"),
    [
        ("spark-01", {"gpu_verify_hardware_profile": "gb1O"}, "BG-INV-001"),
        ("spark-01", {"nvidia_device_plugin_replicas": 1}, "BG-INV-002"),
        ("spark-01", {"nvidia_device_plugin_replicas": 0}, "BG-INV-002"),
        ("spark-01", {"nvidia_device_plugin_replicas": 49}, "BG-INV-002"),
        ("spark-01", {"nvidia_device_plugin_replicas": "ten"}, "BG-INV-002"),
        ("spark-01", {"nvidia_device_plugin_replicas": True}, "BG-INV-002"),
        ("spark-01", {"nvidia_device_plugin_sharing": "none"}, "BG-INV-002"),
        (
            "spark-01",
            {"nvidia_device_plugin_sharing": "time_slicing", "nvidia_device_plugin_replicas": 1},
            "BG-INV-002",
        ),
        ("spark-01", {"nvidia_device_plugin_mig_strategy": "single"}, "BG-INV-003"),
        ("spark-01", {"k3s_agent_token_file": "/secrets/absent"}, "BG-INV-004"),
        ("spark-01", {"k3s_agent_kubeconfig": "/secrets/absent"}, "BG-INV-006"),
        ("spark-01", {"k3s_agent_kubeconfig": "/secrets/token"}, "BG-INV-006"),
        ("spark-01", {"k3s_agent_node_ip": "10.42.3.4"}, "BG-INV-007"),
        ("spark-01", {"k3s_agent_node_ip": "10.43.0.1"}, "BG-INV-007"),
        ("spark-01", {"k3s_server_cluster_cidr": "10.0.0.0/24"}, "BG-INV-007"),
        ("onyx-g1", {"kubeadm_worker_address": "10.96.0.5"}, "BG-INV-007"),
        ("onyx-g1", {"kubeadm_worker_node_name": "onyx-m1"}, "BG-INV-008"),
        ("onyx-g1", {"kubeadm_worker_address": "10.0.0.31"}, "BG-INV-009"),
        ("spark-01", {"k3s_agent_binary_sha256": "latest"}, "BG-INV-010"),
        ("spark-01", {"k3s_agent_image_archives": [{"url": "http://10.0.0.10/x.tar"}]}, "BG-INV-010"),
        ("spark-01", {"k3s_agent_image_archives": [{"url": "http://10.0.0.10/x.tar", "sha256": "abc"}]}, "BG-INV-010"),
        ("spark-01", {"k3s_server_version": "v1.34.3+k3s1"}, "BG-INV-011"),
        ("spark-01", {"k3s_server_version": "v1.38.0+k3s1"}, "BG-INV-011"),
        ("onyx-g1", {"kubernetes_node_version": "1.34.5"}, "BG-INV-011"),
        ("onyx-m1", {"kubeadm_control_plane_kubernetes_version": "v1.38.0"}, "BG-INV-011"),
        ("spark-01", {"k3s_agent_server": None}, "BG-INV-012"),
        ("spark-01", {"k3s_agent_token_file": ""}, "BG-INV-012"),
        ("onyx-m1", {"kubeadm_control_plane_kubeconfig": None}, "BG-INV-012"),
        ("spark-01", {"k3s_agent_node_name": "Spark_01"}, "BG-INV-013"),
        ("spark-01", {"k3s_agent_node_name": "spark-" + "x" * 60}, "BG-INV-013"),
        ("spark-01", {"k3s_agent_node_ip": "10.0.0.256"}, "BG-INV-014"),
        ("onyx-m1", {"kubeadm_control_plane_pod_subnet": "10.244.0.0"}, "BG-INV-014"),
        ("onyx-m1", {"kubeadm_control_plane_pod_subnet": "10.244.0.1/16"}, "BG-INV-014"),
        ("onyx-m1", {"kubeadm_control_plane_pod_subnet": "10.96.128.0/17"}, "BG-INV-015"),
        ("spark-01", {"k3s_agent_tokenfile": "/secrets/token"}, "BG-INV-016"),
        ("spark-01", {"nvidia_device_plugin_replica": 10}, "BG-INV-016"),
        ("spark-01", {"nvidia_device_plugin_sharing": "MPS"}, "BG-INV-017"),
    ],
)
def test_spoilt_inventory_is_refused(spoil: Any, host: str, changes: dict[str, Any], code: str) -> None:
    assert code in codes(spoil(host, **changes))


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (FileFacts(exists=True, regular=True, mode=0o600, text=""), "BG-INV-004"),
        (FileFacts(exists=True, regular=True, mode=0o600, text=" \n"), "BG-INV-004"),
        (FileFacts(exists=True, regular=True, mode=0o600, text=None), "BG-INV-004"),
        (FileFacts(exists=True, regular=False, mode=0o700), "BG-INV-004"),
        (FileFacts(exists=True, regular=True, mode=0o600, text="the-bare-secret"), "BG-INV-004"),
        (FileFacts(exists=True, regular=True, mode=0o640, text=TOKEN), "BG-INV-005"),
        (FileFacts(exists=True, regular=True, mode=0o604, text=TOKEN), "BG-INV-005"),
    ],
)
def test_unusable_token_file_is_refused(good: Inventory, facts: FileFacts, code: str) -> None:
    spoilt = replace(good, read=lambda path: facts if path == "/secrets/token" else good.read(path))
    assert codes(spoilt) == [code]


def test_refusals_never_show_a_secret(good: Inventory) -> None:
    secret = "the-bare-secret"
    facts = FileFacts(exists=True, regular=True, mode=0o644, text=secret)
    spoilt = replace(good, read=lambda path: facts if path == "/secrets/token" else good.read(path))
    assert refusals(spoilt)
    assert secret not in repr(refusals(spoilt))


def test_everything_wrong_is_told_at_once(spoil: Any) -> None:
    spoilt = spoil(
        "spark-01", k3s_agent_node_ip="10.42.0.9", nvidia_device_plugin_replicas=49, gpu_verify_hardware_profile="gb11"
    )
    assert codes(spoilt) == ["BG-INV-001", "BG-INV-002", "BG-INV-007"]


def test_unknown_profile_is_answered_with_the_near_one(spoil: Any) -> None:
    (refusal,) = refusals(spoil("spark-01", gpu_verify_hardware_profile="gb-10"))
    assert "did you mean gb10?" in refusal.hint


def test_variable_that_cannot_be_evaluated_is_refused(good: Inventory) -> None:
    spark = next(host for host in good.hosts if host.name == "spark-01")
    variables = {key: value for key, value in spark.variables.items() if key != "k3s_agent_binary_sha256"}
    broken = replace(spark, variables=variables, broken={"k3s_agent_binary_sha256": "no such key"})
    spoilt = replace(good, hosts=tuple(broken if host is spark else host for host in good.hosts))
    assert codes(spoilt) == ["BG-INV-010"]


def test_hosts_outside_the_run_are_only_compared_with(good: Inventory, spoil: Any) -> None:
    spoilt = spoil("spark-01", gpu_verify_hardware_profile="gb11", k3s_agent_server=None)
    outside = replace(spoilt, hosts=tuple(replace(host, judged=host.name != "spark-01") for host in spoilt.hosts))
    assert refusals(outside) == []


def test_second_control_plane_host_is_refused_once(good: Inventory) -> None:
    """Each would run kubeadm init and write the same kubeconfig."""
    first = next(host for host in good.hosts if host.name == "onyx-m1")
    second = replace(first, name="onyx-m2", variables={**first.variables, "kubeadm_control_plane_address": "10.0.0.33"})
    both = replace(good, hosts=(*good.hosts, second))
    (refusal,) = refusals(both)
    assert (refusal.code, refusal.subject) == ("BG-INV-018", "onyx-m1")
    assert "onyx-m1, onyx-m2" in refusal.what
    # A run limited to one of them is refused all the same, a run about other hosts is not.
    limited = replace(both, hosts=tuple(replace(host, judged=host.name == "onyx-m2") for host in both.hosts))
    assert [(each.code, each.subject) for each in refusals(limited)] == [("BG-INV-018", "onyx-m2")]
    elsewhere = replace(both, hosts=tuple(replace(host, judged=host.name == "spark-01") for host in both.hosts))
    assert codes(elsewhere) == []


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        "K10" + "b" * 64 + "::node:secret:with:colons",
        "K10" + "b" * 64 + "::abcdef.0123456789abcdef",
    ],
)
def test_every_full_form_that_k3s_takes_is_accepted(good: Inventory, text: str) -> None:
    facts = FileFacts(exists=True, regular=True, mode=0o600, text=text + "\n")
    assert refusals(replace(good, read=lambda path: facts if path == "/secrets/token" else good.read(path))) == []


@pytest.mark.parametrize(
    "text",
    [
        "K10::server:secret",
        "K10" + "b" * 63 + "::server:secret",
        "K10" + "B" * 64 + "::server:secret",
        "K10" + "b" * 64 + "::server:",
        "K10" + "b" * 64 + "::secret",
        "abcdef.0123456789abcdef",
    ],
)
def test_token_that_does_not_name_its_ca_or_is_incomplete_is_refused(good: Inventory, text: str) -> None:
    facts = FileFacts(exists=True, regular=True, mode=0o600, text=text)
    assert codes(replace(good, read=lambda path: facts if path == "/secrets/token" else good.read(path))) == [
        "BG-INV-004"
    ]


def test_every_code_is_registered_as_a_refusal(root: Any) -> None:
    registry = yaml.safe_load((root / "data/codes.yml").read_text(encoding="utf-8"))["codes"]
    assert {code for code, entry in registry.items() if entry["kind"] == "refusal"} >= {
        f"BG-INV-{number:03}" for number in [*range(1, 19), 99]
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://10.0.0.10/k3s/v1.34.4%2Bk3s1/k3s", (1, 34, 4)),
        ("v1.34.4+k3s1", (1, 34, 4)),
        ("1.34.4", (1, 34, 4)),
        ("http://10.0.0.10/k3s", None),
        ("", None),
    ],
)
def test_version_is_found_in_a_url_but_an_address_is_none(text: str, expected: tuple[int, int, int] | None) -> None:
    assert version_in(text) == expected


@given(
    replicas=st.integers(min_value=2, max_value=48),
    octets=st.tuples(st.sampled_from([10, 172, 192]), st.integers(0, 41), st.integers(0, 255), st.integers(1, 254)),
    name=st.from_regex(r"[a-z][a-z0-9]{0,20}(-[a-z0-9]{1,8})?", fullmatch=True),
    older=st.integers(min_value=0, max_value=3),
)
def test_valid_inventories_are_never_refused(
    good: Inventory, replicas: int, octets: tuple[int, int, int, int], name: str, older: int
) -> None:
    spark = next(host for host in good.hosts if host.name == "spark-01")
    changes = {
        "nvidia_device_plugin_replicas": replicas,
        "k3s_agent_node_ip": ".".join(map(str, octets)),
        "k3s_agent_node_name": name,
        "k3s_server_version": f"v1.{34 + older}.9+k3s1",
    }
    changed = replace(spark, variables={**spark.variables, **changes})
    assert refusals(replace(good, hosts=tuple(changed if host is spark else host for host in good.hosts))) == []
