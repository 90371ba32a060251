"""What is read about a GPU: one table of values, with the place of each in every answer of ``nvidia-smi``. Pure.

``nvidia-smi`` prints the same values as XML (``-q -x``), as text (``-q``) and as CSV (``--query-gpu``), under names that drift
between driver branches (535 to 590). Each value has one row here: where it stands in each of the three, and how its text becomes
a number. A value that is not there is ``None`` with a reason; it is never 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.missing import (
    UNREADABLE,
    Missing,
    MissingLog,
    classify,
    no_field,
)

_BYTES_PER_UNIT = {"b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_BUS_ID = re.compile(r"^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$", re.IGNORECASE)
_PCI_DEVICE_ID = re.compile(r"^(?:0x)?([0-9a-f]{4})([0-9a-f]{4})$", re.IGNORECASE)
_NUMBER = re.compile(r"^([+-]?[0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z%()/]*)$")
_YES_NO = {
    "yes": True,
    "no": False,
    "active": True,
    "not active": False,
    "true": True,
    "false": False,
    "1": True,
    "0": False,
}

Lookup = Callable[["Field"], List[str]]
"""Gives the texts that an answer has for a value, the preferred place first."""


@dataclass(frozen=True)
class GpuProcess:
    """A process on a GPU. ``kinds`` joins ``C`` (compute) and ``G`` (graphics) when one process is listed twice."""

    pid: int
    kinds: Tuple[str, ...]
    name: Optional[str]
    memory_bytes: Optional[int]


@dataclass(frozen=True)
class MigDevice:
    """A MIG device. ``profile`` (``1g.10gb``) and ``uuid`` come from ``nvidia-smi -L``, the rest from the XML."""

    index: int
    gpu_instance: Optional[int]
    compute_instance: Optional[int]
    profile: Optional[str]
    uuid: Optional[str]
    memory_total_bytes: Optional[int]


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver sees it; ``None`` is missing and has its reason in the log of missing values.

    The groups (``pcie`` to ``fabric``) are nested dictionaries with the names of ``FIELDS``. Units are in the names; events,
    pending states and failures are booleans.
    """

    index: int
    bus_id: Optional[str]
    uuid: Optional[str]
    minor_number: Optional[int]
    product_name: Optional[str]
    architecture: Optional[str]
    compute_capability: Optional[str]
    pci_id: Optional[str]
    vbios_version: Optional[str]
    inforom_version: Optional[str]
    gsp_firmware_version: Optional[str]
    memory_total_bytes: Optional[int]
    memory_used_bytes: Optional[int]
    utilization_percent: Optional[int]
    mig_mode: Optional[str]
    mig_mode_pending: Optional[str]
    compute_mode: Optional[str]
    persistence_mode: Optional[str]
    ecc_mode: Optional[str]
    ecc_mode_pending: Optional[str]
    performance_state: Optional[str]
    recovery_action: Optional[str]
    reset_required: Optional[bool]
    pcie: Dict[str, Any]
    ecc: Dict[str, Any]
    remapped_rows: Dict[str, Any]
    retired_pages: Dict[str, Any]
    clocks: Dict[str, Any]
    clock_events: Dict[str, Any]
    clock_events_us: Dict[str, Any]
    temperature: Dict[str, Any]
    power: Dict[str, Any]
    fabric: Dict[str, Any]
    mig_devices: Tuple[MigDevice, ...] = ()
    processes: Tuple[GpuProcess, ...] = ()


@dataclass(frozen=True)
class Field:
    """One value: its name in the reading (groups with dots), how its text is read, and its places."""

    name: str
    convert: Callable[[str], Any]
    xml: Tuple[str, ...]
    text: Tuple[str, ...] = ()
    csv: Tuple[str, ...] = ()


def integer(text: str) -> int:
    """A whole number. Raises ``ValueError``."""
    if not re.match(r"^[0-9]{1,18}$", text.strip()):
        raise ValueError("not a whole number")
    return int(text)


