"""The module gpu_health on trees that stand for hosts, and on captures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils import captures
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.health_readings import since_boot
from ansible_collections.baremetal.gpu.plugins.modules import gpu_health
from ansible_collections.baremetal.gpu.tests.unit.plugins.mangling import mangled
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import (
    DATA,
    GB10_XML,
    add_program,
    h100_xml,
    run_module,
    write,
)

XID = "[  100.000000] NVRM: Xid (PCI:0000:10:00): 79, pid=1, name=python3, GPU has fallen off the bus.\n"
DUMP = "mlx5_0/hca_type=MT4129\nmlx5_0/ports/1/state=4: ACTIVE\nmlx5_0/ports/1/rate=400 Gb/sec (4X NDR)\n"
LINKS = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\n\t Link 0: 26.562 GB/s\n"
FABRIC = "[Jan 05 2026 10:00:00] [ERROR] [tid 1803] fatal error: topology mismatch, NVSwitches don't match\n"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with one H100 whose driver answers, with RDMA and a kernel log."""
    programs = tmp_path / "usr/bin"
    write(tmp_path / "answer.xml", h100_xml(1))
    add_program(programs, "nvidia-smi", f'case "$1$2" in -q-x) cat {tmp_path}/answer.xml;; *) exit 3;; esac\n')
    write(tmp_path / "proc/sys/kernel/random/boot_id", "b-1\n")
    write(tmp_path / "proc/uptime", "600.00 1.00\n")
    write(tmp_path / "dev/kmsg", "6,0,1000,-;Linux\n")
    write(tmp_path / "sys/class/infiniband/mlx5_0/ports/1/counters/link_downed", "4\n")
    monkeypatch.setattr(gpu_health, "ROOT", str(tmp_path))
    monkeypatch.setattr(
        "ansible.module_utils.basic.AnsibleModule.get_bin_path",
        lambda self, name, **options: str(programs / name) if (programs / name).exists() else None,
    )
    return tmp_path


def readings(host: Path, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    options = {"state_file": str(host / "state/health.json"), "minimum_window_s": 0, **arguments}
    result = run_module(gpu_health, options, check_mode=check_mode)
    assert (result["exit_status"], result["changed"]) == (0, False), result
    found: dict[str, Any] = result["readings"]
    return found


def test_the_first_run_compares_with_itself_and_keeps_a_snapshot(host: Path) -> None:
    found = readings(host)["counters"]
    assert found["deltas"]["port:mlx5_0/1|link_downed"] == 0
    assert (host / "state/health.json").exists()


def test_a_later_run_tells_what_grew_since(host: Path) -> None:
    readings(host)
    write(host / "proc/uptime", "1200.00 1.00\n")
    write(host / "sys/class/infiniband/mlx5_0/ports/1/counters/link_downed", "6\n")
    found = readings(host)["counters"]
    assert (found["window_s"], found["deltas"]["port:mlx5_0/1|link_downed"]) == (600.0, 2)


def test_after_a_reboot_counters_begin_anew(host: Path) -> None:
    readings(host)
    write(host / "proc/sys/kernel/random/boot_id", "b-2\n")
    write(host / "sys/class/infiniband/mlx5_0/ports/1/counters/link_downed", "0\n")
    found = readings(host)["counters"]
    assert found["deltas"]["port:mlx5_0/1|link_downed"] == 0


def test_check_mode_leaves_no_state_behind(host: Path) -> None:
    found = readings(host, check_mode=True)["counters"]
    assert found["state_file"] is None
    assert not (host / "state").exists()


def test_a_state_file_that_cannot_be_written_is_one_clear_error(host: Path) -> None:
    write(host / "state", "a file where a folder should be")
    options = {"state_file": str(host / "state/health.json"), "minimum_window_s": 0}
    result = run_module(gpu_health, options)
    assert (result["failed"], result["code"]) == (True, "BG-HEALTH-103")


def test_dcgm_is_run_only_when_asked_and_its_document_counts(host: Path) -> None:
    document = '{"DCGM Diagnostic": {"test_categories": []}}'
    add_program(host / "usr/bin", "dcgmi", f"echo \"$@\" > {host}/asked; echo '{document}'; exit 226\n")
    assert readings(host)["dcgm"] is None
    assert not (host / "asked").exists()
    found = readings(host, dcgm_level=1)["dcgm"]
    assert (found["error"], found["return_code"], found["results"]) == (None, 226, [])
    assert (host / "asked").read_text(encoding="utf-8") == "diag -r 1 -j\n"


def test_check_mode_loads_no_gpu(host: Path) -> None:
    add_program(host / "usr/bin", "dcgmi", f"touch {host}/asked\n")
    assert readings(host, check_mode=True, dcgm_level=3)["dcgm"] is None
    assert not (host / "asked").exists()


def test_a_dcgm_that_is_not_there_or_says_nothing_is_told(host: Path) -> None:
    assert readings(host, dcgm_level=1)["dcgm"] == {"error": "dcgmi is not installed"}
    missing = readings(host, dcgm_report=str(host / "none.json"))["dcgm"]["error"]
    assert "No such file or directory" in missing
    report = write(host / "cut.json", '{"DCGM Diagnostic": {')
    assert "no complete document" in readings(host, dcgm_report=str(report))["dcgm"]["error"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ("2m", 9880.0),
        ("7d", 0.0),
        ("1970-01-12T13:46:40Z", 10000.0),
        ("1970-01-12T13:46:40", 10000.0),
        ("1970-01-12T13:45:40+00:00", 9940.0),
    ],
)
def test_since_is_a_time_of_this_boot(text: str | None, expected: float | None) -> None:
    assert since_boot(text, now=1000000.0, uptime_s=10000.0) == expected


