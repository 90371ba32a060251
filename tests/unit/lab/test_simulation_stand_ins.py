"""The compiled stand-ins keep the contract of what they stand for: nvidia-smi, NVML and the MPS control daemon."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import nvidia_smi as nvidia_smi_parser
from lab.simulation import hardware

NVML_NOT_SUPPORTED, NVML_NOT_FOUND, NVML_INSUFFICIENT_SIZE, NVML_DRIVER_NOT_LOADED, NVML_TIMEOUT, NVML_LOST = (
    3,
    6,
    7,
    9,
    10,
    15,
)
XID_EVENT = 8

# Two functions the stand-in knows and one it does not.
HEADER = "".join(
    f"nvmlReturn_t DECLDIR {name}(void);\n" for name in ("nvmlInit_v2", "nvmlDeviceGetName", "nvmlDeviceGetNvLinkState")
)


class Event(ctypes.Structure):
    """nvmlEventData_t"""

    _fields_ = (
        ("device", ctypes.c_void_p),
        ("type", ctypes.c_ulonglong),
        ("data", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class Host:
    """A host's root with the hardware of a profile installed."""

    def __init__(self, root: Path, name: str, built: Path) -> None:
        profile = hardware.install(root, name, built)
        self.root = root
        self.state = root / hardware.state_file(profile)

    def smi(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"SIMULATED_HARDWARE_STATE": str(self.state)}
        command = [str(self.root / "usr/bin/nvidia-smi"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def nvml(self) -> ctypes.CDLL:
        return ctypes.CDLL(str(self.root / hardware.library_folder() / "libnvidia-ml.so.1"))

    def set(self, *assignments: str) -> None:
        lines = [line for line in self.state.read_text().splitlines() if line != "complete=yes"]
        with self.state.open("w") as state:  # in place, as on a host
            state.write("\n".join([*lines, *assignments, "complete=yes"]) + "\n")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulation")
    header = folder / "nvml.h"
    header.write_text(HEADER, encoding="ascii")
    hardware.build(folder / "out", header)
    return folder / "out"


@pytest.fixture
def spark(tmp_path: Path, built: Path) -> Host:
    return Host(tmp_path / "spark", "gb10", built)


@pytest.fixture
def server(tmp_path: Path, built: Path) -> Host:
    return Host(tmp_path / "server", "h100x8", built)


def device(nvml: ctypes.CDLL, index: int) -> ctypes.c_void_p:
    handle = ctypes.c_void_p()
    assert nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0
    return handle


def text(function: Callable[..., int], *arguments: object) -> str:
    buffer = ctypes.create_string_buffer(96)
    assert function(*arguments, buffer, 96) == 0
    return buffer.value.decode()


def number(function: Callable[..., int], *arguments: object) -> int:
    value = ctypes.c_uint()
    assert function(*arguments, ctypes.byref(value)) == 0
    return value.value


# ---- nvidia-smi ----


def test_the_xml_of_a_spark_has_one_gpu_without_memory(spark: Host) -> None:
    log = ElementTree.fromstring(spark.smi("-q", "-x").stdout)
    assert log.findtext("driver_version") == hardware.load("gb10").driver.version
    assert [gpu.get("id") for gpu in log.findall("gpu")] == ["0000000F:01:00.0"]
    gpu = log.find("gpu")
    assert gpu is not None
    assert gpu.findtext("product_name") == "NVIDIA GB10"
    for missing in ("fb_memory_usage/total", "bar1_memory_usage/total", "mig_mode/current_mig", "ecc_mode/current_ecc"):
        assert gpu.findtext(missing) == "N/A"


def test_the_xml_of_a_server_has_eight_healthy_gpus(server: Host) -> None:
    log = ElementTree.fromstring(server.smi("-q", "-x").stdout)
    assert log.findtext("attached_gpus") == "8"
    assert [gpu.findtext("minor_number") for gpu in log.findall("gpu")] == [str(index) for index in range(8)]
    for gpu in log.findall("gpu"):
        assert gpu.findtext("fb_memory_usage/total") == "81559 MiB"
        assert gpu.findtext("pci/pci_device_id") == "233010DE"
        assert gpu.findtext("ecc_errors/volatile/dram_uncorrectable") == "0"
        assert gpu.findtext("remapped_rows/remapped_row_failure") == "No"


def test_the_collection_reads_the_same_from_it_as_from_the_profile(server: Host) -> None:
    profile = hardware.load("h100x8")
    document = nvidia_smi_parser.parse(server.smi("-q", "-x").stdout)
    assert document.driver_version == profile.driver.version
    assert [gpu.uuid for gpu in document.gpus] == [gpu["uuid"] for gpu in profile.gpus]
    assert [gpu.bus_id for gpu in document.gpus] == [gpu["pci_bus_id"] for gpu in profile.gpus]
    assert {gpu.memory_total_bytes for gpu in document.gpus} == {81559 * 2**20}


def test_a_value_that_is_missing_keeps_its_brackets_in_csv(spark: Host) -> None:
    answer = spark.smi("--query-gpu=name,memory.total,utilization.gpu", "--format=csv,noheader,nounits")
    assert answer.stdout == "NVIDIA GB10, [N/A], 0\n"


def test_csv_has_a_header_with_units(server: Host) -> None:
    answer = server.smi("-i", "3", "--query-gpu=index,memory.total,pci.bus_id,power.draw", "--format=csv")
    assert (
        answer.stdout
        == "index, memory.total [MiB], pci.bus_id, power.draw [W]\n3, 81559 MiB, 00000000:13:00.0, 100.89 W\n"
    )


def test_no_process_uses_a_simulated_gpu(spark: Host) -> None:
    answer = spark.smi("--query-compute-apps=pid,used_memory", "--format=csv")
    assert (answer.returncode, answer.stdout) == (0, "pid, used_gpu_memory [MiB]\n")


@pytest.mark.parametrize(
    "wanted", ["0", "GPU-9b100000-0000-4000-8000-000000000000", "0000000F:01:00.0", "000f:01:00.0"]
)
def test_a_gpu_is_named_by_index_uuid_or_address(spark: Host, wanted: str) -> None:
    assert (
        spark.smi("-i", wanted, "-L").stdout == "GPU 0: NVIDIA GB10 (UUID: GPU-9b100000-0000-4000-8000-000000000000)\n"
    )


def test_every_line_of_the_table_has_its_width(server: Host) -> None:
    lines = server.smi().stdout.splitlines()
    assert {len(line) for line in lines[1:] if line.strip()} == {91}
    assert sum("81559MiB" in line for line in lines) == 8


@pytest.mark.parametrize("mode", ["EXCLUSIVE_PROCESS", "3"])
def test_the_compute_mode_is_set_as_the_mps_daemon_does_it(spark: Host, mode: str) -> None:
    answer = spark.smi("-i", "GPU-9b100000-0000-4000-8000-000000000000", "-c", mode)
    assert (answer.returncode, answer.stdout) == (
        0,
        "Set compute mode to EXCLUSIVE_PROCESS for GPU 0000000F:01:00.0.\nAll done.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--nonsense"], 2),
        (["--query-gpu=name,nonsense", "--format=csv"], 2),
        (["--query-gpu=name"], 2),
        (["-c", "SOMETIMES"], 2),
        (["-i", "7"], 6),
    ],
)
def test_what_it_does_not_understand_is_refused(spark: Host, arguments: list[str], code: int) -> None:
    assert spark.smi(*arguments).returncode == code


