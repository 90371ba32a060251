"""A policy becomes rules of ufw and firewalld; what is missing is added before what is undeclared goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.firewall_policy import policy_from
from ansible_collections.baremetal.gpu.plugins.module_utils.other_firewalls import (
    Zone,
    firewalld_steps,
    firewalld_zones,
    parse_ufw,
    parse_ufw_defaults,
    parse_zones,
    ufw_rules,
    ufw_steps,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files

POLICY = policy_from(
    data_files.load("data/ports.yml"),
    {
        "links": ["enp1s0f0np0"],
        "nodes": ["10.0.0.20"],
        "sources": [
            {"source": "10.9.0.0/24", "ports": ["22/tcp", "8000-8010/udp"]},
            {"source": "fd00:9::/64"},
        ],
    },
)
WANTED = ufw_rules(POLICY)
CLOSED = {"DEFAULT_INPUT_POLICY": "DROP", "DEFAULT_FORWARD_POLICY": "ACCEPT"}

ADDED = """Added user rules (see 'ufw status' for running firewall):
ufw allow 22/tcp
ufw allow in on tailscale0
ufw limit OpenSSH comment 'before the tailnet'
ufw deny from 203.0.113.7
ufw route allow in on docker0
"""
ZONES = """block
  target: %%REJECT%%
  icmp-block-inversion: no
  interfaces: 
  services: 
  ports: 
  rich rules: 

public (default, active)
  target: default
  icmp-block-inversion: no
  interfaces: eno1 eno2
  sources: 
  services: cockpit dhcpv6-client ssh
  ports: 443/tcp
  protocols: 
  forward: yes
  masquerade: no
  rich rules: 
	rule family="ipv4" source address="10.9.0.0/24" port port="22" protocol="tcp" accept
	rule family="ipv4" source address="203.0.113.7" reject

trusted
  target: ACCEPT
  interfaces: tailscale0 wlan0
  services: 
"""  # noqa: W291


def test_ufw_s_rules_are_in_its_own_words() -> None:
    assert WANTED[:3] == ("allow in on tailscale0", "allow in on enp1s0f0np0", "allow 41641/udp")
    assert "allow in on cni0 from 10.42.0.0/16" in WANTED
    assert "allow from 10.0.0.20 to any port 10250 proto tcp" in WANTED
    assert "allow from 10.9.0.0/24 to any port 8000:8010 proto udp" in WANTED
    assert "allow from fd00:9::/64" in WANTED


def test_ufw_s_rules_are_read_without_their_comments() -> None:
    assert parse_ufw(ADDED) == (
        "allow 22/tcp",
        "allow in on tailscale0",
        "limit OpenSSH",
        "deny from 203.0.113.7",
        "route allow in on docker0",
    )


def test_ufw_opens_first_then_closes_and_leaves_what_closes_alone() -> None:
    steps = ufw_steps(WANTED, parse_ufw(ADDED), {"DEFAULT_INPUT_POLICY": "ACCEPT", "DEFAULT_FORWARD_POLICY": "DROP"})
    assert ("ufw", "delete", "allow", "22/tcp") in steps.commands
    assert ("ufw", "delete", "limit", "OpenSSH") in steps.commands
    assert not any("203.0.113.7" in word or word == "route" for command in steps.commands for word in command)
    deletes = [number for number, command in enumerate(steps.commands) if command[1] == "delete"]
    adds = [number for number, command in enumerate(steps.commands) if command[1] == "allow"]
    assert max(adds) < min(deletes)
    assert steps.commands[-2:] == (("ufw", "default", "deny", "incoming"), ("ufw", "reload"))


@given(st.permutations(list(WANTED)))
def test_ufw_with_the_declared_rules_in_any_order_is_left_alone(rules: list[str]) -> None:
    added = "Added user rules:\n" + "".join(f"ufw {rule}\n" for rule in rules)
    assert ufw_steps(WANTED, parse_ufw(added), CLOSED).commands == ()


def test_ufw_s_defaults_are_read_from_its_file() -> None:
    text = '# DEFAULT_INPUT_POLICY="ACCEPT"\nDEFAULT_INPUT_POLICY="DROP"\nDEFAULT_FORWARD_POLICY=ACCEPT\nIPV6=yes\n'
    assert parse_ufw_defaults(text) == CLOSED


def test_zones_of_firewalld_are_read() -> None:
    zones = parse_zones(ZONES)
    assert set(zones) == {"block", "public", "trusted"}
    assert zones["public"].interfaces == ("eno1", "eno2")
    assert zones["public"].ports == ("443/tcp",)
    assert len(zones["public"].rich_rules) == 2
    assert zones["trusted"].interfaces == ("tailscale0", "wlan0")


def test_firewalld_opens_first_then_closes_and_keeps_dhcp_and_what_closes() -> None:
    steps = firewalld_steps(*firewalld_zones(POLICY), parse_zones(ZONES), "public")
    verbs = [command[2].split("=")[0].split("-")[2] for command in steps.commands]
    assert verbs == sorted(verbs, key=lambda verb: verb == "remove")
    assert ("firewall-cmd", "--zone=trusted", "--change-interface=enp1s0f0np0") in steps.commands
    assert ("firewall-cmd", "--zone=trusted", "--remove-interface=wlan0") in steps.commands
    assert ("firewall-cmd", "--zone=public", "--add-port=41641/udp") in steps.commands
    assert ("firewall-cmd", "--zone=public", "--remove-service=ssh") in steps.commands
    assert ("firewall-cmd", "--zone=public", "--remove-port=443/tcp") in steps.commands
    words = " ".join(word for command in steps.commands for word in command)
    assert "dhcpv6-client" not in words
    assert "reject" not in words
    assert "--zone=block" not in words


def test_firewalld_that_is_as_declared_is_left_alone() -> None:
    trusted, others = firewalld_zones(POLICY)
    public = Zone(("eno1",), ("dhcpv6-client",), others.ports, others.rich_rules)
    steps = firewalld_steps(trusted, others, {"trusted": trusted, "public": public}, "public")
    assert (steps.differences, steps.commands) == ((), ())
