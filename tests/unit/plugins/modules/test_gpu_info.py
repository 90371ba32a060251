"""The module gpu_info on trees that stand for hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.modules import gpu_info
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import (
    CDI_YAML,
    GB10_XML,
    add_driver,
    add_pci,
    add_program,
    h100_xml,
    run_module,
    write,
)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty host: its root, with nothing but a directory for programs."""
    programs = tmp_path / "usr/bin"
    programs.mkdir(parents=True)
    monkeypatch.setattr(gpu_info, "ROOT", str(tmp_path))
    monkeypatch.setattr(
        "ansible.module_utils.basic.AnsibleModule.get_bin_path",
        lambda self, name, **options: str(programs / name) if (programs / name).exists() else None,
    )
    return tmp_path


def readings(**arguments: Any) -> dict[str, Any]:
    result = run_module(gpu_info, arguments)
    assert (result["exit_status"], result["changed"]) == (0, False)
    found: dict[str, Any] = result["readings"]
    return found


def add_smi(host: Path, xml: str, capability: str = "12.1") -> None:
    write(host / "answer.xml", xml)
    query = f"echo 'GPU-10b10b10-0000-4000-8000-000000000001, {capability}'"
    add_program(host / "usr/bin", "nvidia-smi", f'case "$1" in -q) cat {host}/answer.xml;; *) {query};; esac\n')


def test_a_bare_host_gives_values_that_are_missing_with_reasons(host: Path) -> None:
    found = readings()
    assert found["gpus"] is None
    assert found["nvidia_smi"]["answered"] is False
    assert found["missing"]["gpus"] == {"kind": "absent", "reason": "nvidia-smi is not installed"}
    assert found["missing"]["container_toolkit.version"]["kind"] == "absent"
    assert found["cdi_specifications"] == []
    assert found["simulated"] is False


def test_a_complete_host_is_read_in_one_structure(host: Path) -> None:
    add_smi(host, GB10_XML)
    add_program(
        host / "usr/bin", "nvidia-ctk", "echo 'NVIDIA Container Toolkit CLI version 1.17.8'; echo 'commit: 0'\n"
    )
    add_pci(host, "000f:01:00.0", "0x2e12", "0x030000")
    add_driver(host, "580.95.05")
    write(host / "etc/cdi/nvidia.yaml", CDI_YAML)
    write(host / "etc/cdi/notes.txt", "not a specification")
    write(host / "etc/baremetal-gpu/simulated.json", '{"stand_ins": ["nvml"]}')
    found = readings()
    assert found["gpus"][0]["compute_capability"] == "12.1"
    assert "gpus[0].compute_capability" not in found["missing"]
    assert found["missing"]["gpus[0].memory_total_bytes"]["kind"] == "not_supported"
    assert found["driver"] == {
        "version": "580.95.05",
        "cuda_version": "13.0",
        "kernel_version": "580.95.05",
        "library_version": "580.95.05",
    }
    assert [item["path"] for item in found["cdi_specifications"]] == ["/etc/cdi/nvidia.yaml"]
    assert found["container_toolkit"] == {"version": "1.17.8"}
    assert found["pci_gpus"][0]["pci_id"] == "10de:2e12"
    assert (found["simulated"], found["stand_ins"]) == (True, ["nvml"])


def nulls(value: Any, path: str) -> set[str]:
    """Paths of everything below a value that is null."""
    if value is None:
        return {path}
    if isinstance(value, dict):
        return {found for name, item in value.items() for found in nulls(item, f"{path}.{name}")}
    return set()


def test_every_null_has_a_reason(host: Path) -> None:
    add_smi(host, GB10_XML, capability="[N/A]")
    found = readings()
    empty = {path for name, value in found["gpus"][0].items() for path in nulls(value, f"gpus[0].{name}")}
    empty |= nulls(found["host"], "host") | nulls(found["kernel_log"], "kernel_log")
    assert empty
    assert empty <= set(found["missing"])


