"""Output of nccl-tests as it is found: other versions, other collectives, behind launchers and log collectors."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.nccl import log
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.log import Block, Half
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.reading import Reading, read
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import Scanner
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import (
    GIB,
    HEADER,
    rank_line,
    row_line,
    run_text,
)

TWO_HOSTS = run_text(hosts=("onyx-g1", "onyx-g2"))


def reading(text: str | bytes) -> Reading:
    raw = text if isinstance(text, bytes) else text.encode()
    return read([raw[start : start + 4096] for start in range(0, len(raw), 4096)], Scanner([]))


def only(text: str | bytes) -> Block:
    (block,) = reading(text).blocks
    return block


def bare(block: Block) -> Block:
    """Without the numbers of lines, which a prefix of lines of its own moves."""
    return dataclasses.replace(block, first_line=0, last_line=0)


def prefixed(prefix: str, text: str = TWO_HOSTS) -> str:
    return "".join(prefix + line + "\n" for line in text.rstrip("\n").split("\n"))


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param("[pod/nccl-launcher-x7k/launcher] ", id="kubectl --prefix"),
        pytest.param("[pod/nccl-launcher-x7k/launcher] 2026-01-29T18:02:19.1Z ", id="kubectl --prefix --timestamps"),
        pytest.param("2026-01-29T18:02:19.123456789Z stdout F ", id="file of containerd"),
        pytest.param("2026-01-29T18:02:19.1+01:00 stderr P ", id="file of CRI-O"),
        pytest.param("[1,0]<stdout>:", id="Open MPI 4"),
        pytest.param("[1,0]<stderr>: ", id="Open MPI 4.1"),
        pytest.param("[prterun-onyx-g1-80749@1,0]<stdout>: ", id="Open MPI 5"),
        pytest.param("[1,0][onyx-g1:4711]<stdout>: ", id="Open MPI 5 with details"),
        pytest.param("[0]<stdout>: ", id="Open MPI 5 with ranks"),
        pytest.param("Thu Jan 29 18:02:19 2026[1,0]<stdout>:", id="Open MPI with times"),
        pytest.param("2026-01-29T18:02:19Z [1,0]<stdout>:", id="kubectl over Open MPI"),
        pytest.param("  0: ", id="srun --label"),
        pytest.param("12: ", id="srun --label, two digits"),
        pytest.param("[0] ", id="Hydra"),
        pytest.param("[2026-01-29 18:02:19] ", id="ts with a bracket"),
        pytest.param("2026-01-29 18:02:19,123 ", id="logger of Python"),
        pytest.param("Jan 29 18:02:19 ", id="ts"),
        pytest.param("Jan 29 18:02:19 onyx-g1 mpirun[4711]: ", id="syslog"),
        pytest.param("worker-0  | ", id="compose"),
        pytest.param("nccl-launcher-x7k launcher ", id="stern"),
        pytest.param("\x1b[36mnccl-launcher-x7k\x1b[0m launcher ", id="stern in colour"),
    ],
)
def test_what_stands_before_each_line_does_not_matter(prefix: str) -> None:
    assert bare(only(prefixed(prefix))) == bare(only(TWO_HOSTS))


@pytest.mark.parametrize("key", ["log", "message", "msg", "textPayload"])
def test_lines_inside_json_are_read(key: str) -> None:
    """The json-file driver of Docker, and log collectors."""
    lines = [
        json.dumps({key: line + "\n", "stream": "stdout", "time": "2026-01-29T18:02:19.1Z"})
        for line in TWO_HOSTS.split("\n")
    ]
    assert bare(only("\n".join(lines))) == bare(only(TWO_HOSTS))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_log_redirected_on_windows_is_read(encoding: str) -> None:
    assert only(TWO_HOSTS.replace("\n", "\r\n").encode(encoding)) == only(TWO_HOSTS)


@pytest.mark.parametrize("blank", ["\t", "\xa0"])
def test_blanks_as_copying_leaves_them_do_not_matter(blank: str) -> None:
    assert only(TWO_HOSTS.replace("  ", blank)) == only(TWO_HOSTS)


def test_a_quoted_log_is_read() -> None:
    assert bare(only(prefixed("> "))) == bare(only(TWO_HOSTS))


DEBUG = "onyx-g1:4000:4100 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/IB/0/GDRDMA\n"


def test_debug_lines_between_rows_do_not_matter() -> None:
    rows = (
        row_line(GIB, 470.5),
        DEBUG,
        "onyx-g2:1:1 [3] NCCL INFO Trees [0] 1/-1/-1->0->-1\n",
        row_line(8 * GIB, 481.9),
    )
    block = only(run_text(rows=rows))
    assert (len(block.rows), block.dropped_rows) == (2, 0)


HEAD = f"{8 * GIB:12d} {2 * GIB:13d}     float     sum      -1"
FIRST = "   31200   275.33  481.83       0"
SECOND = "   31190   275.42  481.99       0"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(HEAD + DEBUG + FIRST + SECOND + "\n", id="after what is measured"),
        pytest.param(HEAD + "\n" + DEBUG + FIRST + SECOND + "\n", id="on a line of its own"),
        pytest.param(HEAD + FIRST + DEBUG + DEBUG + SECOND + "\n", id="after the first half"),
        pytest.param(HEAD + DEBUG + FIRST + DEBUG + SECOND + "\n", id="after both"),
    ],
)
def test_a_row_that_debug_lines_broke_between_its_parts_is_put_together(lines: str) -> None:
    """NCCL from 2.22 on connects during the first collective, in the middle of a row."""
    block = only(run_text(rows=(row_line(GIB, 470.5), lines)))
    assert block.dropped_rows == 0
    assert [half.busbw_gb_per_s for half in block.rows[1].halves] == [481.83, 481.99]
    assert block.rows[1].wrong == 0


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(HEAD + DEBUG, id="the rest does not come"),
        pytest.param(HEAD + "   31200   275.33  48onyx-g1:1:1 [0] NCCL INFO x\n 1.83 0" + SECOND, id="inside a number"),
        pytest.param(
            HEAD + FIRST[:-1] + "05host:1:1 [0] NCCL INFO x\n" + SECOND + "\n", id="a host named like a number"
        ),
    ],
)
def test_a_row_broken_elsewhere_is_counted_not_guessed(lines: str) -> None:
    block = only(run_text(rows=(row_line(GIB, 470.5), lines + "\n")))
    assert (len(block.rows), block.dropped_rows) == (1, 1)


@pytest.mark.parametrize(
    ("header", "row", "redop", "busbw"),
    [
        pytest.param(
            "size count type redop time algbw busbw error time algbw busbw error",
            "1073741824 268435456 float sum 4000 268.4 469.8 1e-07 4000 268.4 470.1 1e-07",
            "sum",
            470.1,
            id="2.0 all_reduce",
        ),
        pytest.param(
            "size count type root time algbw busbw error time algbw busbw error",
            "1073741824 268435456 float 0 4000 268.4 268.4 0e+00 4000 268.4 268.5 0e+00",
            None,
            268.5,
            id="2.0 broadcast",
        ),
        pytest.param(
            "size count type redop root time algbw busbw error time algbw busbw error",
            "1073741824 268435456 float sum 0 4000 268.4 268.4 N/A 4000 268.4 268.5 N/A",
            "sum",
            268.5,
            id="2.0 reduce, not checked",
        ),
        pytest.param(
            "bytes N type op time algbw busbw res time algbw busbw res",
            "#  1073741824 268435456 float sum 4.000 268.4 469.8 0e+00 4.000 268.4 470.1 0e+00",
            "sum",
            470.1,
            id="before 2.0 was final",
        ),
        pytest.param(
            "size count type redop root cputime algbw busbw #wrong cputime algbw busbw #wrong",
            "1073741824 268435456 bfloat16 sum -1 4000 268.4 469.8 0 4000 268.4 470.1 0",
            "sum",
            470.1,
            id="-C 1",
        ),
        pytest.param(
            "size count type redop root time algbw busbw #wrong time algbw busbw #wrong timestamp",
            "1073741824 268435456 fp8_e4m3 none -1 4000 268.4 469.8 0 4000 268.4 470.1 N/A 2026-01-29 18:02:19",
            "none",
            470.1,
            id="-S 1",
        ),
    ],
)
@pytest.mark.parametrize("has_header", [True, False])
def test_columns_of_versions_and_collectives_are_read(
    header: str, row: str, redop: str | None, busbw: float, has_header: bool
) -> None:
    """Also where the log begins behind the header."""
    text = run_text(rows=()).replace(HEADER, (f"#  {header}\n" if has_header else "") + f" {row}\n")
    (found,) = only(text).rows
    assert (found.busbw_gb_per_s, found.redop) == (busbw, redop)
    assert found.out_of_place is not None
    assert found.out_of_place.time_us in (4.0, 4000.0)


def test_a_row_with_its_second_half_only_is_in_place() -> None:
    """Replays of traces leave the first half blank."""
    row = HEAD + " " * 32 + SECOND + "\n"
    (found,) = only(run_text(rows=(row,))).rows
    assert found.out_of_place is None
    assert found.in_place == Half(31190, 275.42, 481.99, 0)


def test_a_table_of_ranks_without_processes_is_read() -> None:
    line = "#   Rank  0 on       onyx device  0 [0x05] Tesla V100-SXM2-16GB\n"
    (rank,) = only(run_text(per_host=0).replace("# Using devices\n", "# Using devices\n" + line)).ranks
    assert (rank.rank, rank.pid, rank.host, rank.bdf) == (0, None, "onyx", "05")


def test_comments_without_a_mark_are_read() -> None:
    """As versions up to 2.11 printed some of them."""
    assert bare(
        only(TWO_HOSTS.replace("#  Rank", "   Rank").replace("# Out", " Out").replace("# Avg", " Avg"))
    ) == bare(only(TWO_HOSTS))


def test_eight_gpus_of_one_process_are_eight_ranks() -> None:
    text = run_text().replace("nGpus 1", "nGpus 8")
    assert len(only(text).ranks) == 8


def test_network_devices_of_ranks_are_known_by_their_names() -> None:
    using = "{}:1:1 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/RoCE [1]mlx5_3:1/RoCE [RO]; OOB eth0:10.0.0.1<0>\n"
    receive = "onyx-g2:1:1 [0] NCCL INFO Channel 01/0 : 0[0] -> 8[0] [receive] via NET/IB/1\n"
    text = run_text(
        hosts=("onyx-g1", "onyx-g2"),
        rows=(using.format("onyx-g1"), using.format("onyx-g2"), DEBUG, DEBUG, receive, row_line(8 * GIB, 481.9)),
    )
    found = reading(text)
    assert {rank.rank: rank.hcas for rank in found.blocks[0].ranks if rank.hcas} == {0: ("mlx5_0:1",), 8: ("mlx5_3:1",)}
    assert set(found.transports) == {"roce", "ib", "gdrdma"}


@pytest.mark.parametrize(
    ("line", "transport"),
    [
        ("NVLS multicast support is available on dev 0 (NVLS_NCHANNELS 16)", "nvls"),
        ("16 coll channels, 16 collnet channels, 16 nvls channels, 16 p2p channels", "nvls"),
        ("16 coll channels, 0 collnet channels, 0 nvls channels, 16 p2p channels", "no-nvls"),
        ("NVLS multicast support is not available on dev 3", "no-nvls"),
        ("NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_1:1/IB [RO]; OOB eth0:10.0.0.1<0>", "infiniband"),
        ("Using network IBext_v8", "ib"),
        ("Using network AWS Libfabric", "plugin"),
        ("Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM", "p2p"),
        ("Channel 00 : 0[0] -> 1[1] via SHM/direct/direct", "shm"),
        ("Channel 00/0 : 0[0] -> 8[0] [send] via NET/Socket/0", "socket"),
    ],
)
def test_a_transport_is_known_by_the_line_that_names_it(line: str, transport: str) -> None:
    assert set(reading(f"onyx-g1:1:1 [0] NCCL INFO {line}\n").transports) == {transport}


@pytest.mark.parametrize(
    ("size", "step", "reaches"),
    [
        (8 * GIB, "2(factor)", True),
        (4 * GIB, "2(factor)", False),
        (8 * GIB - 8192, "2(factor)", True),
        (6 * GIB, "2(factor)", True),
        (15 * GIB // 2, "1073741824(bytes)", True),
        (5 * GIB, "1073741824(bytes)", False),
    ],
)
def test_a_run_reaches_its_end_with_the_last_message_that_the_steps_allow(size: int, step: str, reaches: bool) -> None:
    block = only(run_text(rows=(row_line(size, 470.0),)).replace("2(factor)", step))
    assert (block.reaches_the_end, block.complete) == (reaches, reaches)


def test_memory_is_bounded_whatever_the_number_of_rows_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAXIMUM_KEPT", 100)
    blocks = reading(run_text(rows=(row_line(GIB, 1.0) * 20,)) * 10).blocks
    assert sum(len(block.rows) + len(block.ranks) for block in blocks) <= 100
    assert sum(block.dropped_rows for block in blocks) > 0


@settings(max_examples=60)
@given(
    prefix=st.sampled_from(["", "[1,0]<stdout>:", "  0: ", '{"log":"', "worker-0 | ", "2026-01-29T18:02:19Z "]),
    lines=st.lists(st.sampled_from((TWO_HOSTS + DEBUG + HEAD + "\n" + FIRST).split("\n")) | st.text(max_size=40)),
    cut=st.integers(0, 4000),
)
def test_any_mixture_is_read_without_an_error(prefix: str, lines: list[str], cut: int) -> None:
    for block in reading(prefixed(prefix, "\n".join(lines))[: cut or None]).blocks:
        assert all(row.halves for row in block.rows)


def test_a_rank_line_is_no_row() -> None:
    assert only(run_text(rows=(rank_line(0, "onyx-g1", 0),))).rows == []


@pytest.mark.parametrize("digits", ["\u00b2", "\u0663", "9" * 5000])
def test_digits_that_make_no_number_of_that_kind_are_read_without_an_error(digits: str) -> None:
    """Other scripts have digits too, and Python refuses to convert more than some thousands."""
    text = TWO_HOSTS + DEBUG + "NCCL version 2.18.5\n# Reducing maxBytes to 8\n"
    for number in ("8589934592", "1073741824", "16", "0 OK", "4000", "18", "470.5", "22902", "0[0]", " 2("):
        for block in reading(text.replace(number, number.replace(number.strip(" (OK[]"), digits))).blocks:
            assert all(row.size_bytes < 1 << 70 for row in block.rows)
