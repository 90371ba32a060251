"""The sheet of a node for a site's documentation: what it is, where it is reached, what runs on it. Pure.

Only what stays the same between two runs on an unchanged host stands on it, so that a change of a sheet is a change of the node. What names one
single device (serial numbers, UUIDs, MAC addresses) is left out unless it is asked for.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale import Status, parse_status

UNKNOWN = "unknown"
NONE = "none"

# Devices of disks; the others are partitions' parents in name only (loop, ram, device mapper) or removable.
_DISKS = re.compile(r"^(nvme\d+n\d+|sd[a-z]+|vd[a-z]+)$")
_SAFE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


@dataclass(frozen=True)
class Sources:
    """What was read of one node. ``facts`` are those of ``ansible.builtin.setup`` without their prefix, ``readings`` those of ``gpu_info``,
    ``tailscale`` the text of ``tailscale status --json`` (empty: there is none), ``node`` what ``cluster_nodes`` has of it."""

    name: str
    facts: Mapping[str, Any]
    readings: Mapping[str, Any]
    tailscale: str = ""
    node: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = ""
    serials: bool = False


def file_name(name: str) -> str:
    """The file of a node's sheet. Raises ``GpuError`` BG-SHEET-101 for a name that would lead elsewhere."""
    if not _SAFE.fullmatch(name):
        raise GpuError(
            "BG-SHEET-101", f"{name!r} is no name of a file", "its sheet would lie elsewhere", "name the host otherwise"
        )
    return f"{name}.md"


def render(sources: Sources) -> str:
    """The whole sheet as Markdown."""
    lines = [f"# {_cell(sources.name)}", ""]
    if sources.readings.get("simulated"):
        lines += ["This host is of the embedded lab: its hardware is simulated.", ""]
    for title, rows in (
        ("Where it is", _place(sources)),
        ("What it is", _machine(sources)),
        ("What runs on it", _software(sources)),
    ):
        lines += [f"## {title}", "", "| | |", "|---|---|"]
        lines += [f"| {label} | {_cell(value)} |" for label, value in rows]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _place(sources: Sources) -> Iterator[tuple[str, str]]:
    yield "Hostname", _text(sources.facts.get("hostname"))
    status = _tailnet(sources.tailscale)
    if isinstance(status, str):
        yield "Tailnet name", status
    else:
        yield "Tailnet name", status.dns_name or NONE
        yield "Tailnet addresses", _listed(status.addresses)
        yield "Tailnet tags", _listed(status.tags)
    own = () if isinstance(status, str) else status.addresses
    yield "Other addresses", _listed(_addresses(sources.facts, own))
    if sources.serials:
        yield "Hardware addresses", _listed(_hardware_addresses(sources.facts))


def _tailnet(text: str) -> Status | str:
    """What the node says of its tailnet, or in a word why that is not known."""
    if not text.strip():
        return f"{NONE} (Tailscale is not installed)"
    try:
        return parse_status(text)
    except GpuError as error:
        return f"{UNKNOWN} ({error.what})"


def _addresses(facts: Mapping[str, Any], own: Iterable[str]) -> list[str]:
    """Addresses by which others reach the node: no loopback, no link-local ones, and none of the tailnet's."""
    left_out = set(own)
    found = []
    for device, text in _addresses_by_device(facts):
        address = ipaddress.ip_address(text)
        if address.is_loopback or address.is_link_local or text in left_out:
            continue
        found.append((address.version, address, device))
    return [
        f"{address} ({device})"
        for _version, address, device in sorted(found, key=lambda item: (item[0], int(item[1]), item[2]))
    ]


