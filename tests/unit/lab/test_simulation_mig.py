"""MIG on the simulated H100: geometry, what nvidia-smi makes of it, what NVML's users see, and what is kept."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import pynvml  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.simulation import hardware
from lab.simulation.host import driver, mig
from lab.simulation.host.state import Change, Ledger, parse
from tests.unit.lab.simulated_host import SimulatedHost

STATE = hardware.render_state(hardware.load("h100x8"))


def partitioned() -> Change:
    """A server whose GPU 0 is in MIG mode."""
    change = Change(parse(STATE), Ledger())
    change.set("gpu.0.mig_mode", "Enabled")
    return change


@pytest.fixture
def mig_server(server: SimulatedHost) -> Iterator[SimulatedHost]:
    """A server with a driver that keeps changes, GPU 0 in MIG mode."""
    with server.driver():
        assert server.smi("-i", "0", "-mig", "1").returncode == 0
        yield server


# ---- Geometry ----


@pytest.mark.parametrize(
    ("profiles", "starts"),
    [
        ([19] * 7, [0, 1, 2, 3, 4, 5, 6]),
        ([15] * 4, [0, 2, 4, 6]),
        ([14, 14, 14, 19], [0, 2, 4, 6]),
        ([9, 9], [0, 4]),
        ([5, 9], [0, 4]),
        ([0], [0]),
    ],
)
def test_what_fits_together_can_be_made(profiles: list[int], starts: list[int]) -> None:
    change = partitioned()
    numbers = [mig.create_gpu_instance(change, 0, profile) for profile in profiles]
    made = {instance.number: instance.start for instance in mig.gpu_instances(change.values, 0)}
    assert [made[number] for number in numbers] == starts


@pytest.mark.parametrize("profiles", [[19] * 8, [9, 9, 19], [0, 19], [5, 5], [20, 20], [15] * 5, [14] * 4])
def test_what_does_not_fit_is_refused_at_the_last_one(profiles: list[int]) -> None:
    change = partitioned()
    for profile in profiles[:-1]:
        mig.create_gpu_instance(change, 0, profile)
    with pytest.raises(mig.MigError) as refused:
        mig.create_gpu_instance(change, 0, profiles[-1])
    assert refused.value.code == mig.INSUFFICIENT_RESOURCES


@given(st.lists(st.sampled_from([19, 20, 15, 14, 9, 5, 0]), max_size=10))
def test_instances_never_overlap_nor_take_more_than_there_is(wanted: list[int]) -> None:
    change = partitioned()
    for profile in wanted:
        with contextlib.suppress(mig.MigError):
            mig.create_gpu_instance(change, 0, profile)
    instances = mig.gpu_instances(change.values, 0)
    slices = [at for one in instances for at in range(one.start, one.start + one.profile.size)]
    assert len(slices) == len(set(slices))
    assert max(slices, default=0) < mig.MEMORY_SLICES
    assert sum(one.profile.slices for one in instances) <= mig.COMPUTE_SLICES


def test_a_gpu_instance_is_shared_by_compute_instances() -> None:
    change = partitioned()
    instance = mig.create_gpu_instance(change, 0, 9)
    for _ in range(3):
        mig.create_compute_instance(change, 0, instance, 0)
    with pytest.raises(mig.MigError):
        mig.create_compute_instance(change, 0, instance, 0)
    assert [one.start for one in mig.compute_instances(change.values, 0, instance)] == [0, 1, 2]


def test_an_instance_in_use_is_not_destroyed() -> None:
    change = partitioned()
    instance = mig.create_gpu_instance(change, 0, 19)
    mig.create_compute_instance(change, 0, instance, 0)
    with pytest.raises(mig.MigError) as refused:
        mig.destroy_gpu_instance(change, 0, instance)
    assert refused.value.code == mig.IN_USE


def test_the_same_place_has_the_same_uuid() -> None:
    first, second = partitioned(), partitioned()
    for change in (first, second):
        mig.create_compute_instance(change, 0, mig.create_gpu_instance(change, 0, 14), 1)
    assert mig.compute_instances(first.values, 0, 3) == mig.compute_instances(second.values, 0, 3)


# ---- nvidia-smi ----


def test_nvidia_smi_makes_lists_and_destroys_instances(mig_server: SimulatedHost) -> None:
    made = mig_server.smi("mig", "-i", "0", "-cgi", "9,3g.40gb", "-C")
    assert made.returncode == 0
    assert made.stdout.splitlines()[:2] == [
        "Successfully created GPU instance ID  1 on GPU  0 using profile MIG 3g.40gb (ID  9)",
        "Successfully created compute instance ID  0 on GPU  0 GPU instance ID  1 using profile MIG 3g.40gb (ID  2)",
    ]
    listed = mig_server.smi("-L").stdout.splitlines()
    assert [re.sub(r"MIG-[0-9a-f-]{36}", "MIG-...", line) for line in listed[1:3]] == [
        "  MIG 3g.40gb     Device  0: (UUID: MIG-...)",
        "  MIG 3g.40gb     Device  1: (UUID: MIG-...)",
    ]
    assert listed[3].startswith("GPU 1:")
    refused = mig_server.smi("mig", "-dgi")
    assert (refused.returncode, "In use by another client" in refused.stdout) == (19, True)
    assert mig_server.smi("mig", "-dci").returncode == 0
    assert mig_server.smi("mig", "-dgi").stdout == (
        "Successfully destroyed GPU instance ID  1 from GPU  0\nSuccessfully destroyed GPU instance ID  2 from GPU  0\n"
    )


def test_profiles_and_placements_are_those_of_h100(mig_server: SimulatedHost) -> None:
    assert mig_server.smi("mig", "-lgipp").stdout.splitlines() == [
        "GPU  0 Profile ID 19 Placements: {0,1,2,3,4,5,6}:1",
        "GPU  0 Profile ID 20 Placements: {0,1,2,3,4,5,6}:1",
        "GPU  0 Profile ID 15 Placements: {0,2,4,6}:2",
        "GPU  0 Profile ID 14 Placements: {0,2,4}:2",
        "GPU  0 Profile ID  9 Placements: {0,4}:4",
        "GPU  0 Profile ID  5 Placement : {0}:4",
        "GPU  0 Profile ID  0 Placement : {0}:8",
    ]
    mig_server.smi("mig", "-cgi", "9")
    listed = mig_server.smi("mig", "-lgip").stdout
    assert {len(line) for line in listed.splitlines()} == {79}
    assert re.findall(r"MIG (\S+) +(\d+) +(\d/\d)", listed) == [
        ("1g.10gb", "19", "3/7"),
        ("1g.10gb+me", "20", "1/1"),
        ("1g.20gb", "15", "2/4"),
        ("2g.20gb", "14", "1/3"),
        ("3g.40gb", "9", "1/2"),
        ("4g.40gb", "5", "0/1"),
        ("7g.80gb", "0", "0/1"),
    ]


@pytest.mark.parametrize(("option", "width"), [("-lgi", 57), ("-lci", 70), ("-lcip", 88)])
def test_every_line_of_a_list_has_its_width(mig_server: SimulatedHost, option: str, width: int) -> None:
    mig_server.smi("mig", "-cgi", "9,19", "-C")
    assert {len(line) for line in mig_server.smi("mig", option).stdout.splitlines()} == {width}


def test_the_table_lists_mig_devices(mig_server: SimulatedHost) -> None:
    mig_server.smi("mig", "-cgi", "19,9", "-C")
    lines = mig_server.smi().stdout.splitlines()
    assert {len(line) for line in lines[1:] if line.strip()} == {91}
    devices = [line for line in lines if re.match(r"\|  0 +\d+   0   \d", line)]
    assert ["9984MiB" in devices[1], "40448MiB" in devices[0]] == [True, True]


def test_the_report_describes_a_mig_device(mig_server: SimulatedHost) -> None:
    mig_server.smi("mig", "-cgi", "9", "-C")
    device = ElementTree.fromstring(mig_server.smi("-q", "-x").stdout).find("gpu/mig_devices/mig_device")
    assert device is not None
    found = [device.findtext(path) for path in ("gpu_instance_id", "fb_memory_usage/total", "bar1_memory_usage/total")]
    assert found == ["1", "40448 MiB", f"{131072 // 2} MiB"]
    assert device.findtext("device_attributes/shared/multiprocessor_count") == "60"
    assert "\n        GPU Instance ID                   : 1\n" in mig_server.smi("-q").stdout


def test_mig_needs_its_mode(server: SimulatedHost) -> None:
    answer = server.smi("mig", "-cgi", "9")
    assert (answer.returncode, answer.stdout) == (6, "No MIG-enabled devices found.\n")


def test_gb10_has_no_mig(spark: SimulatedHost) -> None:
    with spark.driver():
        answer = spark.smi("-mig", "1")
    assert (answer.returncode, "Not Supported" in answer.stdout) == (3, True)


def test_what_a_tool_set_is_gone_after_a_restart(mig_server: SimulatedHost) -> None:
    mig_server.smi("mig", "-cgi", "9", "-C")
    mig_server.smi("-i", "0", "-c", "PROHIBITED")
    mig_server.smi("-i", "0", "-pm", "0")
    before = mig_server.smi("--query-gpu=mig.mode.current,compute_mode,persistence_mode", "--format=csv,noheader")
    assert before.stdout.splitlines()[0] == "Enabled, Prohibited, Disabled"
    driver.restart(mig_server.place)
    after = mig_server.smi("--query-gpu=mig.mode.current,compute_mode,persistence_mode", "--format=csv,noheader")
    assert after.stdout.splitlines()[0] == "Disabled, Default, Enabled"
    assert "MIG" not in mig_server.smi("-L").stdout


def test_broken_hardware_is_still_broken_after_a_restart(server: SimulatedHost) -> None:
    server.run("fault", "persistence_off", "--gpu", "2")
    driver.restart(server.place)
    assert server.values()["gpu.2.persistence_mode"] == "Disabled"
    server.run("undo", "persistence_off")
    assert "gpu.2.persistence_mode" not in server.values()


def test_a_reset_makes_a_pending_mode_real_and_clears_volatile_errors(server: SimulatedHost) -> None:
    server.run("fault", "mig_pending", "--gpu", "3")
    server.run("fault", "row_remap_pending", "--gpu", "3")
    query = ("-i", "3", "--query-gpu=mig.mode.current,remapped_rows.pending,ecc.errors.uncorrected.volatile.total")
    assert server.smi(*query, "--format=csv,noheader").stdout == "Disabled, Yes, 1\n"
    with server.driver():
        assert server.smi("-i", "3", "-r").stdout == "GPU 00000000:13:00.0 was successfully reset.\nAll done.\n"
    assert server.smi(*query, "--format=csv,noheader").stdout == "Enabled, No, 0\n"


@pytest.mark.parametrize(
    ("line", "root", "code"),
    [
        ("compute-mode 0 Sometimes", True, 2),
        ("compute-mode 8 Default", True, 2),
        ("compute-mode 0 Default", False, 4),
        ("power-limit 0 900", True, 2),
        ("power-limit 0 much", True, 2),
        ("create-gpu-instance 0 19", True, 3),
        ("format-disk 0", True, 2),
        ("", True, 2),
        ("compute-mode 0", True, 2),
    ],
)
def test_the_driver_refuses_what_the_real_one_would(server: SimulatedHost, line: str, root: bool, code: int) -> None:
    before = server.state.read_bytes()
    assert driver.handle(server.place, line, root=root)[0] == code
    assert server.state.read_bytes() == before


def test_a_lost_gpu_takes_no_setting(server: SimulatedHost) -> None:
    server.run("fault", "gpu_lost", "--gpu", "1")
    assert driver.handle(server.place, "compute-mode 1 Default", root=True)[0] == driver.GPU_IS_LOST


def test_without_a_driver_nothing_is_set(server: SimulatedHost) -> None:
    answer = server.smi("-i", "0", "-c", "PROHIBITED")
    assert (answer.returncode, "Unknown Error" in answer.stdout) == (255, True)


# ---- NVML, asked as NVIDIA's own Python binding does ----


@pytest.fixture
def nvml(mig_server: SimulatedHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedHost]:
    """The binding on the server's library."""
    monkeypatch.setattr(pynvml, "nvmlLib", mig_server.nvml())
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    pynvml.nvmlInit()
    yield mig_server
    pynvml.nvmlShutdown()


