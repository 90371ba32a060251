"""The tailnet that carries a k3s node: its address, its order, and the nodes that must be in it as well."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import k3s_service
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_service import (
    SERVICES,
    Absence,
    Found,
    Tailnet,
    compare,
    difference,
    node_ip_in,
    unwanted_files,
    wanted_files,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_tailnet import (
    NOT_KNOWN_YET,
    others_outside,
    predicted,
    require_others_inside,
    tailnet_of,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale import Status

AGENT = SERVICES["agent"]
HERE = Tailnet("tailscale0", "100.64.0.2")
CONNECTED = Status(state="Running", online=True, tun=True, addresses=("fd7a:115c:a1e0::2", "100.64.0.2"))
SETTINGS = {"server": "https://100.64.0.1:6443", "node-ip": "", "flannel-iface": ""}


def test_the_node_has_the_ipv4_address_that_tailscale_has() -> None:
    assert tailnet_of(CONNECTED, "tailscale0") == HERE


def test_a_login_server_out_of_reach_takes_no_address_away() -> None:
    offline = Status(state="Running", online=False, tun=True, addresses=("100.64.0.2",))
    assert tailnet_of(offline, "tailscale0") == HERE


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Status(state="Stopped", tun=True, addresses=("100.64.0.2",)), "Stopped"),
        (Status(state="NeedsLogin", tun=True), "NeedsLogin"),
        (Status(state="Running", tun=True, addresses=("fd7a:115c:a1e0::2",)), "without IPv4"),
        (Status(state="Running", tun=False, addresses=("100.64.0.2",)), "userspace"),
    ],
)
def test_a_host_without_tailnet_address_is_refused(status: Status, said: str) -> None:
    with pytest.raises(GpuError, match="BG-K3S-022") as refusal:
        tailnet_of(status, "tailscale0")
    assert said in str(refusal.value)
    assert predicted(status, "tailscale0", "100.64.0.7").address == "100.64.0.7"


def test_check_mode_stands_for_an_address_that_nobody_knows_yet() -> None:
    assert predicted(None, "tailscale0", "") == Tailnet("tailscale0", NOT_KNOWN_YET)
    assert predicted(CONNECTED, "tailscale0", "100.64.0.7") == HERE


def node(pods: str = "", *addresses: str) -> dict[str, Any]:
    return {"pod_network_address": pods, "addresses": list(addresses)}


def test_nodes_that_the_tailnet_does_not_reach_are_named() -> None:
    nodes = {
        "own": node("10.0.0.9", "10.0.0.9"),
        "in": node("100.64.0.1", "10.0.0.1"),
        "lan": node("10.0.0.20", "100.64.0.3"),
        "kubelet": node("", "10.0.0.21"),
        "new": node(),
        "odd": node("", "spark.lan"),
    }
    assert others_outside(nodes, "own") == ("kubelet (10.0.0.21)", "lan (10.0.0.20)", "odd (spark.lan)")
    with pytest.raises(GpuError, match="BG-K3S-023") as refusal:
        require_others_inside(nodes, "own")
    assert "lan (10.0.0.20)" in str(refusal.value)
    require_others_inside({"own": nodes["own"], "in": nodes["in"], "new": nodes["new"]}, "own")


def wanted(tailnet: Tailnet | None) -> list[Any]:
    return [*wanted_files(AGENT, SETTINGS, "K10secret", tailnet), *unwanted_files(AGENT, tailnet)]


def found(items: list[Any]) -> dict[str, Found]:
    return {item.path: Found(text=item.text, mode=item.mode) for item in items if not isinstance(item, Absence)}


def test_the_observed_address_and_device_stand_in_the_configuration() -> None:
    texts = {item.path: item.text for item in wanted(HERE) if not isinstance(item, Absence)}
    configuration = texts[k3s_service.CONFIGURATION]
    assert node_ip_in(configuration) == "100.64.0.2"
    assert 'flannel-iface: "tailscale0"\n' in configuration
    assert {"Wants=tailscaled.service", "After=tailscaled.service"} <= set(texts[AGENT.tailnet_file].splitlines())
    assert not set("$%") & set(texts[AGENT.tailnet_file])


def test_the_unit_is_the_same_with_and_without_a_tailnet() -> None:
    units = [item.text for tailnet in (None, HERE) for item in wanted(tailnet) if item.path == AGENT.unit_file]
    assert units[0] == units[1]


def test_a_node_that_has_the_address_already_gets_its_order_without_a_restart() -> None:
    before = found(wanted(HERE))
    assert compare(wanted(HERE), before).changes == ()
    del before[AGENT.tailnet_file]
    plan = compare(wanted(HERE), before)
    assert [change.path for change in plan.changes] == [AGENT.tailnet_file]
    assert plan.changes_content_of("unit"), "systemd is told"
    assert not plan.concerns_what_runs


def test_another_address_is_read_by_a_restart() -> None:
    plan = compare(wanted(Tailnet("tailscale0", "100.64.0.9")), found(wanted(HERE)))
    assert plan.concerns_what_runs


def test_a_node_that_leaves_the_tailnet_loses_the_order() -> None:
    before = found(wanted(HERE))
    plan = compare(wanted(None), before)
    assert plan.removals == (Absence("unit", AGENT.tailnet_file),)
    assert plan.changes_content_of("unit")
    shown = [entry for entry in difference(plan, before) if entry["after"] == ""]
    assert [entry["after_header"] for entry in shown] == [f"{AGENT.tailnet_file} (absent)"]
    assert compare(wanted(None), found(wanted(None))).changes == ()


@pytest.mark.parametrize(
    ("listed", "status"),
    [
        ("5: tailscale0 inet 100.64.0.2/32 scope global tailscale0", 0),
        ("5: tailscale0 inet 100.64.0.21/32 scope global tailscale0", 1),
        ("", 1),
    ],
)
def test_the_start_waits_for_the_address_with_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, status: int
) -> None:
    monkeypatch.setattr(k3s_service, "TAILNET_WAIT_S", 1)
    (text,) = [item.text for item in wanted(HERE) if item.path == AGENT.tailnet_file]
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStartPre=")]
    program = tmp_path / "ip"
    program.write_text(f"#!/bin/sh\necho '{listed}'\n", encoding="utf-8")
    program.chmod(0o755)
    done = subprocess.run(
        shlex.split(line.partition("=")[2]),
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == status, done.stderr
    assert ("tailscale0 has no address 100.64.0.2" in done.stderr) is bool(status)
