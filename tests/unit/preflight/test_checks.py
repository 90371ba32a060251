"""Every spoilt inventory is refused with its code; the good one is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.checks import refusals
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import FileFacts, Host, Inventory, Rules
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
        ("spark-01", {"k3s_agent_tokenfile": "/secrets/token"}, "BG-INV-016"),
        ("spark-01", {"nvidia_device_plugin_replica": 10}, "BG-INV-016"),
        ("spark-01", {"site_readines": {}}, "BG-INV-016"),
        ("spark-01", {"nvidia_device_plugin_sharing": "MPS"}, "BG-INV-017"),
        ("spark-01", {"k3s_agent_node_labels": "accelerator=gb10"}, "BG-INV-020"),
        ("spark-01", {"k3s_agent_node_labels": ["a=b", ["c=d"]]}, "BG-INV-020"),
        ("spark-01", {"k3s_agent_extra_config": ["debug"]}, "BG-INV-020"),
        ("spark-01", {"k3s_agent_ready_timeout": "five minutes"}, "BG-INV-020"),
        ("spark-01", {"k3s_agent_ready_timeout": 2.5}, "BG-INV-020"),
        ("spark-01", {"gpu_verify_expect_mps": "maybe"}, "BG-INV-020"),
        ("spark-01", {"k3s_agent_server": ["https://10.0.0.20:6443"]}, "BG-INV-020"),
        ("spark-01", {"gpu_verify_waivers": [{"code": "BG-GPU-009"}]}, "BG-INV-020"),
        ("spark-01", {"gpu_verify_waivers": [{"code": "BG-GPU-009", "why": "x", "reason": "x"}]}, "BG-INV-020"),
        ("spark-01", {"k3s_agent_ready_timeout": 0}, "BG-INV-021"),
        ("spark-01", {"k3s_agent_ready_timeout": "300000"}, "BG-INV-021"),
        ("spark-01", {"nvidia_device_plugin_mig_strategy": "single"}, "BG-INV-022"),
        ("spark-01", {"gpu_verify_replicas": 8}, "BG-INV-023"),
        (
            "spark-01",
            {"nvidia_device_plugin_sharing": "time_slicing", "gpu_verify_expect_mps": "yes"},
            "BG-INV-023",
        ),
        ("spark-01", {"host_preflight_hardware_profile": "h100-sxm-8"}, "BG-INV-001"),
        ("spark-01", {"k3s_server_version": "1.34.4"}, "BG-INV-053"),
        ("spark-01", {"k3s_server_version": "stable"}, "BG-INV-053"),
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
    assert codes(spoilt) == ["BG-INV-001", "BG-INV-002", "BG-INV-023", "BG-INV-007"]


def test_unknown_profile_is_answered_with_the_near_one(spoil: Any) -> None:
    (refusal,) = refusals(spoil("spark-01", gpu_verify_hardware_profile="gb-10"))
    assert "did you mean gb10?" in refusal.hint


def test_variable_that_cannot_be_evaluated_is_refused(good: Inventory) -> None:
    spark = next(host for host in good.hosts if host.name == "spark-01")
    variables = {key: value for key, value in spark.variables.items() if key != "k3s_agent_binary_sha256"}
    broken = replace(spark, variables=variables, broken={"k3s_agent_binary_sha256": "no such key"})
    spoilt = replace(good, hosts=tuple(broken if host is spark else host for host in good.hosts))
    assert codes(spoilt) == ["BG-INV-010"]


@pytest.mark.parametrize(
    ("reason", "code", "hint"),
    [
        ("Attempting to decrypt but no vault secrets found.", "BG-INV-019", ""),
        ("Decryption failed (no vault secrets were found that could decrypt).", "BG-INV-019", ""),
        ("'vault_become_password' is undefined", "BG-INV-012", "define vault_become_password in a file"),
        ("'site_host' is undefined", "BG-INV-012", "define what the value refers to"),
    ],
)
def test_why_a_variable_cannot_be_evaluated_decides_the_remedy(
    good: Inventory, reason: str, code: str, hint: str
) -> None:
    spark = next(host for host in good.hosts if host.name == "spark-01")
    broken = replace(spark, broken={"ansible_become_password": reason})
    (refusal,) = refusals(replace(good, hosts=tuple(broken if host is spark else host for host in good.hosts)))
    assert (refusal.code, refusal.variable) == (code, "ansible_become_password")
    assert refusal.hint.startswith(hint)


@pytest.mark.parametrize(
    "changes",
    [
        {"k3s_agent_ready_timeout": "300"},
        {"gpu_verify_expect_mps": "true"},
        {"nvidia_device_plugin_replicas": "10", "gpu_verify_replicas": "10"},
        {"k3s_agent_node_labels": None},
        {"k3s_agent_node_labels": []},
        {"my_own_variable": 1, "site_contact": "operations"},
    ],
)
def test_values_that_templates_make_and_variables_of_the_site_s_own_are_accepted(
    spoil: Any, changes: dict[str, Any]
) -> None:
    assert refusals(spoil("spark-01", **changes)) == []


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
        f"BG-INV-{number:03}" for number in [*range(1, 54), 99]
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


def test_second_k3s_server_is_refused_once(good: Inventory) -> None:
    """Each would make a cluster of its own, and the kubeconfig of one would overwrite the other's."""
    servers = tuple(
        Host(
            name=name,
            variables={
                "k3s_server_node_ip": f"10.0.0.{number}",
                "k3s_server_api_address": f"https://10.0.0.{number}:6443",
                "k3s_server_cluster_cidr": "10.42.0.0/16",
                "k3s_server_service_cidr": "10.43.0.0/16",
            },
            roles=frozenset({"k3s_server"}),
        )
        for number, name in ((20, "calypso"), (22, "atlas"))
    )
    one = replace(good, hosts=servers[:1], rules=Rules(), system=None)
    assert refusals(one) == []
    two = replace(good, hosts=servers, rules=Rules(), system=None)
    assert [(each.code, each.subject) for each in refusals(two)] == [("BG-INV-018", "calypso")]


def test_a_k3s_server_inside_its_own_pod_network_is_refused(good: Inventory) -> None:
    variables = {
        "k3s_server_node_ip": "10.42.0.20",
        "k3s_server_cluster_cidr": "10.42.0.0/16",
        "k3s_server_service_cidr": "10.43.0.0/16",
    }
    server = Host(name="calypso", variables=variables, roles=frozenset({"k3s_server"}))
    assert [each.code for each in refusals(replace(good, hosts=(server,), rules=Rules(), system=None))] == [
        "BG-INV-007"
    ]
