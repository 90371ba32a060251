"""Reading the JSON report of nccl-tests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.json_report import block_from

REPORT: dict[str, Any] = {
    "version": 3,
    "start_time": "2026-01-29T18:02:19Z",
    "args": ["/usr/local/bin/all_reduce_perf", "-b", "1G"],
    "env": ["SECRET_TOKEN=not-to-be-kept"],
    "nccl_version": 22902,
    "config": {
        "nthreads": 1,
        "ngpus": 1,
        "minimum_bytes": 1073741824,
        "maximum_bytes": 1073741824,
        "step_bytes": 1048576,
        "validation": 1,
        "blocking_collectives": "false",
        "devices": [
            {
                "rank": rank,
                "group": 0,
                "pid": 40 + rank,
                "hostname": "onyx-g1",
                "device": rank,
                "device_hex": f"0000:1{rank}:00",
                "device_info": "NVIDIA H100 80GB HBM3",
            }
            for rank in range(2)
        ],
    },
    "results": [
        {
            "size": 1073741824,
            "count": 268435456,
            "type": "float",
            "redop": "sum",
            "root": "-1",
            "out_of_place": {"time": 4000.0, "alg_bw": 268.4, "bus_bw": 469.8, "nwrong": 0},
            "in_place": {"time": 4000.0, "alg_bw": 268.4, "bus_bw": "nan", "nwrong": None},
        }
    ],
    "out_of_bounds": {"count": 0, "okay": "true"},
    "average_bus_bandwidth": {"bandwidth": 469.8, "okay": "unchecked"},
    "errors": [],
    "end_time": "2026-01-29T18:03:19Z",
}


def test_a_report_is_read_like_a_log() -> None:
    block = block_from(json.dumps(REPORT))
    assert (block.complete, block.collective, block.out_of_bounds_ok) == (True, "all_reduce_perf", True)
    (row,) = block.rows
    assert (row.busbw_gb_per_s, row.wrong) == (469.8, 0)
    assert row.in_place is not None
    assert (row.in_place.busbw_gb_per_s, row.in_place.wrong) == (None, None)
    assert [(rank.rank, rank.host, rank.bdf) for rank in block.ranks][1] == (1, "onyx-g1", "0000:11:00")
    assert (block.options["maxBytes"], block.nccl_library) == (1073741824, 22902)


def test_several_gpus_of_a_process_are_no_table() -> None:
    """The report names only the first GPU of each process."""
    config = {**REPORT["config"], "ngpus": 8}
    assert block_from(json.dumps({**REPORT, "config": config})).ranks == []


def test_processor_time_is_read_like_time() -> None:
    half = {"cpu_time": 5.0, "alg_bw": 1.0, "bus_bw": 2.0, "nwrong": 0}
    (row,) = block_from(json.dumps({**REPORT, "results": [{**REPORT["results"][0], "out_of_place": half}]})).rows
    assert row.out_of_place is not None
    assert (row.out_of_place.time_us, row.out_of_place.busbw_gb_per_s) == (5.0, 2.0)


@given(st.integers(0, 2000))
def test_a_cut_report_gives_what_was_written_and_is_not_complete(end: int) -> None:
    text = json.dumps(REPORT, separators=(",", ":"))
    cut = text[: min(end, len(text) - 1)]
    if '"results":' not in cut:
        with pytest.raises(ValueError, match=r"."):
            block_from(cut)
        return
    block = block_from(cut)
    assert not block.complete
    assert len(block.rows) == int('"nwrong":null}}' in cut)


def test_the_environment_is_not_kept() -> None:
    assert "SECRET" not in repr(block_from(json.dumps(REPORT)))


def test_a_report_without_its_end_is_not_complete() -> None:
    assert not block_from(json.dumps({**REPORT, "end_time": None})).complete


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": 1}', "[" * 100000])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        block_from(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(sorted(REPORT)), JSON), st.lists(JSON, max_size=4))
def test_values_of_any_type_are_read_without_an_error(parts: dict[str, Any], results: list[Any]) -> None:
    block = block_from(json.dumps({**REPORT, **parts, "results": results}))
    assert len(block.rows) + block.dropped_rows == len(results)
