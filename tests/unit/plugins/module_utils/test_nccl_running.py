"""Running programs side by side, bounded in time, and looking whether GPUs are free."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.nccl import running
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.idle import IN_USE, SHARED, UNREADABLE, obstacle
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import run_text
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import add_program, write


def planned(*command: str | Path, timeout_s: float = 20, **variables: str) -> dict[str, Any]:
    return {
        "name": "run",
        "command": [str(word) for word in command],
        "environment": variables,
        "timeout_s": timeout_s,
    }


def only(*command: str | Path, **more: Any) -> dict[str, Any]:
    (outcome,) = running.run_all([planned(*command, **more)], [])
    return outcome


def test_what_a_program_prints_is_read_while_it_comes(tmp_path: Path) -> None:
    log = write(tmp_path / "log", run_text())
    outcome = only(add_program(tmp_path, "tests", f"cat {log}\nexit 3\n"))
    assert (outcome["ended"], outcome["exit_code"]) == ("by-itself", 3)
    assert outcome["reading"]["blocks"][0]["concluded"]


def test_standard_error_is_read_too(tmp_path: Path) -> None:
    program = add_program(tmp_path, "tests", "echo Invalid number of GPUs >&2\n")
    (outcome,) = running.run_all([planned(program)], [{"id": "a", "regex": "Invalid", "needles": ["invalid"]}])
    assert [match["id"] for match in outcome["reading"]["matches"]] == ["a"]


def test_a_program_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    program = add_program(tmp_path, "tests", f"sleep 60 &\necho $! > {child}\necho started\nwait\n")
    outcome = only(program, timeout_s=0.4)
    assert (outcome["ended"], outcome["exit_code"], outcome["reading"]["lines"]) == ("deadline", None, 1)
    assert has_gone(int(child.read_text()))


def test_a_program_that_ignores_being_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "GRACE_S", 0.2)
    program = add_program(tmp_path, "tests", "trap '' TERM\nwhile :; do echo x; sleep 0.05; done\n")
    assert only(program, timeout_s=0.3)["ended"] == "deadline"


def test_children_that_outlive_their_program_are_ended(tmp_path: Path) -> None:
    child = tmp_path / "child"
    program = add_program(tmp_path, "tests", f"sleep 60 > /dev/null 2>&1 &\necho $! > {child}\n")
    assert only(program)["ended"] == "by-itself"
    assert has_gone(int(child.read_text()))


def has_gone(pid: int) -> bool:
    """Whether a process is no more, or only waits to be reaped."""
    for _attempt in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_program_that_is_not_there_was_not_started() -> None:
    outcome = only("/nowhere/all_reduce_perf")
    assert (outcome["ended"], outcome["reading"]["lines"]) == ("not-started", 0)
    assert "No such file" in outcome["message"]


def test_runs_go_side_by_side(tmp_path: Path) -> None:
    """Each waits for the other's file."""
    script = "touch {mine}\nwhile ! [ -e {other} ]; do sleep 0.02; done\n"
    one, two = tmp_path / "1", tmp_path / "2"
    programs = [
        add_program(tmp_path, "a", script.format(mine=one, other=two)),
        add_program(tmp_path, "b", script.format(mine=two, other=one)),
    ]
    outcomes = running.run_all([planned(program) for program in programs], [])
    assert [outcome["exit_code"] for outcome in outcomes] == [0, 0]


def test_words_of_a_command_never_reach_a_shell(tmp_path: Path) -> None:
    made = tmp_path / "made"
    only("echo", f"$(touch {made})", f"; touch {made}")
    assert not made.exists()


def test_variables_of_a_run_are_set_and_root_may_run_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = running.environment({"NCCL_NET": "IB"})
    assert (found["NCCL_NET"], found["LC_ALL"], found["OMPI_ALLOW_RUN_AS_ROOT"]) == ("IB", "C", "1")


GPUS = "".join(f"GPU-{number}, Default, Disabled\n" for number in range(8))


def test_gpus_without_users_are_free() -> None:
    assert obstacle("onyx-g1", GPUS, "", 8) is None
    # GB10 has no MIG, and a desktop is no compute application.
    assert obstacle("spark-01", "GPU-1, Default, [N/A]\n", "\n", 1) is None


@pytest.mark.parametrize(
    ("gpus", "applications", "code"),
    [
        (None, "", UNREADABLE),
        (GPUS, None, UNREADABLE),
        ("", "", UNREADABLE),
        ("GPU-0, Default, Disabled\n", "", UNREADABLE),
        ("NVIDIA-SMI has failed because it could not communicate with the driver", "", UNREADABLE),
        (GPUS.replace("Disabled", "Enabled", 1), "", SHARED),
        (GPUS.replace("Default", "Exclusive_Process"), "", SHARED),
        (GPUS, "GPU-0, 4711, nvidia-cuda-mps-server\n", SHARED),
        (GPUS, "GPU-0, 4711, python\n", IN_USE),
    ],
)
def test_gpus_that_are_shared_in_use_or_not_readable_are_an_obstacle(
    gpus: str | None, applications: str | None, code: str
) -> None:
    found = obstacle("onyx-g1", gpus, applications, 8)
    assert found is not None
    assert (found.code, found.node) == (code, "onyx-g1")


def test_whoever_uses_a_gpu_is_named() -> None:
    found = obstacle("onyx-g1", GPUS, "GPU-0, 4711, python\n", 8)
    assert found is not None
    assert "python (pid 4711)" in found.what
