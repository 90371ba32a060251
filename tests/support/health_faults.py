"""Faults of a host, each one small change of a healthy reading and the code that must name it. Data for tests and for the table."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.captures import read_dcgm
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health import data
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.judgement import judge
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.view import Options
from ansible_collections.baremetal.gpu.tests.support.health_readings import (
    Readings,
    add_mig,
    add_mps,
    gb10,
    grow,
    h100,
    miss,
    tell,
)
from ansible_collections.baremetal.gpu.tests.support.seeded_faults import SeededFault

AREA = "host"
GPU = "gpu:GPU-68100300-0000-4000-8000-000000000003"
ADDRESS = "0000:13:00.0"
XID = "NVRM: Xid (PCI:0000:13:00): {0}, pid=4242, name=python3, {1}"

Change = Callable[[Readings], None]


@dataclass(frozen=True)
class Fault:
    """``checks`` are the numbers of the table of checks in docs/gpu-health.md that it belongs to."""

    name: str
    checks: str
    code: str
    change: Change
    base: Callable[[], Readings] = h100
    profile: str = "h100-sxm-8"
    options: Options = field(default_factory=Options)

    def judge(self) -> list[dict[str, Any]]:
        """What is said about the broken host."""
        readings = copy.deepcopy(self.base())
        self.change(readings)
        profile = load_profile(self.profile)
        found = judge(readings, "host-1", profile, data.models(), data.xids(), self.options)
        return [finding.as_dict() for finding in found]


def _gpu(path: str, value: Any) -> Change:
    """One value of the fourth GPU."""

    def change(readings: Readings) -> None:
        place = readings["gpus"][3]
        *groups, last = path.split(".")
        for group in groups:
            place = place[group]
        assert last in place
        place[last] = value

    return change


def _all(path: str, value: Any) -> Change:
    def change(readings: Readings) -> None:
        for gpu in readings["gpus"]:
            gpu[path] = value

    return change


def _port(path: str, value: Any, adapter: int = 2) -> Change:
    """One value of the third adapter's port."""

    def change(readings: Readings) -> None:
        readings["rdma_adapters"][adapter]["ports"][0][path] = value

    return change


def _adapter(path: str, value: Any, adapter: int = 2) -> Change:
    def change(readings: Readings) -> None:
        readings["rdma_adapters"][adapter][path] = value

    return change


def _netdev(path: str, value: Any, adapter: int = 2) -> Change:
    def change(readings: Readings) -> None:
        readings["rdma_adapters"][adapter]["netdevs"][0][path] = value

    return change


def _host(path: str, value: Any) -> Change:
    def change(readings: Readings) -> None:
        place = readings["host"]
        *groups, last = path.split(".")
        for group in groups:
            place = place[group]
        place[last] = value

    return change


def _log(*lines: str) -> Change:
    return lambda readings: tell(readings, lines)


def _grow(counter: str, value: int | None, reason: str | None = None) -> Change:
    return lambda readings: grow(readings, counter, value, reason)


def _lose_gpu(readings: Readings) -> None:
    """The driver and the bus lost one GPU since the last start."""
    for name in ("gpus", "pci_gpus", "nvlinks"):
        del readings[name][3]
    readings["attached_gpus"] = 7


def _unclaimed(readings: Readings) -> None:
    """One GPU is on the bus, and the driver did not take it."""
    for name in ("gpus", "nvlinks"):
        del readings[name][3]
    readings["attached_gpus"] = 7


def _no_driver(message: str) -> Change:
    def change(readings: Readings) -> None:
        readings["nvidia_smi"].update(answered=False, return_code=18, message=message)
        readings["driver"]["version"] = None
        miss(readings, "gpus", "failed", message)

    return change


def _hanging(readings: Readings) -> None:
    reason = "nvidia-smi did not answer within 30 s"
    readings["nvidia_smi"].update(answered=False, return_code=None, message=reason)
    miss(readings, "gpus", "timeout", reason)


def _kernel_module(readings: Readings) -> None:
    readings["driver"]["kernel_version"] = "550.54.15"


