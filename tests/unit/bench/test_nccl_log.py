"""The large log that the benchmark judges."""

from __future__ import annotations

from pathlib import Path

from tools.bench import nccl_log


def test_the_log_has_its_size_and_is_the_same_each_time() -> None:
    text = "".join(nccl_log.lines(100_000))
    assert 100_000 < len(text) < 125_000
    assert text == "".join(nccl_log.lines(100_000))


def test_the_log_is_judged_as_a_healthy_run(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("".join(nccl_log.lines(100_000)), encoding="utf-8")
    found = nccl_log.judged(log)
    assert found["statuses"] == nccl_log.EXPECTED
    assert found["peak_bytes"] > 0
