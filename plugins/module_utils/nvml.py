"""Reads GPUs through NVML with NVIDIA's Python binding (nvidia-ml-py), where a host has it. The rest of the module does without.

NVML may hang in the kernel with a dead GPU, so ``read`` runs in a child process that is bounded. The binding is older or newer than
the driver on many hosts: what it does not know is missing with that reason, nothing else.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Callable, Dict, List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import (
    EVENT_BITS,
    FIELDS,
    Gpu,
    GpuProcess,
    MigDevice,
    get,
    normal_bus_id,
    put,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import (
    ABSENT,
    FAILED,
    NOT_SUPPORTED,
    TIMEOUT,
    Missing,
    MissingLog,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.nvidia_smi import SmiDocument
from ansible_collections.baremetal.gpu.plugins.module_utils.nvlink import NvLinks

SOURCE = "NVML"

_ARCHITECTURES = {2: "Kepler", 3: "Maxwell", 4: "Pascal", 5: "Volta", 6: "Turing", 7: "Ampere", 8: "Ada Lovelace"}
_ARCHITECTURES.update({9: "Hopper", 10: "Blackwell"})  # nvml.h: NVML_DEVICE_ARCH_*
_COMPUTE_MODES = {0: "Default", 1: "Exclusive_Thread", 2: "Prohibited", 3: "Exclusive_Process"}
_RECOVERY = {0: "None", 1: "Reset", 2: "Reboot", 3: "Drain P2P", 4: "Drain and Reset"}
_FABRIC_STATES = {0: None, 1: "Not Started", 2: "In Progress", 3: "Completed"}
_TOO_MANY_LINKS = 32

Reader = Callable[[Any, Any], Any]


def _enabled(value: int) -> str:
    return "Enabled" if value else "Disabled"


def _field_value(nvml: Any, gpu: Any, name: str) -> Any:
    """A value that NVML knows by a number. Raises the binding's own error."""
    value = nvml.nvmlDeviceGetFieldValues(gpu, [getattr(nvml, name)])[0]
    if value.nvmlReturn != 0:
        raise nvml.NVMLError(value.nvmlReturn)
    return int(value.value.uiVal)


def _ecc_counter(kind: str, counter: str, location: str) -> Reader:
    def read(nvml: Any, gpu: Any) -> int:
        return int(
            nvml.nvmlDeviceGetMemoryErrorCounter(
                gpu,
                getattr(nvml, "NVML_MEMORY_ERROR_TYPE_" + kind),
                getattr(nvml, counter + "_ECC"),
                getattr(nvml, "NVML_MEMORY_LOCATION_" + location),
            )
        )

    return read


def _total_ecc(counter: str) -> Reader:
    return lambda nvml, gpu: int(
        nvml.nvmlDeviceGetTotalEccErrors(gpu, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, getattr(nvml, counter + "_ECC"))
    )


def _remapped(index: int, convert: Callable[[Any], Any]) -> Reader:
    return lambda nvml, gpu: convert(nvml.nvmlDeviceGetRemappedRows(gpu)[index])


def _histogram(name: str) -> Reader:
    return lambda nvml, gpu: int(getattr(nvml.nvmlDeviceGetRowRemapperHistogram(gpu), name))


def _clock(which: str, maximum: bool = False) -> Reader:
    def read(nvml: Any, gpu: Any) -> int:
        function = nvml.nvmlDeviceGetMaxClockInfo if maximum else nvml.nvmlDeviceGetClockInfo
        return int(function(gpu, getattr(nvml, "NVML_CLOCK_" + which)))

    return read


def _event(bit: int) -> Reader:
    def read(nvml: Any, gpu: Any) -> bool:
        function = getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
        # The name before driver 535.
        function = function or nvml.nvmlDeviceGetCurrentClocksThrottleReasons
        return bool(function(gpu) & bit)

    return read


def _memory(name: str) -> Reader:
    return lambda nvml, gpu: int(getattr(nvml.nvmlDeviceGetMemoryInfo(gpu), name))


def _margin(nvml: Any, gpu: Any) -> int:
    return int(nvml.nvmlDeviceGetMarginTemperature(gpu))


def _sram_threshold(nvml: Any, gpu: Any) -> bool:
    status = nvml.c_nvmlEccSramErrorStatus_v1_t()
    status.version = nvml.nvmlEccSramErrorStatus_v1
    nvml.nvmlDeviceGetSramEccErrorStatus(gpu, nvml.byref(status))
    return bool(status.bThresholdExceeded)


def _fabric(nvml: Any, gpu: Any) -> Any:
    info = nvml.c_nvmlGpuFabricInfo_t()
    nvml.nvmlDeviceGetGpuFabricInfo(gpu, nvml.byref(info))
    return info


