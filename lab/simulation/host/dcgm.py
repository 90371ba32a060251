"""Readings and verdicts as DCGM gives them, made from the state file. Nothing here is NVIDIA's DCGM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .state import Values, gpus, of_gpu


def present(values: Values) -> list[int]:
    """The GPUs that the driver has, in its order; a lost one is among them."""
    return [
        gpu for gpu in gpus(values) if "yes" not in (of_gpu(values, gpu, "missing"), of_gpu(values, gpu, "unclaimed"))
    ]


def readable(values: Values) -> list[tuple[int, int]]:
    """Index and number of the GPUs that answer. None when NVML does not start."""
    if values.get("init_error"):
        return []
    return [(index, gpu) for index, gpu in enumerate(present(values)) if of_gpu(values, gpu, "lost") != "yes"]


# ---- Metrics ----


@dataclass(frozen=True)
class Field:
    """One series: its DCGM name, Prometheus type and help text, and the value it shows.

    `fixed` is what the series constantly shows on a GPU that does not report the value (dcgm-exporter on GB10); without
    it such a GPU has no such series.
    """

    name: str
    kind: str
    help: str
    value: str
    fixed: str | None = None


FIELDS = (
    Field("SM_CLOCK", "gauge", "SM clock frequency (in MHz).", "clock_sm_mhz"),
    Field("MEM_CLOCK", "gauge", "Memory clock frequency (in MHz).", "clock_memory_mhz"),
    Field("MEMORY_TEMP", "gauge", "Memory temperature (in C).", "temperature_memory_c", "0"),
    Field("GPU_TEMP", "gauge", "GPU temperature (in C).", "temperature_gpu_c"),
    Field("POWER_USAGE", "gauge", "Power draw (in W).", "power_draw_w"),
    Field("TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy consumption since boot (in mJ).", "energy_mj"),
    Field("PCIE_REPLAY_COUNTER", "counter", "Total number of PCIe retries.", "pcie_replays"),
    Field("GPU_UTIL", "gauge", "GPU utilization (in %).", "utilization_gpu_percent"),
    Field("MEM_COPY_UTIL", "gauge", "Memory utilization (in %).", "utilization_memory_percent", "0"),
    Field("ENC_UTIL", "gauge", "Encoder utilization (in %).", "utilization_encoder_percent", "0"),
    Field("DEC_UTIL", "gauge", "Decoder utilization (in %).", "utilization_decoder_percent", "0"),
    Field("XID_ERRORS", "gauge", "Value of the last XID error encountered.", "xid_code", "0"),
    Field("FB_FREE", "gauge", "Framebuffer memory free (in MiB).", "memory_free_mib"),
    Field("FB_USED", "gauge", "Framebuffer memory used (in MiB).", "memory_used_mib"),
    Field("FB_RESERVED", "gauge", "Framebuffer memory reserved (in MiB).", "memory_reserved_mib"),
    Field("ECC_SBE_VOL_TOTAL", "counter", "Total number of single-bit volatile ECC errors.", "ecc_volatile_corrected"),
    Field(
        "ECC_DBE_VOL_TOTAL", "counter", "Total number of double-bit volatile ECC errors.", "ecc_volatile_uncorrected"
    ),
    Field(
        "ECC_SBE_AGG_TOTAL", "counter", "Total number of single-bit persistent ECC errors.", "ecc_aggregate_corrected"
    ),
    Field(
        "ECC_DBE_AGG_TOTAL", "counter", "Total number of double-bit persistent ECC errors.", "ecc_aggregate_uncorrected"
    ),
    Field("NVLINK_REPLAY_ERROR_COUNT_TOTAL", "counter", "Total number of NVLink retries.", "nvlink_replay_errors"),
    Field(
        "NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
        "counter",
        "Total number of NVLink recovery errors.",
        "nvlink_recovery_errors",
    ),
    Field("NVLINK_BANDWIDTH_TOTAL", "counter", "Total number of NVLink bandwidth counters for all lanes.", "", "0"),
    Field("VGPU_LICENSE_STATUS", "gauge", "vGPU License status", "", "0"),
    Field(
        "UNCORRECTABLE_REMAPPED_ROWS",
        "counter",
        "Number of remapped rows for uncorrectable errors",
        "remapped_rows_uncorrectable",
    ),
    Field(
        "CORRECTABLE_REMAPPED_ROWS",
        "counter",
        "Number of remapped rows for correctable errors",
        "remapped_rows_correctable",
    ),
    Field("ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows has failed", "remapped_rows_failure"),
    Field("ROW_REMAP_PENDING", "gauge", "Whether remapping of rows is pending", "remapped_rows_pending"),
)

_ECC = ("sram_uncorrectable_parity", "sram_uncorrectable_secded", "dram_uncorrectable")


def reading(values: Values, gpu: int, name: str) -> str:
    """One value as DCGM counts it; empty when the GPU does not report it."""

    def of(value: str) -> str:
        return of_gpu(values, gpu, value)

    if name == "memory_free_mib":
        parts = [of("memory_total_mib"), of("memory_reserved_mib"), of("memory_used_mib")]
        return str(int(parts[0]) - int(parts[1] or 0) - int(parts[2] or 0)) if parts[0] else ""
    if name.startswith("ecc_"):
        if of("ecc_mode") != "Enabled":
            return ""
        _, counters, kind = name.split("_")
        counted = ("sram_correctable", "dram_correctable") if kind == "corrected" else _ECC
        return str(sum(int(of(f"ecc_{counters}_{counter}") or 0) for counter in counted))
    if name.startswith("nvlink_"):
        links = of("nvlink_count")
        counter = name.removeprefix("nvlink_")
        return str(sum(int(of(f"nvlink_{link}_{counter}") or 0) for link in range(int(links)))) if links else ""
    return {"Yes": "1", "No": "0"}.get(of(name), of(name)) if name else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def labels(values: Values, index: int, gpu: int, hostname: str) -> str:
    """The labels of one GPU's series, as dcgm-exporter 4 writes them (there `Hostname` has a capital)."""
    domain, rest = of_gpu(values, gpu, "pci_bus_id").upper().split(":", 1)
    pairs = {
        "gpu": str(index),
        "UUID": of_gpu(values, gpu, "uuid"),
        "pci_bus_id": f"{domain:>08}:{rest}",
        "device": f"nvidia{gpu}",
        "modelName": of_gpu(values, gpu, "name"),
        "Hostname": hostname,
        "DCGM_FI_DRIVER_VERSION": values.get("driver_version", ""),
    }
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items())


