"""The verdict document and its table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report import Counts, Record, table


def finding(code: str = "BG-GPU-001", status: str = "ok", **more: Any) -> dict[str, Any]:
    return {"code": code, "subject": "spark-01", "status": status, "simulated": False, **more}


def document(
    record: Record,
    *,
    lab: bool = True,
    check_mode: bool = False,
    clusters: dict[str, list[str]] | None = None,
    **counts: Counts,
) -> dict[str, Any]:
    hosts = {name.replace("_", "-"): value for name, value in counts.items()} or {"spark-01": Counts(ok=1)}
    return record.document(
        playbook="spark.yml",
        started="2026-11-22T07:00:00Z",
        finished="2026-11-22T07:01:00Z",
        elapsed_s=60.0004,
        check_mode=check_mode,
        lab=dict.fromkeys(hosts, lab),
        counts=hosts,
        clusters=clusters,
    )


def status_with(*findings: dict[str, Any], lab: bool = True, check_mode: bool = False) -> str:
    record = Record()
    record.add("spark-01", "Verify", {RESULT_KEY: list(findings)}, changed=False)
    return str(document(record, lab=lab, check_mode=check_mode)["status"])


def test_document_is_valid_against_its_schema(root: Path) -> None:
    record = Record()
    record.add("spark-01", "Verify", {RESULT_KEY: [finding(), finding("BG-GPU-002", "unknown", reason="x")]}, True)
    record.add("b", "Verify", {RESULT_KEY: [finding(requirements=["MPS-09"])]}, False)
    written = document(record, clusters={"onyx": ["b", "c"]}, spark_01=Counts(), b=Counts())
    schema = json.loads((root / "data/schemas/verdict.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(written, schema, format_checker=jsonschema.FormatChecker())
    assert written["clusters"]
    assert written["requirements"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "ok"),
        ([finding()], "ok"),
        ([finding(status="warn")], "ok"),
        ([finding(status="skipped", reason="no GPU")], "ok"),
        ([finding(status="fail")], "fail"),
        ([finding(status="unknown", reason="no reading")], "fail"),
        ([finding(status="unknown", reason="no reading", waived=True, waiver="lab")], "ok"),
        ([finding(status="splendid")], "fail"),
    ],
)
def test_status_of_a_run_follows_its_findings(given: list[dict[str, Any]], expected: str) -> None:
    assert status_with(*given) == expected


def judged(*findings: dict[str, Any], passed: bool = True, refused: tuple[str, ...] = ()) -> dict[str, Any]:
    """A result of the verdict action."""
    return {RESULT_KEY: list(findings), "passed": passed, "refused": list(refused), "unused_waivers": []}


def proven_with(
    result: dict[str, Any], *, counts: Counts | None = None, lab: bool = True, check_mode: bool = False
) -> tuple[bool, bool]:
    """What the document says of the host and of the run."""
    record = Record()
    record.add("spark-01", "Judge", result, changed=False)
    told = document(record, lab=lab, check_mode=check_mode, spark_01=counts or Counts(ok=1))
    return told["hosts"]["spark-01"]["proven"], told["proven"]


def test_only_a_passed_verdict_over_findings_proves_something() -> None:
    assert proven_with(judged(finding())) == (True, True)
    assert proven_with({RESULT_KEY: [finding()]}) == (False, False), "no verdict action ran"
    assert proven_with(judged(finding(status="fail"), passed=False, refused=("BG-GPU-001",))) == (False, False)


@pytest.mark.parametrize("findings", [[], [finding(status="skipped", reason="no GPU")]])
def test_verdict_over_nothing_that_was_seen_is_ok_and_proves_nothing(findings: list[dict[str, Any]]) -> None:
    record = Record()
    record.add("spark-01", "Judge", judged(*findings), changed=False)
    told = document(record)
    assert (told["status"], told["proven"]) == ("ok", False)
    assert "VERDICT spark.yml: ok (nothing was proven) after" in table(told)[-1]


def test_host_that_fails_after_its_verdict_is_not_proven() -> None:
    assert proven_with(judged(finding()), counts=Counts(ok=1, failed=1)) == (False, False)


def test_simulated_finding_proves_something_only_in_a_lab() -> None:
    assert proven_with(judged(finding(simulated=True)), lab=True) == (True, True)
    assert proven_with(judged(finding(simulated=True)), lab=False) == (False, False)


def test_run_is_proven_when_every_host_with_a_verdict_is() -> None:
    record = Record()
    record.add("a", "Judge", judged(finding()), changed=False)
    assert document(record, a=Counts(ok=1), b=Counts(ok=1))["proven"] is True, "b took part in no verdict"
    assert document(record, a=Counts(ok=1), b=Counts(unreachable=1))["proven"] is False
    record.add("b", "Judge", judged(), changed=False)
    assert document(record, a=Counts(ok=1), b=Counts(ok=1))["proven"] is False


def test_check_mode_tells_what_is_refused_and_proves_nothing() -> None:
    record = Record()
    bad = judged(finding(status="fail"), finding("BG-GPU-002"), passed=False, refused=("BG-GPU-001",))
    record.add("spark-01", "Judge", bad, changed=False)
    told = document(record, check_mode=True)
    host = told["hosts"]["spark-01"]
    assert (host["status"], host["refused"], host["proven"], told["proven"]) == ("ok", ["BG-GPU-001"], False, False)
    assert "(check mode: nothing was applied; findings are about the present state)" in table(told)[-1]
    assert proven_with(judged(finding()), check_mode=True) == (False, False)


def test_refused_codes_are_listed_without_a_verdict_too() -> None:
    record = Record()
    given = [finding(status="fail"), finding("BG-GPU-002", "unknown", reason="x"), finding("BG-GPU-003")]
    record.add("spark-01", "Verify", {RESULT_KEY: given}, changed=False)
    assert document(record)["hosts"]["spark-01"]["refused"] == ["BG-GPU-001", "BG-GPU-002"]


def test_simulated_finding_fails_outside_a_lab() -> None:
    assert status_with(finding(simulated=True), lab=True) == "ok"
    assert status_with(finding(simulated=True), lab=False) == "fail"


def test_check_mode_is_not_failed_by_findings() -> None:
    assert status_with(finding(status="fail"), check_mode=True) == "ok"


def test_simulated_mark_survives_a_later_look_at_the_same_thing() -> None:
    record = Record()
    record.add("spark-01", "Verify", {RESULT_KEY: [finding(simulated=True)]}, changed=False)
    record.add("spark-01", "Verify again", {RESULT_KEY: [finding(simulated=False)]}, changed=False)
    verdict = document(record)
    assert verdict["simulated"] is True
    assert [item["simulated"] for item in verdict["hosts"]["spark-01"]["findings"]] == [True]


def test_later_result_replaces_findings_of_the_same_code_and_subject() -> None:
    record = Record()
    record.add("spark-01", "Verify", {RESULT_KEY: [finding(status="fail")]}, changed=False)
    record.add("spark-01", "Verify", {RESULT_KEY: [finding(status="ok")]}, changed=False)
    assert [item["status"] for item in document(record)["hosts"]["spark-01"]["findings"]] == ["ok"]


def test_one_result_may_carry_two_findings_of_one_code() -> None:
    record = Record()
    pair = [finding(status="fail", evidence={"resource": "a"}), finding(evidence={"resource": "b"})]
    record.add("spark-01", "Verify", {RESULT_KEY: pair}, changed=False)
    assert [item["status"] for item in document(record)["hosts"]["spark-01"]["findings"]] == ["fail", "ok"]


def test_findings_of_loop_items_are_gathered() -> None:
    record = Record()
    items = [{RESULT_KEY: [finding("BG-GPU-001")]}, {RESULT_KEY: [finding("BG-GPU-002")]}, {"skipped": True}]
    record.add("spark-01", "Verify", {"results": items}, changed=False)
    assert [item["code"] for item in document(record)["hosts"]["spark-01"]["findings"]] == ["BG-GPU-001", "BG-GPU-002"]


def test_verdict_action_decides_which_findings_are_required() -> None:
    record = Record()
    record.add("spark-01", "Judge", judged(finding(status="fail")), changed=False)
    assert document(record)["status"] == "ok"


def test_unreachable_and_failed_hosts_fail_the_run() -> None:
    record = Record()
    assert document(record, a=Counts(ok=1), b=Counts(unreachable=1))["status"] == "fail"
    assert document(record, a=Counts(ok=1), b=Counts(failed=1))["status"] == "fail"


def test_run_that_touched_no_host_is_not_ok() -> None:
    empty = Record().document(
        playbook="spark.yml", started="", finished="", elapsed_s=0, check_mode=False, lab={}, counts={}
    )
    assert empty["status"] == "fail"


def test_changed_tasks_are_named_once() -> None:
    record = Record()
    for changed in (True, False, True):
        record.add("spark-01", "Install k3s", {}, changed)
    assert document(record)["hosts"]["spark-01"]["changed_tasks"] == ["Install k3s"]


def test_table_shows_waivers_and_the_simulated_mark() -> None:
    record = Record()
    waived = finding("BG-GPU-009", "unknown", reason="no module", simulated=True, waived=True, waiver="shared kernel")
    record.add("spark-01", "Verify", {RESULT_KEY: [waived]}, changed=False)
    text = "\n".join(table(document(record)))
    assert "BG-GPU-009 spark-01 [unknown, simulated, waived]: no module" in text
    assert "waived: BG-GPU-009: shared kernel" in text
    assert "VERDICT spark.yml: ok (nothing was proven, SIMULATED hardware) after 60.0 s" in text


def test_host_that_does_not_answer_is_a_finding_with_its_code_and_remedy(root: Path) -> None:
    record = Record()
    record.unreachable("spark-01", "spark-01", "ssh: connect to host\n10.0.0.1 port 22: No route to host")
    written = document(record, spark_01=Counts(unreachable=1))
    schema = json.loads((root / "data/schemas/verdict.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(written, schema, format_checker=jsonschema.FormatChecker())
    host = written["hosts"]["spark-01"]
    (found,) = host["findings"]
    assert (found["code"], found["subject"], found["status"]) == ("BG-HOST-020", "spark-01", "unknown")
    assert "No route to host" in found["reason"]
    assert found["remedy"]
    assert (host["status"], host["refused"], written["status"]) == ("fail", ["BG-HOST-020"], "fail")


def test_what_was_judged_before_a_host_fell_silent_does_not_prove_it() -> None:
    record = Record()
    judged = {"passed": True, "refused": [], "unused_waivers": [], RESULT_KEY: [finding()]}
    record.add("spark-01", "Decide", judged, changed=False)
    record.unreachable("spark-01", "spark-01", "gone")
    host = document(record, spark_01=Counts(ok=1, unreachable=1))["hosts"]["spark-01"]
    assert (host["status"], host["proven"], host["refused"]) == ("fail", False, ["BG-HOST-020"])


def test_silence_of_a_host_that_another_one_needs_is_told_of_the_right_one() -> None:
    record = Record()
    record.unreachable("spark-01", "calypso", "gone")
    (found,) = document(record, spark_01=Counts(unreachable=1))["hosts"]["spark-01"]["findings"]
    assert (found["subject"], found["reason"]) == ("calypso", "calypso, which spark-01 needs, does not answer: gone")


def test_what_one_read_of_the_cluster_says_stands_with_the_host_whose_verdict_took_it() -> None:
    """The first host of a play asks for all; it is not to blame for what is found of the others."""
    record = Record()
    short = finding("BG-CAP-002", "fail", reason="7 of 8")
    about = {name: {**short, "subject": name} for name in ("a", "b", "gone")}
    record.add("a", "Ask the cluster", {RESULT_KEY: list(about.values())}, changed=False)
    record.add("a", "Judge", judged(about["a"], passed=False, refused=("BG-CAP-002",)), changed=False)
    record.add("b", "Judge", judged(about["b"], passed=False, refused=("BG-CAP-002",)), changed=False)
    hosts = document(record, a=Counts(failed=1), b=Counts(failed=1))["hosts"]
    assert [each["subject"] for each in hosts["a"]["findings"]] == ["a", "gone"], "nobody else has taken the last one"
    assert [each["subject"] for each in hosts["b"]["findings"]] == ["b"]


# Clusters and requirements


def judged_hosts(*names: str) -> Record:
    record = Record()
    for name in names:
        record.add(name, "Judge", judged(finding(subject=name, requirements=["MPS-09"])), changed=False)
    return record


def test_cluster_is_proven_when_each_of_its_hosts_is() -> None:
    told = document(judged_hosts("a", "b"), clusters={"onyx": ["a", "b"]}, a=Counts(ok=1), b=Counts(ok=1))
    assert told["clusters"] == {"onyx": {"status": "ok", "proven": True, "hosts": ["a", "b"], "absent": []}}


def test_cluster_of_which_a_host_took_no_part_is_not_proven() -> None:
    told = document(judged_hosts("a"), clusters={"onyx": ["a", "b"]}, a=Counts(ok=1))
    assert told["proven"] is True, "of what took part"
    assert told["clusters"] == {"onyx": {"status": "ok", "proven": False, "hosts": ["a"], "absent": ["b"]}}
    assert "cluster onyx: ok, not proven; 1 of its hosts took no part" in table(told)


def test_cluster_with_a_bad_host_fails_and_its_neighbour_does_not() -> None:
    clusters = {"onyx": ["a"], "spark_system": ["b"], "other": ["c"]}
    told = document(judged_hosts("a", "b"), clusters=clusters, a=Counts(failed=1), b=Counts(ok=1))
    assert {name: cluster["status"] for name, cluster in told["clusters"].items()} == {
        "onyx": "fail",
        "spark_system": "ok",
    }


@pytest.mark.parametrize(
    ("given", "lab", "status", "waived"),
    [
        ([finding()], True, "ok", False),
        ([finding(), finding("BG-GPU-002", "warn")], True, "warn", False),
        ([finding(), finding("BG-GPU-002", "unknown", reason="x")], True, "unknown", False),
        ([finding(), finding("BG-GPU-002", "unknown", reason="x", waived=True, waiver="y")], True, "unknown", True),
        ([finding(status="fail"), finding("BG-GPU-002", "unknown", reason="x")], True, "fail", False),
        ([finding(simulated=True)], True, "ok", False),
        ([finding(simulated=True)], False, "fail", False),
    ],
)
@pytest.mark.requirement("SPARK-24", part="each requirement is told with the findings that are its evidence")
def test_requirement_is_as_good_as_the_worst_of_its_findings(
    given: list[dict[str, Any]], lab: bool, status: str, waived: bool
) -> None:
    record = Record()
    record.add("spark-01", "Verify", {RESULT_KEY: [{**each, "requirements": ["MPS-09"]} for each in given]}, False)
    told = document(record, lab=lab)["requirements"]["MPS-09"]
    assert (told["status"], told["waived"], told["hosts"]) == (status, waived, ["spark-01"])
    assert told["codes"] == sorted({each["code"] for each in given})


@pytest.mark.parametrize("counts", [Counts(unreachable=1), Counts(ok=1, failed=1)])
def test_requirement_is_unknown_where_a_neighbour_was_not_seen(counts: Counts) -> None:
    record = judged_hosts("a")
    told = document(record, clusters={"onyx": ["a", "b"]}, a=Counts(ok=1), b=counts)["requirements"]["MPS-09"]
    assert (told["status"], told["waived"], told["unseen"]) == ("unknown", False, ["b"])


def test_requirement_does_not_suffer_from_a_silent_host_of_another_cluster() -> None:
    clusters = {"onyx": ["a"], "spark_system": ["b"]}
    told = document(judged_hosts("a"), clusters=clusters, a=Counts(ok=1), b=Counts(unreachable=1))
    assert told["requirements"]["MPS-09"]["status"] == "ok"