def _fabric_state(nvml: Any, gpu: Any) -> Optional[str]:
    return _FABRIC_STATES.get(int(_fabric(nvml, gpu).state))


def _fabric_status(nvml: Any, gpu: Any) -> Optional[str]:
    info = _fabric(nvml, gpu)
    if not int(info.state):
        return None
    return "Success" if int(info.status) == 0 else str(nvml.NVMLError(int(info.status)))


def _pci_id(nvml: Any, gpu: Any) -> str:
    number = int(nvml.nvmlDeviceGetPciInfo(gpu).pciDeviceId)
    return "{0:04x}:{1:04x}".format(number & 0xFFFF, number >> 16)


_READERS: Dict[str, Reader] = {
    "uuid": lambda nvml, gpu: _text(nvml.nvmlDeviceGetUUID(gpu)),
    "minor_number": lambda nvml, gpu: int(nvml.nvmlDeviceGetMinorNumber(gpu)),
    "product_name": lambda nvml, gpu: _text(nvml.nvmlDeviceGetName(gpu)),
    "architecture": lambda nvml, gpu: _ARCHITECTURES.get(int(nvml.nvmlDeviceGetArchitecture(gpu))),
    "compute_capability": lambda nvml, gpu: "{0}.{1}".format(*nvml.nvmlDeviceGetCudaComputeCapability(gpu)),
    "pci_id": _pci_id,
    "vbios_version": lambda nvml, gpu: _text(nvml.nvmlDeviceGetVbiosVersion(gpu)),
    "inforom_version": lambda nvml, gpu: _text(nvml.nvmlDeviceGetInforomImageVersion(gpu)),
    "gsp_firmware_version": lambda nvml, gpu: _text(nvml.nvmlDeviceGetGspFirmwareVersion(gpu)),
    "memory_total_bytes": _memory("total"),
    "memory_used_bytes": _memory("used"),
    "utilization_percent": lambda nvml, gpu: int(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
    "mig_mode": lambda nvml, gpu: _enabled(nvml.nvmlDeviceGetMigMode(gpu)[0]),
    "mig_mode_pending": lambda nvml, gpu: _enabled(nvml.nvmlDeviceGetMigMode(gpu)[1]),
    "compute_mode": lambda nvml, gpu: _COMPUTE_MODES.get(int(nvml.nvmlDeviceGetComputeMode(gpu))),
    "persistence_mode": lambda nvml, gpu: _enabled(nvml.nvmlDeviceGetPersistenceMode(gpu)),
    "ecc_mode": lambda nvml, gpu: _enabled(nvml.nvmlDeviceGetEccMode(gpu)[0]),
    "ecc_mode_pending": lambda nvml, gpu: _enabled(nvml.nvmlDeviceGetEccMode(gpu)[1]),
    "performance_state": lambda nvml, gpu: "P{0}".format(int(nvml.nvmlDeviceGetPerformanceState(gpu))),
    "recovery_action": lambda nvml, gpu: _RECOVERY.get(_field_value(nvml, gpu, "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION")),
    "pcie.generation_current": lambda nvml, gpu: int(nvml.nvmlDeviceGetCurrPcieLinkGeneration(gpu)),
    "pcie.generation_max": lambda nvml, gpu: int(nvml.nvmlDeviceGetMaxPcieLinkGeneration(gpu)),
    "pcie.width_current": lambda nvml, gpu: int(nvml.nvmlDeviceGetCurrPcieLinkWidth(gpu)),
    "pcie.width_max": lambda nvml, gpu: int(nvml.nvmlDeviceGetMaxPcieLinkWidth(gpu)),
    "pcie.replays": lambda nvml, gpu: int(nvml.nvmlDeviceGetPcieReplayCounter(gpu)),
    "ecc.volatile.uncorrectable_total": _total_ecc("NVML_VOLATILE"),
    "ecc.aggregate.uncorrectable_total": _total_ecc("NVML_AGGREGATE"),
    "ecc.sram_threshold_exceeded": _sram_threshold,
    "remapped_rows.correctable": _remapped(0, int),
    "remapped_rows.uncorrectable": _remapped(1, int),
    "remapped_rows.pending": _remapped(2, bool),
    "remapped_rows.failure": _remapped(3, bool),
    "retired_pages.pending": lambda nvml, gpu: bool(nvml.nvmlDeviceGetRetiredPagesPendingStatus(gpu)),
    "clocks.graphics_mhz": _clock("GRAPHICS"),
    "clocks.sm_mhz": _clock("SM"),
    "clocks.memory_mhz": _clock("MEM"),
    "clocks.sm_max_mhz": _clock("SM", maximum=True),
    "clocks.memory_max_mhz": _clock("MEM", maximum=True),
    "temperature.gpu_c": lambda nvml, gpu: int(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
    "temperature.margin_c": _margin,
    "temperature.memory_c": lambda nvml, gpu: _field_value(nvml, gpu, "NVML_FI_DEV_MEMORY_TEMP"),
    "power.draw_w": lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
    "power.limit_w": lambda nvml, gpu: nvml.nvmlDeviceGetPowerManagementLimit(gpu) / 1000,
    "power.default_limit_w": lambda nvml, gpu: nvml.nvmlDeviceGetPowerManagementDefaultLimit(gpu) / 1000,
    "power.max_limit_w": lambda nvml, gpu: nvml.nvmlDeviceGetPowerManagementLimitConstraints(gpu)[1] / 1000,
    "fabric.state": _fabric_state,
    "fabric.status": _fabric_status,
}
for _scope in ("VOLATILE", "AGGREGATE"):
    for _place in ("SRAM", "DRAM"):
        for _kind in ("CORRECTED", "UNCORRECTED"):
            _name = "ecc.{0}.{1}_{2}".format(
                _scope.lower(), _place.lower(), _kind.lower().replace("corrected", "correctable")
            )
            _READERS[_name] = _ecc_counter(_kind, "NVML_" + _scope, _place)
for _level in ("max", "high", "partial", "low", "none"):
    _READERS["remapped_rows.histogram." + _level] = _histogram(_level)
for _reason, _bit in EVENT_BITS.items():
    _READERS["clock_events." + _reason] = _event(_bit)


def read(nvml: Any) -> Dict[str, Any]:
    """Everything NVML tells, as plain data. Raises the binding's error when NVML does not start. Run it bounded."""
    nvml.nvmlInit()
    try:
        count = int(nvml.nvmlDeviceGetCount())
        return {
            "driver_version": _text(nvml.nvmlSystemGetDriverVersion()),
            "cuda_version": _cuda(nvml),
            "count": count,
            "gpus": [_read_gpu(nvml, index) for index in range(count)],
        }
    finally:
        nvml.nvmlShutdown()


def read_bounded(nvml: Any, timeout_s: float) -> Tuple[Optional[Dict[str, Any]], Optional[Missing]]:
    """``read`` in a child process; why there is no answer otherwise."""
    try:
        answer: Dict[str, Any] = bounded.call(lambda: read(nvml), timeout_s)
    except bounded.CallFailedError as error:
        return None, Missing(TIMEOUT if error.timed_out else FAILED, "NVML: {0}".format(error))
    return answer, None


def document(answer: Dict[str, Any]) -> Tuple[SmiDocument, Dict[str, NvLinks]]:
    """The answer of ``read`` in the form of an answer of nvidia-smi, and NVLinks by uuid."""
    log = MissingLog()
    gpus: List[Gpu] = []
    links: Dict[str, NvLinks] = {}
    for index, item in enumerate(answer["gpus"]):
        values: Dict[str, Any] = {}
        for field in FIELDS:
            put(values, field.name, item["values"].get(field.name))
            reason = item["missing"].get(field.name)
            if reason is not None:
                log.add("gpus[{0}].{1}".format(index, field.name), Missing(*reason))
        mig = tuple(MigDevice(**device) for device in item["mig_devices"])
        processes = tuple(GpuProcess(**{**process, "kinds": tuple(process["kinds"])}) for process in item["processes"])
        if item["bus_id"] is None:
            log.add("gpus[{0}].bus_id".format(index), Missing(FAILED, "NVML gives no PCI address"))
        gpus.append(Gpu(index=index, bus_id=item["bus_id"], mig_devices=mig, processes=processes, **values))
        uuid = get(values, "uuid")
        if uuid is not None and item["links"]:
            links[uuid] = NvLinks(index, uuid, get(values, "product_name") or "", item["links"], item["link_errors"])
    for name in ("driver_version", "cuda_version"):
        if answer[name] is None:
            log.add(name, Missing(FAILED, "NVML does not tell it"))
    found = SmiDocument(answer["driver_version"], answer["cuda_version"], answer["count"], tuple(gpus), log.entries)
    return found, links


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _cuda(nvml: Any) -> Optional[str]:
    try:
        number = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    except (nvml.NVMLError, AttributeError):
        return None
    return "{0}.{1}".format(number // 1000, number % 1000 // 10)


def _read_gpu(nvml: Any, index: int) -> Dict[str, Any]:
    values: Dict[str, Any] = {}
    missing: Dict[str, Tuple[str, str]] = {}
    item: Dict[str, Any] = {"bus_id": None, "values": values, "missing": missing}
    item.update(links={}, link_errors={}, mig_devices=[], processes=[])
    try:
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        missing.update({field.name: (FAILED, "NVML cannot open the GPU: {0}".format(error)) for field in FIELDS})
        return item
    for field in FIELDS:
        reader = _READERS.get(field.name)
        if reader is None:
            missing[field.name] = (ABSENT, "NVML is not asked for it")
            continue
        values[field.name], reason = _attempt(nvml, reader, gpu)
        if reason is not None:
            missing[field.name] = reason
    bus, _reason = _attempt(nvml, lambda lib, handle: _text(lib.nvmlDeviceGetPciInfo(handle).busId), gpu)
    item["bus_id"] = normal_bus_id(bus) if bus is not None else None
    item["links"], item["link_errors"] = _links(nvml, gpu)
    item["mig_devices"] = _mig_devices(nvml, gpu)
    item["processes"] = _processes(nvml, gpu)
    return item


def _attempt(nvml: Any, reader: Reader, gpu: Any) -> Tuple[Any, Optional[Tuple[str, str]]]:
    try:
        value = reader(nvml, gpu)
    except nvml.NVMLError as error:
        unsupported = getattr(error, "value", None) == getattr(nvml, "NVML_ERROR_NOT_SUPPORTED", 3)
        return None, (NOT_SUPPORTED if unsupported else FAILED, "NVML: {0}".format(error))
    except (AttributeError, TypeError) as error:
        return None, (ABSENT, "nvidia-ml-py does not know it: {0}".format(error))
    return value, None if value is not None else (NOT_SUPPORTED, "NVML gives no value")


def _links(nvml: Any, gpu: Any) -> Tuple[Dict[str, Optional[float]], Dict[str, Dict[str, int]]]:
    """NVLinks by number with their speed in GB/s (``None``: inactive), and their error counters."""
    speeds: Dict[str, Optional[float]] = {}
    errors: Dict[str, Dict[str, int]] = {}
    for link in range(_TOO_MANY_LINKS):
        try:
            active = nvml.nvmlDeviceGetNvLinkState(gpu, link)
        except (nvml.NVMLError, AttributeError):
            break
        speed, _reason = _attempt(
            nvml, lambda lib, handle: _field_value(lib, handle, "NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON"), gpu
        )
        speeds[str(link)] = (round(speed / 1000, 3) if speed is not None else 0.0) if active else None
        for kind in ("replay", "recovery", "crc_flit", "crc_data"):
            constant = getattr(nvml, "NVML_NVLINK_ERROR_DL_" + kind.upper(), None)
            if constant is None:
                continue
            try:
                errors.setdefault(str(link), {})[kind] = int(nvml.nvmlDeviceGetNvLinkErrorCounter(gpu, link, constant))
            except (nvml.NVMLError, AttributeError):
                continue
    return speeds, errors


def _mig_devices(nvml: Any, gpu: Any) -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = []
    count, _reason = _attempt(nvml, lambda lib, handle: int(lib.nvmlDeviceGetMaxMigDeviceCount(handle)), gpu)
    for index in range(count or 0):
        try:
            device = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
            name = _text(nvml.nvmlDeviceGetName(device))
            found.append(
                asdict(
                    MigDevice(
                        index=index,
                        gpu_instance=int(nvml.nvmlDeviceGetGpuInstanceId(device)),
                        compute_instance=int(nvml.nvmlDeviceGetComputeInstanceId(device)),
                        profile=name.rpartition("MIG ")[2] if "MIG " in name else None,
                        uuid=_text(nvml.nvmlDeviceGetUUID(device)),
                        memory_total_bytes=int(nvml.nvmlDeviceGetMemoryInfo(device).total),
                    )
                )
            )
        except (nvml.NVMLError, AttributeError):
            continue  # a place that no device takes
    return found


def _processes(nvml: Any, gpu: Any) -> List[Dict[str, Any]]:
    found: Dict[int, Dict[str, Any]] = {}
    for kind, name in (("C", "nvmlDeviceGetComputeRunningProcesses"), ("G", "nvmlDeviceGetGraphicsRunningProcesses")):
        try:
            listed = getattr(nvml, name)(gpu)
        except (nvml.NVMLError, AttributeError):
            continue
        for process in listed:
            entry = found.setdefault(
                int(process.pid), {"pid": int(process.pid), "kinds": [], "name": None, "memory_bytes": None}
            )
            entry["kinds"].append(kind)
            if process.usedGpuMemory is not None:
                entry["memory_bytes"] = int(process.usedGpuMemory)
    return [found[pid] for pid in sorted(found)]
