"""Entry points verify of roles, by real plays on this machine, on which nothing of them is installed: every finding is red, none is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.unit.plugins.action.test_plays import play

SILENT = "/none/kubeconfig.yaml"
ROLES: dict[str, tuple[dict[str, Any], str, dict[str, str]]] = {
    # Variables, what the role registers, and the findings with their statuses.
    "package_repository": (
        {
            "package_repository_name": "Baremetal_GPU test!",
            "package_repository_url": "http://127.0.0.1:9/",
            "package_repository_key_url": "http://127.0.0.1:9/key",
            "package_repository_key_fingerprint": "0" * 40,
        },
        "__package_repository_setup",
        {"BG-REPO-003": "fail", "BG-REPO-004": "fail"},
    ),
    "containerd": (
        {
            "containerd_runtimes": {"nvidia": "/none/nvidia-container-runtime"},
            "containerd_package": "baremetal-gpu-none",
        },
        "__containerd_setup",
        {"BG-CTRD-001": "fail", "BG-CTRD-002": "fail", "BG-CTRD-003": "not ok", "BG-CTRD-004": "fail"},
    ),
    "container_images": (
        {"container_images_archives": [{"url": "http://127.0.0.1:9/a.tar", "sha256": "0" * 64}]},
        "__container_images_setup",
        {"BG-IMG-006": "unknown"},
    ),
    "nvidia_container_toolkit": (
        {"nvidia_container_toolkit_packages": ["baremetal-gpu-none"]},
        "__nvidia_container_toolkit_setup",
        {"BG-CTK-002": "fail", "BG-CTK-003": "fail"},
    ),
    "kubernetes_node": (
        {},
        "__kubernetes_node_setup",
        {"BG-K8S-009": "fail", "BG-K8S-010": "not ok"},
    ),
    "kubeadm_control_plane": (
        {"kubeadm_control_plane_address": "127.0.0.1", "kubeadm_control_plane_kubeconfig": SILENT},
        "__kubeadm_control_plane_setup",
        {"BG-K8S-005": "fail", "BG-K8S-006": "fail", "BG-K8S-007": "unknown", "BG-K8S-008": "unknown"},
    ),
    "kubeadm_worker": (
        {
            "kubeadm_worker_address": "127.0.0.1",
            "kubeadm_worker_kubeconfig": SILENT,
            "kubeadm_worker_control_plane_host": "none",
            "kubeadm_worker_node_labels": {"role": "gpu"},
        },
        "__kubeadm_worker_setup",
        {"BG-K8S-005": "fail", "BG-K8S-008": "unknown"},
    ),
    "pod_network": (
        {
            "pod_network_kubeconfig": SILENT,
            "pod_network_manifest_url": "http://127.0.0.1:9/m.yaml",
            "pod_network_manifest_sha256": "0" * 64,
        },
        "__pod_network_objects",
        {"BG-K8S-011": "unknown", "BG-K8S-012": "unknown"},
    ),
    "nvidia_device_plugin": (
        {
            "nvidia_device_plugin_kubeconfig": SILENT,
            "nvidia_device_plugin_nfd_crds_url": "http://127.0.0.1:9/c.yaml",
            "nvidia_device_plugin_nfd_crds_sha256": "0" * 64,
            "nvidia_device_plugin_sharing": "mps",
        },
        "__nvidia_device_plugin_objects",
        {"BG-DP-002": "unknown", "BG-DP-003": "unknown"},
    ),
}


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each role registered, from one run."""
    tasks: list[dict[str, Any]] = [
        {
            "name": f"Verify {role}",
            "ansible.builtin.include_role": {"name": f"baremetal.gpu.{role}", "tasks_from": "verify.yml"},
            "vars": variables,
        }
        for role, (variables, _name, _expected) in ROLES.items()
    ]
    told = {role: f"{{{{ {name} }}}}" for role, (_variables, name, _expected) in ROLES.items()}
    results = play(tmp_path_factory.mktemp("verify"), *tasks, {"name": "Tell", "ansible.builtin.debug": {"msg": told}})
    found: dict[str, Any] = results[-1]["msg"]
    return found


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_left_nothing_is_red_in_each_of_its_codes(registered: dict[str, Any], role: str) -> None:
    expected, result = ROLES[role][2], registered[role]
    assert (result.get("failed", False), result["changed"]) == (False, False)
    found = {each["code"]: each for each in result["baremetal_gpu_findings"]}
    assert set(found) == set(expected)
    for code, status in expected.items():
        # Whether this machine has systemd differs; either way the service is not said to run.
        allowed = {"fail", "unknown"} if status == "not ok" else {status}
        assert found[code]["status"] in allowed, found[code]
        assert found[code]["reason"]
        assert found[code]["remedy"]


def test_findings_about_a_repository_name_it(registered: dict[str, Any]) -> None:
    subjects = {each["subject"] for each in registered["package_repository"]["baremetal_gpu_findings"]}
    assert subjects == {"localhost Baremetal_GPU test!"}
    reasons = [each["reason"] for each in registered["package_repository"]["baremetal_gpu_findings"]]
    # As the module that writes the definition folds its name; on a machine with dnf it is not folded.
    apt, dnf = "/etc/apt/sources.list.d/baremetal-gpu-test.sources", "/etc/yum.repos.d/Baremetal_GPU test!.repo"
    assert reasons[0] in (f"{apt} is not there", f"{dnf} is not there")


def test_host_setup_that_is_as_declared_is_ok(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# Managed by somebody\n\n  mode = 'cdi'\n", encoding="utf-8")
    asked = {
        "files": [{"code": "BG-CTK-003", "path": str(path), "content": "mode = 'cdi'\n"}],
        "programs": [{"code": "BG-CTRD-004", "paths": ["sh", "/bin/sh"]}],
    }
    result = play(tmp_path, {"name": "Judge", "baremetal.gpu.host_setup": asked}, check_mode=True)[0]
    statuses = {each["code"]: each["status"] for each in result["baremetal_gpu_findings"]}
    assert statuses == {"BG-CTK-003": "ok", "BG-CTRD-004": "ok"}, json.dumps(result)
