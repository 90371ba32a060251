"""The parser of nvidia-smi's XML."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import Gpu, normal_bus_id
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import ABSENT, NOT_SUPPORTED, UNREADABLE
from ansible_collections.baremetal.gpu.plugins.module_utils.nvidia_smi import (
    NvidiaSmiFormatError,
    parse,
    parse_compute_capabilities,
)
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import GB10_XML, h100_xml


def test_gb10_has_no_memory_and_says_why() -> None:
    document = parse(GB10_XML)
    gpu = document.gpus[0]
    assert (document.driver_version, document.attached_gpus) == ("580.95.05", 1)
    assert (gpu.bus_id, gpu.pci_id, gpu.product_name) == ("000f:01:00.0", "10de:2e12", "NVIDIA GB10")
    assert gpu.memory_total_bytes is None
    assert gpu.mig_mode is None
    assert document.missing["gpus[0].memory_total_bytes"].kind == NOT_SUPPORTED
    assert document.missing["gpus[0].compute_capability"].kind == ABSENT


def test_a_process_listed_as_compute_and_graphics_is_one_process() -> None:
    processes = parse(GB10_XML).gpus[0].processes
    assert [(process.pid, process.kinds, process.memory_bytes) for process in processes] == [
        (2201, ("G",), 43 * 1024**2),
        (4102, ("C", "G"), 2048 * 1024**2),
    ]


def test_eight_h100_have_memory_in_bytes() -> None:
    document = parse(h100_xml())
    assert len(document.gpus) == 8
    assert {gpu.memory_total_bytes for gpu in document.gpus} == {81559 * 1024**2}
    assert document.gpus[7].bus_id == "0000:17:00.0"
    assert {missing.reason for missing in document.missing.values()} <= {
        "nvidia-smi prints N/A",
        "nvidia-smi has no such field",
    }


@pytest.mark.parametrize("text", ["N/A", "[N/A]", "Not Supported", "[Not Supported]", "n/a", " [ N/A ] "])
def test_every_spelling_of_not_supported_is_missing(text: str) -> None:
    document = parse(h100_xml(1).replace("81559 MiB", text))
    assert document.gpus[0].memory_total_bytes is None
    assert document.missing["gpus[0].memory_total_bytes"].kind == NOT_SUPPORTED


@pytest.mark.parametrize(
    ("text", "kind"), [("", ABSENT), ("ERR!", UNREADABLE), ("[Unknown Error]", UNREADABLE), ("many MiB", UNREADABLE)]
)
def test_a_value_that_makes_no_sense_is_missing_and_not_zero(text: str, kind: str) -> None:
    document = parse(h100_xml(1).replace("81559 MiB", text))
    assert document.gpus[0].memory_total_bytes is None
    assert document.missing["gpus[0].memory_total_bytes"].kind == kind


def test_warnings_around_the_document_are_no_part_of_it() -> None:
    assert (
        parse("WARNING: before\n" + GB10_XML + "\nWARNING: infoROM is corrupted at gpu 000F:01:00.0\n").attached_gpus
        == 1
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        GB10_XML[: len(GB10_XML) // 2],
        GB10_XML.replace("</gpu>", ""),
        "<other></other></nvidia_smi_log>",
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><nvidia_smi_log>&a;</nvidia_smi_log>',
    ],
)
def test_what_is_no_complete_answer_is_refused(text: str) -> None:
    with pytest.raises(NvidiaSmiFormatError):
        parse(text)


def test_windows_line_ends_change_nothing() -> None:
    assert parse(h100_xml().replace("\n", "\r\n")) == parse(h100_xml())


@settings(max_examples=200)
@given(st.integers(0, len(GB10_XML)), st.integers(0, len(GB10_XML)), st.text(max_size=20))
def test_a_damaged_answer_is_read_or_refused_with_the_parsers_own_error(start: int, end: int, noise: str) -> None:
    with contextlib.suppress(NvidiaSmiFormatError):
        parse(GB10_XML[:start] + noise + GB10_XML[end:])


@given(st.text())
def test_any_value_of_a_field_is_read_or_missing(value: str) -> None:
    escaped = value.replace("&", "&amp;").replace("<", "&lt;")
    try:
        document = parse(h100_xml(1).replace("81559 MiB", escaped))
    except NvidiaSmiFormatError:
        return  # characters that XML does not allow
    total = document.gpus[0].memory_total_bytes
    assert (total is None) == ("gpus[0].memory_total_bytes" in document.missing)


@given(st.text())
def test_compute_capabilities_are_pairs_or_nothing(text: str) -> None:
    assert all("." in value for value in parse_compute_capabilities(text).values())


def test_compute_capabilities_leave_out_what_is_no_number() -> None:
    assert parse_compute_capabilities("GPU-a, 12.1\nGPU-b, [N/A]\n\nsomething else\n") == {"GPU-a": "12.1"}


@pytest.mark.parametrize(
    ("text", "address"),
    [("0000000F:01:00.0", "000f:01:00.0"), ("0000:1B:00.0", "0000:1b:00.0"), ("00010000:01:00.0", "10000:01:00.0")],
)
def test_pci_addresses_are_as_the_kernel_writes_them(text: str, address: str) -> None:
    assert normal_bus_id(text) == address


def test_health_is_read_with_its_units() -> None:
    gpu = parse(h100_xml(1)).gpus[0]
    assert gpu.pcie == {
        "generation_current": 5,
        "generation_max": 5,
        "width_current": 16,
        "width_max": 16,
        "replays": 4,
    }
    assert gpu.ecc["aggregate"]["sram_correctable"] == 2
    assert gpu.ecc["sram_threshold_exceeded"] is False
    assert gpu.remapped_rows["histogram"] == {"max": 2560, "high": 0, "partial": 0, "low": 0, "none": 0}
    assert gpu.power == {"draw_w": 71.95, "limit_w": 700.0, "default_limit_w": 700.0, "max_limit_w": 700.0}
    assert gpu.clock_events["idle"] is True
    assert (gpu.recovery_action, gpu.reset_required) == ("None", False)
    assert (gpu.fabric["state"], gpu.fabric["status"]) == ("Completed", "Success")


@pytest.mark.parametrize(
    ("new", "old", "value"),
    [
        ("clocks_event_reason", "clocks_throttle_reason", lambda gpu: gpu.clock_events["hw_slowdown"]),
        ("gpu_power_readings", "power_readings", lambda gpu: gpu.power["limit_w"]),
        ("current_power_limit", "power_limit", lambda gpu: gpu.power["limit_w"]),
    ],
)
def test_tags_of_older_drivers_are_read_alike(new: str, old: str, value: Callable[[Gpu], object]) -> None:
    xml = h100_xml(1)
    assert new in xml
    assert value(parse(xml.replace(new, old)).gpus[0]) == value(parse(xml).gpus[0])


def test_a_block_that_is_one_word_explains_each_of_its_values() -> None:
    document = parse(GB10_XML)
    assert document.gpus[0].remapped_rows["pending"] is None
    assert document.missing["gpus[0].remapped_rows.histogram.max"].kind == NOT_SUPPORTED


def test_mig_devices_are_listed() -> None:
    device = (
        "<mig_device><index>0</index><gpu_instance_id>7</gpu_instance_id><compute_instance_id>0</compute_instance_id>"
        "<fb_memory_usage><total>9984 MiB</total></fb_memory_usage></mig_device>"
    )
    gpu = parse(h100_xml(1).replace("\t\t\tNone\n", device)).gpus[0]
    assert [(item.index, item.gpu_instance, item.memory_total_bytes) for item in gpu.mig_devices] == [
        (0, 7, 9984 * 1024**2)
    ]