@pytest.mark.parametrize(
    ("assignment", "code", "message"),
    [
        ("init_error=9", 9, "couldn't communicate with the NVIDIA driver"),
        ("init_error=18", 18, "Driver/library version mismatch"),
        ("gpu_count=0", 6, "No devices were found"),
        ("gpu.0.lost=yes", 15, "GPU is lost"),
    ],
)
def test_a_broken_driver_or_gpu_has_its_exit_code(spark: Host, assignment: str, code: int, message: str) -> None:
    spark.set(assignment)
    answer = spark.smi()
    assert answer.returncode == code
    assert message in answer.stdout


def test_half_a_state_file_is_no_driver(spark: Host) -> None:
    spark.state.write_text(spark.state.read_text().replace("complete=yes\n", ""))
    assert spark.smi("-L").returncode == 9


# ---- NVML ----


@pytest.fixture
def spark_nvml(spark: Host) -> Iterator[ctypes.CDLL]:
    nvml = spark.nvml()
    assert nvml.nvmlInit_v2() == 0
    yield nvml
    nvml.nvmlShutdown()


@pytest.fixture
def server_nvml(server: Host) -> Iterator[ctypes.CDLL]:
    nvml = server.nvml()
    assert nvml.nvmlInit_v2() == 0
    yield nvml
    nvml.nvmlShutdown()


def test_nvml_finds_its_state_beside_itself(spark_nvml: ctypes.CDLL) -> None:
    assert number(spark_nvml.nvmlDeviceGetCount_v2) == 1
    assert text(spark_nvml.nvmlSystemGetDriverVersion) == hardware.load("gb10").driver.version
    assert text(spark_nvml.nvmlDeviceGetName, device(spark_nvml, 0)) == "NVIDIA GB10"


