"""Programs that may hang."""

from __future__ import annotations

import time

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import run


def test_output_errors_and_status_are_returned() -> None:
    completed = run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], 10)
    assert (completed.return_code, completed.output, completed.errors) == (3, "out\n", "err\n")


def test_a_program_that_hangs_is_ended_with_its_children() -> None:
    started = time.monotonic()
    completed = run(["/bin/sh", "-c", "echo before; sleep 60 & sleep 60"], 0.3)
    assert completed.timed_out
    assert time.monotonic() - started < 5


def test_a_program_that_is_not_there_raises_oserror() -> None:
    with pytest.raises(OSError, match="No such file"):
        run(["/nonexistent/program"], 1)


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert run(["/usr/bin/printf", r"\377"], 10).output == "\ufffd"
