"""What gpu_info and gpu_health cost: what is run, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest

from tools.bench import host_modules, page, results
from tools.bench.measure import Usage
from tools.bench.parts import MODES

PART = {
    "tasks": 10,
    "cpu_s": {"ping": [0.30, 0.32], "gpu_info": [0.45, 0.47], "gpu_health": [0.5, 0.5], "tools": [0.02, 0.02]},
    "load": {"runnable": 1.0, "busy": 50.0, "stolen": 0.0},
}


def result(part: dict[str, Any]) -> results.Result:
    document = {
        "schema": 1,
        "measured": "2026-01-05T10:00:00Z",
        "commit": "0",
        "machine": {"cores": 2, "processor": "x", "memory_gib": 8, "kernel": "6"},
        "parts": {"host_modules": part},
    }
    return results.parse(document, "now")


def test_a_play_does_one_task_as_often_as_is_said() -> None:
    (play,) = host_modules.playbook({"ansible.builtin.ping": {}})
    assert (play["connection"], len(play["tasks"])) == ("local", host_modules.TASKS)
    assert len({task["name"] for task in play["tasks"]}) == host_modules.TASKS


def test_the_cost_is_what_is_beyond_pings_and_tools() -> None:
    found = result(PART).host_modules
    assert found is not None
    assert found.more_than_pings_s.median == pytest.approx(0.3)


def test_the_page_shows_each_module_and_the_goal() -> None:
    text = page.markdown([result(PART)])
    assert "| gpu_health | 0.500" in text
    assert "≤ 0.4 s" in text


def test_every_way_is_run_and_one_that_fails_stops_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    ran: list[str] = []

    def run(command: list[str], log: Any, **_options: Any) -> Usage:
        ran.append(log.name)
        return Usage(0, 1.0, 2.0)

    monkeypatch.setattr(host_modules, "run", run)
    monkeypatch.setattr(host_modules, "WORK", tmp_path)
    monkeypatch.setattr(host_modules, "_environment", lambda folder: folder.mkdir(parents=True, exist_ok=True) or {})
    measured = host_modules.measure(MODES["quick"])
    assert ran[:5] == ["warm.log", "ping-1.log", "gpu_info-1.log", "gpu_health-1.log", "tools-1.log"]
    assert measured["cpu_s"]["ping"] == [0.2] * host_modules.REPETITIONS
    monkeypatch.setattr(host_modules, "run", lambda *_arguments, **_options: Usage(2, 1.0, 1.0))
    with pytest.raises(RuntimeError, match="ended with 2"):
        host_modules.measure(MODES["quick"])
