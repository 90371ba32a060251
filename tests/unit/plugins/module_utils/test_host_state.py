"""How a host runs."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings

from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed
from ansible_collections.baremetal.gpu.plugins.module_utils.host_state import (
    HostState,
    MemoryErrors,
    fabric_log_errors,
    parse_services,
    read_host_state,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import MissingLog
from ansible_collections.baremetal.gpu.tests.unit.plugins.mangling import mangled
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import write

SHOW = (
    "Id=nvidia-persistenced.service\nLoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=0\n"
    "ActiveEnterTimestampMonotonic=12000000\n\n"
    "Id=nvidia-fabricmanager.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n"
)


def read(root: Path) -> tuple[HostState, MissingLog]:
    log = MissingLog()
    programs = {"systemctl": "/bin/systemctl"}
    return read_host_state(str(root), programs.get, lambda c, t: Completed(0, SHOW, "", 0.1), 5, log), log


def test_a_unit_that_is_not_there_is_not_installed() -> None:
    units = parse_services(SHOW)
    daemon, manager = units["nvidia-persistenced.service"], units["nvidia-fabricmanager.service"]
    assert (daemon.installed, daemon.active, daemon.state, daemon.active_since_s) == (
        True,
        True,
        "active (running)",
        12.0,
    )
    assert (manager.installed, manager.active, manager.state) == (False, False, None)


def test_a_host_is_read(tmp_path: Path) -> None:
    for name, text in {
        "proc/sys/kernel/random/boot_id": "b-1\n",
        "proc/uptime": "61.20 400.00\n",
        "proc/modules": "nvidia 1 0 - Live 0\nnvidia_peermem 1 0 - Live 0\nother 1 0 - Live 0\n",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.90.07\n",
        "sys/devices/system/edac/mc/mc0/ce_count": "4\n",
        "sys/devices/system/edac/mc/mc0/ue_count": "1\n",
        "sys/devices/system/edac/mc/mc1/ce_count": "1\n",
        "sys/devices/system/edac/mc/mc1/ue_count": "0\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave\n",
        "var/log/fabricmanager.log": "[Jan 05] [ERROR] [tid 1] fatal error: topology mismatch\n[Jan 05] [INFO] [tid 1] ok\n",
    }.items():
        write(tmp_path / name, text)
    host, _log = read(tmp_path)
    assert (host.boot_id, host.uptime_s) == ("b-1", 61.2)
    assert host.memory_errors == MemoryErrors(corrected=5, uncorrected=1)
    assert host.governors == {"performance": 1, "powersave": 1}
    assert host.modules == ("nvidia", "nvidia_peermem")
    assert host.open_kernel_module is True
    assert host.fabric_manager.log_errors == ("[Jan 05] [ERROR] [tid 1] fatal error: topology mismatch",)


def test_what_a_host_does_not_show_is_missing_with_a_reason(tmp_path: Path) -> None:
    host, log = read(tmp_path)
    empty = {
        "host.boot_id": host.boot_id,
        "host.uptime_s": host.uptime_s,
        "host.memory_errors": host.memory_errors,
        "host.governors": host.governors,
        "host.modules": host.modules,
        "host.fabric_manager.version": host.fabric_manager.version,
        "host.fabric_manager.log_errors": host.fabric_manager.log_errors,
    }
    assert set(empty.values()) == {None}
    assert set(empty) <= set(log.entries)


def test_a_fabric_without_switches_is_no_error() -> None:
    assert fabric_log_errors("[ERROR] failed to initialize: NV_WARN_NOTHING_TO_DO\n") == ()


@given(mangled(SHOW))
@settings(max_examples=50)
def test_mangled_units_raise_nothing(text: str) -> None:
    assert len(parse_services(text)) <= 4
