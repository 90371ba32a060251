"""What is recognised in kernel messages, and where they are read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils import kernel_log
from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed
from ansible_collections.baremetal.gpu.plugins.module_utils.kernel_log import Event, events_in, lines_of, split_line
from ansible_collections.baremetal.gpu.plugins.module_utils.kernel_log_source import read_kernel_log
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import MissingLog
from ansible_collections.baremetal.gpu.tests.unit.plugins.mangling import mangled
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import write

XID = "NVRM: Xid (PCI:0000:9b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
MESSAGES = {
    XID: ("xid", "0000:9b:00.0", 79),
    "NVRM: Xid (0000:03:00): 43, Ch 00000010": ("xid", "0000:03:00.0", 43),
    "NVRM: Xid (PCI:0000:3b:00 GPU-I:05): 94, pid=7, Contained: SM (0x1)": ("xid", "0000:3b:00.0", 94),
    "nvidia-nvswitch3: SXid (PCI:0000:c4:00.0): 28006, Non-fatal, Link 46 MC TS": ("sxid", "0000:c4:00.0", 28006),
    "NVRM: GPU 0000:1b:00.0: RmInitAdapter failed! (0x62:0x40:2477)": ("gpu_init", "0000:1b:00.0", None),
    "nvidia 0000:1b:00.0: PCIe Bus Error: severity=Correctable, type=Data Link Layer, (Receiver ID)": (
        "aer_corrected",
        "0000:1b:00.0",
        None,
    ),
    "pcieport 0000:00:01.0: AER: Uncorrected (Fatal) error received: 0000:1b:00.0": (
        "aer_uncorrected",
        "0000:00:01.0",
        None,
    ),
    "mlx5_core 0000:30:00.0: poll_health:801:(pid 0): device's health compromised - reached miss count": (
        "mlx5",
        "0000:30:00.0",
        None,
    ),
    "mlx5_core 0000:30:00.0: mlx5_pcie_event:299:(pid 1): Detected insufficient power on the PCIe slot (27W).": (
        "mlx5",
        "0000:30:00.0",
        None,
    ),
    "mlx5_core 0000:30:00.0: Port module event[error]: module 0, Cable error, Cable is unplugged": (
        "mlx5",
        "0000:30:00.0",
        None,
    ),
    "mlx5_core 0000:30:00.0: 126.028 Gb/s available PCIe bandwidth, limited by 32.0 GT/s PCIe x4 link": (
        "pcie_limited",
        "0000:30:00.0",
        None,
    ),
    "nvidia-peermem nv_get_p2p_free_callback:127 ERROR detected invalid context, skipping further processing": (
        "peermem",
        None,
        None,
    ),
    "python3[77]: segfault at 10 ip 00007f sp 00007f error 4 in libnccl.so.2.27.3[7f+1000]": (
        "nccl_segfault",
        "libnccl.so.2.27.3[7f+1000]",
        None,
    ),
    "EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0": ("memory_uncorrected", "MC0", None),
    "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_MC#0": ("memory_corrected", "MC0", None),
    "mce: [Hardware Error]: CPU 12: Machine Check: 0 Bank 7: be00000000800400": ("memory_uncorrected", None, None),
    "mce: [Hardware Error]: CPU 12: Machine Check: 0 Bank 7: 8c00004000010090": ("memory_corrected", None, None),
    "[Hardware Error]: Uncorrected, software restartable error.": ("memory_uncorrected", None, None),
    "[Hardware Error]: Corrected error, no action required.": ("memory_corrected", None, None),
    "NVRM: The NVIDIA GPU 0000:18:00.0 (PCI ID: 10de:2330)  installed in this system has fallen off the bus and": (
        "gpu_init",
        "0000:18:00.0",
        None,
    ),
    "{1}[Hardware Error]: event severity: corrected": ("memory_corrected", None, None),
    "{1}[Hardware Error]: event severity: fatal": ("memory_uncorrected", None, None),
    "mlx5_core 0000:30:00.0 ens11np0: Link down": ("link_down", "ens11np0", None),
}
PREFIXES = (
    "4,17,2000000,-;{0}",
    "[    2.000000] {0}",
    "[2.000000] host-1 kernel: {0}",
    "[Mon Jan  5 10:00:00 2026] {0}",
    "Jan  5 10:00:00 host-1 kernel: {0}",
    "janv. 05 10:00:00 host-1 kernel: {0}",
    "2026-01-05T10:00:00+0000 host-1 kernel: [    2.000000] {0}",
    "\x1b[32m[    2.000000] \x1b[0m{0}\r",
    "{0}",
)


def events(*lines: str, **options: Any) -> list[Event]:
    return list(events_in(lines_of("\n".join(lines)), **options))


@pytest.mark.parametrize("message", list(MESSAGES))
def test_a_message_is_recognised(message: str) -> None:
    assert [(item.kind, item.device, item.number) for item in events(message)] == [MESSAGES[message]]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_xid_is_found_behind_every_prefix(prefix: str) -> None:
    assert [item.number for item in events(prefix.format(XID))] == [79]


def test_a_journal_in_json_is_read() -> None:
    line = '{"MESSAGE": "NVRM: Xid (PCI:0000:9b:00): 31, pid=1", "_SOURCE_MONOTONIC_TIMESTAMP": "2000000"}'
    assert [(item.number, item.first_s) for item in events(line)] == [(31, 2.0)]


@pytest.mark.parametrize(
    "message",
    [
        "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  550.90.07",
        "mlx5_core 0000:30:00.0: firmware version: 28.41.1000",
        "nvidia-nvswitch3: SXid (PCI:0000:c4:00.0): 28006, Severity 0 Engine instance 46 Sub-engine instance 00",
        "nvidia-nvswitch3: SXid (PCI:0000:c4:00.0): 28006, Data {0x00000001, 0x00000000}",
        "python3[77]: segfault at 10 ip 00007f sp 00007f error 4 in libcuda.so.550.90.07[7f+1000]",
        "EDAC MC0: Giving out device to module i10nm_edac controller Intel",
        "",
    ],
)
def test_other_messages_are_no_events(message: str) -> None:
    assert events(message) == []


def test_a_burst_is_one_event_with_its_time() -> None:
    found = events(f"[ 1.5] {XID}", f"[ 2.5] {XID}", f"[ 9.5] {XID}")
    assert [(item.count, item.first_s, item.last_s) for item in found] == [(3, 1.5, 9.5)]


def test_the_gpu_s_uuid_comes_from_the_line_beside() -> None:
    found = events("NVRM: GPU at PCI:0000:9b:00: GPU-0a0a0a0a-0000-4000-8000-000000000001", XID)
    assert found[0].details["uuid"] == "GPU-0a0a0a0a-0000-4000-8000-000000000001"


def test_what_is_older_than_asked_for_is_left_out_and_what_has_no_time_is_kept() -> None:
    other = XID.replace("79", "31")
    assert [item.number for item in events(f"[ 5.0] {XID}", f"[ 50.0] {other}", since_s=10)] == [31]
    assert [item.number for item in events(XID, since_s=10)] == [79]


def test_a_change_of_the_recovery_action_says_from_what_to_what() -> None:
    line = "NVRM: Xid (PCI:0000:9b:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"
    assert events(line)[0].details == {"from": "None", "to": "GPU Reset Required"}


def test_a_switch_error_says_whether_it_is_fatal() -> None:
    line = "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 19084, Fatal, Link 3 AN1 Heartbeat Timeout Error"
    assert events(line)[0].details == {"switch": "nvidia-nvswitch0", "fatal": True}


def test_the_number_of_different_events_is_bounded() -> None:
    lines = [XID.replace("9b", f"{bus:02x}").replace("79", str(number)) for bus in range(40) for number in range(40)]
    assert len(events(*lines)) == kernel_log.MAXIMUM_EVENTS


@given(st.sampled_from(PREFIXES), st.sampled_from(list(MESSAGES)), st.data())
@settings(max_examples=150)
def test_a_mangled_line_raises_nothing(prefix: str, message: str, data: st.DataObject) -> None:
    for event in events(data.draw(mangled(prefix.format(message) + "\n"))):
        assert event.count >= 1


@given(st.text(max_size=200))
@settings(max_examples=100)
def test_any_text_is_one_message(text: str) -> None:
    assert isinstance(split_line(text).message, str)


def read(root: Path, answer: Completed | None = None, since_s: float | None = None) -> tuple[Any, MissingLog]:
    log = MissingLog()
    programs = {"journalctl": "/usr/bin/journalctl"} if answer is not None else {}
    found = read_kernel_log(str(root), programs.get, lambda command, timeout: answer, 5, since_s, log)  # type: ignore[arg-type,return-value]
    return found, log


def test_the_device_that_begins_at_its_first_record_is_complete(tmp_path: Path) -> None:
    write(tmp_path / "dev/kmsg", f"6,0,100,-;Linux version 6\n SUBSYSTEM=pci\n4,1,200,-;{XID}\n")
    found, _log = read(tmp_path)
    assert (found.source, found.complete, found.lines) == ("/dev/kmsg", True, 2)


def test_the_journal_completes_a_device_that_lost_its_beginning(tmp_path: Path) -> None:
    write(tmp_path / "dev/kmsg", f"6,900,100000000,-;later\n4,901,100000001,-;{XID}\n")
    found, _log = read(tmp_path, Completed(0, f"[    1.000000] host kernel: {XID.replace('79', '48')}\n", "", 0.1))
    assert (found.source, found.complete, found.events[0].number) == ("journalctl", True, 48)


def test_a_device_that_lost_its_beginning_alone_is_not_complete(tmp_path: Path) -> None:
    write(tmp_path / "dev/kmsg", f"4,901,100000000,-;{XID}\n")
    assert read(tmp_path)[0].complete is False
    assert read(tmp_path, since_s=200)[0].complete is True


def test_a_journal_that_shows_nothing_is_not_a_log_without_errors(tmp_path: Path) -> None:
    answer = Completed(0, "", "Hint: You are currently not seeing messages from other users and the system.", 0.1)
    found, log = read(tmp_path, answer)
    assert found is None
    assert "not seeing messages" in log.entries["kernel_log"].reason
