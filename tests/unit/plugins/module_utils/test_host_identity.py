"""Readings from files of a host."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.host_identity import (
    parse_dgx_release,
    read_dgx_release,
    read_dmi,
    read_driver_versions,
    read_pci_gpus,
    read_stand_ins,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import ABSENT, UNREADABLE, MissingLog
from ansible_collections.baremetal.gpu.plugins.module_utils.mps_control import read_mps_daemons
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import DATA, add_driver, add_pci, write


def test_the_last_update_of_a_dgx_release_counts_and_the_serial_is_left_out() -> None:
    release = parse_dgx_release((DATA / "dgx-release" / "updated-twice.txt").read_text(encoding="utf-8"))
    assert (release.ota_version, release.software_build_version) == ("7.4.0", "7.2.3")
    assert release.platform == "Example Box G1n AI Station"
    assert "CANARY" not in repr(release)


def test_a_factory_system_has_no_update() -> None:
    assert parse_dgx_release('DGX_NAME="DGX Spark"\nDGX_SWBUILD_VERSION="7.2.3"\n').ota_version is None


@given(st.text())
def test_any_text_is_a_release(text: str) -> None:
    parse_dgx_release(text)


def test_only_nvidia_gpus_of_the_pci_bus_are_listed(tmp_path: Path) -> None:
    add_pci(tmp_path, "000f:01:00.0", "0x2e12", "0x030000")
    add_pci(tmp_path, "0000:10:00.0", "0x2330", "0x030200")
    add_pci(tmp_path, "0000:20:00.0", "0x22a3", "0x068000")  # an NVSwitch
    add_pci(tmp_path, "0000:30:00.0", "0x1234", "0x030000", vendor="0x1a03")  # a server's own graphics
    found = read_pci_gpus(str(tmp_path), MissingLog())
    assert found is not None
    assert [(gpu.address, gpu.pci_id, gpu.numa_node) for gpu in found] == [
        ("0000:10:00.0", "10de:2330", None),
        ("000f:01:00.0", "10de:2e12", None),
    ]


def test_a_bus_that_cannot_be_listed_is_not_an_empty_one(tmp_path: Path) -> None:
    log = MissingLog()
    assert read_pci_gpus(str(tmp_path), log) is None
    assert log.entries["pci_gpus"].kind == ABSENT


def test_dmi_is_read_without_serials(tmp_path: Path) -> None:
    write(tmp_path / "sys/class/dmi/id/product_name", "NVIDIA_DGX_Spark\n")
    write(tmp_path / "sys/class/dmi/id/product_serial", "SERIAL-CANARY-0002\n")
    log = MissingLog()
    dmi = read_dmi(str(tmp_path), log)
    assert dmi["product_name"] == "NVIDIA_DGX_Spark"
    assert "CANARY" not in repr(dmi)
    assert log.entries["dmi.sys_vendor"].kind == ABSENT


def test_driver_versions_come_from_kernel_and_library(tmp_path: Path) -> None:
    add_driver(tmp_path, "580.95.05")
    versions = read_driver_versions(str(tmp_path), MissingLog())
    assert (versions.kernel, versions.library) == ("580.95.05", "580.95.05")


@pytest.mark.parametrize(
    "line",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024",
        "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  550.90.07  Release Build  (dvs-builder)",
    ],
)
def test_the_kernel_version_is_found_in_procfs(tmp_path: Path, line: str) -> None:
    write(tmp_path / "proc/driver/nvidia/version", line + "\nGCC version:  gcc version 12.2.0\n")
    assert read_driver_versions(str(tmp_path), MissingLog()).kernel == "550.90.07"


def test_a_host_without_marker_is_real(tmp_path: Path) -> None:
    assert read_stand_ins(str(tmp_path), MissingLog()) == (False, ())


def test_the_marker_names_the_stand_ins(tmp_path: Path) -> None:
    write(tmp_path / "etc/baremetal-gpu/simulated.json", '{"stand_ins": ["nvml", "pci"]}')
    assert read_stand_ins(str(tmp_path), MissingLog()) == (True, ("nvml", "pci"))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"stand_ins": 1}', "null"])
def test_a_broken_marker_still_marks_the_host(tmp_path: Path, text: str) -> None:
    write(tmp_path / "etc/baremetal-gpu/simulated.json", text)
    log = MissingLog()
    assert read_stand_ins(str(tmp_path), log)[0] is True
    assert log.entries["stand_ins"].kind == UNREADABLE


def test_no_dgx_release_is_a_value_with_a_reason(tmp_path: Path) -> None:
    log = MissingLog()
    assert read_dgx_release(str(tmp_path), log) is None
    assert log.entries["dgx_release"].reason == "/etc/dgx-release: No such file or directory"


@pytest.fixture
def near_root() -> Iterator[Path]:
    """A folder with a short path: a socket's may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="bg-") as name:
        yield Path(name)


def test_a_daemon_that_died_leaves_a_pipe_that_does_not_answer(near_root: Path) -> None:
    alive, dead, odd = (near_root / "run/nvidia/mps/nvidia.com" / name / "pipe" for name in ("a", "b", "c"))
    for directory in (alive, dead, odd):
        directory.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as closed:
        listening.bind(str(alive / "control"))
        listening.listen()
        closed.bind(str(dead / "control"))
        closed.close()
        (odd / "control").write_text("")
        log = MissingLog()
        found = read_mps_daemons(str(near_root), log)
    assert [(daemon.pipe_directory, daemon.responding) for daemon in found] == [
        ("/run/nvidia/mps/nvidia.com/a/pipe", True),
        ("/run/nvidia/mps/nvidia.com/b/pipe", False),
        ("/run/nvidia/mps/nvidia.com/c/pipe", None),
    ]
    assert log.entries["mps_daemons[2].responding"].kind == UNREADABLE