def _stale_cdi(readings: Readings) -> None:
    readings["cdi_specifications"][0]["driver_versions"] = ["535.183.01"]


def _inactive(readings: Readings) -> None:
    readings["nvlinks"][3]["speeds_gb_per_s"]["5"] = None


def _all_inactive(readings: Readings) -> None:
    readings["nvlinks"][3].update(speeds_gb_per_s={}, all_inactive=True)


def _around(readings: Readings) -> None:
    readings["topology"]["GPU3-GPU5"] = "SYS"


def _fewer_links(readings: Readings) -> None:
    del readings["nvlinks"][3]["speeds_gb_per_s"]["17"]


def _mig(*profiles: str) -> Callable[[], Readings]:
    def made() -> Readings:
        readings = h100()
        add_mig(readings, profiles)
        return readings

    return made


def _half_mig(readings: Readings) -> None:
    readings["gpus"][3]["mig_devices"] = readings["gpus"][3]["mig_devices"][:2]


def _mps_spark() -> Readings:
    readings = gb10()
    add_mps(readings)
    return readings


def _dead_mps(readings: Readings) -> None:
    readings["mps_daemons"][0]["responding"] = False


def _dcgm(*results: str) -> Change:
    """A diagnostic of DCGM 4 with these entries as its only test's results."""
    text = (
        '{"DCGM Diagnostic": {"test_categories": [{"category": "Deployment", "tests": [{"name": "software", "results": ['
        + ", ".join(results)
        + ']}]}]}, "metadata": {"version": "4.4.1"}}'
    )

    def change(readings: Readings) -> None:
        readings["dcgm"] = read_dcgm(text)

    return change


def _dcgm_text(text: str) -> Change:
    def change(readings: Readings) -> None:
        readings["dcgm"] = read_dcgm(text)

    return change


def _entry(status: str, error: int = 0, category: int = 0, severity: int = 0, text: str = "x") -> str:
    warning = (
        f'{{"warning": "{text}", "error_id": {error}, "error_category": {category}, "error_severity": {severity}}}'
    )
    warnings = f', "warnings": [{warning}]' if error else ""
    return f'{{"entity_group": "GPU", "entity_id": 3, "status": "{status}"{warnings}}}'


def _restarted_manager(readings: Readings) -> None:
    readings["host"]["fabric_manager"]["service"]["restarts"] = 5


def _absent_manager(readings: Readings) -> None:
    readings["host"]["fabric_manager"]["service"].update(installed=False, active=False)
    readings["gpus"][3]["fabric"].update(state="In Progress", status=None)


def _load(clock_mhz: int, draw_w: float = 500.0) -> Change:
    def change(readings: Readings) -> None:
        gpu = readings["gpus"][3]
        gpu["utilization_percent"] = 100
        gpu["clock_events"]["idle"] = False
        gpu["clocks"]["sm_mhz"] = clock_mhz
        gpu["power"]["draw_w"] = draw_w

    return change


def _lost_manager(readings: Readings) -> None:
    miss(readings, "host.fabric_manager.service", "timeout", "systemctl did not answer within 30 s")


def _unread_log(readings: Readings) -> None:
    miss(readings, "kernel_log", "failed", "the kernel log cannot be read: /dev/kmsg: Operation not permitted")


def _overwritten_log(readings: Readings) -> None:
    readings["kernel_log"]["complete"] = False


def _half_link(readings: Readings) -> None:
    """The cable of a Spark, of which one half came up."""
    readings["rdma_adapters"][2]["ports"][0].update(state="DOWN", physical_state="Polling")


def _nothing(readings: Readings) -> None:
    """A healthy variant."""


def _unplugged(readings: Readings) -> None:
    for adapter in readings["rdma_adapters"]:
        adapter["ports"][0].update(state="DOWN", physical_state="Disabled")


def _idle_link(readings: Readings) -> None:
    readings["gpus"][3]["performance_state"] = "P8"
    readings["gpus"][3]["pcie"]["generation_current"] = 1


