"""Reading the output of nccl-tests."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.log import Block, block_from_dict, blocks, clean
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import (
    GIB,
    HEADER,
    rank_line,
    row_line,
    run_text,
)


def read(text: str) -> list[Block]:
    return blocks(clean(line) for line in text.split("\n"))


def only(text: str) -> Block:
    (block,) = read(text)
    return block


def test_a_whole_run_is_read() -> None:
    block = only(run_text())
    assert block.complete
    assert (block.collective, block.version, block.nccl_library) == ("all_reduce_perf", "2.17.8", 22902)
    assert block.options["maxBytes"] == 8 * GIB
    assert [(rank.rank, rank.host, rank.bdf) for rank in block.ranks][7] == (7, "onyx-g1", "0000:17:00")
    largest = block.largest()
    assert largest is not None
    assert (largest.size_bytes, largest.busbw_gb_per_s, largest.wrong) == (8 * GIB, 481.9, 0)
    assert (block.out_of_bounds, block.out_of_bounds_ok, block.average_gb_per_s) == (0, True, 476.2)


def test_several_collectives_are_several_blocks() -> None:
    text = run_text() + run_text(collective="all_gather")
    assert [block.collective for block in read(text)] == ["all_reduce_perf", "all_gather_perf"]


def test_a_version_with_a_git_hash_is_read() -> None:
    block = only(run_text(version="2.20.0 (b4d5bee)"))
    assert (block.version, block.nccl_library) == ("2.20.0", 22902)


def test_rows_of_the_old_format_are_read_by_their_header() -> None:
    """Up to 2.11: no redop and root for all_gather, an error instead of a count, summary lines without a mark."""
    block = only(
        "all_gather_perf -g 8\n"
        "                                             out-of-place                       in-place\n"
        "       size         count    type     time   algbw   busbw  error     time   algbw   busbw  error\n"
        "  1073741824      33554432   float    29122  129.05  129.05  1e+00    29169  128.84  128.84  2e-07\n"
        " Out of bounds values : 1 FAILED\n Avg bus bandwidth    : 128.9\n"
    )
    (row,) = block.rows
    assert block.collective == "all_gather_perf"
    assert row.out_of_place is not None
    assert (row.out_of_place.busbw_gb_per_s, row.out_of_place.error, row.out_of_place.wrong) == (129.05, 1.0, None)
    assert (block.out_of_bounds, block.out_of_bounds_ok) == (1, False)


def test_further_columns_of_both_halves_are_skipped() -> None:
    """-I 1 adds four columns to each half, -S 1 a time at the end of the row."""
    header = HEADER.replace("#wrong ", "#wrong i_min i_max i_p99 i_cv% ").rstrip("\n")
    header = header.replace("#wrong\n", "#wrong i_min i_max i_p99 i_cv%\n")
    half = "100.0 200.0 {} 0 1.0 2.0 3.0 0.5"
    row = f"{GIB} 268435456 float sum -1 {half.format('480.1')} {half.format('481.2')} 2026-01-02 03:04:05\n"
    (read_row,) = only(run_text(rows=()).replace(HEADER, header + "\n" + row)).rows
    assert [part.busbw_gb_per_s for part in read_row.halves] == [480.1, 481.2]


@pytest.mark.parametrize(
    ("text", "value"), [("1.1e+03", 1100.0), ("nan", None), ("inf", None), ("0.00", 0.0), ("N/A", None)]
)
def test_bandwidths_in_every_notation(text: str, value: float | None) -> None:
    (row,) = only(run_text(rows=(row_line(GIB, text),))).rows
    assert row.halves[0].busbw_gb_per_s == value


def test_an_in_place_half_that_was_not_checked_has_no_count() -> None:
    (row,) = only(run_text(rows=(row_line(GIB, 13.5, in_place="100.0 27.2 13.6 N/A"),))).rows
    assert row.in_place is not None
    assert row.in_place.wrong is None
    assert row.wrong == 0


def test_rows_into_which_other_lines_were_written_are_counted_not_guessed() -> None:
    glued = row_line(GIB, 470.0).replace("470.0", "470onyx-g1:12:13 [0] NCCL INFO x", 1)
    block = only(run_text(rows=(glued, row_line(8 * GIB, 481.9))))
    assert (len(block.rows), block.dropped_rows) == (1, 1)


@pytest.mark.parametrize(
    "prefix",
    [
        "2026-01-29T18:02:19.123456789Z ",
        "[1,0]<stdout>:",
        "2026-01-29T18:02:19+01:00 [1,0]<stderr>: ",
        "\x1b[32m",
        "0: ",
    ],
)
def test_prefixes_of_launchers_do_not_matter(prefix: str) -> None:
    text = "\n".join(prefix + line for line in run_text().split("\n"))
    assert dataclasses.replace(only(text), first_line=0) == dataclasses.replace(only(run_text()), first_line=0)


def test_line_ends_of_windows_do_not_matter() -> None:
    assert only(run_text().replace("\n", "\r\n")) == only(run_text())


def test_a_smaller_maximum_for_want_of_memory_is_noted() -> None:
    text = run_text().replace("#\n# Using", "# Reducing maxBytes to 42949672960 due to memory limitation\n# Using")
    assert only(text).reduced_to_bytes == 42949672960


def test_an_average_that_was_refused_is_noted() -> None:
    assert only(run_text().replace(": 476.2", ": 476.2 FAILED")).average_ok is False


def test_a_run_that_was_cut_lacks_its_end() -> None:
    block = only(run_text(end=""))
    assert not block.complete
    assert block.missing == ("the line of out of bounds values", "the line of the average")


def test_a_table_of_ranks_without_groups_and_with_short_addresses_is_read() -> None:
    line = rank_line(0, "old", 0, "0x1b").replace("Group  0 ", "")
    (rank,) = only(run_text(per_host=0).replace("# Using devices\n", "# Using devices\n" + line)).ranks
    assert (rank.rank, rank.group, rank.bdf) == (0, 0, "1b")


@pytest.mark.parametrize("text", ["", "\n\n", "no output of this program\n", "12 34 float\n"])
def test_a_text_without_a_run_has_no_blocks(text: str) -> None:
    assert read(text) == []


def test_a_block_survives_the_way_through_plain_data() -> None:
    block = only(run_text())
    assert block_from_dict(dataclasses.asdict(block)) == block


WHOLE = run_text() + run_text(collective="alltoall", rows=(row_line(GIB, 348.0, in_place="1 2 3 N/A"),))


@given(st.integers(0, len(WHOLE)))
def test_a_log_may_end_anywhere(end: int) -> None:
    """A cut log is read without an error, and is whole only when its last line is."""
    found = read(WHOLE[:end])
    assert len(found) <= 2
    if end < WHOLE.rindex("# Avg"):
        assert not (len(found) == 2 and found[1].complete)


@given(st.lists(st.sampled_from(WHOLE.split("\n")) | st.text(max_size=60), max_size=60))
def test_lines_in_any_order_and_any_text_are_read(lines: list[str]) -> None:
    for block in blocks(clean(line) for line in lines):
        assert all(row.size_bytes >= 0 for row in block.rows)


@given(st.text(max_size=400))
def test_a_cleaned_line_has_no_line_end(text: str) -> None:
    assert not clean(text).endswith(("\r", "\n"))
