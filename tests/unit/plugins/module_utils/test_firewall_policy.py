"""Rules are rendered from the port table and a site's variables, and differ from loaded ones only when they mean something else."""

from __future__ import annotations

import ipaddress
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils import nft_table
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.firewall_policy import (
    TABLE,
    parse_ports,
    policy_from,
    render,
    render_published,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files

PORTS = data_files.load("data/ports.yml")


def rules(chain: str, **variables: Any) -> list[str]:
    """The rules of a chain, without its head."""
    text = render(policy_from(PORTS, variables))
    body = text.split(f"chain {chain} {{\n")[1].split("\n\t}")[0]
    return [line.strip() for line in body.splitlines()][1:]


def test_only_our_table_is_replaced_in_one_file() -> None:
    text = render(policy_from(PORTS, {}))
    assert text.startswith(f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n")
    assert "flush" not in text
    assert text.count("table inet ") == 3


def test_input_is_closed_but_for_what_the_table_opens_to_everywhere() -> None:
    text = render(policy_from(PORTS, {}))
    assert "type filter hook input priority filter; policy drop;" in text
    opened = [rule for rule in rules("input") if " dport " in rule]
    assert opened == [
        "udp dport 41641 accept",
        "udp sport 67 udp dport 68 accept",
        "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
    ]


def test_tailnet_and_links_are_open_as_a_whole_in_both_directions_of_the_chain() -> None:
    for chain in ("input", "forward"):
        found = rules(chain, interface="ts9", links=["enp1s0f0np0"])
        assert {'iifname "ts9" accept', 'iifname "enp1s0f0np0" accept'} <= set(found)
        assert not any("tailscale0" in rule for rule in found)


def test_pods_are_believed_on_their_own_interfaces_only() -> None:
    found = [rule for rule in rules("input") if "10.42" in rule]
    assert found
    assert all(rule.startswith("iifname ") for rule in found)


def test_nodes_reach_kubelet_and_the_pod_network_and_nobody_else_does() -> None:
    found = rules("input", nodes=["10.0.0.20", "fd00::20"])
    assert "ip saddr 10.0.0.20/32 tcp dport { 6443, 10250 } accept" in found
    assert "ip6 saddr fd00::20/128 udp dport { 8472 } accept" in found
    assert not any("10250" in rule or "8472" in rule for rule in rules("input"))


def test_published_ports_are_dropped_after_those_who_may_reach_them() -> None:
    found = rules("forward", sources=[{"source": "10.9.0.0/24", "ports": ["8080/tcp"]}])
    allowed = found.index("ip saddr 10.9.0.0/24 meta l4proto tcp ct original proto-dst { 8080 } accept")
    assert allowed < found.index("ct status dnat drop") < found.index('oifname "docker0" drop')
    assert found[0] == "ct state established,related accept"


def test_a_host_with_another_firewall_gets_the_published_ports_only() -> None:
    text = render_published(policy_from(PORTS, {}))
    assert "ct status dnat drop" in text
    assert "hook input" not in text


@pytest.mark.parametrize(
    "variables",
    [
        {"interface": "tail scale"},
        {"interface": 'x"; flush ruleset; #'},
        {"links": ["a" * 16]},
        {"nodes": ["10.0.0.1/8"]},
        {"nodes": ["calypso"]},
        {"sources": [{"source": "any"}]},
        {"sources": [{"source": "10.0.0.0/8", "ports": ["ssh"]}]},
        {"sources": [{"source": "10.0.0.0/8", "ports": ["70000/tcp"]}]},
        {"sources": [{"source": "10.0.0.0/8", "ports": ["9-8/tcp"]}]},
        {"tailscale_port": 65536},
        {"pod_networks": ["10.42.0.0/16 accept"]},
    ],
)
def test_a_value_that_is_none_is_refused(variables: dict[str, Any]) -> None:
    with pytest.raises(GpuError) as refused:
        policy_from(PORTS, variables)
    assert refused.value.code == "BG-ACCESS-108"


networks = st.one_of(
    st.ip_addresses(v=4).map(lambda address: str(ipaddress.ip_network((address, 24), strict=False))),
    st.ip_addresses(v=6).map(lambda address: str(ipaddress.ip_network((address, 64), strict=False))),
    st.ip_addresses().map(str),
)
ports = st.builds(lambda port, protocol: f"{port}/{protocol}", st.integers(1, 65535), st.sampled_from(["tcp", "udp"]))


@given(st.lists(st.fixed_dictionaries({"source": networks, "ports": st.lists(ports, max_size=3)}), max_size=4))
def test_whatever_is_declared_no_rule_opens_a_port_to_everybody(sources: list[dict[str, Any]]) -> None:
    fixed = set(rules("input"))
    for rule in set(rules("input", sources=sources)) - fixed:
        assert rule.startswith(("ip saddr ", "ip6 saddr "))
        assert rule.endswith(" accept")


@given(st.lists(networks, min_size=1, max_size=6))
def test_networks_of_pods_never_overlap_in_a_set(pods: list[str]) -> None:
    for rule in (rule for rule in rules("input", pod_networks=pods) if "saddr {" in rule):
        members = [ipaddress.ip_network(text.strip()) for text in rule.split("{")[1].split("}")[0].split(",")]
        assert not any(
            first.overlaps(second) for number, first in enumerate(members) for second in members[number + 1 :]
        )


@given(st.integers(1, 65535), st.integers(0, 100), st.sampled_from(["tcp", "udp"]))
def test_ports_are_read_as_they_are_written(first: int, more: int, protocol: str) -> None:
    last = min(first + more, 65535)
    text = f"{first}/{protocol}" if first == last else f"{first}-{last}/{protocol}"
    assert parse_ports(text).name == text


def listing(*, handle: int = 1, seed: int = 0, packets: int = 0, policy: str = "drop", last: str = "accept") -> str:
    """A listing as nft gives it; ``handle``, the order within a set and counters are the kernel's own."""
    members = [6443, 10250, {"prefix": {"addr": "10.0.0.0", "len": 8}}]
    random.Random(seed).shuffle(members)
    chain = {"family": "inet", "table": TABLE, "name": "input", "handle": handle, "hook": "input", "policy": policy}
    match = {"match": {"op": "==", "left": {"payload": "dport"}, "right": {"set": members}}}
    rule = {
        "family": "inet",
        "chain": "input",
        "handle": handle + 1,
        "expr": [match, {"counter": {"packets": packets, "bytes": packets}}, {last: None}],
    }
    table = {"family": "inet", "name": TABLE, "handle": handle}
    objects = [{"metainfo": {"version": str(handle)}}, {"table": table}, {"chain": chain}, {"rule": rule}]
    return json.dumps({"nftables": objects})


@given(st.integers(1, 99), st.integers(0, 99), st.integers(0, 10**9))
def test_what_the_kernel_gives_out_anew_is_no_difference(handle: int, seed: int, packets: int) -> None:
    observed = nft_table.parse(listing(handle=handle, seed=seed, packets=packets))
    assert nft_table.differences(observed, nft_table.parse(listing())) == ()


@pytest.mark.parametrize(
    ("observed", "difference"),
    [
        (listing(policy="accept"), "chain input has another hook, priority or policy"),
        (listing(last="drop"), "chain input has other rules"),
        (json.dumps({"nftables": []}), "chain input is missing"),
    ],
)
def test_what_means_something_else_is_a_difference(observed: str, difference: str) -> None:
    assert difference in nft_table.differences(nft_table.parse(observed), nft_table.parse(listing()))


def test_an_added_rule_and_an_added_chain_are_differences() -> None:
    document = json.loads(listing())
    document["nftables"].append(document["nftables"][-1])
    assert nft_table.differences(nft_table.parse(json.dumps(document)), nft_table.parse(listing()))
    document = json.loads(listing())
    document["nftables"].append({"chain": {"name": "other"}})
    assert "chain other is not declared" in nft_table.differences(
        nft_table.parse(json.dumps(document)), nft_table.parse(listing())
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": [1]}', '{"nftables": [{"a": 1, "b": 2}]}'])
def test_what_is_no_listing_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting value|no key nftables|not one kind of object"):
        nft_table.parse(text)
