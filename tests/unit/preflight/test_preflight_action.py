"""The action over the lab's own inventory, in real runs of ansible-playbook that contact no host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Case:
    """A run over the lab's inventory with extra variables; the code that refuses it, or none."""

    name: str
    system: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    hosts: tuple[str, ...] = tuple(HOSTS)


CASES = (
    Case("spark", "spark"),
    Case("onyx", "onyx"),
    Case("spark_without_the_other_system_s_hosts", "spark", hosts=("calypso", "spark-01")),
    Case("replicas", "spark", {"spark_replicas": 49}, "BG-INV-002"),
    Case("mig", "spark", {"nvidia_device_plugin_mig_strategy": "single"}, "BG-INV-003"),
    Case("token", "spark", {"k3s_agent_token_file": "/nonexistent/token"}, "BG-INV-004"),
    Case("checksums", "onyx", {"site_mirror_sha256": {}}, "BG-INV-010"),
    Case("networks", "onyx", {"kubeadm_control_plane_pod_subnet": "10.91.0.0/16"}, "BG-INV-007"),
)


def make_site(root: Path, folder: Path) -> Path:
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
        path = folder / name
        path.parent.mkdir(parents=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    generated = {
        "lab": True,
        "lab_state_dir": str(folder),
        "site_mirror_url": "http://10.91.0.10",
        "site_mirror_sha256": dict.fromkeys(artefacts, "a" * 64),
        "site_repository_key_fingerprint": "A" * 40,
    }
    hosts = {name: {"ansible_host": f"10.91.0.{number}"} for name, number in HOSTS.items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": generated, "hosts": hosts}}), encoding="utf-8")
    return folder / "hosts.yml"


@pytest.fixture(scope="module")
def outcomes(run_playbooks: Any, root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit status and output of every case, run once."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "playbook.yml").write_text(PLAYBOOK, encoding="utf-8")
    jobs = []
    for case in CASES:
        place = folder / case.name
        generated = make_site(root, place)
        inventory = yaml.safe_load(generated.read_text(encoding="utf-8"))
        inventory["all"]["hosts"] = {name: inventory["all"]["hosts"][name] for name in case.hosts}
        generated.write_text(yaml.safe_dump(inventory), encoding="utf-8")
        extra = json.dumps({"system": case.system, **case.changes})
        arguments = [
            "-i",
            str(root / "inventories/lab"),
            "-i",
            str(generated),
            "-e",
            extra,
            str(folder / "playbook.yml"),
        ]
        jobs.append({"arguments": arguments, "log": str(place / "log"), "verdict": str(place / "verdict.json")})
    statuses = run_playbooks(folder, jobs)
    logs = [(folder / case.name / "log").read_text(encoding="utf-8") for case in CASES]
    return {case.name: outcome for case, outcome in zip(CASES, zip(statuses, logs, strict=True), strict=True)}


@pytest.mark.parametrize("case", [case for case in CASES if not case.code], ids=lambda case: case.name)
def test_lab_inventory_is_not_refused(outcomes: dict[str, tuple[int, str]], case: Case) -> None:
    status, output = outcomes[case.name]
    assert "BG-INV" not in output
    assert status == 0, output


@pytest.mark.parametrize("case", [case for case in CASES if case.code], ids=lambda case: case.name)
def test_spoilt_lab_inventory_is_refused(outcomes: dict[str, tuple[int, str]], case: Case) -> None:
    status, output = outcomes[case.name]
    assert status == 2
    assert case.code in output
    assert "BG-INV-099" in output
