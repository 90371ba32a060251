"""Profiles of simulated hardware: `lab/hardware/*.yml` but `faults.yml`, read and validated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeGuard

import yaml

PROFILES = Path(__file__).parents[1] / "hardware"
NOT_A_PROFILE = "faults"

# libyaml is many times faster and reads the same; PyYAML has it in nearly all builds.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Scalar = str | int | None
"""One value of the hardware; None: the device does not report it."""


class ProfileError(ValueError):
    """A profile is missing or wrong; the message names the file, the key and what is expected there."""


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver a host pretends to run. `module` is the kernel module's flavour as /proc/driver names it; the
    diagnostics imitate DCGM in its version and, on request, in the form of its former major version."""

    version: str
    cuda_version: str
    module: str
    dcgm_version: str
    dcgm_former_version: str


@dataclass(frozen=True)
class DgxRelease:
    """/etc/dgx-release: the factory's variables, then one group of them for each update."""

    factory: Mapping[str, str]
    updates: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class MigProfile:
    """A kind of MIG GPU instance: its number for nvidia-smi and NVML, and what it takes of a GPU.

    `index` is NVML's number of the profile in its enumeration, `size` counts memory slices, `starts` are the memory slices
    at which an instance may begin.
    """

    id: int
    index: int
    name: str
    slices: int
    size: int
    starts: str
    instances: int
    memory_mib: int
    multiprocessors: int
    copy_engines: int
    decoders: int
    encoders: int
    jpeg: int
    ofa: int