def _old_gpu(readings: Readings) -> None:
    """A GPU before Ampere, whose pages are retired."""
    readings["gpus"][3].update(product_name="Tesla V100-SXM2-32GB")
    readings["gpus"][3]["retired_pages"]["pending"] = True


MIG = Options(sharing="mig", mig_devices={"3g.40gb": 16})
MPS = Options(sharing="mps")

FAULTS: tuple[Fault, ...] = (
    # 1a: presence, driver, configuration
    Fault("nvidia-smi fails", "1", "BG-GPU-014", _no_driver("NVIDIA-SMI has failed")),
    Fault("nvidia-smi hangs", "2", "BG-GPU-014", _hanging),
    Fault("7 of 8 GPUs", "3", "BG-GPU-001", _lose_gpu),
    Fault("GPU on the bus that the driver did not take", "4", "BG-GPU-002", _unclaimed),
    Fault(
        "driver and library mismatch, as NVML says", "7", "BG-GPU-009", _no_driver("Driver/library version mismatch")
    ),
    Fault("kernel module of another version", "7", "BG-GPU-009", _kernel_module),
    Fault("CDI specification of a former driver", "5", "BG-GPU-010", _stale_cdi),
    Fault("VBIOS of one board differs", "6", "BG-HEALTH-010", _gpu("vbios_version", "96.00.30.00.01")),
    Fault("persistence mode off", "8", "BG-HEALTH-005", _gpu("persistence_mode", "Disabled")),
    Fault("ECC off", "9", "BG-HEALTH-007", _gpu("ecc_mode", "Disabled")),
    Fault("MIG mode waits for a reset", "10", "BG-GPU-006", _gpu("mig_mode_pending", "Enabled")),
    Fault("MIG half applied", "10", "BG-HEALTH-008", _half_mig, _mig("3g.40gb", "3g.40gb", "1g.10gb"), options=MIG),
    Fault("MIG declared and no device made", "10", "BG-HEALTH-008", _nothing, _mig(), options=Options(sharing="mig")),
    Fault("compute mode prohibited", "11", "BG-HEALTH-006", _gpu("compute_mode", "Prohibited")),
    Fault(
        "MPS without exclusive process", "11", "BG-HEALTH-006", _all("compute_mode", "Default"), _mps_spark, "gb10", MPS
    ),
    Fault("MPS daemon dead", "11", "BG-GPU-012", _dead_mps, _mps_spark, "gb10", MPS),
    Fault("GPU in use before a test", "12", "BG-HEALTH-034", _nothing, gb10, "gb10", Options(expect_idle=True)),
    Fault("power limit lowered", "14", "BG-HEALTH-009", _gpu("power.limit_w", 500.0)),
    Fault("GSP firmware of another driver", "15", "BG-HEALTH-004", _gpu("gsp_firmware_version", "550.54.15")),
    Fault("driver advises a reset", "17", "BG-HEALTH-002", _gpu("recovery_action", "Reset")),
    Fault("driver asks for a reset (before 580)", "17", "BG-HEALTH-003", _gpu("reset_required", True)),
    Fault("model without thresholds", "", "BG-HEALTH-001", _all("product_name", "NVIDIA H200")),
    # 1b: memory
    Fault("row remap pending", "18", "BG-HEALTH-015", _gpu("remapped_rows.pending", True)),
    Fault("row remap failed", "19", "BG-HEALTH-016", _gpu("remapped_rows.failure", True)),
    Fault("too many rows remapped", "20", "BG-HEALTH-017", _gpu("remapped_rows.uncorrectable", 513)),
    Fault("bank without spare rows", "21", "BG-HEALTH-017", _gpu("remapped_rows.histogram.none", 1)),
    Fault("uncorrectable ECC error", "22", "BG-HEALTH-011", _gpu("ecc.volatile.dram_uncorrectable", 1)),
    Fault("SRAM threshold exceeded", "23", "BG-HEALTH-012", _gpu("ecc.sram_threshold_exceeded", True)),
    Fault("SRAM error in the board's life", "23", "BG-HEALTH-013", _gpu("ecc.aggregate.sram_uncorrectable_parity", 1)),
    Fault("many corrected DRAM errors", "24", "BG-HEALTH-014", _gpu("ecc.volatile.dram_correctable", 51200000)),
    Fault("many corrected SRAM errors", "25", "BG-HEALTH-014", _gpu("ecc.volatile.sram_correctable", 10000)),
    Fault("channel repair pending", "26", "BG-HEALTH-018", _gpu("ecc.channel_repair_pending", True)),
    Fault("memory beyond repair", "26", "BG-HEALTH-019", _gpu("ecc.unrepairable_memory", True)),
    Fault("page retirement pending", "27", "BG-HEALTH-020", _old_gpu),
    # 1c: kernel log
    Fault("Xid 79, fallen off the bus", "29", "BG-HEALTH-047", _log(XID.format(79, "GPU has fallen off the bus."))),
    Fault(
        "Xid 48, double-bit error",
        "29",
        "BG-HEALTH-048",
        _log(XID.format(48, "An uncorrectable double bit error (DBE)")),
    ),
    Fault("Xid 95, uncontained error", "29", "BG-HEALTH-048", _log(XID.format(95, "Uncontained: LTC TAG"))),
    Fault("Xid 64, remapping failed", "29", "BG-HEALTH-048", _log(XID.format(64, "Row Remapper: Failed to mark row"))),
    Fault("Xid 119, GSP timeout", "29", "BG-HEALTH-049", _log(XID.format(119, "Timeout after 6s of waiting for RPC"))),
    Fault(
        "Xid 74, NVLink error", "29", "BG-HEALTH-050", _log(XID.format(74, "NVLink: fatal error detected on link 3"))
    ),
    Fault(
        "Xid 149, fatal NVLink event",
        "29",
        "BG-HEALTH-050",
        _log(XID.format(149, "NETIR_LINK_EVT Fatal XC0 i0 Link 03")),
    ),
    Fault(
        "Xid 54, power not connected", "29", "BG-HEALTH-052", _log(XID.format(54, "Auxiliary power is not connected"))
    ),
    Fault(
        "Xid 94, contained error",
        "29",
        "BG-HEALTH-053",
        _log(XID.format(94, "Contained: SM (0x1). RST: No, D-RST: No")),
    ),
    Fault(
        "Xid 63, row recorded",
        "29",
        "BG-HEALTH-054",
        _log(XID.format(63, "Row Remapper: New row marked for remapping")),
    ),
    Fault(
        "Xid 13, application",
        "29",
        "BG-HEALTH-055",
        _log(XID.format(13, "Graphics Exception: ESR 0x404600=0x80000002")),
    ),
    Fault("Xid 59, for the maker", "29", "BG-HEALTH-056", _log(XID.format(59, "PMU error"))),
    Fault("Xid that is not listed", "29", "BG-HEALTH-057", _log(XID.format(999, "new"))),
    Fault("kernel log unreadable", "30", "BG-HEALTH-046", _unread_log),
    Fault("kernel log overwritten", "30", "BG-HEALTH-046", _overwritten_log),
    Fault(
        "fatal SXid",
        "31",
        "BG-HEALTH-058",
        _log("nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 19084, Fatal, Link 3 AN1 Heartbeat Timeout Error"),
    ),
    Fault(
        "Xid 154, reboot required",
        "32",
        "BG-HEALTH-051",
        _log(XID.format(154, "GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)")),
    ),
    Fault(
        "uncorrected PCIe error",
        "33",
        "BG-HEALTH-059",
        _log("pcieport 0000:12:01.0: AER: Uncorrected (Fatal) error received: 0000:13:00.0"),
    ),
    Fault(
        "adapter limited by its slot",
        "33",
        "BG-HEALTH-071",
        _log("mlx5_core 0000:32:00.0: 126.028 Gb/s available PCIe bandwidth, limited by 32.0 GT/s PCIe x4 link"),
    ),
    Fault(
        "adapter's health compromised",
        "34",
        "BG-HEALTH-060",
        _log("mlx5_core 0000:32:00.0: poll_health:801:(pid 0): device's health compromised - reached miss count"),
    ),
    Fault(
        "peermem errors",
        "35",
        "BG-HEALTH-061",
        _log("nvidia-peermem nv_get_p2p_free_callback:127 ERROR detected invalid context, skipping further processing"),
    ),
    Fault(
        "crash in libnccl",
        "36",
        "BG-HEALTH-062",
        _log("python3[77]: segfault at 10 ip 0 sp 0 error 4 in libnccl.so.2[7f+1]"),
    ),
    Fault("uncorrected memory of the host", "37", "BG-HEALTH-045", _host("memory_errors.uncorrected", 2)),
    Fault(
        "machine check",
        "37",
        "BG-HEALTH-069",
        _log("mce: [Hardware Error]: CPU 12: Machine Check: 0 Bank 7: be00000000800400"),
    ),
    Fault(
        "GPU not initialised",
        "4",
        "BG-HEALTH-063",
        _log("NVRM: GPU 0000:13:00.0: RmInitAdapter failed! (0x62:0x40:2477)"),
    ),
    # 1d: NVLink and fabric
    Fault("NVLink inactive", "38", "BG-HEALTH-021", _inactive),
    Fault("all NVLinks of a GPU inactive", "38", "BG-HEALTH-021", _all_inactive),
    Fault("17 of 18 NVLinks", "38", "BG-HEALTH-021", _fewer_links),
    Fault("GPU pair not connected by NVLink", "16", "BG-HEALTH-072", _around),
    Fault("NVLink recovery counter grows", "39", "BG-HEALTH-022", _grow(f"{GPU}|nvlink.5.recovery", 3)),
    Fault("fabric not completed", "40", "BG-HEALTH-023", _gpu("fabric.state", "In Progress")),
    Fault("fabric failed", "40", "BG-HEALTH-023", _gpu("fabric.status", "Insufficient Resources")),
    Fault("fabric bandwidth degraded", "41", "BG-HEALTH-024", _gpu("fabric.health_bandwidth", "Degraded")),
    Fault("fabric manager stopped", "42", "BG-HEALTH-025", _host("fabric_manager.service.active", False)),
    Fault("fabric manager of another version", "42", "BG-HEALTH-025", _host("fabric_manager.version", "550.54.15")),
    Fault("fabric manager restarts again and again", "42", "BG-HEALTH-025", _restarted_manager),
    Fault("fabric manager not installed", "42", "BG-HEALTH-025", _absent_manager),
    Fault("fabric manager cannot be asked", "42", "BG-HEALTH-025", _lost_manager),
    Fault("fabric manager logs errors", "43", "BG-HEALTH-026", _host("fabric_manager.log_errors", ["fatal error"])),
    # 1e: PCIe, clocks, heat, power
    Fault("GPU at x8", "46", "BG-HEALTH-027", _gpu("pcie.width_current", 8)),
    Fault("GPU at generation 3", "46", "BG-HEALTH-028", _gpu("pcie.generation_current", 3)),
    Fault("adapter at x8", "47", "BG-HEALTH-042", _adapter("pcie_width_current", 8)),
    Fault("PCIe replays grow", "48", "BG-HEALTH-029", _grow(f"{GPU}|pcie.replays", 12)),
    Fault(
        "PCIe replay counter went backwards",
        "48",
        "BG-HEALTH-029",
        _grow(f"{GPU}|pcie.replays", None, "it went backwards"),
    ),
    Fault("thermal slowdown", "51", "BG-HEALTH-030", _gpu("clock_events.hw_thermal_slowdown", True)),
    Fault("power brake", "51", "BG-HEALTH-030", _gpu("clock_events.hw_power_brake_slowdown", True)),
    Fault("clocks were held down", "51", "BG-HEALTH-068", _grow(f"{GPU}|clock_events_us.hw_thermal_slowdown", 120000)),
    Fault("slow clock under load", "52", "BG-HEALTH-031", _load(990)),
    Fault("hot GPU", "53", "BG-HEALTH-032", _gpu("temperature.margin_c", -3)),
    Fault("governor powersave", "55", "BG-HEALTH-044", _host("governors", {"powersave": 224})),
    # 1f: RDMA
    Fault("port down", "58", "BG-HEALTH-035", _port("state", "DOWN")),
    Fault("half rate", "58", "BG-HEALTH-035", _port("rate_gb_per_s", 200.0)),
    Fault("half of a Spark's cable", "58", "BG-HEALTH-035", _half_link, gb10, "gb10"),
    Fault("port of another link layer", "59", "BG-HEALTH-036", _port("link_layer", "InfiniBand")),
    Fault("firmware of one adapter differs", "60", "BG-HEALTH-037", _adapter("firmware_version", "28.39.1002")),
    Fault("MTU 1500", "61", "BG-HEALTH-038", _netdev("mtu", 1500)),
    Fault("MTU 1500 on one half of a Spark", "61", "BG-HEALTH-038", _netdev("mtu", 1500), gb10, "gb10"),
    Fault("port without RoCE v2 GID", "62", "BG-HEALTH-039", _port("gids", [])),
    Fault("carrier lost", "63", "BG-HEALTH-041", _grow("netdev:eth-mlx5_2|carrier_down_count", 6)),
    Fault(
        "link comes and goes",
        "63",
        "BG-HEALTH-070",
        _log(*["mlx5_core 0000:32:00.0 ens13np0: Link down"] * 6),
    ),
    Fault("link_downed grows", "64", "BG-HEALTH-040", _grow("port:mlx5_2/1|link_downed", 1)),
    Fault("symbol errors", "64", "BG-HEALTH-040", _grow("port:mlx5_2/1|symbol_error", 9000)),
    Fault(
        "no way to GPU memory",
        "68",
        "BG-HEALTH-043",
        lambda readings: readings["host"].update(modules=["nvidia"], open_kernel_module=False),
    ),
    # 1g as far as a file shows it
    Fault("DCGM: remap pending", "72", "BG-HEALTH-064", _dcgm(_entry("Fail", 85, 2, 6, "Reset the GPU"))),
    Fault("DCGM: persistence mode", "72", "BG-HEALTH-065", _dcgm(_entry("Fail", 29, 8, 5, "Persistence Mode"))),
    Fault("DCGM: skipped is not passed", "72", "BG-HEALTH-066", _dcgm(_entry("Skip"))),
    Fault("DCGM: did not run", "72", "BG-HEALTH-066", _dcgm_text('{"DCGM Diagnostic": {"runtime_error": "no"}}')),
)