def test_a_host_s_links_adapters_services_and_kernel_log_are_read(host: Path) -> None:
    write(host / "answer.xml", h100_xml(1))
    uuid = "GPU-6810000-0000-4000-8000-000000000000"
    links = f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {uuid})\n\t Link 0: 26.562 GB/s\n\t Link 1: <inactive>\n"
    errors = f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {uuid})\n\t Link 0: Replay Errors: 3\n"
    write(host / "links", links)
    write(host / "errors", errors)
    script = f'case "$1$2" in -q-x) cat {host}/answer.xml;; nvlink-s) cat {host}/links;; nvlink-e) cat {host}/errors;; esac\n'
    add_program(host / "usr/bin", "nvidia-smi", script)
    show = "Id=nvidia-fabricmanager.service\\nLoadState=loaded\\nActiveState=active\\nSubState=running"
    add_program(host / "usr/bin", "systemctl", f"printf '{show}\\n'\n")
    add_program(host / "usr/bin", "nv-fabricmanager", "echo 'Fabric Manager version is : 550.90.07'\n")
    write(host / "sys/class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE\n")
    write(host / "dev/kmsg", "4,0,1000000,-;NVRM: Xid (PCI:0000:10:00): 79, pid=1, GPU has fallen off the bus.\n")
    write(host / "proc/sys/kernel/random/boot_id", "b-1\n")
    write(host / "proc/uptime", "600.25 100.00\n")
    found = readings()
    assert found["nvlinks"][0]["speeds_gb_per_s"] == {"0": 26.562, "1": None}
    assert found["nvlinks"][0]["errors"] == {"0": {"replay": 3}}
    assert found["host"]["fabric_manager"]["version"] == "550.90.07"
    assert found["host"]["fabric_manager"]["service"]["active"] is True
    assert (found["host"]["boot_id"], found["host"]["uptime_s"]) == ("b-1", 600.25)
    assert found["rdma_adapters"][0]["ports"][0]["state"] == "ACTIVE"
    assert found["kernel_log"]["events"][0]["number"] == 79
    assert found["kernel_log"]["complete"] is True


def test_the_csv_answers_where_the_xml_cannot_be_read(host: Path) -> None:
    table = "uuid, name, pci.bus_id, driver_version\nGPU-1, NVIDIA H100 80GB HBM3, 00000000:10:00.0, 550.90.07\n"
    write(host / "table", table)
    add_program(
        host / "usr/bin", "nvidia-smi", f'case "$1" in -q) echo "<nvidia_smi_log>";; *) cat {host}/table;; esac\n'
    )
    found = readings()
    assert (found["nvidia_smi"]["answered"], found["nvidia_smi"]["source"]) == (True, "nvidia-smi --query-gpu")
    assert found["gpus"][0]["bus_id"] == "0000:10:00.0"


def test_a_kernel_log_that_cannot_be_read_is_missing_and_not_empty(host: Path) -> None:
    found = readings()
    assert found["kernel_log"] is None
    assert "/dev/kmsg: No such file or directory" in found["missing"]["kernel_log"]["reason"]


def test_a_driver_that_hangs_ends_the_reading_in_time(host: Path) -> None:
    add_program(host / "usr/bin", "nvidia-smi", "exec sleep 60\n")
    found = readings(timeout_s=0.3)
    assert found["missing"]["gpus"] == {"kind": "timeout", "reason": "nvidia-smi did not answer within 0.3 s"}
    assert found["gpus"] is None


def test_a_driver_that_fails_says_why(host: Path) -> None:
    add_program(
        host / "usr/bin", "nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18\n"
    )
    found = readings()
    assert found["missing"]["gpus"]["kind"] == "failed"
    assert "ended with 18: Failed to initialize NVML: Driver/library version mismatch" in found["nvidia_smi"]["message"]


def test_an_answer_that_is_cut_is_no_answer(host: Path) -> None:
    add_smi(host, GB10_XML[:700])
    assert readings()["missing"]["gpus"]["kind"] == "unreadable"


def test_a_cdi_file_that_cannot_be_read_is_told(host: Path) -> None:
    write(host / "etc/cdi/broken.yaml", "{ this: is [not")
    assert readings()["missing"]["cdi_specifications[/etc/cdi/broken.yaml]"]["kind"] == "unreadable"


def test_a_cdi_file_reached_by_two_ways_counts_once(host: Path) -> None:
    write(host / "run/cdi/nvidia.yaml", CDI_YAML)
    (host / "var").mkdir()
    (host / "var/run").symlink_to("../run")
    (host / "etc/cdi").mkdir(parents=True)
    (host / "etc/cdi/nvidia.yaml").symlink_to("../../run/cdi/nvidia.yaml")
    assert len(readings()["cdi_specifications"]) == 1


def test_check_mode_reads_the_same(host: Path) -> None:
    add_smi(host, GB10_XML)
    plain, check = (run_module(gpu_info, {}, check_mode=mode)["readings"] for mode in (False, True))
    for item in (plain, check):
        item["nvidia_smi"].pop("elapsed_s")
    assert plain == check