def metrics(values: Values, hostname: str) -> str:
    """Prometheus text of all series. A GPU that does not answer has none."""
    lines: list[str] = []
    for field in FIELDS:
        found = [
            (labels(values, index, gpu, hostname), reading(values, gpu, field.value) or field.fixed)
            for index, gpu in readable(values)
        ]
        samples = [f"DCGM_FI_DEV_{field.name}{{{names}}} {value}" for names, value in found if value is not None]
        if samples:
            lines += [f"# HELP DCGM_FI_DEV_{field.name} {field.help}", f"# TYPE DCGM_FI_DEV_{field.name} {field.kind}"]
            lines += samples
    return "\n".join(lines) + "\n"


# ---- Diagnostic ----

# Numbers and severities of DCGM's errors (dcgm_errors.h of DCGM 4).
CONFIG_SEVERITY, RESET_SEVERITY, ISOLATE_SEVERITY = 5, 6, 2
HARDWARE, CONFIGURATION = 2, 8


@dataclass(frozen=True)
class Complaint:
    """One entry of `warnings`."""

    error_id: int
    category: int
    severity: int
    text: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "error_category": self.category,
            "error_id": self.error_id,
            "error_severity": self.severity,
            "warning": self.text,
        }


def warnings(values: Values, index: int, gpu: int) -> Iterator[Complaint]:
    """What the level 1 diagnostic (`software`) says of one GPU."""

    def of(name: str) -> str:
        return of_gpu(values, gpu, name)

    if of("persistence_mode") == "Disabled":
        text = (
            f"Persistence Mode: Persistence mode for GPU {index} is disabled. Enable persistence mode by running "
            '"nvidia-smi -i <gpuId> -pm 1 " as root.'
        )
        yield Complaint(29, CONFIGURATION, CONFIG_SEVERITY, text)
    if of("remapped_rows_pending") == "Yes":
        text = f"GPU {index} has uncorrectable memory errors and row remappings are pending. Reset the GPU."
        yield Complaint(85, HARDWARE, RESET_SEVERITY, text)
    if of("remapped_rows_failure") == "Yes":
        yield Complaint(
            80, HARDWARE, ISOLATE_SEVERITY, f"GPU {index} had uncorrectable memory errors and row remapping failed."
        )
    if of("ecc_aggregate_sram_threshold_exceeded") == "Yes":
        yield Complaint(121, HARDWARE, ISOLATE_SEVERITY, f"GPU {index} exceeded its threshold of SRAM errors.")
    if of("fabric_state") not in ("", "Completed"):
        yield Complaint(123, HARDWARE, RESET_SEVERITY, f"GPU {index}: the fabric state is {of('fabric_state')}.")