HEALTHY: tuple[Fault, ...] = (
    Fault("eight H100", "", "", _nothing),
    Fault("eight H100 under load at their power limit", "", "", _load(1500, 699.0)),
    Fault("eight H100 under load at full clock", "", "", _load(1980)),
    Fault("idle GPU with a lowered link", "", "", _idle_link),
    Fault("eight H100 with MIG", "", "", _nothing, _mig("3g.40gb", "3g.40gb"), options=MIG),
    Fault("eight H100 time-sliced", "", "", _nothing, options=Options(sharing="time-slicing")),
    Fault(
        "Xid that was followed by a reset",
        "",
        "",
        _log(
            XID.format(119, "Timeout after 6s of waiting for RPC"),
            XID.format(154, "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"),
            XID.format(154, "GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)"),
        ),
    ),
    Fault("Xid that is only information", "", "", _log(XID.format(121, "C2C Link corrected error"))),
    Fault("DGX Spark with a cable", "", "", _nothing, gb10, "gb10"),
    Fault("DGX Spark without a cable", "", "", _unplugged, gb10, "gb10"),
    Fault("DGX Spark under MPS", "", "", _nothing, _mps_spark, "gb10", MPS),
    Fault("DCGM: all passed", "", "", _dcgm(_entry("Pass"))),
)


def faults() -> list[SeededFault]:
    """Every fault of a host, and the healthy variants with an empty code."""
    return [SeededFault(item.name, AREA, item.code, item.judge) for item in (*FAULTS, *HEALTHY)]
