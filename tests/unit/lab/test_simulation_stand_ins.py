"""The compiled stand-ins keep the contract of what they stand for: nvidia-smi, NVML and the MPS control daemon."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import nvidia_smi as nvidia_smi_parser
from lab.simulation import hardware
from tests.unit.lab.simulated_host import SimulatedHost

NVML_NOT_SUPPORTED, NVML_NOT_FOUND, NVML_INSUFFICIENT_SIZE, NVML_DRIVER_NOT_LOADED, NVML_TIMEOUT, NVML_LOST = (
    3,
    6,
    7,
    9,
    10,
    15,
)
XID_EVENT = 8


class Event(ctypes.Structure):
    """nvmlEventData_t"""

    _fields_ = (
        ("device", ctypes.c_void_p),
        ("type", ctypes.c_ulonglong),
        ("data", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


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


def test_the_xml_of_a_spark_has_one_gpu_without_memory(spark: SimulatedHost) -> None:
    log = ElementTree.fromstring(spark.smi("-q", "-x").stdout)
    assert log.findtext("driver_version") == hardware.load("gb10").driver.version
    assert [gpu.get("id") for gpu in log.findall("gpu")] == ["0000000F:01:00.0"]
    gpu = log.find("gpu")
    assert gpu is not None
    assert gpu.findtext("product_name") == "NVIDIA GB10"
    for missing in ("fb_memory_usage/total", "bar1_memory_usage/total", "mig_mode/current_mig", "ecc_mode/current_ecc"):
        assert gpu.findtext(missing) == "N/A"


def test_the_xml_of_a_server_has_eight_healthy_gpus(server: SimulatedHost) -> None:
    log = ElementTree.fromstring(server.smi("-q", "-x").stdout)
    assert log.findtext("attached_gpus") == "8"
    assert [gpu.findtext("minor_number") for gpu in log.findall("gpu")] == [str(index) for index in range(8)]
    for gpu in log.findall("gpu"):
        assert gpu.findtext("fb_memory_usage/total") == "81559 MiB"
        assert gpu.findtext("pci/pci_device_id") == "233010DE"
        assert gpu.findtext("ecc_errors/volatile/dram_uncorrectable") == "0"
        assert gpu.findtext("remapped_rows/remapped_row_failure") == "No"


def test_the_collection_reads_the_same_from_it_as_from_the_profile(server: SimulatedHost) -> None:
    profile = hardware.load("h100x8")
    document = nvidia_smi_parser.parse(server.smi("-q", "-x").stdout)
    assert document.driver_version == profile.driver.version
    assert [gpu.uuid for gpu in document.gpus] == [gpu["uuid"] for gpu in profile.gpus]
    assert [gpu.bus_id for gpu in document.gpus] == [gpu["pci_bus_id"] for gpu in profile.gpus]
    assert {gpu.memory_total_bytes for gpu in document.gpus} == {81559 * 2**20}


def test_a_value_that_is_missing_keeps_its_brackets_in_csv(spark: SimulatedHost) -> None:
    answer = spark.smi("--query-gpu=name,memory.total,utilization.gpu", "--format=csv,noheader,nounits")
    assert answer.stdout == "NVIDIA GB10, [N/A], 0\n"


def test_csv_has_a_header_with_units(server: SimulatedHost) -> None:
    answer = server.smi("-i", "3", "--query-gpu=index,memory.total,pci.bus_id,power.draw", "--format=csv")
    assert (
        answer.stdout
        == "index, memory.total [MiB], pci.bus_id, power.draw [W]\n3, 81559 MiB, 00000000:13:00.0, 100.89 W\n"
    )


def test_no_process_uses_a_simulated_gpu(spark: SimulatedHost) -> None:
    answer = spark.smi("--query-compute-apps=pid,used_memory", "--format=csv")
    assert (answer.returncode, answer.stdout) == (0, "pid, used_gpu_memory [MiB]\n")


@pytest.mark.parametrize(
    "wanted", ["0", "GPU-9b100000-0000-4000-8000-000000000000", "0000000F:01:00.0", "000f:01:00.0"]
)
def test_a_gpu_is_named_by_index_uuid_or_address(spark: SimulatedHost, wanted: str) -> None:
    assert (
        spark.smi("-i", wanted, "-L").stdout == "GPU 0: NVIDIA GB10 (UUID: GPU-9b100000-0000-4000-8000-000000000000)\n"
    )


def test_every_line_of_the_table_has_its_width(server: SimulatedHost) -> None:
    lines = server.smi().stdout.splitlines()
    assert {len(line) for line in lines[1:] if line.strip()} == {91}
    assert sum("81559MiB" in line for line in lines) == 8


@pytest.mark.parametrize("mode", ["EXCLUSIVE_PROCESS", "3"])
def test_the_compute_mode_is_set_as_the_mps_daemon_does_it(spark: SimulatedHost, mode: str) -> None:
    with spark.driver():
        answer = spark.smi("-i", "GPU-9b100000-0000-4000-8000-000000000000", "-c", mode)
    assert (answer.returncode, answer.stdout) == (
        0,
        "Set compute mode to EXCLUSIVE_PROCESS for GPU 0000000F:01:00.0.\nAll done.\n",
    )
    assert spark.smi("--query-gpu=compute_mode", "--format=csv,noheader").stdout == "Exclusive_Process\n"


def text_report(host: SimulatedHost, branch: str = "") -> dict[str, str]:
    """Path and value of each row of the first GPU in `nvidia-smi -q`."""
    if branch:
        host.set(f"driver_version={branch}")
    rows: dict[str, str] = {}
    open_labels: list[tuple[int, str]] = []
    for line in host.smi("-q", "-i", "0").stdout.partition("\nGPU ")[2].splitlines()[1:]:
        label, _, value = line.partition(" : ")
        depth = len(label) - len(label.lstrip())
        open_labels = [*((at, name) for at, name in open_labels if at < depth), (depth, label.strip())]
        rows["/".join(name for _, name in open_labels)] = value
    return rows


@pytest.mark.parametrize(
    ("branch", "there", "gone"),
    [
        ("550.90.07", {"Module ID", "GPU Reset Status/Reset Required", "Voltage/Graphics"}, {"Platform Info"}),
        ("565.57.01", {"Platform Info/RACK Serial Number", "Capabilities/EGM"}, {"Module ID", "GPU PDI"}),
        ("580.95.05", {"Platform Info/Tray Index", "GPU PDI", "Power Smoothing"}, {"GPU Reset Status", "Voltage"}),
        ("590.48.01", {"EDPp Multiplier", "GPU Power Readings/Average Power Draw"}, {"GPU Power Readings/Power Draw"}),
    ],
)
def test_the_report_has_the_rows_of_the_drivers_branch(
    server: SimulatedHost, branch: str, there: set[str], gone: set[str]
) -> None:
    rows = set(text_report(server, branch))
    assert there <= rows
    assert not gone & rows


@pytest.mark.parametrize(
    ("fault", "row", "healthy", "broken"),
    [
        ("ecc_uncorrected", "ECC Errors/Volatile/DRAM Uncorrectable", "0", "1"),
        ("row_remap_pending", "Remapped Rows/Pending", "No", "Yes"),
        ("row_remap_failed", "Remapped Rows/Remapping Failure Occurred", "No", "Yes"),
        ("hot", "Temperature/GPU T.Limit Temp", "57 C", "-3 C"),
        ("throttle_thermal", "Clocks Event Reasons/HW Slowdown/HW Thermal Slowdown", "Not Active", "Active"),
        ("throttle_power", "Clocks Event Reasons/HW Slowdown/HW Power Brake Slowdown", "Not Active", "Active"),
        ("pcie_width", "PCI/GPU Link Info/Link Width/Current", "16x", "8x"),
        ("fabric_not_ready", "Fabric/State", "Completed", "In Progress"),
        ("persistence_off", "Persistence Mode", "Enabled", "Disabled"),
        ("mig_on", "MIG Mode/Current", "Disabled", "Enabled"),
        ("gsp_mismatch", "GSP Firmware Version", "550.90.07", "550.54.15"),
        ("ecc_sram_threshold", "ECC Errors/Aggregate/SRAM Threshold Exceeded", "No", "Yes"),
    ],
)
def test_the_report_shows_a_fault(server: SimulatedHost, fault: str, row: str, healthy: str, broken: str) -> None:
    assert text_report(server)[row] == healthy
    server.run("fault", fault)
    assert text_report(server)[row] == broken


@pytest.mark.parametrize(
    ("parts", "sections"),
    [
        ("ECC,ROW_REMAPPER", {"ECC Mode", "ECC Errors", "Remapped Rows"}),
        ("MEMORY", {"FB Memory Usage", "BAR1 Memory Usage", "Conf Compute Protected Memory Usage"}),
        ("PERFORMANCE", {"Performance State", "Clocks Event Reasons", "Sparse Operation Mode"}),
    ],
)
def test_only_the_parts_that_are_asked_for_are_shown(server: SimulatedHost, parts: str, sections: set[str]) -> None:
    lines = server.smi("-q", "-i", "0", "-d", parts).stdout.splitlines()
    assert {line.split(" : ")[0].strip() for line in lines if re.match(r" {4}\S", line)} == sections


def test_text_and_xml_say_the_same(server: SimulatedHost) -> None:
    gpu = ElementTree.fromstring(server.smi("-q", "-x").stdout).find("gpu")
    assert gpu is not None
    xml = [element.text.strip() for element in gpu.iter() if element.text and element.text.strip()]
    text = [value.removeprefix("0x").strip() for value in text_report(server).values() if value]
    assert {value for value in text if value not in ("N/A", "None")} <= {value.removeprefix("0x") for value in xml}


def test_every_field_that_is_listed_can_be_asked_for(server: SimulatedHost) -> None:
    fields = [line.strip('"') for line in server.smi("--help-query-gpu").stdout.splitlines() if line.startswith('"')]
    answer = server.smi("-i", "0", f"--query-gpu={','.join(fields)}", "--format=csv")
    header, values = answer.stdout.splitlines()
    assert len(fields) > 150
    assert [name.split(" [")[0] for name in header.split(", ")] == fields
    assert len(values.split(", ")) == len(fields)


@pytest.mark.parametrize(
    ("fault", "field", "healthy", "broken"),
    [
        ("throttle_thermal", "clocks_event_reasons.active", "0x0000000000000001", "0x0000000000000048"),
        ("throttle_thermal", "clocks_throttle_reasons.hw_slowdown", "Not Active", "Active"),
        ("ecc_uncorrected", "ecc.errors.uncorrected.volatile.total", "0", "1"),
        ("ecc_off", "ecc.errors.uncorrected.volatile.total", "0", "[N/A]"),
        ("pcie_speed", "pcie.link.gen.current", "5", "3"),
        ("fabric_not_ready", "fabric.status", "Success", "[N/A]"),
        ("mig_pending", "mig.mode.pending", "Disabled", "Enabled"),
        ("mig_on", "utilization.gpu", "0", "[N/A]"),
    ],
)
def test_a_query_shows_a_fault(server: SimulatedHost, fault: str, field: str, healthy: str, broken: str) -> None:
    query = ("-i", "0", f"--query-gpu={field}", "--format=csv,noheader,nounits")
    assert server.smi(*query).stdout == f"{healthy}\n"
    server.run("fault", fault)
    assert server.smi(*query).stdout == f"{broken}\n"


def test_links_are_up_and_one_can_be_down(server: SimulatedHost) -> None:
    assert server.smi("nvlink", "-s").stdout.count("26.562 GB/s") == 8 * 18
    server.run("fault", "nvlink_down", "--gpu", "3", "--link", "9")
    assert server.smi("nvlink", "--status", "-i", "3").stdout.count("26.562 GB/s") == 17
    assert "\t Link 9: <inactive>\n" in server.smi("nvlink", "-s", "-i", "3").stdout
    assert "\t Link 9: Replay Errors: 12\n" in server.smi("nvlink", "-e", "-i", "3").stdout


def test_a_gpu_without_links_is_passed_over(spark: SimulatedHost) -> None:
    answer = spark.smi("nvlink", "--status", "-i", "0")
    assert (answer.returncode, answer.stdout) == (0, "")


def test_all_pairs_of_gpus_have_all_links(server: SimulatedHost) -> None:
    rows = [line.split("\t") for line in server.smi("topo", "-m").stdout.splitlines() if line.startswith("GPU")]
    assert [row[1:9] for row in rows] == [["NV18"] * gpu + [" X "] + ["NV18"] * (7 - gpu) for gpu in range(8)]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--nonsense"], 2),
        (["-q", "-d", "EVERYTHING"], 2),
        (["-q", "-x", "-d", "ECC"], 2),
        (["mig"], 2),
        (["mig", "-cgi", "9"], 6),
        (["topo"], 2),
        (["nvlink", "-s", "-e"], 2),
        (["-pm", "maybe"], 2),
        (["-pl", "much"], 2),
        (["--query-gpu=name,nonsense", "--format=csv"], 2),
        (["--query-gpu=name"], 2),
        (["-c", "SOMETIMES"], 2),
        (["-i", "7"], 6),
    ],
)
def test_what_it_does_not_understand_is_refused(spark: SimulatedHost, arguments: list[str], code: int) -> None:
    assert spark.smi(*arguments).returncode == code


@pytest.mark.parametrize(
    ("assignment", "code", "message"),
    [
        ("init_error=9", 9, "couldn't communicate with the NVIDIA driver"),
        ("init_error=18", 18, "Driver/library version mismatch\nNVML library version: 580.95\n"),
        ("gpu_count=0", 6, "No devices were found"),
        ("gpu.0.lost=yes", 15, "GPU is lost"),
    ],
)
def test_a_broken_driver_or_gpu_has_its_exit_code(
    spark: SimulatedHost, assignment: str, code: int, message: str
) -> None:
    spark.set(assignment)
    answer = spark.smi()
    assert answer.returncode == code
    assert message in answer.stdout


def test_half_a_state_file_is_no_driver(spark: SimulatedHost) -> None:
    spark.state.write_text(spark.state.read_text().replace("complete=yes\n", ""))
    assert spark.smi("-L").returncode == 9


# ---- NVML ----


@pytest.fixture
def spark_nvml(spark: SimulatedHost) -> Iterator[ctypes.CDLL]:
    nvml = spark.nvml()
    assert nvml.nvmlInit_v2() == 0
    yield nvml
    nvml.nvmlShutdown()


@pytest.fixture
def server_nvml(server: SimulatedHost) -> Iterator[ctypes.CDLL]:
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
    assert spark_nvml.nvmlDeviceGetBridgeChipInfo(device(spark_nvml, 0), None) == NVML_NOT_SUPPORTED


def test_a_change_of_the_state_is_seen_while_running(spark: SimulatedHost, spark_nvml: ctypes.CDLL) -> None:
    gpu = device(spark_nvml, 0)
    assert number(spark_nvml.nvmlDeviceGetTemperature, gpu, 0) == 40
    spark.set("gpu.0.temperature_gpu_c=91")
    assert number(spark_nvml.nvmlDeviceGetTemperature, gpu, 0) == 91
    spark.set("gpu.0.lost=yes")
    assert spark_nvml.nvmlDeviceGetTemperature(gpu, 0, ctypes.byref(ctypes.c_uint())) == NVML_LOST


def test_a_state_that_is_being_written_is_not_taken(spark: SimulatedHost, spark_nvml: ctypes.CDLL) -> None:
    spark.state.write_text("gpu_count=0\n")
    assert number(spark_nvml.nvmlDeviceGetCount_v2) == 1


def test_an_xid_reaches_the_one_who_waits(server: SimulatedHost, server_nvml: ctypes.CDLL) -> None:
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


def test_without_a_state_there_is_no_driver(spark: SimulatedHost) -> None:
    spark.state.unlink()
    assert spark.nvml().nvmlInit_v2() == NVML_DRIVER_NOT_LOADED


def test_cuda_says_that_there_is_no_device(spark: SimulatedHost) -> None:
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
def mps(tmp_path: Path, stand_ins: Path) -> Iterator[Mps]:
    control = Mps(stand_ins, tmp_path)
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