def diagnostic(values: Values) -> tuple[dict[str, Any], int]:
    """The document of `dcgmi diag -r 1 -j` in DCGM 4's form, and the exit code."""
    metadata = {"Driver Version Detected": values.get("driver_version", ""), "version": values.get("dcgm_version", "")}
    if values.get("init_error") or not readable(values):
        return {"DCGM Diagnostic": {"runtime_error": "Error: NVML does not answer"}, "metadata": metadata}, 226
    results = []
    for index, gpu in enumerate(present(values)):
        result: dict[str, Any] = {"entity_group": "GPU", "entity_group_id": 1, "entity_id": index}
        if of_gpu(values, gpu, "lost") == "yes":
            found = [Complaint(120, HARDWARE, ISOLATE_SEVERITY, f"GPU {index} has fallen off the bus.")]
        else:
            found = list(warnings(values, index, gpu))
        result["status"] = "Fail" if found else "Pass"
        if found:
            result["warnings"] = [warning.as_dict() for warning in found]
        results.append(result)
    status = "Fail" if any(result["status"] == "Fail" for result in results) else "Pass"
    entities = [
        {
            "device_id": f"{int(of_gpu(values, gpu, 'pci_device_id'), 0):04x}",
            "entity_id": index,
            "serial_num": of_gpu(values, gpu, "serial") or "<<<NOT_SUPPORTED>>>",
        }
        for index, gpu in enumerate(present(values))
    ]
    test = {"name": "software", "results": results, "test_summary": {"status": status}}
    document = {
        "DCGM Diagnostic": {"test_categories": [{"category": "Deployment", "tests": [test]}]},
        "entity_groups": [{"entities": entities, "entity_group": "GPU", "entity_group_id": 1}],
        "metadata": metadata,
    }
    return document, 226 if status == "Fail" else 0


def diagnostic_v3(values: Values) -> tuple[dict[str, Any], int]:
    """The same findings as DCGM 3 writes them: tests by name, GPUs as text, status in capitals."""
    document, code = diagnostic(values)
    version = values.get("dcgm_former_version", "")
    if "runtime_error" in document["DCGM Diagnostic"]:
        return {"DCGM GPU Diagnostic": {**document["DCGM Diagnostic"], "version": version}}, code
    results = document["DCGM Diagnostic"]["test_categories"][0]["tests"][0]["results"]
    tests = []
    for name, ids in (("Persistence Mode", {29}), ("Page Retirement/Row Remap", {80, 85}), ("Fabric Manager", {123})):
        bad = [
            (result["entity_id"], warning["warning"])
            for result in results
            for warning in result.get("warnings", [])
            if warning["error_id"] in ids
        ]
        numbers = [number for number, _ in bad] or [result["entity_id"] for result in results]
        entry: dict[str, Any] = {"gpu_ids": ",".join(map(str, numbers)), "status": "FAIL" if bad else "PASS"}
        if bad:
            entry["warnings"] = [text for _, text in bad]
        tests.append({"name": name, "results": [entry]})
    software = [{"gpu_ids": str(result["entity_id"]), "status": result["status"].upper()} for result in results]
    categories = [
        {"category": "Deployment", "tests": tests},
        {"category": "Custom", "tests": [{"name": "software", "results": software}]},
    ]
    return {"DCGM GPU Diagnostic": {"test_categories": categories, "version": version}}, code
