"""What a host is, read from a tree of its own; programs and the kernel are stood for."""

from __future__ import annotations

import ctypes
import json
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils import (
    host_network,
    host_readings,
    kernel_clock,
    reachability,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import MissingLog

ADDRESSES = [
    {"ifname": "lo", "flags": ["LOOPBACK", "UP"], "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]},
    {
        "ifname": "enP7s7",
        "flags": ["BROADCAST", "UP"],
        "addr_info": [{"local": "10.0.0.21", "prefixlen": 24, "dynamic": True}, {"local": "fe80::1", "prefixlen": 64}],
    },
]
UNITS = """\
Id=k3s-agent.service
LoadState=not-found
ActiveState=inactive
UnitFileState=

Id=kubelet.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
"""
SOCKETS = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:280A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 1500000A:0016 0100000A:D431 01 00000000:00000000 00:00000000 00000000     0        0 3 1
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A host with everything that is read."""
    write(tmp_path / "etc/os-release", 'ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04.3 LTS"\n')
    write(tmp_path / "etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    write(tmp_path / "proc/meminfo", "MemTotal:       127535084 kB\nMemFree: 1 kB\n")
    write(tmp_path / "proc/swaps", "Filename Type Size Used Priority\n/swap.img file 16777212 0 -2\n")
    write(tmp_path / "proc/net/tcp", SOCKETS)
    write(tmp_path / "proc/net/udp", SOCKETS.replace(" 0A ", " 07 "))
    write(tmp_path / "sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
    write(tmp_path / "sys/class/net/enP7s7/speed", "10000\n")
    (tmp_path / "sys/class/net/enP7s7/device").mkdir()
    return tmp_path


def answer(command: Sequence[str], _timeout_s: float) -> Completed:
    """What the programs of that host print."""
    if command[0].endswith("systemctl"):
        return Completed(0, UNITS, "", 0.0)
    shown = ADDRESSES if "address" in command else [{"dst": "default", "dev": "enP7s7"}]
    return Completed(0, json.dumps(shown), "", 0.0)


def collected(tree: Path, find: Any = lambda name: f"/usr/bin/{name}", run: Any = answer) -> dict[str, Any]:
    return host_readings.collect(str(tree), find, [], "/var/lib/rancher", 5, run)


def test_host_is_read_whole(tree: Path) -> None:
    found = collected(tree)
    assert found["os"] == {"id": "ubuntu", "version_id": "24.04", "pretty_name": "Ubuntu 24.04.3 LTS"}
    assert (found["cgroup_version"], found["memory_bytes"]) == (2, 127535084 * 1024)
    assert found["swaps"] == [{"path": "/swap.img", "size_bytes": 16777212 * 1024}]
    assert found["disk"]["free_bytes"] > 0
    assert found["interfaces"][1] == {
        "name": "enP7s7",
        "up": True,
        "hardware": True,
        "speed_mbit": 10000,
        "addresses": [
            {"address": "10.0.0.21", "prefix": 24, "leased": True},
            {"address": "fe80::1", "prefix": 64, "leased": False},
        ],
    }
    assert found["default_interface"] == "enP7s7"
    assert found["listening"]["tcp"] == [22, 10250]
    assert found["units"] == {"kubelet.service": {"active": "active", "enabled": "enabled", "load": "loaded"}}
    assert (found["container"], found["ufw_enabled"]) == (False, False)
    assert "machine_id" not in found["missing"]


def test_machine_id_itself_is_not_shown(tree: Path) -> None:
    assert "0123456789abcdef" not in json.dumps(collected(tree))


def test_bare_tree_gives_reasons_and_no_exception(tmp_path: Path) -> None:
    found = collected(tmp_path, find=lambda _name: None)
    for name in ("memory_bytes", "swaps", "machine_id", "interfaces", "default_interface", "units", "cgroup_version"):
        assert found[name] is None, name
        assert found["missing"][name]["reason"], name
    assert found["os"]["id"] is None


@pytest.mark.parametrize(
    "run",
    [
        lambda _command, _timeout_s: Completed(None, "", "", 5.0),
        lambda _command, _timeout_s: Completed(1, "", "no bus", 0.0),
        lambda _command, _timeout_s: Completed(0, "{ half", "", 0.0),
    ],
)
def test_program_that_hangs_or_fails_gives_a_reason(tree: Path, run: Any) -> None:
    found = collected(tree, run=run)
    assert found["interfaces"] is None
    assert found["missing"]["interfaces"]["reason"]


@pytest.mark.parametrize("mark", host_readings.CONTAINER_MARKS)
def test_container_is_known_by_its_engine_s_mark(tree: Path, mark: str) -> None:
    write(tree / mark, "")
    assert collected(tree)["container"] is True


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("server: https://10.0.0.20:6443\n", "https://10.0.0.20:6443"),
        ('# managed\nserver: "https://10.0.0.20:6443" # ours\n', "https://10.0.0.20:6443"),
        ("node-ip: 10.0.0.21\n", None),
        ("x-server: https://elsewhere:6443\n", None),
    ],
)
def test_server_of_a_configured_k3s(tree: Path, text: str, server: str | None) -> None:
    write(tree / "etc/rancher/k3s/config.yaml", text)
    assert collected(tree)["k3s"]["server"] == server


def test_installer_of_k3s_is_known_by_what_it_leaves(tree: Path) -> None:
    assert collected(tree)["k3s"]["installer"] == []
    write(tree / "usr/local/bin/k3s-agent-uninstall.sh", "")
    assert collected(tree)["k3s"]["installer"] == ["/usr/local/bin/k3s-agent-uninstall.sh"]


@pytest.mark.parametrize(
    ("text", "enabled"), [("ENABLED=yes\n", True), ("ENABLED=no\n", False), ("#ENABLED=yes", False)]
)
def test_ufw_counts_when_its_rules_are_switched_on(tree: Path, text: str, enabled: bool) -> None:
    write(tree / "etc/ufw/ufw.conf", text)
    assert collected(tree)["ufw_enabled"] is enabled


def test_bond_and_vlan_have_the_hardware_below_them(tmp_path: Path) -> None:
    for name in ("eth0", "eth1"):
        (tmp_path / "sys/class/net" / name / "device").mkdir(parents=True)
    for name in ("bond0/lower_eth0", "bond0/lower_eth1", "bond0.7/lower_bond0", "tailscale0"):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
    assert host_network.devices_of(str(tmp_path), "bond0.7") == ["eth0", "eth1"]
    assert host_network.devices_of(str(tmp_path), "tailscale0") == []
    assert host_network.devices_of(str(tmp_path), "absent") == []


@pytest.mark.parametrize(("text", "speed"), [("10000", 10000), ("-1", None), ("0", None), ("fast", None)])
def test_speed_that_the_driver_does_not_tell_is_none(tmp_path: Path, text: str, speed: int | None) -> None:
    write(tmp_path / "sys/class/net/eth0/speed", text)
    assert host_network._speed(str(tmp_path), "eth0") == speed


@given(text=st.text(max_size=400))
def test_no_table_of_sockets_breaks_the_reading(text: str) -> None:
    lines = [line for line in text.splitlines() if len(line.split()) < 4]
    assert host_network.parse_ports("\n".join(["heading", *lines]), "tcp") == []


@given(text=st.text(max_size=400))
def test_no_answer_of_systemctl_breaks_the_reading(text: str) -> None:
    assert isinstance(host_readings.parse_units(text), dict)


@pytest.mark.parametrize(
    ("state", "status", "expected"), [(0, 0, True), (5, 0x40, False), (0, 0x40, False), (-1, 0, None)]
)
def test_clock_is_what_the_kernel_says(state: int, status: int, expected: bool | None) -> None:
    def adjtimex(buffer: ctypes.Array[ctypes.c_char]) -> int:
        assert struct.unpack_from("i", buffer.raw) == (0,), "asking must not set anything"
        struct.pack_into("i", buffer, 5 * struct.calcsize("l"), status)
        return state

    assert kernel_clock.synchronised(MissingLog(), adjtimex) is expected


def test_address_that_answers_is_told_from_one_that_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (open_one,) = reachability.try_all([f"https://127.0.0.1:{port}"], 5)
    (closed,) = reachability.try_all([f"https://127.0.0.1:{port}"], 5)
    assert open_one == {"target": f"https://127.0.0.1:{port}", "reached": True, "reason": ""}
    assert closed["reached"] is False
    assert str(port) in closed["reason"]


@pytest.mark.parametrize("target", ["", "10.0.0.20:6443", "https://", "https://host:port"])
def test_address_that_cannot_be_tried_is_unknown(target: str) -> None:
    (result,) = reachability.try_all([target], 1)
    assert result["reached"] is None


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("https://10.0.0.20:6443", ("10.0.0.20", 6443)),
        ("http://mirror/k3s", ("mirror", 80)),
        ("https://[fd00::20]/x", ("fd00::20", 443)),
        ("ftp://mirror/x", None),
    ],
)
def test_where_an_address_leads(target: str, place: tuple[str, int] | None) -> None:
    assert reachability.host_and_port(target) == place
