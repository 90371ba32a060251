"""k3s nodes that are declared over a tailnet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.action.preflight import Composition
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.checks import refusals
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory

OVER = {"k3s_agent_over_tailnet": True, "k3s_agent_node_ip": ""}


def in_tailnet(inventory: Inventory, *names: str) -> Inventory:
    return replace(inventory, groups={**inventory.groups, "tailnet": frozenset(names)})


def codes(inventory: Inventory) -> list[str]:
    return [refusal.code for refusal in refusals(inventory)]


def test_a_node_over_the_tailnet_of_its_host_needs_no_address(spoil: Any) -> None:
    assert codes(in_tailnet(spoil("spark-01", **OVER), "spark-01")) == []


@pytest.mark.parametrize("members", [(), ("calypso",)])
def test_a_node_over_a_tailnet_that_its_host_does_not_join_is_refused(spoil: Any, members: tuple[str, ...]) -> None:
    (refusal,) = refusals(in_tailnet(spoil("spark-01", **OVER), *members))
    assert (refusal.code, refusal.subject) == ("BG-INV-054", "spark-01")
    assert "add it to group tailnet" in refusal.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"k3s_agent_node_ip": "100.64.0.2"},
        {"k3s_agent_flannel_iface": "eth0"},
        {"tailscale_userspace": True},
        {"tailscale_shields_up": True},
    ],
)
def test_what_contradicts_the_tailnet_s_address_is_refused(spoil: Any, changes: dict[str, Any]) -> None:
    (refusal,) = refusals(in_tailnet(spoil("spark-01", **{**OVER, **changes}), "spark-01"))
    assert (refusal.code, refusal.variable) == ("BG-INV-055", next(iter(changes)))


@pytest.mark.parametrize("address", ["", None])
def test_a_node_without_any_address_is_refused(spoil: Any, address: str | None) -> None:
    (refusal,) = refusals(spoil("spark-01", k3s_agent_node_ip=address))
    assert (refusal.code, refusal.variable) == ("BG-INV-012", "k3s_agent_node_ip")


@pytest.mark.parametrize("variable", ["k3s_server_cluster_cidr", "k3s_server_service_cidr"])
def test_cluster_networks_within_the_tailnet_s_range_are_refused(spoil: Any, variable: str) -> None:
    spoilt = in_tailnet(spoil("spark-01", **OVER, **{variable: "100.100.0.0/16"}), "spark-01")
    assert codes(spoilt) == ["BG-INV-030"]


def test_hosts_get_the_roles_of_the_tailnet_only_where_they_are_in_its_groups() -> None:
    groups = {
        "spark": ["spark-01", "spark-02", "spark-03"],
        "tailnet": ["spark-02", "spark-03", "operator"],
        "tailnet_only": ["spark-03"],
    }
    spark, tailnet = Composition.of("spark", groups), Composition.of("tailnet", groups)
    access = {"ssh_access", "tailnet_firewall"}
    assert not spark.roles_of("spark-01") & {"tailscale", *access}
    assert spark.roles_of("spark-02") & {"tailscale", *access} == {"tailscale"}
    assert spark.roles_of("spark-03") >= {"tailscale", *access}
    assert "operator" not in spark.hosts()
    assert {name for name in ("spark-01", *groups["tailnet"]) if tailnet.roles_of(name)} == set(groups["tailnet"])


def test_a_host_that_is_to_be_closed_has_to_be_in_the_tailnet(good: Inventory) -> None:
    closed = replace(good, groups={**good.groups, "tailnet_only": frozenset({"spark-01"})})
    assert codes(closed) == ["BG-INV-025"]
    assert codes(in_tailnet(closed, "spark-01")) == []


def test_hosts_that_join_say_where_tailscale_comes_from(good: Inventory) -> None:
    hosts = tuple(
        replace(host, roles=host.roles | {"tailscale"}) if host.name == "spark-01" else host for host in good.hosts
    )
    found = refusals(replace(good, hosts=hosts))
    assert [(refusal.code, refusal.variable) for refusal in found] == [
        ("BG-INV-012", "tailnet_repository_url"),
        ("BG-INV-012", "tailnet_repository_key_url"),
        ("BG-INV-012", "tailnet_repository_key_fingerprint"),
    ]
