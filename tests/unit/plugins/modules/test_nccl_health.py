"""The module nccl_health on files."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.baremetal.gpu.plugins.modules import nccl_health
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import data
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import run_text
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.test_json_report import REPORT
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import add_program, run_module, write

SIGNATURES = [dict(entry) for entry in data.raw_signatures()]


def test_logs_and_reports_are_read(tmp_path: Path) -> None:
    log = write(tmp_path / "run.log", run_text())
    report = write(tmp_path / "run.json", json.dumps(REPORT))
    result = run_module(nccl_health, {"logs": [str(log)], "reports": [str(report)], "signatures": SIGNATURES})
    assert (result["exit_status"], result["changed"]) == (0, False)
    assert [reading["path"] for reading in result["readings"]] == [str(log), str(report)]
    assert [len(reading["blocks"]) for reading in result["readings"]] == [1, 1]
    assert "SECRET" not in json.dumps(result["readings"])


def test_an_absent_log_is_one_clear_error(tmp_path: Path) -> None:
    result = run_module(nccl_health, {"logs": [str(tmp_path / "absent")]})
    assert (result["failed"], result["code"]) == (True, "BG-NCCL-102")
    assert "No such file" in result["msg"]


def test_a_report_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    result = run_module(nccl_health, {"reports": [str(write(tmp_path / "run.json", run_text()))]})
    assert result["code"] == "BG-NCCL-102"


def test_broken_signatures_are_one_clear_error(tmp_path: Path) -> None:
    log = write(tmp_path / "run.log", run_text())
    broken = [{"id": "broken", "regex": "(", "needles": ["x"]}]
    result = run_module(nccl_health, {"logs": [str(log)], "signatures": broken})
    assert result["code"] == "BG-NCCL-103"


def test_no_file_at_all_is_refused() -> None:
    result = run_module(nccl_health, {})
    assert result["failed"]


def test_what_only_looks_is_asked_in_check_mode_too(tmp_path: Path) -> None:
    probes = [
        {"name": "good", "command": [str(add_program(tmp_path, "good", "echo GPU-0"))]},
        {"name": "bad", "command": [str(add_program(tmp_path, "bad", "echo no driver >&2; exit 9"))]},
        {"name": "absent", "command": ["/nowhere/nvidia-smi"]},
    ]
    answers = run_module(nccl_health, {"probes": probes}, check_mode=True)["answers"]
    assert [(item["name"], item["output"], item["message"]) for item in answers] == [
        ("good", "GPU-0\n", ""),
        ("bad", None, "no driver"),
        ("absent", None, "/nowhere/nvidia-smi: No such file or directory"),
    ]


def test_runs_are_started_only_outside_of_check_mode(tmp_path: Path) -> None:
    started = tmp_path / "started"
    program = add_program(tmp_path, "tests", f"touch {started}\necho '# nThread 1 nGpus 8'\n")
    runs = [{"name": "run", "command": [str(program)], "environment": {}, "timeout_s": 10}]
    assert "outcomes" not in run_module(nccl_health, {"runs": runs}, check_mode=True)
    assert not started.exists()
    result = run_module(nccl_health, {"runs": runs})
    assert (result["outcomes"][0]["ended"], result["changed"]) == ("by-itself", False)
    assert started.exists()
