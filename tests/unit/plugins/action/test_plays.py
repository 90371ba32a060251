"""The action plugins, by real plays on localhost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml


def finding(status: str, simulated: bool = False, code: str = "BG-GPU-001") -> dict[str, Any]:
    return {
        "code": code,
        "subject": "h",
        "status": status,
        "reason": "because",
        "simulated": simulated,
        "remedy": "do it",
    }


def play(directory: Path, *tasks: dict[str, Any], check_mode: bool = False) -> list[dict[str, Any]]:
    """Results of the tasks, in order, from one run of ansible-playbook."""
    path = directory / "play.yml"
    path.write_text(
        yaml.safe_dump(
            [{"name": "Test", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": list(tasks)}]
        ),
        encoding="utf-8",
    )
    settings = directory / "ansible.cfg"
    settings.write_text("[defaults]\n", encoding="utf-8")
    environment = {
        **os.environ,
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_HOME": str(directory / "ansible"),
        "ANSIBLE_CONFIG": str(settings),
    }
    command = [sys.executable, "-m", "ansible", "playbook", *(["--check"] if check_mode else []), str(path)]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert completed.stdout.startswith("{"), completed.stdout + completed.stderr
    data = json.loads(completed.stdout)
    return [task["hosts"]["localhost"] for task in data["plays"][0]["tasks"]]


def verdict(**arguments: Any) -> dict[str, Any]:
    return {"name": "Judge", "baremetal.gpu.verdict": arguments, "ignore_errors": True}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    waiver = {"code": "BG-GPU-001", "reason": "not seen in containers"}
    return play(
        tmp_path_factory.mktemp("play"),
        {"name": "Read", "baremetal.gpu.gpu_info": {}, "register": "plain"},
        {"name": "Read and judge", "baremetal.gpu.gpu_info": {"profile": "gb10", "timeout_s": 5}, "register": "gpu"},
        {"name": "Misspell", "baremetal.gpu.gpu_info": {"profile": "gb-10"}, "ignore_errors": True},
        verdict(findings="{{ gpu.baremetal_gpu_findings }}"),
        verdict(findings=[[finding("ok")], None, [[finding("warn", code="BG-GPU-002")]]]),
        verdict(findings=[finding("unknown")], waivers=[waiver]),
        verdict(findings=[finding("fail")], waivers=[waiver]),
        verdict(findings=[finding("ok", simulated=True)]),
        verdict(findings=[finding("ok", simulated=True)], lab=True),
        verdict(findings=[finding("fail")], required=["BG-CAP-001"]),
        verdict(findings=[finding("ok")], waivers=[{"code": "BG-GPU-001"}]),
        verdict(findings=["nonsense"]),
        {"name": "Look up", "ansible.builtin.debug": {"msg": "{{ lookup('baremetal.gpu.version', 'k3s') }}"}},
    )


def test_without_a_profile_nothing_is_judged(results: list[dict[str, Any]]) -> None:
    assert results[0]["readings"]["schema"] == 1
    assert "baremetal_gpu_findings" not in results[0]


def test_with_a_profile_the_host_is_judged_and_named(results: list[dict[str, Any]]) -> None:
    assert results[1]["profile"] == "gb10"
    assert {item["subject"] for item in results[1]["baremetal_gpu_findings"]} == {"localhost"}


def test_an_unknown_profile_is_refused(results: list[dict[str, Any]]) -> None:
    assert (results[2]["failed"], results[2]["code"]) == (True, "BG-GPU-101")


def test_a_machine_without_gpu_is_no_spark(results: list[dict[str, Any]]) -> None:
    assert results[3]["failed"]
    assert "BG-GPU-001 localhost" in results[3]["msg"]


def test_lists_of_findings_are_merged(results: list[dict[str, Any]]) -> None:
    assert [item["code"] for item in results[4]["baremetal_gpu_findings"]] == ["BG-GPU-001", "BG-GPU-002"]
    assert results[4]["passed"]


def test_a_waived_unknown_passes_and_is_told(results: list[dict[str, Any]]) -> None:
    assert results[5]["passed"]
    assert results[5]["waived"] == ["BG-GPU-001 h [unknown]: because; waived: not seen in containers"]


def test_a_waived_failure_fails(results: list[dict[str, Any]]) -> None:
    assert (results[6]["failed"], results[6]["unused_waivers"]) == (True, ["BG-GPU-001"])
    assert "BG-GPU-001 h [fail]: because; do it" in results[6]["msg"]


def test_simulated_findings_pass_only_in_the_lab(results: list[dict[str, Any]]) -> None:
    assert results[7]["failed"]
    assert "lab is false" in results[7]["msg"]
    assert results[8]["passed"]


def test_findings_that_are_not_required_fail_nothing(results: list[dict[str, Any]]) -> None:
    assert results[9]["passed"]


def test_bad_input_has_its_code(results: list[dict[str, Any]]) -> None:
    assert (results[10]["code"], results[11]["code"]) == ("BG-VERDICT-002", "BG-VERDICT-003")


def test_the_lookup_gives_a_version(results: list[dict[str, Any]]) -> None:
    assert results[12]["msg"].startswith("v")


def test_in_check_mode_the_verdict_is_told_and_fails_nothing(tmp_path: Path) -> None:
    result = play(tmp_path, verdict(findings=[finding("fail")]), check_mode=True)[0]
    assert not result.get("failed", False)
    assert result["passed"] is False
    assert "BG-VERDICT-001" in result["msg"]


def test_preconditions_fail_in_check_mode_as_well_and_prove_nothing(tmp_path: Path) -> None:
    tasks = [verdict(findings=[finding(status)], preconditions=True) for status in ("fail", "ok")]
    refused, met = play(tmp_path, *tasks, check_mode=True)
    assert refused["failed"]
    assert not met.get("failed", False)
    # Without this key the callback counts no host as judged.
    assert "passed" not in met


def test_host_is_read_by_the_real_module_judged_and_compared(tmp_path: Path) -> None:
    options = {"node_ip": "127.0.0.1", "targets": ["https://127.0.0.1:1"], "timeout_s": 2, "ports": ["1/tcp"]}
    read, twins = play(
        tmp_path,
        {"name": "Read", "baremetal.gpu.host_preflight": options, "register": "host"},
        {"name": "Compare", "baremetal.gpu.host_twins": {"readings": "host"}, "run_once": True},
    )
    statuses = {item["code"]: item["status"] for item in read["baremetal_gpu_findings"]}
    assert statuses["BG-HOST-004"] == "ok", read["readings"]["host"]["interfaces"]
    assert statuses["BG-HOST-014"] == "fail", "nothing listens on port 1"
    assert set(statuses.values()) <= {"ok", "warn", "fail", "skipped", "unknown"}
    assert "BG-HOST-002" not in statuses, "no profile was named"
    assert (twins["compared"], twins["by_host"]) == (1, {})
