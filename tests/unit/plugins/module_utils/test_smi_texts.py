"""The other answers of nvidia-smi: its report, its CSV, its table, and what it says about NVLinks and MIG devices."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils import nvlink, smi_csv, smi_report, smi_table
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import NOT_SUPPORTED, UNREADABLE
from ansible_collections.baremetal.gpu.plugins.module_utils.nvidia_smi import NvidiaSmiFormatError, parse
from ansible_collections.baremetal.gpu.tests.unit.plugins.mangling import mangled
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import DATA, GB10_XML, h100_xml

REPORT = (DATA / "nvidia-smi/h100-report.txt").read_text(encoding="utf-8")
TABLE = (DATA / "nvidia-smi/table.txt").read_text(encoding="utf-8")
CSV = (
    "name, uuid, pci.bus_id, driver_version, memory.total [MiB], power.limit [W], pcie.link.width.current, "
    "clocks_event_reasons.active, remapped_rows.pending, ecc.errors.uncorrected.volatile.total\n"
    "NVIDIA H100 80GB HBM3, GPU-1, 00000000:10:00.0, 550.90.07, 81559 MiB, 700.00 W, 16, 0x0000000000000048, Yes, 1\n"
    "NVIDIA GB10, GPU-2, 0000000F:01:00.0, 550.90.07, [N/A], [N/A], [N/A], 0x0000000000000001, [N/A], [N/A]\n"
)
LINKS = (
    "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\n\t Link 0: 26.562 GB/s\n\t Link 1: <inactive>\n"
    "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)\nNVML: Unable to retrieve NVLink information as all links are inactive\n"
    "GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-3)\nNvlink queries are not supported for Devices in MIG mode\n"
)
LISTING = (
    "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\n  MIG 1g.10gb     Device  0: (UUID: MIG-1)\n"
    "  MIG 3g.40gb     Device  1: (UUID: MIG-2)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)\n"
    "Unable to determine the device handle for GPU0000:12:00.0: GPU is lost.  Reboot the system to recover this GPU\n"
)


def test_a_report_is_read_like_the_xml() -> None:
    document = smi_report.parse_all(REPORT)[0]
    gpu = document.gpus[0]
    assert (document.driver_version, document.attached_gpus, len(document.gpus)) == ("550.90.07", 2, 2)
    assert (gpu.bus_id, gpu.pci_id, gpu.mig_mode) == ("0000:10:00.0", "10de:2330", "Disabled")
    assert (gpu.pcie["width_current"], gpu.pcie["width_max"], gpu.pcie["replays"]) == (8, 16, 7)
    assert gpu.clock_events["hw_thermal_slowdown"] is True
    assert gpu.ecc["volatile"]["dram_uncorrectable"] == 3
    assert gpu.remapped_rows["pending"] is True
    assert (gpu.power["draw_w"], gpu.power["limit_w"]) == (350.1, 650.0)
    assert [(item.pid, item.kinds, item.memory_bytes) for item in gpu.processes] == [
        (4242, ("C",), 512 * 1024**2),
        (4243, ("C", "M"), 256 * 1024**2),
    ]


def test_a_block_of_a_report_that_is_one_word_explains_its_values() -> None:
    document = smi_report.parse_all(REPORT)[0]
    assert document.gpus[1].remapped_rows["pending"] is None
    assert document.missing["gpus[1].remapped_rows.pending"].kind == NOT_SUPPORTED


def test_a_text_may_hold_several_reports() -> None:
    documents = smi_report.parse_all(REPORT + "\n#####\n# load\n" + REPORT.replace("550.90.07", "590.48.01"))
    assert [document.driver_version for document in documents] == ["550.90.07", "590.48.01"]


def test_csv_is_read_with_units_masks_and_missing_values() -> None:
    document = smi_csv.parse_all(CSV)[0]
    h100, gb10 = document.gpus
    assert (document.driver_version, h100.bus_id, h100.memory_total_bytes) == (
        "550.90.07",
        "0000:10:00.0",
        81559 * 1024**2,
    )
    assert (h100.power["limit_w"], h100.pcie["width_current"], h100.remapped_rows["pending"]) == (700.0, 16, True)
    assert [name for name, active in h100.clock_events.items() if active] == ["hw_slowdown", "hw_thermal_slowdown"]
    assert h100.ecc["volatile"]["uncorrectable_total"] == 1
    assert gb10.memory_total_bytes is None
    assert document.missing["gpus[1].memory_total_bytes"].kind == NOT_SUPPORTED


def test_csv_without_units_and_header_is_read_by_its_command() -> None:
    text = "$ nvidia-smi --query-gpu=name,memory.total,power.limit --format=csv,noheader,nounits\nNVIDIA H100, 81559, 700.00\n"
    gpu = smi_csv.parse_all(text)[0].gpus[0]
    assert (gpu.product_name, gpu.memory_total_bytes, gpu.power["limit_w"]) == ("NVIDIA H100", 81559 * 1024**2, 700.0)


def test_the_query_names_columns_that_are_read() -> None:
    document = smi_csv.parse_all(smi_csv.QUERY + "\n" + ", ".join(["1"] * len(smi_csv.QUERY.split(","))) + "\n")[0]
    assert document.gpus[0].temperature["gpu_c"] == 1


def test_a_table_is_read_with_its_errors() -> None:
    first, gb10, broken = smi_table.parse(TABLE).gpus
    assert (first.persistence_mode, first.compute_mode, first.mig_mode) == ("Disabled", "Exclusive_Process", "Disabled")
    assert (first.mig_mode_pending, first.ecc["volatile"]["uncorrectable_total"]) == ("Enabled", 2)
    assert (first.power["limit_w"], first.memory_total_bytes) == (650, 81559 * 1024**2)
    assert (gb10.bus_id, gb10.memory_total_bytes, gb10.power["limit_w"]) == ("000f:01:00.0", None, None)
    document = smi_table.parse(TABLE)
    assert document.missing["gpus[1].memory_total_bytes"].kind == NOT_SUPPORTED
    assert broken.compute_mode is None
    assert document.missing["gpus[2].compute_mode"].kind == UNREADABLE


@pytest.mark.parametrize("parser", [smi_report.parse_all, smi_csv.parse_all, smi_table.parse])
@pytest.mark.parametrize(
    "text", ["", "Failed to initialize NVML: Driver/library version mismatch\n", "# nothing\n", GB10_XML]
)
def test_a_foreign_text_is_refused(parser: object, text: str) -> None:
    with pytest.raises(NvidiaSmiFormatError):
        parser(text)  # type: ignore[operator]


def test_links_are_active_inactive_or_refused() -> None:
    first, second, third = nvlink.parse_status(LINKS)
    assert first.speeds_gb_per_s == {"0": 26.562, "1": None}
    assert second.all_inactive
    assert third.refused == "Nvlink queries are not supported for Devices in MIG mode"


def test_a_listing_beside_the_links_adds_nothing() -> None:
    assert nvlink.parse_status("GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\n" + LINKS) == nvlink.parse_status(LINKS)


@pytest.mark.parametrize(
    "line", ["Link 3: Replay Errors: 12", "\t Link 3: Replay Error: 12", "     Link 3: Replay: 12"]
)
def test_error_counters_are_read_in_every_wording(line: str) -> None:
    assert nvlink.parse_errors("GPU 0: NVIDIA H100 (UUID: GPU-1)\n" + line) == {"GPU-1": {"3": {"replay": 12}}}


def test_mig_devices_and_lost_gpus_are_listed() -> None:
    listing = nvlink.parse_listing(LISTING)
    assert [(item.gpu, item.index, item.profile, item.uuid) for item in listing.mig_devices] == [
        (0, 0, "1g.10gb", "MIG-1"),
        (0, 1, "3g.40gb", "MIG-2"),
    ]
    assert listing.unreachable == (("0000:12:00.0", "GPU is lost.  Reboot the system to recover this GPU"),)


@given(st.data())
@settings(max_examples=60)
def test_whatever_happens_to_an_answer_only_the_parsers_own_error_is_raised(data: st.DataObject) -> None:
    for parser, text in (
        (parse, h100_xml(1)),
        (smi_report.parse_all, REPORT),
        (smi_csv.parse_all, CSV),
        (smi_table.parse, TABLE),
    ):
        with contextlib.suppress(NvidiaSmiFormatError):
            parser(data.draw(mangled(text)))


@given(mangled(LINKS), mangled(LISTING))
@settings(max_examples=40)
def test_links_and_listings_are_read_as_far_as_they_go(links: str, listing: str) -> None:
    known = {item.uuid for item in nvlink.parse_status(LINKS)}
    assert len({item.uuid for item in nvlink.parse_status(links)} - known) <= 3
    nvlink.parse_errors(links)
    nvlink.parse_listing(listing)
