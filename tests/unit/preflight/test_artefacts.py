"""What is downloaded: addresses, checksums, architectures and signing keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.artefacts import build_of
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.checks import refusals
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory

SHA256 = "a" * 64


def codes(inventory: Inventory) -> list[str]:
    return [refusal.code for refusal in refusals(inventory)]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://10.0.0.10/k3s/v1.34.4+k3s1/k3s-arm64", "BG-INV-038"),
        ("10.0.0.10/k3s/k3s-arm64", "BG-INV-038"),
        ("https:///k3s-arm64", "BG-INV-038"),
        ("https://10.0.0.10:99999/k3s-arm64", "BG-INV-038"),
        ("https://10.0.0.10/k3s arm64", "BG-INV-038"),
        ("https://user:secret@10.0.0.10/k3s-arm64", "BG-INV-038"),
        ("http://mirror.elsewhere.org/k3s-arm64", "BG-INV-039"),
        ("http://10.0.0.100/k3s-arm64", "BG-INV-039"),
        ("https://github.com/k3s-io/k3s/releases/latest/download/k3s-arm64", "BG-INV-040"),
        ("https://update.k3s.io/v1-release/channels/stable/k3s-arm64", "BG-INV-040"),
        ("http://10.0.0.10/k3s-latest-arm64", "BG-INV-040"),
        ("http://10.0.0.10/k3s/v1.34.4%2Bk3s1/k3s", "BG-INV-041"),
        ("http://10.0.0.10/k3s-amd64", "BG-INV-041"),
        ("http://10.0.0.10/x86_64/k3s", "BG-INV-041"),
    ],
)
def test_address_that_cannot_be_used(spoil: Any, url: str, code: str) -> None:
    assert codes(spoil("spark-01", k3s_agent_binary_url=url)) == [code]


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/k3s-io/k3s/releases/download/v1.34.4%2Bk3s1/k3s-arm64",
        "http://10.0.0.10/k3s/k3s-arm64",
        "https://mirror.site.internal:8443/aarch64/k3s",
        "https://mirror.site.internal/k3s-selected",
        "https://latest.site.internal/k3s-arm64?v=1+2",
    ],
)
def test_address_of_one_release_for_this_architecture(spoil: Any, url: str) -> None:
    assert codes(spoil("spark-01", k3s_agent_binary_url=url)) == []


def test_declared_architecture_goes_before_the_profile_s(spoil: Any) -> None:
    url = "http://10.0.0.10/k3s"
    assert codes(spoil("spark-01", k3s_agent_binary_url=url, host_preflight_architecture="amd64")) == []


@pytest.mark.parametrize(
    ("url", "build"),
    [
        ("https://example.org/v1/k3s", "amd64"),
        ("https://example.org/v1/k3s-arm64", "arm64"),
        ("https://example.org/k3s-airgap-images-arm64.tar.zst", "arm64"),
        ("https://example.org/gpu-operands-v0.18.0-amd64.tar", "amd64"),
        ("https://example.org/charm64/thing", ""),
    ],
)
def test_address_tells_the_architecture_of_a_build(url: str, build: str) -> None:
    assert build_of(url) == build


@pytest.mark.parametrize("checksum", ["", "abc", "g" * 64, "a" * 63, "a" * 65, "a" * 40])
def test_archive_without_a_usable_checksum(spoil: Any, checksum: str) -> None:
    archives = [{"url": "http://10.0.0.10/images.tar", "sha256": checksum}]
    assert codes(spoil("spark-01", k3s_agent_image_archives=archives)) == ["BG-INV-010"]


def test_checksum_in_upper_case_is_accepted(spoil: Any) -> None:
    assert codes(spoil("spark-01", k3s_agent_binary_sha256=SHA256.upper())) == []


def with_repository(good: Inventory, **changes: str) -> Inventory:
    spark = next(host for host in good.hosts if host.name == "spark-01")
    variables = {
        "package_repository_name": "mirror",
        "package_repository_url": "http://10.0.0.10/apt",
        "package_repository_key_url": "http://10.0.0.10/key.asc",
        "package_repository_key_fingerprint": "C95B 321B 61E8 8C18 09C4  F759 DDCA E044 F796 ECB0",
        **changes,
    }
    changed = replace(spark, roles=spark.roles | {"package_repository"}, variables={**spark.variables, **variables})
    return replace(good, hosts=tuple(changed if host is spark else host for host in good.hosts))


@pytest.mark.parametrize("fingerprint", ["F796ECB0", "C95B" * 11, "0x" + "A" * 40, "Z" * 40])
def test_malformed_fingerprint_of_a_signing_key(good: Inventory, fingerprint: str) -> None:
    assert codes(with_repository(good, package_repository_key_fingerprint=fingerprint)) == ["BG-INV-042"]


def test_repository_may_be_called_stable_or_latest(good: Inventory) -> None:
    assert codes(with_repository(good)) == []
    assert codes(with_repository(good, package_repository_url="https://packages.site.internal/latest/apt")) == []


def test_image_must_not_be_the_latest(spoil: Any) -> None:
    assert codes(spoil("spark-01", nvidia_device_plugin_image="registry.site/plugin:latest")) == ["BG-INV-040"]
    assert codes(spoil("spark-01", nvidia_device_plugin_image="registry.site/latest/plugin:v1")) == []