def in_bytes(text: str) -> int:
    """``81559 MiB`` in bytes; CSV without units counts MiB. Raises ``ValueError``."""
    match = re.match(r"^([0-9]{1,15})\s*([A-Za-z]*)$", text.strip())
    unit = (match.group(2) or "mib").lower() if match is not None else ""
    if match is None or unit not in _BYTES_PER_UNIT:
        raise ValueError("not a number with a binary unit")
    return int(match.group(1)) * _BYTES_PER_UNIT[unit]


def pci_id(text: str) -> str:
    """``233010DE`` (device, then vendor) as ``10de:2330``. Raises ``ValueError``."""
    match = _PCI_DEVICE_ID.match(text)
    if match is None:
        raise ValueError("not a PCI device id")
    return "{1}:{0}".format(match.group(1).lower(), match.group(2).lower())


def normal_bus_id(text: str) -> str:
    """``0000000F:01:00.0`` as sysfs names it: ``000f:01:00.0``. Raises ``ValueError`` on anything else."""
    match = _BUS_ID.match(text.strip())
    if match is None:
        raise ValueError("not a PCI address")
    domain, bus, device, function = match.groups()
    return "{0:04x}:{1}:{2}.{3}".format(int(domain, 16), bus.lower(), device.lower(), function)


def number(*units: str) -> Callable[[str], float]:
    """A converter of a number that may carry one of ``units``; whole numbers stay ``int``."""

    def convert(text: str) -> float:
        match = _NUMBER.match(text.strip())
        if match is None or match.group(2).lower() not in ("", *(unit.lower() for unit in units)):
            raise ValueError("not a number{0}".format(" in " + " or ".join(units) if units else ""))
        return float(match.group(1)) if "." in match.group(1) else int(match.group(1))

    return convert


def yes(text: str) -> bool:
    """``Yes``/``No``, ``Active``/``Not Active``. Raises ``ValueError`` on anything else."""
    value = _YES_NO.get(text.strip().lower())
    if value is None:
        raise ValueError("neither yes nor no")
    return value


def compute_mode(text: str) -> str:
    """The mode as the XML names it; tables shorten ``Exclusive_Process`` to ``E. Process``."""
    return {"e. process": "Exclusive_Process", "exclusive process": "Exclusive_Process"}.get(text.lower(), text)


def recovery_action(text: str) -> str:
    """The driver's advice in one spelling: reports write ``None``, some ``GPU Reset`` for ``Reset``."""
    plain = re.sub(r"\s+", " ", text.strip())
    known = {
        "gpu reset": "Reset",
        "node reboot": "Reboot",
        "drain p2p": "Drain P2P",
        "drain and reset": "Drain and Reset",
    }
    return known.get(plain.lower(), plain)


_COUNT = number()
_MHZ, _WATTS, _CELSIUS = number("MHz"), number("W"), number("C")
_BANKS, _WIDTH, _MICROSECONDS, _PERCENT = number("bank(s)"), number("x"), number("us"), number("%")


def _ecc(scope: str) -> List[Field]:
    """Error counts since the last reset (volatile) or over the board's life (aggregate)."""
    rows = (
        ("sram_correctable", "sram_correctable", "SRAM Correctable", ("corrected.{0}.sram",)),
        ("sram_uncorrectable", "sram_uncorrectable", "SRAM Uncorrectable", ("uncorrected.{0}.sram",)),
        (
            "sram_uncorrectable_parity",
            "sram_uncorrectable_parity",
            "SRAM Uncorrectable Parity",
            ("uncorrected.{0}.sram.parity",),
        ),
        (
            "sram_uncorrectable_secded",
            "sram_uncorrectable_secded",
            "SRAM Uncorrectable SEC-DED",
            ("uncorrected.{0}.sram.secded",),
        ),
        ("dram_correctable", "dram_correctable", "DRAM Correctable", ("corrected.{0}.dram",)),
        ("dram_uncorrectable", "dram_uncorrectable", "DRAM Uncorrectable", ("uncorrected.{0}.dram",)),
        ("uncorrectable_total", "total_uncorrectable", "Total Uncorrectable", ("uncorrected.{0}.total",)),
    )
    title = scope.capitalize()
    return [
        Field(
            "ecc.{0}.{1}".format(scope, name),
            _COUNT,
            ("ecc_errors/{0}/{1}".format(scope, tag),),
            ("ECC Errors/{0}/{1}".format(title, label),),
            tuple("ecc.errors." + column.format(scope) for column in columns),
        )
        for name, tag, label, columns in rows
    ]