def test_nvml_makes_a_mig_device_and_describes_it(nvml: SimulatedHost) -> None:
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    assert pynvml.nvmlDeviceGetMigMode(gpu) == [1, 1]
    info = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(gpu, pynvml.NVML_GPU_INSTANCE_PROFILE_3_SLICE)
    instance = pynvml.nvmlDeviceCreateGpuInstance(gpu, info.id)
    profile = pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(
        instance, pynvml.NVML_COMPUTE_INSTANCE_PROFILE_3_SLICE, 0
    )
    pynvml.nvmlGpuInstanceCreateComputeInstance(instance, profile.id)
    device = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 0)
    attributes = pynvml.nvmlDeviceGetAttributes(device)
    assert pynvml.nvmlDeviceGetName(device) == "NVIDIA H100 80GB HBM3 MIG 3g.40gb"
    assert (attributes.multiprocessorCount, attributes.memorySizeMB, attributes.gpuInstanceSliceCount) == (60, 40448, 3)
    assert pynvml.nvmlDeviceGetMemoryInfo(device).total == 40448 * 2**20
    assert pynvml.nvmlDeviceGetGpuInstanceId(device) == pynvml.nvmlGpuInstanceGetInfo(instance).id == 1
    parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device)
    assert pynvml.nvmlDeviceGetUUID(parent) == pynvml.nvmlDeviceGetUUID(gpu)
    same = pynvml.nvmlDeviceGetHandleByUUID(pynvml.nvmlDeviceGetUUID(device))
    assert pynvml.nvmlDeviceGetUUID(same) == pynvml.nvmlDeviceGetUUID(device)


