"""Addresses of nodes, networks of clusters, and the address of the server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.checks import refusals
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory


def codes(inventory: Inventory) -> list[str]:
    return [refusal.code for refusal in refusals(inventory)]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kubeadm_control_plane_pod_subnet": "10.244.0.0"}, "BG-INV-014"),
        ({"kubeadm_control_plane_pod_subnet": "10.244.0.1/16"}, "BG-INV-014"),
        ({"kubeadm_control_plane_pod_subnet": "10.96.128.0/17"}, "BG-INV-015"),
        ({"kubeadm_control_plane_pod_subnet": "10.244.0.0/24"}, "BG-INV-031"),
        ({"kubeadm_control_plane_pod_subnet": "10.244.0.0/26"}, "BG-INV-031"),
        ({"kubeadm_control_plane_service_subnet": "10.96.0.0/30"}, "BG-INV-031"),
        ({"kubeadm_control_plane_service_subnet": "16.0.0.0/8"}, "BG-INV-031"),
        ({"site_node_networks": ["10.0.0.0/24", "10.96.0.0/24"]}, "BG-INV-032"),
        ({"site_node_networks": ["10.0.0.5/24"]}, "BG-INV-014"),
    ],
)
def test_networks_of_a_kubeadm_cluster_that_cannot_work(spoil: Any, changes: dict[str, Any], code: str) -> None:
    assert codes(spoil("onyx-m1", **changes)) == [code]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"k3s_server_cluster_cidr": "10.43.0.0/17"}, "BG-INV-015"),
        ({"k3s_server_cluster_cidr": "100.96.0.0/12"}, "BG-INV-030"),
        ({"k3s_server_service_cidr": "100.64.0.0/16"}, "BG-INV-030"),
        ({"k3s_server_cluster_cidr": "10.42.0.0/24"}, "BG-INV-031"),
        ({"k3s_server_cluster_cidr": "10.42.0.0/22", "k3s_server_node_cidr_mask_size": 22}, "BG-INV-031"),
        ({"k3s_server_cluster_dns": "10.42.0.10"}, "BG-INV-033"),
        ({"k3s_server_cluster_dns": "dns"}, "BG-INV-014"),
        ({"site_node_networks": ["10.0.0.0/24", "10.42.8.0/24"]}, "BG-INV-032"),
    ],
)
def test_networks_of_a_k3s_cluster_that_cannot_work(spoil: Any, changes: dict[str, Any], code: str) -> None:
    assert codes(spoil("spark-01", **changes)) == [code]


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("spark-01.lan", "BG-INV-014"),
        ("10.0.0.21/24", "BG-INV-014"),
        ("0.0.0.0", "BG-INV-028"),  # noqa: S104
        ("127.0.0.1", "BG-INV-028"),
        ("169.254.7.7", "BG-INV-028"),
        ("fe80::1", "BG-INV-028"),
        ("224.0.0.5", "BG-INV-028"),
        ("255.255.255.255", "BG-INV-028"),
        ("10.0.0.21,127.0.0.1", "BG-INV-028"),
        ("10.0.0.20", "BG-INV-027"),
    ],
)
def test_address_that_cannot_be_a_node_s(spoil: Any, address: str, code: str) -> None:
    assert codes(spoil("spark-01", k3s_agent_node_ip=address)) == [code]


@pytest.mark.parametrize(
    ("address", "networks", "code"),
    [
        ("10.0.0.0", ["10.0.0.0/24"], "BG-INV-028"),
        ("10.0.0.255", ["10.0.0.0/24"], "BG-INV-028"),
        ("10.0.1.9", ["10.0.0.0/24"], "BG-INV-028"),
        ("10.0.0.255", ["10.0.0.0/16"], None),
        ("10.0.0.0", ["10.0.0.0/31"], None),
        ("10.0.0.255", [], None),
        ("100.101.102.103", ["fd7a:115c:a1e0::/48"], None),
    ],
)
def test_declared_networks_say_which_addresses_hosts_can_have(
    spoil: Any, address: str, networks: list[str], code: str | None
) -> None:
    spoilt = spoil("spark-01", k3s_agent_node_ip=address, site_node_networks=networks)
    assert codes(spoilt) == ([code] if code else [])


def test_node_of_another_address_family_is_refused(good: Inventory) -> None:
    first = next(host for host in good.hosts if host.name == "spark-01")

    def with_second(address: str) -> Inventory:
        second = replace(first, name="spark-02", variables={**first.variables, "k3s_agent_node_ip": address})
        second = replace(second, variables={**second.variables, "k3s_agent_node_name": "spark-02"})
        groups = {**good.groups, "spark": frozenset({"spark-01", "spark-02"})}
        groups["spark_system"] = groups["spark"] | {"calypso"}
        return replace(good, hosts=(*good.hosts, second), groups=groups)

    assert codes(with_second("fd00::22")) == ["BG-INV-029"]
    assert codes(with_second("10.0.0.22,fd00::22")) == []
    assert codes(with_second("10.0.0.22")) == []


@pytest.mark.parametrize(
    "server",
    [
        "http://10.0.0.20:6443",
        "10.0.0.20:6443",
        "https://10.0.0.20",
        "https://:6443",
        "https://10.0.0.20:port",
        "https://10.0.0.20:6443/v1",
        "https://admin:secret@10.0.0.20:6443",
        "https://127.0.0.1:6443",
        "https://localhost:6443",
        "https://[::1]:6443",
        "https://10.0.0 .20:6443",
    ],
)
def test_address_of_the_server_that_no_agent_can_use(spoil: Any, server: str) -> None:
    assert codes(spoil("spark-01", k3s_agent_server=server)) == ["BG-INV-026"]


@pytest.mark.parametrize("server", ["https://spark-01:6443", "https://SPARK-01:6443", "https://10.0.0.21:6443"])
def test_agent_is_not_its_own_server(spoil: Any, server: str) -> None:
    assert codes(spoil("spark-01", k3s_agent_server=server)) == ["BG-INV-027"]


@pytest.mark.parametrize(
    "server", ["https://10.0.0.20:6443/", "https://k3s.site.internal:443", "https://[fd00::20]:6443"]
)
def test_usable_address_of_the_server(spoil: Any, server: str) -> None:
    assert codes(spoil("spark-01", k3s_agent_server=server)) == []
