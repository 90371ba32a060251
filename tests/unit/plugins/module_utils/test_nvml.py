"""GPUs through NVML's Python binding, which here is a double with the binding's names."""

# The double has the names of the binding.
# ruff: noqa: N802

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded, nvml
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_readings import read_driver
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import NOT_SUPPORTED, MissingLog
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import h100_xml


class NVMLError(Exception):
    """As the binding's: a number and a text."""

    def __init__(self, value: int) -> None:
        super().__init__(f"NVML says {value}")
        self.value = value


class Double:
    """A driver with one H100-like GPU. Functions that it lacks are those of a later binding."""

    NVMLError = NVMLError
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 0, 1
    NVML_VOLATILE_ECC, NVML_AGGREGATE_ECC = 0, 1
    NVML_MEMORY_LOCATION_SRAM, NVML_MEMORY_LOCATION_DRAM = 7, 2
    NVML_NVLINK_ERROR_DL_REPLAY = 0

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"550.90.07"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 12040

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, gpu: int) -> str:
        return "GPU-1"

    def nvmlDeviceGetName(self, gpu: int) -> str:
        return "NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetPciInfo(self, gpu: int) -> Any:
        return SimpleNamespace(busId=b"00000000:10:00.0", pciDeviceId=0x233010DE)

    def nvmlDeviceGetMemoryInfo(self, gpu: int) -> Any:
        raise NVMLError(3)

    def nvmlDeviceGetMigMode(self, gpu: int) -> list[int]:
        return [0, 1]

    def nvmlDeviceGetRemappedRows(self, gpu: int) -> tuple[int, int, int, int]:
        return (0, 2, 1, 0)

    def nvmlDeviceGetMemoryErrorCounter(self, gpu: int, kind: int, counter: int, place: int) -> int:
        return 5 if (kind, counter, place) == (1, 0, 2) else 0

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: int) -> int:
        return 0x48

    def nvmlDeviceGetPowerManagementLimit(self, gpu: int) -> int:
        return 700000

    def nvmlDeviceGetTemperatureThreshold(self, gpu: int) -> int:
        raise NVMLError(999)

    def nvmlDeviceGetNvLinkState(self, gpu: int, link: int) -> int:
        if link > 1:
            raise NVMLError(2)
        return 1 - link

    def nvmlDeviceGetNvLinkErrorCounter(self, gpu: int, link: int, counter: int) -> int:
        return 4


def test_nvml_gives_the_values_that_nvidia_smi_prints() -> None:
    document, links = nvml.document(nvml.read(Double()))
    gpu = document.gpus[0]
    assert (document.driver_version, document.cuda_version, document.attached_gpus) == ("550.90.07", "12.4", 1)
    assert (gpu.bus_id, gpu.pci_id, gpu.mig_mode, gpu.mig_mode_pending) == (
        "0000:10:00.0",
        "10de:2330",
        "Disabled",
        "Enabled",
    )
    assert gpu.remapped_rows["pending"] is True
    assert gpu.ecc["volatile"]["dram_uncorrectable"] == 5
    assert (gpu.clock_events["hw_thermal_slowdown"], gpu.clock_events["idle"]) == (True, False)
    assert gpu.power["limit_w"] == 700.0
    assert links["GPU-1"].speeds_gb_per_s == {"0": 0.0, "1": None}
    assert links["GPU-1"].errors["0"] == {"replay": 4}


def test_what_nvml_refuses_or_the_binding_does_not_know_is_missing() -> None:
    document, _links = nvml.document(nvml.read(Double()))
    assert document.gpus[0].memory_total_bytes is None
    assert document.missing["gpus[0].memory_total_bytes"].kind == NOT_SUPPORTED
    assert document.gpus[0].fabric["state"] is None
    assert "nvidia-ml-py does not know it" in document.missing["gpus[0].fabric.state"].reason


def test_a_gpu_that_cannot_be_opened_has_no_values() -> None:
    class Lost(Double):
        def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
            raise NVMLError(15)

    document, _links = nvml.document(nvml.read(Lost()))
    assert (document.gpus[0].uuid, document.gpus[0].bus_id) == (None, None)
    assert "cannot open the GPU" in document.missing["gpus[0].uuid"].reason


def test_a_driver_that_hangs_in_nvml_ends_in_time() -> None:
    class Hanging(Double):
        def nvmlInit(self) -> None:
            time.sleep(60)

    answer, missing = nvml.read_bounded(Hanging(), 0.2)
    assert answer is None
    assert missing is not None
    assert (missing.kind, missing.reason) == ("timeout", "NVML: no answer within 0.2 s")


def test_a_driver_that_nvml_does_not_find_is_told() -> None:
    class Absent(Double):
        def nvmlInit(self) -> None:
            raise NVMLError(9)

    _answer, missing = nvml.read_bounded(Absent(), 5)
    assert missing is not None
    assert "NVML says 9" in missing.reason


def test_a_bounded_call_returns_what_the_function_returns() -> None:
    assert bounded.call(lambda: {"a": [1, None]}, 5) == {"a": [1, None]}


def test_a_bounded_call_whose_process_dies_has_no_answer() -> None:
    with pytest.raises(bounded.CallFailedError, match="without an answer"):
        bounded.call(lambda: __import__("os")._exit(3), 5)


def test_what_nvml_does_not_tell_is_taken_from_nvidia_smi() -> None:
    """The double does not know the fabric; the XML does, and values of both stay."""
    xml = h100_xml(1).replace("GPU-68100000-0000-4000-8000-000000000000", "GPU-1")
    answer = bounded.Completed(0, xml, "", 0.1)
    log = MissingLog()
    driver = read_driver(lambda name: "/usr/bin/" + name, lambda command, timeout: answer, 5, log, lambda: Double())
    assert driver.document is not None
    gpu = driver.document.gpus[0]
    assert driver.smi.source == "NVML"
    assert gpu.fabric["state"] == "Completed"
    assert gpu.remapped_rows["uncorrectable"] == 2
    assert "gpus[0].fabric.state" not in log.entries
    assert log.entries["gpus[0].memory_total_bytes"].kind == NOT_SUPPORTED
