"""Readings of healthy hosts, made by the real parsers from this repository's own fixtures, for tests to break by hand."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils import infiniband, kernel_log, nvidia_smi, nvlink
from ansible_collections.baremetal.gpu.plugins.module_utils.cdi import CdiSpecification
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_readings import CdiFile, HostReadings, SmiRun
from ansible_collections.baremetal.gpu.plugins.module_utils.health_readings import counters_of
from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import DriverVersions, PciGpu
from ansible_collections.baremetal.gpu.plugins.module_utils.host_state import (
    FabricManager,
    HostState,
    MemoryErrors,
    Service,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.kernel_log_source import KernelLog
from ansible_collections.baremetal.gpu.plugins.module_utils.mps_control import MpsDaemon
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import GB10_XML, h100_xml

Readings = dict[str, Any]

WINDOW_S = 3600.0
_LINKS = 18
_RUNNING = Service(installed=True, active=True, state="active (running)", restarts=0, active_since_s=20.0)
_ABSENT = Service(installed=False, active=False, state=None, restarts=None, active_since_s=None)
_COUNTERS = (
    "counters/link_downed",
    "counters/symbol_error",
    "counters/port_rcv_errors",
    "hw_counters/rnr_nak_retry_err",
)


def h100() -> Readings:
    """A server with eight H100, eight ports of 400 Gb/s for them and two of 100 Gb/s for storage."""
    document = nvidia_smi.parse(h100_xml())
    adapters = [
        *(
            _adapter(f"mlx5_{number}", f"0000:{0x30 + number:02x}:00.0", "400 Gb/sec (4X NDR)", 16)
            for number in range(8)
        ),
        *(_adapter(f"mlx5_{8 + number}", f"0000:40:00.{number}", "100 Gb/sec (4X EDR)", 16) for number in range(2)),
    ]
    links = tuple(
        nvlink.NvLinks(
            gpu=gpu.index,
            uuid=gpu.uuid or "",
            product_name=gpu.product_name or "",
            speeds_gb_per_s={str(link): 26.562 for link in range(_LINKS)},
            errors={str(link): {"replay": 0, "recovery": 0, "crc": 0} for link in range(_LINKS)},
        )
        for gpu in document.gpus
    )
    host = HostState(
        boot_id="7b8c",
        uptime_s=86400.0,
        memory_errors=MemoryErrors(corrected=3, uncorrected=0),
        governors={"performance": 224},
        modules=("nvidia", "nvidia_uvm", "nvidia_peermem", "mlx5_core", "mlx5_ib"),
        open_kernel_module=True,
        persistence_daemon=_RUNNING,
        fabric_manager=FabricManager(_RUNNING, "550.90.07", ()),
    )
    return _readings(document, adapters, links, host)


def gb10() -> Readings:
    """A DGX Spark with a cable: two of the four functions of its ConnectX-7 have a link."""
    document = nvidia_smi.parse(GB10_XML)
    adapters = [
        _adapter("rocep1s0f0", "0000:01:00.0", "200 Gb/sec (4X HDR)", 4),
        _adapter("rocep1s0f1", "0000:01:00.1", "40 Gb/sec (4X QDR)", 4, state="1: DOWN", physical="3: Disabled"),
        _adapter("roceP2p1s0f0", "0002:01:00.0", "200 Gb/sec (4X HDR)", 4),
        _adapter("roceP2p1s0f1", "0002:01:00.1", "40 Gb/sec (4X QDR)", 4, state="1: DOWN", physical="3: Disabled"),
    ]
    host = HostState(
        boot_id="7b8c",
        uptime_s=86400.0,
        memory_errors=None,
        governors=None,
        modules=("nvidia", "nvidia_uvm", "mlx5_core", "mlx5_ib"),
        open_kernel_module=True,
        persistence_daemon=_RUNNING,
        fabric_manager=FabricManager(_ABSENT, None, None),
    )
    found = _readings(document, adapters, (), host)
    found["gpus"][0]["compute_capability"] = "12.1"
    return found


def tell(readings: Readings, lines: Iterable[str], uptime_s: float = 1000.0) -> None:
    """Put messages into the kernel log."""
    parsed = kernel_log.lines_of("\n".join(f"[{uptime_s + number:.6f}] {line}" for number, line in enumerate(lines)))
    log = KernelLog("/dev/kmsg", True, len(parsed), None, kernel_log.events_in(parsed))
    readings["kernel_log"] = _plain(log)


def miss(readings: Readings, path: str, kind: str, reason: str) -> None:
    """Take a value away and say why. ``path`` is as in ``missing`` (``gpus[0].ecc_mode``, ``host.memory_errors``)."""
    parts = path.replace("[", ".").replace("]", "").split(".")
    place: Any = readings
    for part in parts[:-1]:
        place = place[int(part)] if part.isdigit() else place[part]
    place[parts[-1]] = None
    readings["missing"][path] = {"kind": kind, "reason": reason}


def grow(readings: Readings, counter: str, value: int | None, reason: str | None = None) -> None:
    """Let a counter (``port:mlx5_0/1|link_downed``) differ from its baseline."""
    assert counter in readings["counters"]["deltas"], counter
    if value is None:
        del readings["counters"]["deltas"][counter]
        readings["counters"]["unknown"][counter] = reason
    else:
        readings["counters"]["deltas"][counter] = value


def _readings(
    document: nvidia_smi.SmiDocument,
    adapters: list[dict[str, str]],
    links: tuple[nvlink.NvLinks, ...],
    host: HostState,
) -> Readings:
    version = document.driver_version or ""
    readings = HostReadings(
        simulated=False,
        stand_ins=(),
        smi=SmiRun(True, "/usr/bin/nvidia-smi", 0, 0.2, None),
        document=document,
        driver=DriverVersions(version, version),
        pci_gpus=tuple(PciGpu(gpu.bus_id or "", gpu.pci_id or "", "0302", "nvidia", None) for gpu in document.gpus),
        dmi={},
        dgx_release=None,
        cdi_files=(CdiFile("/etc/cdi/nvidia.yaml", CdiSpecification("0.5.0", "nvidia.com/gpu", ("all",), (version,))),),
        toolkit_version="1.17.8",
        mps_daemons=(),
        missing=dict(document.missing),
        nvlinks=links,
        topology={
            f"GPU{one}-GPU{other}": f"NV{_LINKS}"
            for one in range(len(document.gpus))
            for other in range(one + 1, len(document.gpus))
        },
        rdma_adapters=infiniband.parse({path: text for adapter in adapters for path, text in adapter.items()}),
        host=host,
        kernel_log=KernelLog("/dev/kmsg", True, 900, None, ()),
    )
    # As they arrive from a host.
    found: Readings = json.loads(json.dumps(readings.as_dict()))
    found["counters"] = {
        "window_s": WINDOW_S,
        "reason": None,
        "deltas": dict.fromkeys(counters_of(found), 0),
        "unknown": {},
        "state_file": "/var/lib/baremetal-gpu/gpu-health.json",
    }
    found["dcgm"] = None
    return found


def add_mps(readings: Readings, responding: bool = True) -> None:
    """An MPS control daemon, and the compute mode that it sets."""
    readings["mps_daemons"] = [vars(MpsDaemon("/run/nvidia/mps/nvidia.com/gpu/pipe", responding))]
    for gpu in readings["gpus"]:
        gpu["compute_mode"] = "Exclusive_Process"


def add_mig(readings: Readings, profiles: tuple[str, ...]) -> None:
    """MIG mode on every GPU, with MIG devices of these profiles; NVLinks are then not told."""
    for gpu in readings["gpus"]:
        gpu["mig_mode"] = gpu["mig_mode_pending"] = "Enabled"
        gpu["mig_devices"] = [
            {"index": index, "profile": profile, "uuid": f"MIG-{gpu['index']}-{index}"}
            for index, profile in enumerate(profiles)
        ]
    for item in readings["nvlinks"]:
        item.update(speeds_gb_per_s={}, errors={}, refused="Nvlink queries are not supported for Devices in MIG mode")
    deltas = readings["counters"]["deltas"]
    readings["counters"]["deltas"] = {name: delta for name, delta in deltas.items() if "|nvlink." not in name}


def _adapter(
    name: str, address: str, rate: str, width: int, state: str = "4: ACTIVE", physical: str = "5: LinkUp"
) -> dict[str, str]:
    port = f"{name}/ports/1"
    files = {
        f"{name}/fw_ver": "28.41.1000",
        f"{name}/hca_type": "MT4129",
        f"{name}/board_id": "MT_0000000838" if "400" in rate else "MT_0000000834",
        f"{name}/pci_address": address,
        f"{name}/pci/current_link_width": str(width),
        f"{name}/pci/max_link_width": str(width),
        f"{name}/net/eth-{name}/mtu": "9000",
        f"{name}/net/eth-{name}/operstate": "up",
        f"{name}/net/eth-{name}/carrier_down_count": "1",
        f"{port}/state": state,
        f"{port}/phys_state": physical,
        f"{port}/rate": rate,
        f"{port}/link_layer": "Ethernet",
        f"{port}/gids/0": "fe80:0000:0000:0000:0000:0000:0000:0001",
        f"{port}/gids/1": "0000:0000:0000:0000:0000:ffff:0a00:0001",
        f"{port}/gid_attrs/types/0": "RoCE v2",
        f"{port}/gid_attrs/types/1": "RoCE v2",
    }
    files.update({f"{port}/{counter}": "0" for counter in _COUNTERS})
    return files


def _plain(log: KernelLog) -> dict[str, Any]:
    return {
        "source": log.source,
        "complete": log.complete,
        "lines": log.lines,
        "since_s": log.since_s,
        "events": [copy.deepcopy(vars(event)) for event in log.events],
    }