def _addresses_by_device(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, device in _devices(facts):
        fourth = device.get("ipv4")
        entries = [fourth] if isinstance(fourth, Mapping) else []
        for more in ("ipv4_secondaries", "ipv6"):
            entries += [entry for entry in device.get(more) or [] if isinstance(entry, Mapping)]
        for entry in entries:
            if entry.get("address"):
                yield name, str(entry["address"])


def _devices(facts: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for value in facts.values():
        if isinstance(value, Mapping) and isinstance(value.get("device"), str) and "active" in value:
            yield value["device"], value


def _hardware_addresses(facts: Mapping[str, Any]) -> list[str]:
    found = {f"{device['macaddress']} ({name})" for name, device in _devices(facts) if device.get("macaddress")}
    return sorted(found)


def _machine(sources: Sources) -> Iterator[tuple[str, str]]:
    facts, readings = sources.facts, sources.readings
    dmi = readings.get("dmi") or {}
    yield "Machine", " ".join(str(dmi[name]) for name in ("sys_vendor", "product_name") if dmi.get(name)) or UNKNOWN
    yield "Firmware", " of ".join(str(dmi[name]) for name in ("bios_version", "bios_date") if dmi.get(name)) or UNKNOWN
    yield "Processors", _processors(facts)
    memory = facts.get("memtotal_mb")
    yield "Memory", f"{int(memory) / 1024:.0f} GiB" if memory else UNKNOWN
    yield "Disks", _listed(_disks(facts))
    yield "GPUs", _gpus(readings)
    yield "RDMA adapters", _adapters(readings)
    if sources.serials:
        yield "Serial number", _text(facts.get("product_serial"))
        yield "GPU UUIDs", _listed(str(gpu["uuid"]) for gpu in readings.get("gpus") or [] if gpu.get("uuid"))


def _processors(facts: Mapping[str, Any]) -> str:
    """``20 x ARM Cortex-X925``: setup lists number, vendor and model of each."""
    count = facts.get("processor_vcpus")
    models = sorted(
        {str(item) for item in facts.get("processor") or [] if len(str(item)) > 3 and not str(item).isdigit()}
    )
    models = [model for model in models if model not in ("GenuineIntel", "AuthenticAMD")]
    named = ", ".join(models) or _text(facts.get("architecture"))
    return f"{count} x {named}" if count else named


def _disks(facts: Mapping[str, Any]) -> list[str]:
    devices = facts.get("devices") or {}
    return [f"{name} {devices[name].get('size', UNKNOWN)}" for name in sorted(devices) if _DISKS.fullmatch(name)]


def _gpus(readings: Mapping[str, Any]) -> str:
    gpus = readings.get("gpus")
    if gpus is None:
        found = readings.get("pci_gpus")
        seen = "" if found is None else f"; {len(found)} on PCI"
        return f"{UNKNOWN} (the driver does not answer{seen})"
    if not gpus:
        return NONE
    names = [str(gpu.get("product_name") or UNKNOWN) for gpu in gpus]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _adapters(readings: Mapping[str, Any]) -> str:
    adapters = readings.get("rdma_adapters")
    if adapters is None:
        return UNKNOWN if "rdma_adapters" not in (readings.get("missing") or {}) else NONE
    return _listed(str(adapter["name"]) for adapter in adapters)


def _software(sources: Sources) -> Iterator[tuple[str, str]]:
    facts, readings = sources.facts, sources.readings
    driver = readings.get("driver") or {}
    release = readings.get("dgx_release") or {}
    system = " ".join(_text(facts.get(name)) for name in ("distribution", "distribution_version"))
    dgx = release.get("ota_version") or release.get("software_build_version")
    yield "Operating system", f"DGX OS {dgx} ({system})" if dgx else system
    yield "Kernel", _text(facts.get("kernel"))
    yield "NVIDIA driver", _text(driver.get("version") or driver.get("kernel_version"))
    yield "CUDA of the driver", _text(driver.get("cuda_version"))
    yield "Container toolkit", _text((readings.get("container_toolkit") or {}).get("version"), NONE)
    yield "GPU sharing", "MPS" if readings.get("mps_daemons") else NONE
    if sources.cluster:
        yield "Cluster", sources.cluster
        yield "Node", _text(sources.node.get("name"), f"{NONE} (the cluster has no node of this name)")
        yield "Kubelet", _text(sources.node.get("kubelet_version"))


def _text(value: Any, absent: str = UNKNOWN) -> str:
    return str(value) if value not in (None, "", "NA") else absent


def _listed(items: Iterable[str] | Sequence[str]) -> str:
    return ", ".join(items) or NONE


def _cell(text: str) -> str:
    """Text that cannot leave its cell of a table or become markup."""
    plain = " ".join(str(text).split())
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", plain)