@dataclass(frozen=True)
class Profile:
    """One kind of simulated machine. `gpu` holds the values of every GPU, `gpus` those in which each differs; the same
    with `hca` and `hcas` for network adapters."""

    name: str
    title: str
    driver: Driver
    dmi: Mapping[str, str]
    dgx_release: DgxRelease | None
    gpu: Mapping[str, Scalar]
    gpus: tuple[Mapping[str, Scalar], ...]
    hca: Mapping[str, Scalar]
    hcas: tuple[Mapping[str, Scalar], ...]
    mig: tuple[MigProfile, ...]

    def gpu_value(self, index: int, name: str) -> Scalar:
        """One value of one GPU: its own, else the one of every GPU."""
        return self.gpus[index].get(name, self.gpu.get(name))


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and value.isprintable()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _matches(pattern: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _one_of(*choices: str) -> Callable[[object], bool]:
    return lambda value: value in choices


_COUNT = (_is_count, "a whole number of 0 or more")
_TEXT = (_is_text, "a text")
_DECIMAL = (_matches(r"\d+\.\d+"), 'a quoted decimal number, such as "11.05"')
_SWITCH = (_one_of("Enabled", "Disabled"), "Enabled or Disabled")
_EVENT = (_one_of("Active", "Not Active"), "Active or Not Active")
_ANSWER = (_one_of("Yes", "No"), 'quoted "Yes" or "No"')

_INTEGER = (_is_integer, "a whole number")

_Rule = tuple[Callable[[object], bool], str]


def _each(rule: _Rule, value_names: str, *, prefix: str = "", suffix: str = "") -> dict[str, _Rule]:
    """The same rule for several values, whose names are separated by blanks."""
    return {prefix + name + suffix: rule for name in value_names.split()}


_ECC_COUNTERS = (
    "sram_correctable sram_uncorrectable_parity sram_uncorrectable_secded dram_correctable dram_uncorrectable"
)

GPU_VALUES: Mapping[str, _Rule] = {
    **_each(_TEXT, "name brand architecture serial board_part_number gpu_part_number fru_part_number vbios_version"),
    **_each(_TEXT, "gsp_firmware_version pdi board_id multigpu_board virtualization_mode c2c_mode egm"),
    **_each(_TEXT, "addressing_mode performance_state recovery_action sparse_operation_mode cpu_affinity"),
    **_each(_TEXT, "image oem ecc power checksum", prefix="inforom_"),
    **_each(_TEXT, "state status cluster_uuid health_summary health_bandwidth", prefix="fabric_"),
    **_each(_COUNT, "fabric_clique_id module_id accounting_buffer_size"),
    "uuid": (_matches(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "GPU- and a UUID in lower case"),
    "compute_capability": (_matches(r"\d+\.\d+"), 'quoted, such as "9.0"'),
    "compute_mode": (_one_of("Default", "Prohibited", "Exclusive_Process"), "Default, Prohibited or Exclusive_Process"),
    **_each(_SWITCH, "display_mode display_active persistence_mode mig_mode ecc_mode accounting_mode"),
    **_each(_ANSWER, "display_attached reset_required drain_and_reset_recommended"),
    "mig_max_devices": _COUNT,
    "numa_node": _INTEGER,
    "pci_bus_id": (_matches(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"), 'quoted, such as "000f:01:00.0"'),
    **_each(_COUNT, "device_id subsystem_vendor_id subsystem_device_id class", prefix="pci_"),
    **_each(_COUNT, "generation_max generation_current generation_device_current", prefix="pcie_"),
    **_each(_COUNT, "generation_device_max generation_host_max width_max width_current", prefix="pcie_"),
    **_each(_COUNT, "replays replay_rollovers transmit_kb_per_s receive_kb_per_s", prefix="pcie_"),
    **_each(_TEXT, "atomics_outbound atomics_inbound", prefix="pcie_"),
    **_each(_TEXT, "correctable nonfatal fatal", prefix="aer_"),
    **_each(_COUNT, "memory_total memory_reserved memory_used bar1_total bar1_used", suffix="_mib"),
    **_each(_COUNT, "protected_total protected_used", suffix="_mib"),
    **_each(_COUNT, "gpu memory encoder decoder jpeg ofa", prefix="utilization_", suffix="_percent"),
    **_each(_COUNT, "sessions fps latency_us", prefix="encoder_"),
    **_each(_COUNT, "sessions fps latency_us", prefix="fbc_"),
    "fan_speed_percent": _COUNT,
    **_each(_INTEGER, "gpu margin memory", prefix="temperature_", suffix="_c"),
    **_each(_INTEGER, "shutdown slowdown maximum memory_maximum", prefix="temperature_margin_", suffix="_c"),
    **_each(_DECIMAL, "draw draw_instant draw_memory", prefix="power_", suffix="_w"),
    **_each(_DECIMAL, "limit limit_requested limit_default limit_min limit_max", prefix="power_", suffix="_w"),
    "energy_mj": _COUNT,
    **_each(_COUNT, "graphics sm memory video", prefix="clock_", suffix="_mhz"),
    **_each(_COUNT, "graphics sm memory video", prefix="clock_", suffix="_max_mhz"),
    **_each(_COUNT, "graphics memory", prefix="clock_", suffix="_application_mhz"),
    "clock_graphics_customer_max_mhz": _COUNT,
    "voltage_graphics_mv": _DECIMAL,
    **_each(_EVENT, "idle applications_setting sw_power_cap sync_boost sw_thermal_slowdown", prefix="clocks_event_"),
    **_each(_EVENT, "hw_slowdown hw_thermal_slowdown hw_power_brake_slowdown display_setting", prefix="clocks_event_"),
    **_each(_COUNT, "sw_power_cap sync_boost sw_thermal_slowdown", prefix="clocks_event_us_"),
    **_each(_COUNT, "hw_thermal_slowdown hw_power_brake_slowdown", prefix="clocks_event_us_"),
    **_each(_COUNT, _ECC_COUNTERS, prefix="ecc_volatile_"),
    **_each(_COUNT, _ECC_COUNTERS, prefix="ecc_aggregate_"),
    **_each(_COUNT, "l2 sm mcu pcie other", prefix="ecc_aggregate_sram_uncorrectable_"),
    "ecc_aggregate_sram_threshold_exceeded": _ANSWER,
    **_each(_ANSWER, "channel_repair_pending tpc_repair_pending unrepairable_memory"),
    **_each(_COUNT, "correctable uncorrectable", prefix="remapped_rows_"),
    **_each(_COUNT, "max high partial low none", prefix="remapped_rows_histogram_"),
    **_each(_ANSWER, "remapped_rows_pending remapped_rows_failure retired_pages_pending"),
    **_each(_COUNT, "retired_pages_single_bit retired_pages_double_bit"),
    **_each(_COUNT, "count version", prefix="nvlink_"),
    "nvlink_speed_mb_per_s": _COUNT,
}
"""What may be said of a GPU: for each value a test and what it wants. The stand-ins read these names, no others."""

HCA_VALUES: Mapping[str, _Rule] = {
    **_each(_TEXT, "name board_id fw_ver hca_type hw_rev node_guid link_layer state phys_state rate netdev"),
    **_each(_COUNT, "pci_device_id pci_subsystem_device_id"),
    "pci_bus_id": GPU_VALUES["pci_bus_id"],
    "numa_node": _INTEGER,
    **_each(_COUNT, "generation_max generation_current width_max width_current", prefix="pcie_"),
    **_each(_TEXT, "correctable nonfatal fatal", prefix="aer_"),
}
"""What may be said of a network adapter; counters of its port are 0 until a fault sets them."""

_HCA_REQUIRED = ("name", "pci_bus_id", "pci_device_id", "link_layer", "state", "phys_state", "rate")
_REQUIRED = (
    "name",
    "uuid",
    "compute_capability",
    "architecture",
    "pci_bus_id",
    "pci_device_id",
    "pci_class",
    "numa_node",
)
_MAXIMUM_DEVICES = 16  # HARDWARE_MAX_GPUS
_DMI_NAMES = frozenset(
    f"{thing}_{quality}"
    for thing, qualities in {
        "product": ("name", "version", "serial", "uuid", "sku", "family"),
        "board": ("vendor", "name", "version", "serial", "asset_tag"),
        "chassis": ("vendor", "type", "version", "serial", "asset_tag"),
        "bios": ("vendor", "version", "date", "release"),
        "sys": ("vendor",),
    }.items()
    for quality in qualities
)


class _Document:
    """A profile's text as mappings, with errors that say where."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, where: str, wanted: str) -> ProfileError:
        return ProfileError(f"{self.path.name}: {where}: {wanted}")

    def mapping(
        self, value: object, where: str, *, required: tuple[str, ...] = (), known: frozenset[str] | None = None
    ) -> dict[str, object]:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.fail(where, "a mapping is expected")
        if missing := [key for key in required if key not in value]:
            raise self.fail(where, f"missing: {', '.join(missing)}")
        if known is not None and (unknown := sorted(set(value) - known)):
            raise self.fail(where, f"unknown: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        return value

    def texts(
        self, value: object, where: str, *, required: tuple[str, ...] = (), known: frozenset[str] | None = None
    ) -> dict[str, str]:
        found = self.mapping(value, where, required=required, known=known)
        for key, text in found.items():
            if not _is_text(text):
                raise self.fail(f"{where}.{key}", f"a text is expected, not {text!r} (quote numbers and dates)")
        return {key: str(text) for key, text in found.items()}

    def items(self, value: object, where: str) -> list[object]:
        if not isinstance(value, list) or not value:
            raise self.fail(where, "a list with at least one entry is expected")
        return value


def names() -> tuple[str, ...]:
    """All profiles there are."""
    return tuple(sorted(path.stem for path in PROFILES.glob("*.yml") if path.stem != NOT_A_PROFILE))


def load(name: str, folder: Path = PROFILES) -> Profile:
    """Read one profile. Raises ProfileError when there is none of that name or it is wrong."""
    path = folder / f"{name}.yml"
    if name == NOT_A_PROFILE or not path.is_file():
        raise ProfileError(f"no simulated hardware is called {name!r}; there are {', '.join(names())}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except yaml.YAMLError as error:
        raise ProfileError(f"{path.name}: not YAML: {error}") from error
    return _validate(_Document(path), content)


def _validate(document: _Document, content: object) -> Profile:
    required = ("schema", "name", "title", "driver", "dmi", "gpu", "gpus")
    optional = ("dgx_release", "hca", "hcas", "mig")
    root = document.mapping(content, "profile", required=required, known=frozenset({*required, *optional}))
    if root["schema"] != 1:
        raise document.fail("schema", f"1 is expected, not {root['schema']!r}")
    if root["name"] != document.path.stem:
        raise document.fail("name", f"must be the file's name, {document.path.stem!r}")
    of_driver = ("version", "cuda_version", "module", "dcgm_version", "dcgm_former_version")
    driver = Driver(**document.texts(root["driver"], "driver", required=of_driver, known=frozenset(of_driver)))
    if not re.fullmatch(r"\d{3,}(\.\d+){1,2}", driver.version):
        raise document.fail(
            "driver.version", f"digits and dots are expected, such as 580.95.05, not {driver.version!r}"
        )
    if not re.fullmatch(r"\d+\.\d", driver.cuda_version):
        raise document.fail("driver.cuda_version", f"major.minor is expected, not {driver.cuda_version!r}")
    return Profile(
        name=document.path.stem,
        title=str(root["title"]),
        driver=driver,
        dmi=document.texts(root["dmi"], "dmi", required=("sys_vendor", "product_name"), known=_DMI_NAMES),
        dgx_release=_dgx_release(document, root["dgx_release"]) if "dgx_release" in root else None,
        gpu=_values(document, root["gpu"], "gpu", GPU_VALUES),
        gpus=_devices(document, "gpu", root["gpu"], root["gpus"], GPU_VALUES, _REQUIRED, ("uuid", "pci_bus_id")),
        hca=_values(document, root.get("hca", {}), "hca", HCA_VALUES),
        hcas=_devices(
            document, "hca", root.get("hca", {}), root["hcas"], HCA_VALUES, _HCA_REQUIRED, ("name", "pci_bus_id")
        )
        if "hcas" in root
        else (),
        mig=_mig(document, root["mig"]) if "mig" in root else (),
    )


def _dgx_release(document: _Document, value: object) -> DgxRelease:
    release = document.mapping(
        value, "dgx_release", required=("factory", "updates"), known=frozenset({"factory", "updates"})
    )
    updates = release["updates"]
    if not isinstance(updates, list):
        raise document.fail("dgx_release.updates", "a list is expected")
    return DgxRelease(
        factory=document.texts(release["factory"], "dgx_release.factory", required=("DGX_NAME", "DGX_SERIAL_NUMBER")),
        updates=tuple(document.texts(update, f"dgx_release.updates[{index}]") for index, update in enumerate(updates)),
    )


def _values(document: _Document, value: object, where: str, rules: Mapping[str, _Rule]) -> dict[str, Scalar]:
    found = document.mapping(value, where, known=frozenset(rules))
    checked: dict[str, Scalar] = {}
    for key, item in found.items():
        accepts, wanted = rules[key]
        if item is not None and not accepts(item):
            raise document.fail(f"{where}.{key}", f"{wanted} is expected, not {item!r}")
        assert item is None or isinstance(item, str | int)
        checked[key] = item
    return checked


def _devices(
    document: _Document,
    kind: str,
    shared: object,
    value: object,
    rules: Mapping[str, _Rule],
    required: tuple[str, ...],
    unique: tuple[str, ...],
) -> tuple[dict[str, Scalar], ...]:
    """A list of devices that share values. Each must have the required ones, and none the unique ones of another."""
    everywhere = _values(document, shared, kind, rules)
    where = f"{kind}s"
    devices = tuple(
        _values(document, item, f"{where}[{index}]", rules) for index, item in enumerate(document.items(value, where))
    )
    if len(devices) > _MAXIMUM_DEVICES:
        raise document.fail(where, f"{len(devices)} {kind.upper()}s; at most {_MAXIMUM_DEVICES} can be simulated")
    for index, device in enumerate(devices):
        merged = {**everywhere, **device}
        if missing := [key for key in required if merged.get(key) is None]:
            raise document.fail(f"{where}[{index}]", f"missing, here and in {kind}: {', '.join(missing)}")
    for key in unique:
        values = [device.get(key, everywhere.get(key)) for device in devices]
        if len(set(values)) < len(values):
            raise document.fail(where, f"two {kind.upper()}s have the same {key}")
    return devices


def _mig(document: _Document, value: object) -> tuple[MigProfile, ...]:
    texts: dict[str, _Rule] = {"name": _TEXT, "starts": (_matches(r"\d( \d)*"), "memory slices separated by blanks")}
    rules: dict[str, _Rule] = {field.name: texts.get(field.name, _COUNT) for field in fields(MigProfile)}
    found = []
    for index, item in enumerate(document.items(value, "mig")):
        checked: dict[str, Any] = dict(_values(document, item, f"mig[{index}]", rules))
        if missing := sorted(set(rules) - set(checked)):
            raise document.fail(f"mig[{index}]", f"missing: {', '.join(missing)}")
        found.append(MigProfile(**checked))
    return tuple(found)
