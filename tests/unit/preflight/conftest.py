"""A good inventory of both systems, to be spoilt by tests in one point each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import FileFacts, Host, Inventory
from ansible_collections.baremetal.gpu.plugins.plugin_utils import kubeconfigs, preflight_rules

SHA256 = "a" * 64
TOKEN = "K10" + "b" * 64 + "::server:" + "c" * 32
KUBECONFIG = "clusters:\n- cluster:\n    server: https://10.0.0.20:6443\n"

Spoil = Callable[..., Inventory]

READY = dict.fromkeys(("rack_units", "power_feeds", "cooling", "cabling", "ip_and_dns_plan", "tailnet_acl"), True)
SPARK = {
    "k3s_agent_server": "https://10.0.0.20:6443",
    "k3s_agent_token_file": "/secrets/token",
    "k3s_agent_kubeconfig": "/secrets/kubeconfig",
    "k3s_agent_binary_url": "http://10.0.0.10/k3s/v1.34.4%2Bk3s1/k3s-arm64",
    "k3s_agent_binary_sha256": SHA256,
    "k3s_agent_image_archives": [{"url": "http://10.0.0.10/images.tar", "sha256": SHA256}],
    "k3s_agent_node_name": "spark-01",
    "k3s_agent_node_ip": "10.0.0.21",
    "k3s_server_version": "v1.34.4+k3s1",
    "nvidia_device_plugin_kubeconfig": "/secrets/kubeconfig",
    "nvidia_device_plugin_nfd_crds_url": "http://10.0.0.10/crds.yaml",
    "nvidia_device_plugin_nfd_crds_sha256": SHA256,
    "nvidia_device_plugin_sharing": "mps",
    "nvidia_device_plugin_replicas": 10,
    "nvidia_device_plugin_mig_strategy": "none",
    "gpu_verify_kubeconfig": "/secrets/kubeconfig",
    "gpu_verify_hardware_profile": "gb10",
    "gpu_verify_replicas": 10,
    "gpu_verify_expect_mps": True,
    "site_mirror_url": "http://10.0.0.10",
    "site_readiness": READY,
}
CALYPSO = {"gpu_verify_kubeconfig": "/secrets/kubeconfig"}
CONTROL_PLANE = {
    "kubeadm_control_plane_address": "10.0.0.31",
    "kubeadm_control_plane_kubeconfig": "/secrets/onyx",
    "kubeadm_control_plane_kubernetes_version": "v1.34.4",
    "kubeadm_control_plane_pod_subnet": "10.244.0.0/16",
    "kubeadm_control_plane_service_subnet": "10.96.0.0/16",
}
WORKER = {
    "kubeadm_worker_control_plane_host": "onyx-m1",
    "kubeadm_worker_kubeconfig": "/secrets/onyx",
    "kubeadm_worker_address": "10.0.0.32",
    "kubernetes_node_version": "1.34.4",
    "gpu_verify_hardware_profile": "h100-sxm-8",
}
FILES = {
    "/secrets/token": FileFacts(exists=True, regular=True, mode=0o600, text=TOKEN + "\n"),
    "/secrets/kubeconfig": FileFacts(exists=True, regular=True, mode=0o600, text=KUBECONFIG),
}


def host(name: str, roles: set[str], variables: Mapping[str, Any]) -> Host:
    return Host(name=name, variables=dict(variables), roles=frozenset(roles), names=frozenset(variables))


@pytest.fixture(scope="session")
def good() -> Inventory:
    """One Spark with its k3s cluster, and one ONYX cluster of two hosts."""
    return Inventory(
        hosts=(
            host("calypso", {"gpu_verify"}, CALYPSO),
            host("onyx-g1", {"kubeadm_worker"}, WORKER),
            host("onyx-m1", {"kubeadm_control_plane"}, CONTROL_PLANE),
            host("spark-01", {"k3s_agent", "nvidia_device_plugin", "gpu_verify"}, SPARK),
        ),
        rules=preflight_rules.load_rules(),
        system=preflight_rules.load_system("spark"),
        groups={
            "k3s_server": frozenset({"calypso"}),
            "spark": frozenset({"spark-01"}),
            "spark_system": frozenset({"calypso", "spark-01"}),
            "onyx": frozenset({"onyx-m1", "onyx-g1"}),
            "onyx_control_plane": frozenset({"onyx-m1"}),
            "onyx_gpu": frozenset({"onyx-g1"}),
        },
        read=lambda path: FILES.get(path, FileFacts(exists=False)),
        kubeconfig=lambda path: kubeconfigs.parse(FILES[path].text or ""),
        now=datetime(2030, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
def spoil(good: Inventory) -> Spoil:
    """``spoil("spark-01", variable=value)``: the good inventory with some variables of a host changed; None removes one."""

    def changed(name: str, **changes: Any) -> Inventory:
        hosts = []
        for one in good.hosts:
            if one.name == name:
                variables = {key: value for key, value in {**one.variables, **changes}.items() if value is not None}
                one = replace(one, variables=variables, names=frozenset(variables))
            hosts.append(one)
        return replace(good, hosts=tuple(hosts))

    return changed


RunPlaybooks = Callable[[Path, Sequence[Mapping[str, Any]]], list[int]]


@pytest.fixture(scope="session")
def run_playbooks(root: Path) -> RunPlaybooks:
    """Runs of ansible-playbook in a folder, many at once: ``{arguments, log, verdict}`` each. Gives their exit statuses."""

    def run(folder: Path, jobs: Sequence[Mapping[str, Any]]) -> list[int]:
        path = folder / "jobs.json"
        path.write_text(json.dumps(list(jobs)), encoding="utf-8")
        environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        command = [sys.executable, str(Path(__file__).with_name("batch.py")), str(path)]
        subprocess.run(command, cwd=folder, env=environment, check=True)
        statuses: list[int] = json.loads(path.with_suffix(".done").read_text(encoding="utf-8"))
        return statuses

    return run
