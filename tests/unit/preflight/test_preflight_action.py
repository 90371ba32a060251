"""The action over the lab's own inventory, in real runs of ansible-playbook that contact no host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PLAYBOOK = """\
- name: Try the preflight
  hosts: all
  gather_facts: false
  tasks:
    - name: Check the whole inventory
      baremetal.gpu.preflight:
        system: "{{ system }}"
      run_once: true
"""
HOSTS = {"calypso": 20, "spark-01": 21, "onyx-m1": 31, "onyx-g1": 32}


@pytest.fixture
def site(root: Path, tmp_path: Path) -> Path:
    """What the lab would have generated: addresses, secrets, and checksums of everything on its mirror."""
    versions = yaml.safe_load((root / "data/versions.yml").read_text(encoding="utf-8"))["components"]
    number = {name: component["version"] for name, component in versions.items()}
    artefacts = [
        f"images/kubernetes-{number['kubernetes']}-amd64.tar",
        f"images/gpu-operands-{number['nvidia_device_plugin']}-amd64.tar",
        f"images/flannel-{number['flannel']}-amd64.tar",
        f"images/busybox-{number['busybox']}-amd64.tar",
        f"manifests/nfd-api-crds-{number['node_feature_discovery']}.yaml",
        "manifests/lab-flannel.yaml",
        f"k3s/{number['k3s']}/k3s",
        f"k3s/{number['k3s']}/k3s-airgap-images-amd64.tar",
    ]
    for name, text in (
        ("secrets/k3s-token", f"K10{'b' * 64}::server:{'c' * 32}\n"),
        ("kubeconfig/calypso.yaml", "clusters:\n- cluster: {server: 'https://10.91.0.20:6443'}\n"),
    ):
        path = tmp_path / name
        path.parent.mkdir()
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    generated = {
        "lab": True,
        "lab_state_dir": str(tmp_path),
        "site_mirror_url": "http://10.91.0.10",
        "site_mirror_sha256": dict.fromkeys(artefacts, "a" * 64),
        "site_repository_key_fingerprint": "A" * 40,
    }
    hosts = {name: {"ansible_host": f"10.91.0.{number}"} for name, number in HOSTS.items()}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": generated, "hosts": hosts}}), encoding="utf-8")
    (tmp_path / "playbook.yml").write_text(PLAYBOOK, encoding="utf-8")
    return tmp_path


def run(root: Path, site: Path, system: str, **changes: Any) -> tuple[int, str]:
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        *("--inventory", str(root / "inventories/lab"), "--inventory", str(site / "hosts.yml")),
        *("--extra-vars", json.dumps({"system": system, **changes}), "playbook.yml"),
    ]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("system", ["spark", "onyx"])
def test_lab_inventory_is_not_refused(root: Path, site: Path, system: str) -> None:
    returncode, output = run(root, site, system)
    assert "BG-INV" not in output
    assert returncode == 0


@pytest.mark.parametrize(
    ("system", "changes", "code"),
    [
        ("spark", {"spark_replicas": 49}, "BG-INV-002"),
        ("spark", {"nvidia_device_plugin_mig_strategy": "single"}, "BG-INV-003"),
        ("spark", {"k3s_agent_token_file": "/nonexistent/token"}, "BG-INV-004"),
        ("onyx", {"site_mirror_sha256": {}}, "BG-INV-010"),
        ("onyx", {"kubeadm_control_plane_pod_subnet": "10.91.0.0/16"}, "BG-INV-007"),
    ],
)
def test_spoilt_lab_inventory_is_refused(
    root: Path, site: Path, system: str, changes: dict[str, Any], code: str
) -> None:
    returncode, output = run(root, site, system, **changes)
    assert returncode == 2
    assert code in output
    assert "BG-INV-099" in output


def test_one_system_alone_is_judged_without_the_other_ones_hosts(root: Path, site: Path) -> None:
    inventory = yaml.safe_load((site / "hosts.yml").read_text(encoding="utf-8"))
    inventory["all"]["hosts"] = {name: inventory["all"]["hosts"][name] for name in ("calypso", "spark-01")}
    (site / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    returncode, output = run(root, site, "spark")
    assert returncode == 0, output