@pytest.mark.parametrize("text", ["yesterday", "2 weeks", "-1h", "99999999999999d", "{}"])
def test_since_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(GpuError) as caught:
        since_boot(text, 0.0, 0.0)
    assert caught.value.code == "BG-HEALTH-102"


def test_since_limits_the_kernel_log(host: Path) -> None:
    write(host / "dev/kmsg", "6,0,1000,-;Linux\n4,1,100000000,-;" + XID.partition("] ")[2])
    assert [event["number"] for event in readings(host)["kernel_log"]["events"]] == [79]
    assert readings(host, since="1m")["kernel_log"]["events"] == []


# ---- Captures ----


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (h100_xml(1), ("driver",)),
        ((DATA / "nvidia-smi/h100-report.txt").read_text(encoding="utf-8"), ("driver",)),
        ((DATA / "nvidia-smi/table.txt").read_text(encoding="utf-8"), ("driver",)),
        ("name, uuid\nNVIDIA GB10, GPU-1\n", ("driver",)),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", ("driver",)),
        (LINKS, ("nvlinks",)),
        ("GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)\n", ("driver",)),
        (DUMP, ("rdma",)),
        ("CA 'mlx5_0'\n\tPort 1:\n\t\tState: Active\n\t\tRate: 400\n", ("rdma",)),
        (XID, ("kernel_log",)),
        ("[    1.000000] usb 1-1: new device\n[    1.100000] usb 1-1: product\n", ("kernel_log",)),
        (FABRIC, ("fabric_log",)),
        ('{"DCGM Diagnostic": {"runtime_error": "no"}}', ("dcgm",)),
        ('DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-1"} 41\n', ("driver",)),
        (LINKS + XID, ("nvlinks", "kernel_log")),
    ],
)
def test_a_capture_is_recognised_by_what_it_holds(text: str, parts: tuple[str, ...]) -> None:
    assert [item.parts for item in captures.recognise(text)] == [parts]


def test_several_answers_of_the_driver_are_several_captures() -> None:
    report = (DATA / "nvidia-smi/h100-report.txt").read_text(encoding="utf-8")
    assert len(captures.recognise(report + "\n#\n" + report)) == 2
    assert len(captures.recognise("# source <somewhere>\n" + h100_xml(1) + "\n$ again\n" + GB10_XML)) == 2


def test_an_xml_that_is_cut_is_a_driver_that_did_not_answer() -> None:
    (found,) = captures.recognise(h100_xml(1)[:900])
    assert found.parts == ("driver",)
    assert found.readings["gpus"] is None
    assert "not a complete" in found.readings["missing"]["gpus"]["reason"]


def test_a_file_that_says_nothing_has_a_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "notes", "meeting at ten\n")
    read = run_module(gpu_health, {"captures": [str(path), str(tmp_path / "absent")]})["captures"]
    assert [item["captures"] for item in read] == [[], []]
    assert read[0]["reason"] == "nothing in it is an answer of a known program"
    assert read[1]["reason"] == "it cannot be read: No such file or directory"


@pytest.mark.parametrize("name", ['" H100 80GB HBM3', "H100, 80GB", "H100 # 80GB"])
def test_a_listing_may_have_any_product_name(name: str) -> None:
    (found,) = captures.recognise(f"GPU 0: {name} (UUID: GPU-1)\n")
    assert [(gpu["product_name"], gpu["uuid"]) for gpu in found.readings["gpus"]] == [(name, "GPU-1")]


@given(st.data())
@settings(max_examples=60)
def test_whatever_a_file_holds_nothing_is_raised(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([h100_xml(1), GB10_XML, LINKS, DUMP, XID, FABRIC]))
    for item in captures.recognise(data.draw(mangled(text))):
        assert item.parts
