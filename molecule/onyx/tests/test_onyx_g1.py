"""The GPU worker itself."""

from __future__ import annotations

from typing import Any

import pytest

testinfra_hosts = ["ansible://onyx-g1"]


def test_driver_shows_eight_gpus(host: Any) -> None:
    assert len(host.check_output("nvidia-smi --list-gpus").splitlines()) == 8


def test_toolkit_is_installed_from_the_signed_repository(host: Any) -> None:
    signature = "rpm --query --queryformat '%{RSAHEADER:pgpsig}%{DSAHEADER:pgpsig}' nvidia-container-toolkit"
    assert "Key ID" in host.check_output(signature)


def test_specification_names_every_gpu(host: Any) -> None:
    specification = host.file("/etc/cdi/nvidia.yaml").content_string
    for index in range(8):
        assert f'name: "{index}"' in specification


@pytest.mark.requirement("ONYX-R056", part="the runtime in containerd's configuration")
def test_containerd_knows_the_nvidia_runtime(host: Any) -> None:
    assert "nvidia-container-runtime" in host.check_output("containerd config dump")
