"""The plan that is gathered from results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ansible_collections.baremetal.gpu.plugins.plugin_utils.plan import (
    Ending,
    PlanRecord,
    Task,
    deviations_of,
    table,
)

INSTALL = Task("Install", "ansible.builtin.apt")
RESTART = Task("Restart", "ansible.builtin.systemd_service", handler=True)
REBOOT = Task("Reboot", "ansible.builtin.reboot")
CHECK = Task("Check", "ansible.builtin.assert")
PACKAGE: dict[str, Any] = {"changed": True, "stdout": "Inst tool (1 lab [amd64])\n"}
RESTARTED: dict[str, Any] = {
    "changed": True,
    "invocation": {"module_args": {"name": "tool.service", "state": "restarted"}},
    "status": {"ActiveState": "active", "UnitFileState": "enabled"},
}


def document(record: PlanRecord, **endings: Ending) -> dict[str, Any]:
    return record.document(
        playbook="plan.yml", made="2026-01-01T00:00:00Z", elapsed_s=1.0, endings=endings or {"one": Ending()}
    )


@pytest.fixture
def schema(root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((root / "data/schemas/plan.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(loaded)
    return loaded


def test_changes_and_restarts_stand_in_the_plan(schema: dict[str, Any]) -> None:
    record = PlanRecord()
    record.ok("one", INSTALL, PACKAGE)
    record.ok("one", RESTART, RESTARTED)
    plan = document(record)
    jsonschema.validate(plan, schema, format_checker=jsonschema.FormatChecker())
    host = plan["hosts"]["one"]
    assert (plan["status"], host["status"]) == ("ok", "changes")
    assert [(change["kind"], change["action"], change["name"]) for change in host["changes"]] == [
        ("package", "install", "tool"),
        ("service", "restart", "tool.service"),
    ]
    assert (host["tasks"], host["handlers"], host["reboots"]) == (["Install"], ["Restart"], [])
    assert "one: 2 changes; restarts tool.service; no reboot" in table(plan)


def test_host_on_which_nothing_changes_is_unchanged() -> None:
    record = PlanRecord()
    record.ok("one", INSTALL, {"changed": False})
    assert document(record)["hosts"]["one"]["status"] == "unchanged"
    assert table(document(record))[0] == "one: nothing would change"


def test_reboot_has_its_own_list(schema: dict[str, Any]) -> None:
    record = PlanRecord()
    record.ok("one", REBOOT, {"changed": True})
    plan = document(record)
    jsonschema.validate(plan, schema)
    assert [change["kind"] for change in plan["hosts"]["one"]["reboots"]] == ["reboot"]
    assert plan["hosts"]["one"]["changes"] == []
    assert "REBOOTS" in table(plan)[0]


def test_refusal_has_its_code_and_the_remedy(schema: dict[str, Any]) -> None:
    record = PlanRecord()
    record.failed("one", CHECK, {"msg": "BG-IMG-004: the image is another one. Install it."})
    plan = document(record, one=Ending(failed=True))
    jsonschema.validate(plan, schema)
    (refusal,) = plan["hosts"]["one"]["refusals"]
    assert (refusal["code"], refusal["reason"]) == ("BG-IMG-004", "the image is another one. Install it.")
    assert (plan["status"], plan["hosts"]["one"]["status"]) == ("fail", "refused")
    assert any("refused  BG-IMG-004: the image is another one" in line for line in table(plan))


def test_failure_without_a_code_ends_the_plan() -> None:
    record = PlanRecord()
    record.ok("one", INSTALL, PACKAGE)
    record.failed("one", CHECK, {"msg": "it broke"})
    host = document(record, one=Ending(failed=True))["hosts"]["one"]
    assert [refusal["code"] for refusal in host["refusals"]] == ["BG-PLAN-002"]
    assert "refused after 1 predicted changes" in table(document(record, one=Ending(failed=True)))[0]


def test_rescued_failure_is_no_refusal() -> None:
    record = PlanRecord()
    record.failed("one", CHECK, {"msg": "BG-IMG-003: no"})
    assert document(record)["hosts"]["one"]["refusals"] == []


def test_refusals_go_to_the_hosts_they_are_about() -> None:
    """One task looks at the whole inventory, and fails on the host that runs it."""
    findings = [
        {"code": "BG-INV-012", "subject": "two", "status": "fail", "reason": "x is not set", "remedy": "set it"},
        {"code": "BG-INV-018", "subject": "inventory", "status": "fail", "reason": "two control planes"},
    ]
    record = PlanRecord()
    record.failed("one", CHECK, {"msg": "BG-INV-099: refused", "baremetal_gpu_findings": findings})
    endings = {"one": Ending(failed=True), "two": Ending(complete=False), "three": Ending(complete=False)}
    hosts = document(record, **endings)["hosts"]
    codes = {name: [refusal["code"] for refusal in host["refusals"]] for name, host in hosts.items()}
    assert codes == {"one": ["BG-INV-018"], "two": ["BG-INV-012"], "three": []}
    assert {name: host["status"] for name, host in hosts.items()} == {
        "one": "refused",
        "two": "refused",
        "three": "incomplete",
    }


def test_host_that_is_silent_is_not_called_unchanged(schema: dict[str, Any]) -> None:
    record = PlanRecord()
    record.unreachable("one", "one", "no route\n to host")
    plan = document(record, one=Ending(unreachable=True))
    jsonschema.validate(plan, schema)
    (refusal,) = plan["hosts"]["one"]["refusals"]
    assert (refusal["code"], refusal["reason"]) == ("BG-HOST-020", "the host does not answer: no route to host")
    assert (plan["status"], plan["hosts"]["one"]["status"]) == ("fail", "unreachable")


def test_host_that_waits_for_a_silent_one_says_which() -> None:
    record = PlanRecord()
    record.unreachable("worker", "control", "timeout")
    host = document(record, worker=Ending(unreachable=True))["hosts"]["worker"]
    assert host["refusals"][0]["reason"] == "control, which worker needs, does not answer: timeout"


def test_host_that_the_run_did_not_come_to_is_incomplete() -> None:
    plan = document(PlanRecord(), one=Ending(complete=False))
    assert (plan["status"], plan["hosts"]["one"]["status"]) == ("fail", "incomplete")


def test_what_deviates_is_told_of_the_specifications_of_the_hosts(schema: dict[str, Any]) -> None:
    entry = {"id": "DEV-001", "requirements": ["SPARK-01"], "asks": "A.", "does": "B.", "why": "C.", "restore": None}
    other = {**entry, "id": "DEV-002", "requirements": ["ONYX-R001", "MPS-02"]}
    assert deviations_of([], [entry, other]) == []
    assert [each["id"] for each in deviations_of(["SPARK", "MPS"], [entry, other])] == ["DEV-001", "DEV-002"]
    (found,) = deviations_of(["ONYX"], [entry, other])
    plan = PlanRecord().document(
        playbook="plan.yml",
        made="2026-01-01T00:00:00Z",
        elapsed_s=1.0,
        endings={"one": Ending()},
        deviations=[found],
    )
    jsonschema.validate(plan, schema, format_checker=jsonschema.FormatChecker())
    assert "DEV-002 deviates from ONYX-R001, MPS-02: B." in table(plan)


def test_plan_about_no_host_is_not_ok() -> None:
    assert PlanRecord().document(playbook="plan.yml", made="x", elapsed_s=0, endings={})["status"] == "fail"


@pytest.mark.parametrize(
    ("message", "counts"),
    [
        ("Command would have run if not in check mode", True),
        ("remote module (acme.lab.magic) does not support check mode", True),
        ("Conditional result was False", False),
    ],
)
def test_task_that_only_check_mode_left_out_may_change_something(message: str, counts: bool) -> None:
    record = PlanRecord()
    record.skipped("one", CHECK, {"skipped": True, "msg": message})
    changes = document(record)["hosts"]["one"]["changes"]
    assert [(change["action"], change["exact"]) for change in changes] == ([("may change", False)] if counts else [])
