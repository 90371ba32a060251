"""Signatures of failures in logs."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.reading import read
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import MAXIMUM_TEXT, Scanner, is_needle
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import data
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import run_text

SIGNATURES = list(data.raw_signatures())

LINES = {
    "result_wrong_values": "# Out of bounds values : 4 FAILED",
    "test_timeout": "onyx-g1: Test timeout (300s) common.cu:640",
    "cuda_system_not_ready_802": "onyx-g1: Test CUDA failure common.cu:1 'system not yet initialized'",
    "nvls_multicast_bind": "x NCCL WARN Failed to bind NVLink SHARP (NVLS) Multicast memory of size 5",
    "cuda_invalid_ordinal": "Invalid number of GPUs: 16 requested but only 8 were found.",
    "ib_qp_timeout_110": "NCCL WARN Call to ibv_modify_qp failed with 110 Connection timed out, on dev mlx5_1:1",
    "ib_retry_exceeded_12": "NET/IB : Got completion from peer 10.0.0.1<5> with status=12 opcode=0 len=0 vendor err 129",
    "net_socket_fallback": "onyx-g1:1:1 [0] NCCL INFO Using network Socket",
    "remote_process_exited": "x: Test NCCL failure common.cu:1 'remote process exited or there was a network error / '",
    "shm_too_small": "NCCL WARN Error: failed to extend /dev/shm/nccl-AbC to 9637892 bytes, error: No space left",
    "nccl_version_mismatch": "NCCL WARN Mismatched NCCL version detected : rank 3",
    "mpi_slots": "There are not enough slots available in the system to satisfy the 16",
    "ssh_auth": "admin@onyx-g2: Permission denied (publickey).",
    "oom_killed": "rank 3 exited on signal 9 (Killed)",
    "cuda_lost": "NVRM: GPU at 0000:1b:00 has fallen off the bus",
    "program_missing": "prterun was unable to launch: could not access or execute an executable: all_reduce_perf",
    "shared_library_missing": "x: error while loading shared libraries: libnccl.so.2: cannot open shared object file: No such file",
    "crash_signal": "[onyx-g1:4711:0:4711] Caught signal 11 (Segmentation fault: address not mapped)",
    "slurm_time_limit": "slurmstepd: error: *** STEP 5.0 ON onyx-g1 CANCELLED AT 2026-01-29T18:02:19 DUE TO TIME LIMIT ***",
    "srun_task_failed": "srun: error: onyx-g1: tasks 0-7: Exited with exit code 3",
    "mpi_nonzero": "prterun detected that one or more processes exited with non-zero status",
    "bootstrap_connect_failed": "x NCCL WARN Call to connect to 10.0.0.1 failed : Connection refused",
    "cuda_ecc": "Test CUDA failure common.cu:5 'uncorrectable ECC error encountered'",
}


def scan(*lines: str) -> list[tuple[str, int]]:
    scanner = Scanner(SIGNATURES)
    for number, line in enumerate(lines, 1):
        scanner.feed(number, line)
    return [(match.id, match.line) for match in scanner.matches()]


@pytest.mark.parametrize("identifier", sorted(LINES))
def test_a_line_has_its_signature(identifier: str) -> None:
    assert (identifier, 1) in scan(LINES[identifier])


def test_a_healthy_run_has_no_signature() -> None:
    assert scan(*run_text().split("\n")) == []


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda entry: str(entry["id"]))
@settings(max_examples=15)
@given(data_=st.data())
def test_whatever_matches_has_a_needle(signature: dict[str, str], data_: st.DataObject) -> None:
    """Otherwise the cheap test before the expression would hide a failure."""
    line = data_.draw(st.from_regex(signature["regex"]))
    if re.search(signature["regex"], line):
        assert any(needle in line.lower() for needle in signature["needles"])


def test_needles_make_a_signature_usable_or_refused() -> None:
    assert not is_needle("Upper")
    assert not is_needle("error 12")
    assert not is_needle(" ")
    with pytest.raises(ValueError, match="no needles"):
        Scanner([{"id": "a", "regex": "b", "needles": []}])


def test_the_first_line_is_kept_with_the_number_of_all() -> None:
    scanner = Scanner(SIGNATURES)
    for number in (4, 9, 12):
        scanner.feed(number, LINES["ssh_auth"] + "x" * 2 * MAXIMUM_TEXT)
    (match,) = scanner.matches()
    assert (match.line, match.count, len(match.text)) == (4, 3, MAXIMUM_TEXT)


def test_ordinary_lines_in_any_number_hide_no_other_line() -> None:
    ordinary = "onyx-g1:{0}:{0} [1] NCCL INFO Channel {0}/0 : 1[1] -> 2[2] via NET/IB/{0}\n"
    text = "".join(ordinary.format(number) for number in range(500)) + LINES["ssh_auth"] + "\n" + run_text()
    reading = read([text[:1000].encode(), text[1000:].encode()], Scanner(SIGNATURES))
    assert [(match.id, match.line) for match in reading.matches] == [("ssh_auth", 501)]
    assert reading.lines == 501 + run_text().count("\n")
    assert reading.transports.keys() == {"ib"}
    assert [block.complete for block in reading.blocks] == [True]


@given(cuts=st.lists(st.integers(0, 2000), max_size=6))
def test_the_pieces_in_which_a_log_arrives_do_not_matter(cuts: list[int]) -> None:
    text = (run_text() + LINES["ssh_auth"] + "\n").encode()
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(edges)]
    whole = read([text], Scanner(SIGNATURES))
    assert read(pieces, Scanner(SIGNATURES)).as_dict() == whole.as_dict()


def test_a_line_without_an_end_takes_bounded_memory() -> None:
    reading = read((b"x" * 65536 for _ in range(64)), Scanner(SIGNATURES))
    assert reading.lines == 1