def test_a_destroyed_mig_device_is_no_handle_any_more(nvml: SimulatedHost) -> None:
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    nvml.smi("mig", "-cgi", "19", "-C")
    device = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 0)
    nvml.smi("mig", "-dci")
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetName(device)
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 0)


def test_nvml_says_how_much_room_is_left(nvml: SimulatedHost) -> None:
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    assert pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, 19) == 7
    nvml.smi("mig", "-cgi", "5")
    assert pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, 19) == 3
    placements = pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)
    assert placements == 7


def test_nvml_keeps_the_compute_mode_for_everybody(nvml: SimulatedHost) -> None:
    gpu = pynvml.nvmlDeviceGetHandleByIndex(4)
    pynvml.nvmlDeviceSetComputeMode(gpu, pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
    assert pynvml.nvmlDeviceGetComputeMode(gpu) == pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
    assert nvml.smi("-i", "4", "--query-gpu=compute_mode", "--format=csv,noheader").stdout == "Exclusive_Process\n"


def test_nvml_reads_what_health_checks_ask_for(nvml: SimulatedHost) -> None:
    nvml.run("fault", "ecc_uncorrected", "--gpu", "5")
    nvml.run("fault", "row_remap_pending", "--gpu", "5")
    nvml.run("fault", "nvlink_down", "--gpu", "5", "--link", "4")
    nvml.run("fault", "throttle_thermal", "--gpu", "5")
    gpu = pynvml.nvmlDeviceGetHandleByIndex(5)
    counters = (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
    assert pynvml.nvmlDeviceGetTotalEccErrors(gpu, *counters) == 1
    assert pynvml.nvmlDeviceGetRemappedRows(gpu) == (0, 1, 1, 0)
    links = [pynvml.nvmlDeviceGetNvLinkState(gpu, link) for link in range(18)]
    assert [link for link, up in enumerate(links) if not up] == [4]
    assert pynvml.nvmlDeviceGetNvLinkErrorCounter(gpu, 4, pynvml.NVML_NVLINK_ERROR_DL_REPLAY) == 12
    reasons = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)
    assert reasons == pynvml.nvmlClocksThrottleReasonHwSlowdown | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown
    fields = [pynvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL, pynvml.NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL]
    assert [field.value.ullVal for field in pynvml.nvmlDeviceGetFieldValues(gpu, fields)] == [1, 12]
    assert pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM) == 990
    assert pynvml.nvmlDeviceGetPowerManagementLimit(gpu) == 700000
    assert pynvml.nvmlDeviceGetPerformanceState(gpu) == 0


def test_the_fabric_is_not_ready_when_it_is_not(nvml: SimulatedHost) -> None:
    nvml.run("fault", "fabric_not_ready", "--gpu", "7")
    states = []
    for index in (6, 7):
        fabric = pynvml.c_nvmlGpuFabricInfo_t()
        pynvml.nvmlDeviceGetGpuFabricInfo(pynvml.nvmlDeviceGetHandleByIndex(index), pynvml.byref(fabric))
        states.append(fabric.state)
    assert states == [pynvml.NVML_GPU_FABRIC_STATE_COMPLETED, pynvml.NVML_GPU_FABRIC_STATE_IN_PROGRESS]


def test_a_missing_gpu_moves_the_others_up(nvml: SimulatedHost) -> None:
    nvml.run("fault", "gpu_missing", "--gpu", "2")
    assert pynvml.nvmlDeviceGetCount() == 7
    third = pynvml.nvmlDeviceGetHandleByIndex(2)
    assert pynvml.nvmlDeviceGetPciInfo(third).busId == "00000000:13:00.0"
    assert (pynvml.nvmlDeviceGetIndex(third), pynvml.nvmlDeviceGetMinorNumber(third)) == (2, 3)
    assert nvml.smi("-L").stdout.count("GPU ") == 7
