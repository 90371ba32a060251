"""Readings of a host against what is declared: each good case beside its faults."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_readings import collect
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile
from ansible_collections.baremetal.gpu.plugins.plugin_utils.host_expectations import HostExpectations, Platform
from ansible_collections.baremetal.gpu.plugins.plugin_utils.host_judgement import judge, twins

READINGS: dict[str, Any] = {
    "schema": 1,
    "container": False,
    "os": {"id": "ubuntu", "version_id": "24.04", "pretty_name": "Ubuntu 24.04.3 LTS"},
    "architecture": "aarch64",
    "cgroup_version": 2,
    "memory_bytes": 127535084 * 1024,
    "swaps": [],
    "disk": {"path": "/var/lib", "free_bytes": 900 * 1000**3},
    "clock_synchronised": True,
    "hostname": "spark-01",
    "machine_id": "a" * 64,
    "interfaces": [
        {
            "name": "enP7s7",
            "up": True,
            "hardware": True,
            "speed_mbit": 10000,
            "addresses": [{"address": "10.0.0.21", "prefix": 24, "leased": False}],
        },
        {
            "name": "tailscale0",
            "up": True,
            "hardware": False,
            "speed_mbit": None,
            "addresses": [
                {"address": "100.101.102.103", "prefix": 32, "leased": False},
                {"address": "fd7a:115c:a1e0::3", "prefix": 128, "leased": False},
            ],
        },
    ],
    "default_interface": "enP7s7",
    "listening": {"tcp": [22], "udp": [68]},
    "units": {"ufw.service": {"active": "active", "enabled": "enabled", "load": "loaded"}},
    "ufw_enabled": False,
    "k3s": {"server": None, "installer": []},
    "targets": [{"target": "https://10.0.0.20:6443", "reached": True, "reason": ""}],
    "missing": {},
}
EXPECTED = HostExpectations(
    platforms=[Platform("ubuntu", ("22.04", "24.04")), Platform("rocky", ("9",))],
    profile=load_profile("gb10"),
    node_ip="10.0.0.21",
    link_mbit=10000,
    disk_free_bytes=30 * 1000**3,
    ports=["10250/tcp", "8472/udp"],
    service="k3s-agent.service",
    k3s_server="https://10.0.0.20:6443",
)
Judge = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="session")
def registry(root: Path) -> dict[str, Any]:
    codes: dict[str, Any] = yaml.safe_load((root / "data/codes.yml").read_text(encoding="utf-8"))["codes"]
    return codes


@pytest.fixture
def judged(registry: dict[str, Any], tmp_path: Path) -> Judge:
    """Findings by code, for the good host with some readings and expectations changed."""

    def run(expect: dict[str, Any] | None = None, **changes: Any) -> dict[str, Finding]:
        gpu = collect(str(tmp_path), find=lambda _name: None, timeout_s=1).as_dict()
        readings = {"host": {**copy.deepcopy(READINGS), **changes}, "gpu": gpu}
        findings = judge(readings, replace(EXPECTED, **(expect or {})), "spark-01", registry)
        assert len({(finding.code, finding.subject) for finding in findings}) == len(findings)
        return {finding.code: finding for finding in findings}

    return run


def without_gpus(findings: dict[str, Finding]) -> dict[str, str]:
    return {code: finding.status for code, finding in findings.items() if code.startswith("BG-HOST")}


def test_good_host_has_only_good_findings(judged: Judge) -> None:
    found = judged()
    assert set(without_gpus(found).values()) == {OK}
    assert set(without_gpus(found)) == {f"BG-HOST-{number:03}" for number in range(1, 18)}
    assert all(finding.requirements for finding in found.values())


def disk(free_bytes: int | None) -> dict[str, Any]:
    return {"path": "/var/lib", "free_bytes": free_bytes}


def unit(name: str, active: str = "active", enabled: str = "enabled") -> dict[str, Any]:
    return {name: {"active": active, "enabled": enabled, "load": "loaded"}}


def interface(**changes: Any) -> list[dict[str, Any]]:
    return [{**READINGS["interfaces"][0], **changes}]


ADDRESS = {"address": "10.0.0.21", "prefix": 24, "leased": False}


@pytest.mark.parametrize(
    ("code", "status", "changes"),
    [
        ("BG-HOST-001", FAIL, {"os": {"id": "debian", "version_id": "12", "pretty_name": None}}),
        ("BG-HOST-001", FAIL, {"os": {"id": "ubuntu", "version_id": "24.10", "pretty_name": None}}),
        ("BG-HOST-001", OK, {"os": {"id": "rocky", "version_id": "9.4", "pretty_name": None}}),
        ("BG-HOST-001", FAIL, {"os": {"id": "rocky", "version_id": "99", "pretty_name": None}}),
        ("BG-HOST-001", UNKNOWN, {"os": {"id": None, "version_id": None, "pretty_name": None}}),
        ("BG-HOST-002", FAIL, {"architecture": "x86_64"}),
        ("BG-HOST-002", FAIL, {"architecture": "riscv64"}),
        ("BG-HOST-003", FAIL, {"memory_bytes": 64 * 1024**3}),
        ("BG-HOST-003", FAIL, {"memory_bytes": 4096 * 1024**3}),
        ("BG-HOST-003", UNKNOWN, {"memory_bytes": None}),
        ("BG-HOST-003", UNKNOWN, {"container": True}),
        ("BG-HOST-004", FAIL, {"interfaces": interface(addresses=[{**ADDRESS, "address": "10.0.0.99"}])}),
        ("BG-HOST-004", UNKNOWN, {"interfaces": None}),
        ("BG-HOST-005", WARN, {"interfaces": interface(addresses=[{**ADDRESS, "leased": True}])}),
        ("BG-HOST-006", FAIL, {"interfaces": interface(speed_mbit=1000)}),
        ("BG-HOST-006", UNKNOWN, {"interfaces": interface(speed_mbit=None)}),
        ("BG-HOST-006", UNKNOWN, {"interfaces": interface(hardware=False)}),
        ("BG-HOST-006", UNKNOWN, {"interfaces": None}),
        ("BG-HOST-007", FAIL, {"disk": disk(29 * 1000**3)}),
        ("BG-HOST-007", UNKNOWN, {"disk": disk(None)}),
        ("BG-HOST-008", FAIL, {"clock_synchronised": False}),
        ("BG-HOST-008", UNKNOWN, {"clock_synchronised": None}),
        ("BG-HOST-008", UNKNOWN, {"container": True}),
        ("BG-HOST-009", WARN, {"swaps": [{"path": "/swap.img", "size_bytes": 1}]}),
        ("BG-HOST-009", SKIPPED, {"swaps": [{"path": "/swap.img", "size_bytes": 1}], "container": True}),
        ("BG-HOST-009", UNKNOWN, {"swaps": None}),
        ("BG-HOST-010", FAIL, {"listening": {"tcp": [22, 10250], "udp": []}}),
        ("BG-HOST-010", FAIL, {"listening": {"tcp": [], "udp": [8472]}}),
        ("BG-HOST-010", OK, {"listening": {"tcp": [8472], "udp": [10250]}}),
        ("BG-HOST-010", OK, {"listening": {"tcp": [10250], "udp": [8472]}, "units": unit("k3s-agent.service")}),
        (
            # The node's service was stopped: its VXLAN device stays, and holds the port.
            "BG-HOST-010",
            OK,
            {
                "listening": {"tcp": [], "udp": [8472]},
                "units": unit("k3s-agent.service", active="inactive"),
                "interfaces": [*READINGS["interfaces"], *interface(name="flannel.1")],
            },
        ),
        (
            "BG-HOST-010",
            FAIL,
            {
                "listening": {"tcp": [], "udp": [8472]},
                "interfaces": [*READINGS["interfaces"], *interface(name="flannel.1")],
            },
        ),
        ("BG-HOST-010", UNKNOWN, {"listening": {"tcp": [], "udp": None}}),
        ("BG-HOST-011", WARN, {"ufw_enabled": True}),
        ("BG-HOST-011", WARN, {"units": unit("firewalld.service")}),
        ("BG-HOST-011", UNKNOWN, {"units": None}),
        ("BG-HOST-012", FAIL, {"units": unit("kubelet.service")}),
        ("BG-HOST-012", FAIL, {"units": unit("k3s.service", active="inactive")}),
        ("BG-HOST-012", OK, {"units": unit("kubelet.service", active="inactive", enabled="disabled")}),
        ("BG-HOST-012", OK, {"units": unit("k3s-agent.service")}),
        ("BG-HOST-012", WARN, {"k3s": {"server": None, "installer": ["/usr/local/bin/k3s-agent-uninstall.sh"]}}),
        ("BG-HOST-012", UNKNOWN, {"units": None}),
        ("BG-HOST-013", FAIL, {"k3s": {"server": "https://10.9.9.9:6443", "installer": []}}),
        ("BG-HOST-013", OK, {"k3s": {"server": "https://10.0.0.20:6443/", "installer": []}}),
        (
            "BG-HOST-013",
            UNKNOWN,
            {"missing": {"k3s.server": {"kind": "unreadable", "reason": "Permission denied"}}},
        ),
        ("BG-HOST-014", FAIL, {"targets": [{"target": "https://m", "reached": False, "reason": "refused"}]}),
        ("BG-HOST-014", UNKNOWN, {"targets": [{"target": "m", "reached": None, "reason": "no host"}]}),
        ("BG-HOST-015", UNKNOWN, {"machine_id": None}),
        ("BG-HOST-017", WARN, {"cgroup_version": 1}),
        ("BG-HOST-017", UNKNOWN, {"cgroup_version": None}),
    ],
)
def test_reading_decides_its_finding(judged: Judge, code: str, status: str, changes: dict[str, Any]) -> None:
    finding = judged(**changes)[code]
    assert finding.status == status
    assert finding.reason
    assert status in (OK, SKIPPED) or finding.remedy


def test_plan_that_says_more_than_the_host_shows_is_refused_with_both_figures(judged: Judge) -> None:
    """SPARK-23: a plan says several GPUs and 1 TB, and the host is one GB10."""
    found = judged(expect={"profile": load_profile("h100-sxm-8")})
    assert found["BG-HOST-002"].reason == "the host is arm64, declared is amd64"
    assert found["BG-HOST-003"].reason == "the host has 121.6 GiB, profile h100-sxm-8 960 to 1024 GiB"
    assert found["BG-GPU-001"].status == UNKNOWN, "no driver answers in this tree"


def test_declared_architecture_goes_before_the_profile_s(judged: Judge) -> None:
    assert judged(expect={"architecture": "amd64"}, architecture="x86_64")["BG-HOST-002"].status == OK


def test_speed_under_a_tunnel_is_that_of_the_hardware_with_the_default_route(judged: Judge) -> None:
    found = judged(expect={"node_ip": "100.101.102.103,fd7a:115c:a1e0::3"})
    assert found["BG-HOST-004"].status == OK
    assert found["BG-HOST-006"].reason == "enP7s7 runs at 10 GbE"


def test_address_is_compared_as_one_not_as_text(judged: Judge) -> None:
    assert judged(expect={"node_ip": "fd7a:115c:a1e0:0:0:0:0:3"})["BG-HOST-004"].status == OK


def test_what_is_not_declared_is_not_judged(judged: Judge) -> None:
    nothing: dict[str, Any] = {
        "profile": None,
        "node_ip": "",
        "link_mbit": 0,
        "disk_free_bytes": 0,
        "ports": [],
        "k3s_server": "",
    }
    found = judged(expect=nothing, targets=[])
    assert set(found) == {f"BG-HOST-{number:03}" for number in (1, 8, 9, 11, 12, 15, 16, 17)}


def test_what_the_run_repairs_later_is_no_precondition(judged: Judge) -> None:
    assert not {"BG-GPU-010", "BG-GPU-011", "BG-GPU-012"} & set(judged())


def test_hosts_of_a_copied_image_are_named_to_each_other(registry: dict[str, Any]) -> None:
    def host(machine: str | None, name: str) -> tuple[dict[str, Any], bool]:
        return {"machine_id": machine, "hostname": name}, False

    found = twins(
        {"a": host("1" * 64, "x"), "b": host("1" * 64, "y"), "c": host("2" * 64, "y"), "d": host(None, "z")}, registry
    )
    assert {name: [finding.code for finding in findings] for name, findings in found.items()} == {
        "a": ["BG-HOST-015"],
        "b": ["BG-HOST-015", "BG-HOST-016"],
        "c": ["BG-HOST-016"],
    }
    assert found["a"][0].reason == "b has the same machine id"
    assert twins({"d": host(None, "z"), "e": host(None, "w")}, registry) == {}
