"""Whoever waits is told what goes on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lab import progress
from lab.progress import Activity, heartbeat, step


def test_the_heartbeat_names_what_runs_for_how_long_and_how_far_it_is() -> None:
    compiling = Activity("Compile hyperkube", begun=10.0)
    compiling.tell("812 packages compiled")
    line = heartbeat([compiling, Activity("Boot", begun=70.0)], now=100.0)
    assert line == "Compile hyperkube, 90 s (812 packages compiled); Boot, 30 s"


def test_a_step_is_heard_of_every_half_minute_whatever_others_say() -> None:
    old, new = Activity("Compile", begun=0.0), Activity("Boot", begun=25.0)
    assert heartbeat([old, new], now=30.0) == "Compile, 30 s"
    assert heartbeat([old, new], now=40.0) == ""
    assert heartbeat([old, new], now=60.0) == "Compile, 60 s; Boot, 35 s"


def test_nothing_is_said_when_nothing_runs() -> None:
    assert heartbeat([], now=100.0) == ""


def test_a_step_that_failed_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), step("Fetch", "2/7 "):
        raise RuntimeError
    begun, ended = capfd.readouterr().err.splitlines()
    assert begun.endswith("2/7 Fetch …")
    assert "2/7 Fetch: FAILED after" in ended


def test_a_long_step_is_heard_of_without_a_terminal() -> None:
    script = (
        "import time; from lab import progress; progress.HEARTBEAT_S = 0.5\n"
        "with progress.step('Compile') as activity:\n"
        "    activity.tell('3 packages compiled')\n"
        "    time.sleep(2.5)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "still at it: Compile, " in done.stderr
    assert "(3 packages compiled)" in done.stderr


def test_a_finished_step_is_not_heard_of_any_more() -> None:
    with step("Fetch") as activity:
        assert activity in progress._STATE.running
    assert activity not in progress._STATE.running
