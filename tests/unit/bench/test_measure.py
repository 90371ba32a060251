"""What a command costs, and how busy the machine was."""

from __future__ import annotations

import os
import sys

import pytest

from tools.bench.measure import Load, Ticks, load, machine, run

STAT = "cpu  100 10 50 800 20 3 7 40 5 0\ncpu0 50 5 25 400 10 1 3 20 2 0\n"


def test_exit_status_and_output_are_kept(tmp_path):
    log = tmp_path / "logs/run.log"
    usage = run([sys.executable, "-c", "print('said'); raise SystemExit(3)"], log, cwd=tmp_path, environment=os.environ)
    assert (usage.returncode, log.read_text()) == (3, "said\n")


def test_a_command_ended_by_a_signal_is_no_success(tmp_path):
    usage = run(["/bin/sh", "-c", "kill -9 $$"], tmp_path / "log", cwd=tmp_path, environment=os.environ)
    assert usage.returncode == -9


def test_processor_time_of_children_counts(tmp_path):
    """The same work in a child that is waited for is not free."""
    work = "import os\nwhile sum(os.times()[:2]) < 0.3: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}], check=True)"
    usage = run([sys.executable, "-c", child], tmp_path / "log", cwd=tmp_path, environment=os.environ)
    assert usage.cpu_s >= 0.3


def test_a_command_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        run([str(tmp_path / "none")], tmp_path / "log", cwd=tmp_path, environment=os.environ)


def test_time_of_guests_is_not_counted_twice():
    assert Ticks.parse(STAT) == Ticks(busy=100 + 10 + 50 + 3 + 7, idle=800 + 20, stolen=40)


def test_stolen_time_is_told_in_per_cent():
    found = Load(runnable=0.5)
    found.finish(Ticks(100, 100, 0), Ticks(150, 125, 25))
    assert (found.busy, found.stolen) == (50.0, 25.0)


def test_no_time_at_all_is_no_division():
    found = Load(runnable=0.5)
    found.finish(Ticks(1, 1, 1), Ticks(1, 1, 1))
    assert (found.busy, found.stolen) == (0.0, 0.0)


def test_load_is_filled_also_when_the_measured_thing_fails(monkeypatch):
    monkeypatch.setattr(Ticks, "now", classmethod(lambda _cls: next(ticks)))
    ticks = iter([Ticks(0, 0, 0), Ticks(3, 1, 0)])
    block = load()
    found = block.__enter__()
    block.__exit__(RuntimeError, RuntimeError(), None)
    assert found.busy == 75.0


def test_the_machine_is_described_without_its_name():
    described = machine()
    assert set(described) == {"cores", "memory_gib", "processor", "kernel"}
    assert os.uname().nodename not in str(described)
