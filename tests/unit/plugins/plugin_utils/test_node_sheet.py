"""The sheet of a node says what was read, says unknown for what was not, and names no single device unsolicited."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils.node_sheet import Sources, file_name, render

SERIAL, UUID, MAC = "canary-serial", "GPU-canary-uuid", "02:00:00:ca:4a:12"

FACTS: dict[str, Any] = {
    "hostname": "spark-01",
    "architecture": "aarch64",
    "kernel": "6.14.0-1013-nvidia",
    "distribution": "Ubuntu",
    "distribution_version": "24.04",
    "processor": ["0", "ARM", "Cortex-X925", "1", "ARM", "Cortex-A725"],
    "processor_vcpus": 20,
    "memtotal_mb": 122880,
    "devices": {"nvme0n1": {"size": "3.64 TB"}, "loop0": {"size": "1 MB"}, "dm-0": {"size": "3 TB"}},
    "enP7s7": {
        "device": "enP7s7",
        "active": True,
        "macaddress": MAC,
        "ipv4": {"address": "192.0.2.10"},
        "ipv6": [{"address": "fe80::1"}, {"address": "2001:db8::10"}],
    },
    "tailscale0": {"device": "tailscale0", "active": True, "ipv4": {"address": "100.64.0.7"}},
    "product_serial": SERIAL,
}
READINGS: dict[str, Any] = {
    "simulated": False,
    "dmi": {
        "sys_vendor": "NVIDIA",
        "product_name": "NVIDIA_DGX_Spark",
        "bios_version": "1.2",
        "bios_date": "01/02/2026",
    },
    "dgx_release": {"ota_version": "7.3.1", "software_build_version": "7.2.3"},
    "driver": {"version": "580.95.05", "cuda_version": "13.0"},
    "gpus": [{"product_name": "NVIDIA GB10", "uuid": UUID}],
    "rdma_adapters": [{"name": "rocep1s0f0"}, {"name": "rocep1s0f1"}],
    "container_toolkit": {"version": "1.18.0"},
    "mps_daemons": [{"pid": 1}],
    "missing": {},
}
TAILNET = json.dumps(
    {
        "BackendState": "Running",
        "TailscaleIPs": ["100.64.0.7", "fd7a:115c:a1e0::7"],
        "Self": {"DNSName": "spark-01.tail.example.", "Online": True, "Tags": ["tag:gpu"]},
        "Peer": None,
    }
)
NODE = {"name": "spark-01", "kubelet_version": "v1.34.4+k3s1"}
WHOLE = Sources("spark-01", FACTS, READINGS, TAILNET, NODE, "spark")


def rows(sources: Sources) -> dict[str, str]:
    """The tables' cells by their label."""
    cells = [line.strip("| ").split(" | ", 1) for line in render(sources).splitlines() if line.startswith("| ")]
    return {cell[0]: cell[1] for cell in cells if len(cell) == 2}


@pytest.mark.requirement("SPARK-14", part="what is on the sheet")
def test_the_sheet_has_names_addresses_hardware_and_versions() -> None:
    assert rows(WHOLE) == {
        "Hostname": "spark-01",
        "Tailnet name": "spark-01.tail.example",
        "Tailnet addresses": "100.64.0.7, fd7a:115c:a1e0::7",
        "Tailnet tags": "tag:gpu",
        "Other addresses": "192.0.2.10 (enP7s7), 2001:db8::10 (enP7s7)",
        "Machine": "NVIDIA NVIDIA\\_DGX\\_Spark",
        "Firmware": "1.2 of 01/02/2026",
        "Processors": "20 x Cortex-A725, Cortex-X925",
        "Memory": "120 GiB",
        "Disks": "nvme0n1 3.64 TB",
        "GPUs": "1 x NVIDIA GB10",
        "RDMA adapters": "rocep1s0f0, rocep1s0f1",
        "Operating system": "DGX OS 7.3.1 (Ubuntu 24.04)",
        "Kernel": "6.14.0-1013-nvidia",
        "NVIDIA driver": "580.95.05",
        "CUDA of the driver": "13.0",
        "Container toolkit": "1.18.0",
        "GPU sharing": "MPS",
        "Cluster": "spark",
        "Node": "spark-01",
        "Kubelet": "v1.34.4+k3s1",
    }


def test_what_names_one_device_is_there_only_when_asked_for() -> None:
    for canary in (SERIAL, UUID, MAC):
        assert canary not in render(WHOLE)
        assert canary in render(replace(WHOLE, serials=True))


def test_what_was_not_read_is_unknown() -> None:
    bare = rows(Sources("n", {}, {}))
    assert bare["Tailnet name"] == "none (Tailscale is not installed)"
    assert bare["GPUs"] == "unknown (the driver does not answer)"
    for label in ("Hostname", "Machine", "Memory", "Kernel", "NVIDIA driver", "RDMA adapters"):
        assert bare[label] == "unknown", label


def test_a_driver_that_does_not_answer_is_told_beside_what_pci_shows() -> None:
    broken = {**READINGS, "gpus": None, "pci_gpus": [{}, {}]}
    assert rows(replace(WHOLE, readings=broken))["GPUs"] == "unknown (the driver does not answer; 2 on PCI)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "none (Tailscale is not installed)"),
        ('{"BackendState": "NeedsLogin", "Self": {}}', "none"),
        ('{"BackendState": "Stopped"}', "none"),
        ("failed to connect to local tailscaled", "unknown"),
    ],
)
def test_a_node_without_a_name_in_a_tailnet_says_so(text: str, said: str) -> None:
    assert rows(replace(WHOLE, tailscale=text))["Tailnet name"].startswith(said)


def test_a_node_that_the_cluster_does_not_have_is_told() -> None:
    assert rows(replace(WHOLE, node={}))["Node"].startswith("none (the cluster has no node")


def test_a_lab_host_says_that_it_is_one() -> None:
    assert "simulated" in render(replace(WHOLE, readings={**READINGS, "simulated": True}))


@given(st.text(), st.text(), st.text(max_size=400))
def test_no_text_breaks_a_table_out_of_its_rows(hostname: str, product: str, tailscale: str) -> None:
    facts = {**FACTS, "hostname": hostname}
    text = render(Sources("n", facts, {**READINGS, "gpus": [{"product_name": product}]}, tailscale))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(text.splitlines()) == len(render(Sources("n", FACTS, READINGS, tailscale)).splitlines())
    for line in table:
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == 3


@pytest.mark.parametrize("name", ["../spark", "a/b", "", ".hidden", "a b"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(GpuError, match="BG-SHEET-101"):
        file_name(name)