def _event(name: str, tag: str, label: str, column: str) -> Field:
    """A clock event reason; drivers before 535 call them throttle reasons."""
    nested = "HW Slowdown/" if label.startswith("HW ") and label != "HW Slowdown" else ""
    return Field(
        "clock_events." + name,
        yes,
        (
            "clocks_event_reasons/clocks_event_reason_" + tag,
            "clocks_throttle_reasons/clocks_throttle_reason_" + tag,
        ),
        ("Clocks Event Reasons/" + nested + label, "Clocks Throttle Reasons/" + nested + label),
        ("clocks_event_reasons." + column, "clocks_throttle_reasons." + column),
    )


def _event_time(name: str, tag: str, label: str, column: str) -> Field:
    return Field(
        "clock_events_us." + name,
        _MICROSECONDS,
        ("clocks_event_reasons_counters/clocks_event_reasons_counters_" + tag,),
        ("Clocks Event Reasons Counters/" + label,),
        ("clocks_event_reasons_counters." + column,),
    )


def _power(name: str, tags: Tuple[str, ...], labels: Tuple[str, ...], columns: Tuple[str, ...]) -> Field:
    """Power in W; the block was called ``power_readings`` before 535."""
    return Field(
        "power." + name,
        _WATTS,
        tuple("{0}/{1}".format(block, tag) for tag in tags for block in ("gpu_power_readings", "power_readings")),
        tuple("{0}/{1}".format(block, label) for label in labels for block in ("GPU Power Readings", "Power Readings")),
        columns,
    )


def _histogram(name: str) -> Field:
    return Field(
        "remapped_rows.histogram." + name,
        _BANKS,
        ("remapped_rows/row_remapper_histogram/row_remapper_histogram_" + name,),
        ("Remapped Rows/Bank Remap Availability Histogram/" + name.capitalize(),),
        ("remapped_rows.histogram." + name,),
    )


def _fabric(name: str, tags: Tuple[str, ...], labels: Tuple[str, ...], columns: Tuple[str, ...]) -> Field:
    return Field(
        "fabric." + name,
        str,
        tuple("fabric/" + tag for tag in tags),
        tuple("Fabric/" + label for label in labels),
        tuple("fabric." + column for column in columns),
    )


