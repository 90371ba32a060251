"""What podman's networks leave in the packet filter is removed, and nothing else."""

from __future__ import annotations

from lab.firewall import removal

FURNITURE = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:NETAVARK_FORWARD - [0:0]
-A FORWARD -m comment --comment "netavark firewall plugin rules" -j NETAVARK_FORWARD
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:NETAVARK-HOSTPORT-DNAT - [0:0]
:NETAVARK-HOSTPORT-MASQ - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
-A POSTROUTING -j NETAVARK-HOSTPORT-MASQ
-A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE
-A NETAVARK-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
COMMIT
"""


def test_jumps_go_before_chains():
    commands = [" ".join(command[2:]) for command in removal(FURNITURE)]
    assert commands == [
        "filter --delete FORWARD -m comment --comment netavark firewall plugin rules -j NETAVARK_FORWARD",
        "nat --delete PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT",
        "nat --delete POSTROUTING -j NETAVARK-HOSTPORT-MASQ",
        "filter --flush NETAVARK_FORWARD",
        "nat --flush NETAVARK-HOSTPORT-DNAT",
        "nat --flush NETAVARK-HOSTPORT-MASQ",
        "filter --delete-chain NETAVARK_FORWARD",
        "nat --delete-chain NETAVARK-HOSTPORT-DNAT",
        "nat --delete-chain NETAVARK-HOSTPORT-MASQ",
    ]


def test_rules_of_others_stay():
    assert not any("192.0.2.0/24" in command for command in removal(FURNITURE))


def test_nothing_is_removed_while_a_network_is_there():
    network = FURNITURE.replace(":NETAVARK-HOSTPORT-DNAT", ":NETAVARK-47D37F69CF7E1 - [0:0]\n:NETAVARK-HOSTPORT-DNAT")
    assert removal(network) == []


def test_a_machine_without_podman_s_chains_is_left_alone():
    assert removal("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n") == []
