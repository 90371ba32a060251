"""What holds on every node of the cluster."""

from __future__ import annotations

from typing import Any

import pytest

testinfra_hosts = ["ansible://onyx-m1", "ansible://onyx-g1"]

PACKAGES = ["containerd.io", "kubelet", "kubeadm", "kubectl"]


@pytest.mark.parametrize("name", ["containerd", "kubelet"])
def test_service_runs_and_starts_at_boot(host: Any, name: str) -> None:
    service = host.service(name)
    assert service.is_running
    assert service.is_enabled


@pytest.mark.parametrize("name", PACKAGES)
def test_package_is_installed_with_the_repository_s_signature(host: Any, name: str) -> None:
    assert "Key ID" in host.check_output(
        f"rpm --query --queryformat '%{{RSAHEADER:pgpsig}}%{{DSAHEADER:pgpsig}}' {name}"
    )


def test_repository_is_accepted_only_with_signatures(host: Any) -> None:
    definition = host.file("/etc/yum.repos.d/lab-mirror.repo").content_string
    options = dict(line.split("=", 1) for line in definition.replace(" ", "").splitlines() if "=" in line)
    assert options["gpgcheck"] == "1"
    assert options["repo_gpgcheck"] == "1"


def test_join_configuration_is_not_left_behind(host: Any) -> None:
    """It held a token with which hosts can join."""
    assert not host.file("/run/kubeadm-join.yaml").exists
    assert not host.file("/etc/kubernetes/bootstrap-kubelet.conf").exists