FIELDS: Tuple[Field, ...] = (
    Field("uuid", str, ("uuid",), ("GPU UUID",), ("uuid", "gpu_uuid")),
    Field("minor_number", integer, ("minor_number",), ("Minor Number",)),
    Field("product_name", str, ("product_name",), ("Product Name",), ("name", "gpu_name")),
    Field("architecture", str, ("product_architecture",), ("Product Architecture",)),
    Field("compute_capability", str, ("compute_cap",), (), ("compute_cap",)),
    Field("pci_id", pci_id, ("pci/pci_device_id",), ("PCI/Device Id",), ("pci.device_id",)),
    Field("vbios_version", str, ("vbios_version",), ("VBIOS Version",), ("vbios_version",)),
    Field(
        "inforom_version",
        str,
        ("inforom_version/img_version",),
        ("Inforom Version/Image Version",),
        ("inforom.img", "inforom.image"),
    ),
    Field("gsp_firmware_version", str, ("gsp_firmware_version",), ("GSP Firmware Version",)),
    Field("memory_total_bytes", in_bytes, ("fb_memory_usage/total",), ("FB Memory Usage/Total",), ("memory.total",)),
    Field("memory_used_bytes", in_bytes, ("fb_memory_usage/used",), ("FB Memory Usage/Used",), ("memory.used",)),
    Field(
        "utilization_percent",
        _PERCENT,
        ("utilization/gpu_util",),
        ("Utilization/GPU", "Utilization/Gpu"),
        ("utilization.gpu",),
    ),
    Field("mig_mode", str, ("mig_mode/current_mig",), ("MIG Mode/Current",), ("mig.mode.current",)),
    Field("mig_mode_pending", str, ("mig_mode/pending_mig",), ("MIG Mode/Pending",), ("mig.mode.pending",)),
    Field("compute_mode", compute_mode, ("compute_mode",), ("Compute Mode",), ("compute_mode",)),
    Field("persistence_mode", str, ("persistence_mode",), ("Persistence Mode",), ("persistence_mode",)),
    Field("ecc_mode", str, ("ecc_mode/current_ecc",), ("ECC Mode/Current", "Ecc Mode/Current"), ("ecc.mode.current",)),
    Field(
        "ecc_mode_pending",
        str,
        ("ecc_mode/pending_ecc",),
        ("ECC Mode/Pending", "Ecc Mode/Pending"),
        ("ecc.mode.pending",),
    ),
    Field("performance_state", str, ("performance_state",), ("Performance State",), ("pstate",)),
    Field(
        "recovery_action",
        recovery_action,
        ("gpu_recovery_action",),
        ("GPU Recovery Action",),
        ("gpu_recovery_action",),
    ),
    Field(
        "reset_required",
        yes,
        ("gpu_reset_status/reset_required",),
        ("GPU Reset Status/Reset Required",),
        ("reset_status.reset_required",),
    ),
    Field(
        "pcie.generation_current",
        _COUNT,
        ("pci/pci_gpu_link_info/pcie_gen/current_link_gen",),
        ("PCI/GPU Link Info/PCIe Generation/Current",),
        ("pcie.link.gen.current", "pcie.link.gen.gpucurrent"),
    ),
    Field(
        "pcie.generation_max",
        _COUNT,
        ("pci/pci_gpu_link_info/pcie_gen/max_link_gen",),
        ("PCI/GPU Link Info/PCIe Generation/Max",),
        ("pcie.link.gen.max",),
    ),
    Field(
        "pcie.width_current",
        _WIDTH,
        ("pci/pci_gpu_link_info/link_widths/current_link_width",),
        ("PCI/GPU Link Info/Link Width/Current",),
        ("pcie.link.width.current",),
    ),
    Field(
        "pcie.width_max",
        _WIDTH,
        ("pci/pci_gpu_link_info/link_widths/max_link_width",),
        ("PCI/GPU Link Info/Link Width/Max",),
        ("pcie.link.width.max",),
    ),
    Field("pcie.replays", _COUNT, ("pci/replay_counter",), ("PCI/Replays Since Reset", "PCI/Replays since reset")),
    *_ecc("volatile"),
    *_ecc("aggregate"),
    Field(
        "ecc.sram_threshold_exceeded",
        yes,
        ("ecc_errors/aggregate/sram_threshold_exceeded",),
        ("ECC Errors/Aggregate/SRAM Threshold Exceeded",),
        ("ecc.errors.uncorrected.aggregate.sram.thresholdExceeded",),
    ),
    Field(
        "ecc.channel_repair_pending",
        yes,
        ("ecc_errors/channel_repair_pending",),
        ("ECC Errors/Channel Repair Pending",),
    ),
    Field("ecc.tpc_repair_pending", yes, ("ecc_errors/tpc_repair_pending",), ("ECC Errors/TPC Repair Pending",)),
    Field("ecc.unrepairable_memory", yes, ("ecc_errors/unrepairable_memory",), ("ECC Errors/Unrepairable Memory",)),
    Field(
        "remapped_rows.correctable",
        _COUNT,
        ("remapped_rows/remapped_row_corr",),
        ("Remapped Rows/Correctable Error",),
        ("remapped_rows.correctable",),
    ),
    Field(
        "remapped_rows.uncorrectable",
        _COUNT,
        ("remapped_rows/remapped_row_unc",),
        ("Remapped Rows/Uncorrectable Error",),
        ("remapped_rows.uncorrectable",),
    ),
    Field(
        "remapped_rows.pending",
        yes,
        ("remapped_rows/remapped_row_pending",),
        ("Remapped Rows/Pending",),
        ("remapped_rows.pending",),
    ),
    Field(
        "remapped_rows.failure",
        yes,
        ("remapped_rows/remapped_row_failure",),
        ("Remapped Rows/Remapping Failure Occurred",),
        ("remapped_rows.failure",),
    ),
    *(_histogram(name) for name in ("max", "high", "partial", "low", "none")),
    Field(
        "retired_pages.single_bit",
        _COUNT,
        ("retired_pages/multiple_single_bit_retirement/retired_count",),
        ("Retired Pages/Single Bit ECC",),
        ("retired_pages.single_bit_ecc.count",),
    ),
    Field(
        "retired_pages.double_bit",
        _COUNT,
        ("retired_pages/double_bit_retirement/retired_count",),
        ("Retired Pages/Double Bit ECC",),
        ("retired_pages.double_bit.count",),
    ),
    Field(
        "retired_pages.pending",
        yes,
        ("retired_pages/pending_blacklist", "retired_pages/pending_retirement"),
        ("Retired Pages/Pending Page Blacklist",),
        ("retired_pages.pending",),
    ),
    Field("clocks.graphics_mhz", _MHZ, ("clocks/graphics_clock",), ("Clocks/Graphics",), ("clocks.current.graphics",)),
    Field("clocks.sm_mhz", _MHZ, ("clocks/sm_clock",), ("Clocks/SM",), ("clocks.current.sm", "clocks.sm")),
    Field("clocks.memory_mhz", _MHZ, ("clocks/mem_clock",), ("Clocks/Memory",), ("clocks.current.memory",)),
    Field("clocks.sm_max_mhz", _MHZ, ("max_clocks/sm_clock",), ("Max Clocks/SM",), ("clocks.max.sm",)),
    Field("clocks.memory_max_mhz", _MHZ, ("max_clocks/mem_clock",), ("Max Clocks/Memory",), ("clocks.max.memory",)),
    Field(
        "clocks.graphics_application_mhz",
        _MHZ,
        ("applications_clocks/graphics_clock",),
        ("Applications Clocks/Graphics",),
        ("clocks.applications.graphics",),
    ),
    _event("idle", "gpu_idle", "Idle", "gpu_idle"),
    _event("sw_power_cap", "sw_power_cap", "SW Power Cap", "sw_power_cap"),
    _event("hw_slowdown", "hw_slowdown", "HW Slowdown", "hw_slowdown"),
    _event("hw_thermal_slowdown", "hw_thermal_slowdown", "HW Thermal Slowdown", "hw_thermal_slowdown"),
    _event("hw_power_brake_slowdown", "hw_power_brake_slowdown", "HW Power Brake Slowdown", "hw_power_brake_slowdown"),
    _event("sw_thermal_slowdown", "sw_thermal_slowdown", "SW Thermal Slowdown", "sw_thermal_slowdown"),
    _event_time("sw_thermal_slowdown", "sw_therm_slowdown", "SW Thermal Slowdown", "sw_thermal_slowdown"),
    _event_time("hw_thermal_slowdown", "hw_therm_slowdown", "HW Thermal Slowdown", "hw_thermal_slowdown"),
    _event_time("hw_power_brake_slowdown", "hw_power_brake", "HW Power Braking", "hw_power_brake_slowdown"),
    Field(
        "temperature.gpu_c",
        _CELSIUS,
        ("temperature/gpu_temp",),
        ("Temperature/GPU Current Temp",),
        ("temperature.gpu",),
    ),
    Field(
        "temperature.margin_c",
        _CELSIUS,
        ("temperature/gpu_temp_tlimit",),
        ("Temperature/GPU T.Limit Temp",),
        ("temperature.gpu.tlimit",),
    ),
    Field(
        "temperature.slowdown_margin_c",
        _CELSIUS,
        ("temperature/gpu_temp_slow_tlimit_threshold",),
        ("Temperature/GPU Slowdown T.Limit Temp",),
    ),
    Field(
        "temperature.slowdown_c",
        _CELSIUS,
        ("temperature/gpu_temp_slow_threshold",),
        ("Temperature/GPU Slowdown Temp",),
    ),
    Field(
        "temperature.memory_c",
        _CELSIUS,
        ("temperature/memory_temp",),
        ("Temperature/Memory Current Temp",),
        ("temperature.memory",),
    ),
    Field(
        "temperature.memory_max_c",
        _CELSIUS,
        ("temperature/gpu_temp_max_mem_threshold",),
        ("Temperature/Memory Max Operating Temp",),
    ),
    _power(
        "draw_w",
        ("instant_power_draw", "average_power_draw", "power_draw"),
        ("Instantaneous Power Draw", "Average Power Draw", "Power Draw"),
        ("power.draw.instant", "power.draw", "power.draw.average"),
    ),
    _power(
        "limit_w",
        ("current_power_limit", "power_limit", "enforced_power_limit"),
        ("Current Power Limit", "Power Limit", "Enforced Power Limit"),
        ("power.limit", "enforced.power.limit"),
    ),
    _power("default_limit_w", ("default_power_limit",), ("Default Power Limit",), ("power.default_limit",)),
    _power("max_limit_w", ("max_power_limit",), ("Max Power Limit",), ("power.max_limit",)),
    _fabric("state", ("state",), ("State",), ("state",)),
    _fabric("status", ("status",), ("Status",), ("status",)),
    _fabric("clique_id", ("cliqueId",), ("CliqueId",), ("cliqueId",)),
    _fabric("health_summary", ("health/summary",), ("Health/Summary",), ("health.summary",)),
    _fabric("health_bandwidth", ("health/bandwidth",), ("Health/Bandwidth",), ("health.bandwidth",)),
    _fabric("route_unhealthy", ("health/route_unhealthy",), ("Health/Route Unhealthy",), ("health.route_unhealthy",)),
    _fabric(
        "incorrect_configuration",
        ("health/incorrect_configuration",),
        ("Health/Incorrect Configuration",),
        ("health.incorrect_configuration",),
    ),
)