def test_gb10_does_not_support_memory_mig_and_ecc(spark_nvml: ctypes.CDLL) -> None:
    gpu, first, second = device(spark_nvml, 0), ctypes.c_uint(), ctypes.c_uint()
    assert spark_nvml.nvmlDeviceGetMemoryInfo(gpu, ctypes.create_string_buffer(64)) == NVML_NOT_SUPPORTED
    assert spark_nvml.nvmlDeviceGetMigMode(gpu, ctypes.byref(first), ctypes.byref(second)) == NVML_NOT_SUPPORTED
    assert spark_nvml.nvmlDeviceGetEccMode(gpu, ctypes.byref(first), ctypes.byref(second)) == NVML_NOT_SUPPORTED


def test_h100_memory_adds_up(server_nvml: ctypes.CDLL) -> None:
    memory = (ctypes.c_ulonglong * 3)()
    assert server_nvml.nvmlDeviceGetMemoryInfo(device(server_nvml, 7), memory) == 0
    total, free, used = memory
    assert (total, free + used) == (81559 * 2**20, total)


def test_handles_by_uuid_and_address_are_those_by_index(server_nvml: ctypes.CDLL) -> None:
    by_uuid, by_address = ctypes.c_void_p(), ctypes.c_void_p()
    third = device(server_nvml, 3)
    uuid = text(server_nvml.nvmlDeviceGetUUID, third)
    assert server_nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(by_uuid)) == 0
    assert server_nvml.nvmlDeviceGetHandleByPciBusId_v2(b"00000000:13:00.0", ctypes.byref(by_address)) == 0
    assert by_uuid.value == by_address.value == third.value
    assert server_nvml.nvmlDeviceGetHandleByUUID(b"GPU-0", ctypes.byref(by_uuid)) == NVML_NOT_FOUND


def test_a_buffer_that_is_too_small_is_not_overrun(spark_nvml: ctypes.CDLL) -> None:
    assert (
        spark_nvml.nvmlDeviceGetName(device(spark_nvml, 0), ctypes.create_string_buffer(4), 4) == NVML_INSUFFICIENT_SIZE
    )


def test_a_function_of_the_header_without_a_simulation_is_not_supported(spark_nvml: ctypes.CDLL) -> None:
    assert spark_nvml.nvmlDeviceGetNvLinkState(device(spark_nvml, 0), 0, None) == NVML_NOT_SUPPORTED


def test_a_change_of_the_state_is_seen_while_running(spark: Host, spark_nvml: ctypes.CDLL) -> None:
    gpu = device(spark_nvml, 0)
    assert number(spark_nvml.nvmlDeviceGetTemperature, gpu, 0) == 40
    spark.set("gpu.0.temperature_gpu_c=91")
    assert number(spark_nvml.nvmlDeviceGetTemperature, gpu, 0) == 91
    spark.set("gpu.0.lost=yes")
    assert spark_nvml.nvmlDeviceGetTemperature(gpu, 0, ctypes.byref(ctypes.c_uint())) == NVML_LOST


def test_a_state_that_is_being_written_is_not_taken(spark: Host, spark_nvml: ctypes.CDLL) -> None:
    spark.state.write_text("gpu_count=0\n")
    assert number(spark_nvml.nvmlDeviceGetCount_v2) == 1


def test_an_xid_reaches_the_one_who_waits(server: Host, server_nvml: ctypes.CDLL) -> None:
    events, event = ctypes.c_void_p(), Event()
    gpu = device(server_nvml, 5)
    assert server_nvml.nvmlEventSetCreate(ctypes.byref(events)) == 0
    assert server_nvml.nvmlDeviceRegisterEvents(gpu, ctypes.c_ulonglong(XID_EVENT), events) == 0
    assert server_nvml.nvmlEventSetWait_v2(events, ctypes.byref(event), 0) == NVML_TIMEOUT
    fault = threading.Timer(0.1, server.set, ["gpu.5.xid_code=79", "gpu.5.xid_sequence=1"])
    fault.start()
    try:
        assert server_nvml.nvmlEventSetWait_v2(events, ctypes.byref(event), 5000) == 0
    finally:
        fault.join()
    assert (event.device, event.type, event.data) == (gpu.value, XID_EVENT, 79)
    assert server_nvml.nvmlEventSetWait_v2(events, ctypes.byref(event), 0) == NVML_TIMEOUT
    server_nvml.nvmlEventSetFree(events)


