"""The GPU worker itself."""

from __future__ import annotations

from typing import Any

import pytest

testinfra_hosts = ["ansible://spark-01"]

TOKEN_FILE = "/etc/rancher/k3s/agent-token"


def test_agent_runs_and_starts_at_boot(host: Any) -> None:
    agent = host.service("k3s-agent")
    assert agent.is_running
    assert agent.is_enabled


@pytest.mark.parametrize("path", [TOKEN_FILE, "/etc/rancher/k3s/config.yaml"])
def test_secret_files_are_root_only(host: Any, path: str) -> None:
    file = host.file(path)
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)


def test_token_is_on_no_command_line(host: Any) -> None:
    # -f keeps the token off grep's own command line; the pattern is the secret after the last colon.
    search = (
        f"sed 's/.*://' {TOKEN_FILE} > /run/pattern && grep -rlaF -f /run/pattern /proc/[0-9]*/cmdline; rm /run/pattern"
    )
    assert host.run(search).stdout == ""


def test_token_is_in_no_unit(host: Any) -> None:
    assert host.run(f"sed 's/.*://' {TOKEN_FILE} | grep -rlF -f - /etc/systemd/system").stdout == ""


def test_toolkit_wrote_a_specification_that_names_the_gpu(host: Any) -> None:
    assert "nvidia.com/gpu" in host.file("/etc/cdi/nvidia.yaml").content_string


def test_repository_is_accepted_only_with_a_signature(host: Any) -> None:
    definition = host.file("/etc/apt/sources.list.d/lab-mirror.sources").content_string
    assert "Signed-By:" in definition
    assert "Trusted:" not in definition


def test_containerd_of_the_agent_knows_the_nvidia_runtime(host: Any) -> None:
    assert "nvidia" in host.check_output("cat /var/lib/rancher/k3s/agent/etc/containerd/config.toml")