# Bits of the mask that CSV gives as clocks_event_reasons.active (nvml.h: nvmlClocksEventReason*).
EVENT_BITS = {
    "idle": 0x1,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
}


def read_field(texts: Iterable[str], convert: Callable[[str], Any], source: str) -> Tuple[Any, Optional[Missing]]:
    """The first of ``texts`` that is a value; otherwise ``None`` and the reason of the first one."""
    reasons: List[Missing] = []
    for text in texts:
        missing = classify(text, source)
        if missing is None:
            try:
                return convert(text.strip()), None
            except ValueError as error:
                missing = Missing(UNREADABLE, "{0} prints {1!r}: {2}".format(source, text.strip()[:80], error))
        reasons.append(missing)
    return None, reasons[0] if reasons else no_field(source)


def read_values(lookup: Lookup, source: str, prefix: str, log: MissingLog) -> Dict[str, Any]:
    """All ``FIELDS`` by name, nested by their dots; why one is missing goes to ``log`` below ``prefix``."""
    values: Dict[str, Any] = {}
    for field in FIELDS:
        value, missing = read_field(lookup(field), field.convert, source)
        put(values, field.name, value)
        if missing is not None:
            log.add(prefix + field.name, missing)
    return values


def put(values: Dict[str, Any], name: str, value: Any) -> None:
    """Set ``a.b.c`` in nested dictionaries."""
    *groups, last = name.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    values[last] = value


def get(values: Any, name: str) -> Any:
    """``a.b.c`` of nested dictionaries; ``None`` when a part is not there."""
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
