"""Limits of MPS: the forms that are certain to be read, and no others."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.limits import (
    GIB,
    MIB,
    parse_memory,
    parse_memory_limits,
    parse_thread_percentage,
    render_memory,
    render_memory_limits,
)

UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"

devices = st.one_of(st.integers(0, 999).map(str), st.uuids().map("GPU-{}".format))
amounts = st.integers(1, 10**6).map(lambda count: count * MIB)


@pytest.mark.requirement("MPS-04", part="the forms of both limits")
@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("0=16G", {"0": 16 * GIB}),
        ("0=1G,1=512MB", {"0": GIB, "1": 512 * MIB}),
        ("0=12207M", {"0": 12207 * MIB}),
        (f"{UUID}=8G", {UUID: 8 * GIB}),
        (f"0=8GB,{UUID}=4096M", {"0": 8 * GIB, UUID: 4 * GIB}),
    ],
)
def test_memory_limits_are_bytes_by_device(text: str, limits: dict[str, int]) -> None:
    assert parse_memory_limits(text) == limits


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "write device=amount"),
        ("16G", "write device=amount"),
        ("0=16G,", "write device=amount"),
        ("0:16G", "write device=amount"),
        (True, "write device=amount"),
        (None, "write device=amount"),
        ("0=16", "G or M"),
        ("0=16g", "G or M"),
        ("0=16Gi", "G or M"),
        ("0=1.5G", "G or M"),
        ("0=-1G", "G or M"),
        ("0=0G", "above 0"),
        ("0= 16G", "G or M"),
        ("0=16G\n", "G or M"),
        ("0=16G=1", "G or M"),
        ("0=\u0661G", "G or M"),
        ("00=16G", "by its index"),
        ("all=16G", "by its index"),
        (" 0=16G", "by its index"),
        ("0=1G, 1=1G", "by its index"),
        ("GPU-8932f937=16G", "by its index"),
        (UUID.upper() + "=16G", "by its index"),
        ("MIG-GPU-8932f937/1/2=16G", "not shared by MPS"),
        ("0=1G,0=2G", "one limit"),
    ],
)
def test_a_memory_limit_in_another_form_is_refused_with_what_to_write(value: Any, told: str) -> None:
    with pytest.raises(GpuError) as caught:
        parse_memory_limits(value)
    assert caught.value.code == "BG-SHARE-002"
    assert "without the limit" in caught.value.why
    assert told in caught.value.remedy


@given(st.dictionaries(devices, amounts, min_size=1, max_size=8))
def test_what_is_rendered_is_read_as_the_same(limits: dict[str, int]) -> None:
    assert parse_memory_limits(render_memory_limits(limits)) == limits


@given(st.integers(MIB, 10**12))
def test_an_amount_is_rounded_down_to_what_mps_can_be_told(size: int) -> None:
    assert size - MIB < parse_memory(render_memory(size)) <= size


def test_less_than_mps_can_be_told_is_not_rendered() -> None:
    with pytest.raises(ValueError, match="less than the 1 MiB"):
        render_memory(MIB - 1)


@pytest.mark.parametrize(
    ("parse", "code"), [(parse_memory_limits, "BG-SHARE-002"), (parse_thread_percentage, "BG-SHARE-001")]
)
@given(text=st.text(max_size=12))
def test_any_text_is_read_or_refused(parse: Callable[[str], Any], code: str, text: str) -> None:
    refusal: GpuError | None = None
    found = None
    try:
        found = parse(text)
    except GpuError as error:
        refusal = error
    assert (found is None) != (refusal is None)
    assert refusal is None or (refusal.code == code and refusal.why and refusal.remedy)


@given(st.text(alphabet="0123456789=,GMB.-", max_size=12))
def test_what_is_read_has_only_amounts_above_nothing(text: str) -> None:
    try:
        found = parse_memory_limits(text)
    except GpuError:
        return
    assert all(size >= MIB for size in found.values())
    assert len(found) == text.count("=")


def test_a_unit_is_a_power_of_1024() -> None:
    """Public capture under a limit of 4G: cudaMemGetInfo told 4270714864 bytes free, more than 4 x 10^9."""
    assert 4 * 10**9 < 4270714864 < parse_memory("4G")


@pytest.mark.parametrize(
    ("value", "percent"), [("10", 10), (25, 25), ("100", 100), ("0.5", "0.5"), ("10.0", 10), (12.5, "12.5")]
)
def test_a_thread_percentage_is_a_number_up_to_100(value: Any, percent: Any) -> None:
    assert parse_thread_percentage(value) == Decimal(percent)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0",
        "0.0",
        "-5",
        "+5",
        "101",
        "100.1",
        "1000",
        "10%",
        " 10",
        "10\n",
        "ten",
        "1e1",
        "10,20",
        "\u0665",
        True,
        None,
    ],
)
def test_another_thread_percentage_is_refused(value: Any) -> None:
    with pytest.raises(GpuError, match="without a sign or unit") as caught:
        parse_thread_percentage(value)
    assert caught.value.code == "BG-SHARE-001"


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(GpuError) as caught:
        parse_thread_percentage("9" * 10000)
    assert len(caught.value.message) < 300