def test_without_a_state_there_is_no_driver(spark: Host) -> None:
    spark.state.unlink()
    assert spark.nvml().nvmlInit_v2() == NVML_DRIVER_NOT_LOADED


def test_cuda_says_that_there_is_no_device(spark: Host) -> None:
    cuda = ctypes.CDLL(str(spark.root / hardware.library_folder() / "libcuda.so.1"))
    assert cuda.cuInit(0) == 100


# ---- MPS control ----


class Mps:
    """The MPS control program with its own pipe and log folders."""

    def __init__(self, built: Path, folder: Path) -> None:
        self.program = built / "nvidia-cuda-mps-control"
        self.pipe, self.log = folder / "pipe", folder / "log"
        self.environment = {
            "PATH": f"{built}:{os.environ['PATH']}",
            "CUDA_MPS_PIPE_DIRECTORY": str(self.pipe),
            "CUDA_MPS_LOG_DIRECTORY": str(self.log),
        }

    def start(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.program, "-d"], env=self.environment, capture_output=True, text=True, check=False)

    def ask(self, commands: str) -> subprocess.CompletedProcess[str]:
        command = [self.program]
        return subprocess.run(
            command, env=self.environment, input=commands, capture_output=True, text=True, check=False
        )

    def pid(self) -> int:
        self.ask("get_server_list")  # answered only after the daemon has written its number
        return int((self.pipe / "nvidia-cuda-mps-control.pid").read_text())


@pytest.fixture
def mps(tmp_path: Path, built: Path) -> Iterator[Mps]:
    control = Mps(built, tmp_path)
    assert control.start().returncode == 0
    yield control
    control.ask("quit\n")


def test_mps_starts_without_a_limit(mps: Mps) -> None:
    assert mps.ask("get_default_active_thread_percentage").stdout == "100.0\n"


def test_mps_keeps_the_thread_percentage(mps: Mps) -> None:
    assert mps.ask("set_default_active_thread_percentage 10").stdout == "10.0\n"
    assert mps.ask("get_default_active_thread_percentage\nget_server_list\n").stdout == "10.0\n"


@pytest.mark.parametrize("value", ["0", "101", "many", ""])
def test_mps_refuses_an_impossible_percentage(mps: Mps, value: str) -> None:
    assert "Invalid" in mps.ask(f"set_default_active_thread_percentage {value}").stdout
    assert mps.ask("get_default_active_thread_percentage").stdout == "100.0\n"


def test_mps_keeps_a_memory_limit_for_each_device(mps: Mps) -> None:
    mps.ask("set_default_device_pinned_mem_limit 0 8155M\nset_default_device_pinned_mem_limit 7 4G\n")
    assert (
        mps.ask("get_default_device_pinned_mem_limit 0\nget_default_device_pinned_mem_limit 7").stdout == "8155M\n4G\n"
    )
    assert "Invalid" in mps.ask("set_default_device_pinned_mem_limit 0 some").stdout


def test_mps_logs_commands_and_answers(mps: Mps) -> None:
    mps.ask("set_default_active_thread_percentage 10")
    log = (mps.log / "control.log").read_text()
    assert "Cmd:set_default_active_thread_percentage 10\n" in log
    assert "] 10.0\n" in log


def test_mps_runs_once(mps: Mps) -> None:
    again = mps.start()
    assert (again.returncode, again.stderr) == (1, "An instance of this daemon is already running\n")


def test_mps_starts_and_lists_a_server(mps: Mps) -> None:
    mps.ask("start_server -uid 0")
    server = int(mps.ask("get_server_list").stdout)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{server}/comm").read_text() != "nvidia-cuda-mps\n" and time.monotonic() < deadline:
        time.sleep(0.01)  # it is a copy of the daemon until it has become the other program
    assert Path(f"/proc/{server}/cmdline").read_bytes() == b"nvidia-cuda-mps-server\0"


def test_mps_quits_and_takes_its_socket_along(mps: Mps) -> None:
    mps.ask("quit")
    deadline = time.monotonic() + 5
    while (mps.pipe / "control").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    answer = mps.ask("get_default_active_thread_percentage")
    assert (answer.returncode, answer.stderr) == (1, "Cannot find MPS control daemon process\n")


def test_a_killed_mps_daemon_is_noticed_and_can_be_started_again(mps: Mps) -> None:
    os.kill(mps.pid(), 9)
    deadline = time.monotonic() + 5
    while mps.ask("get_server_list").returncode == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (mps.pipe / "control").exists()
    assert mps.ask("get_server_list").returncode == 1
    assert mps.start().returncode == 0
    assert mps.ask("get_default_active_thread_percentage").stdout == "100.0\n"
