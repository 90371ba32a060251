"""The verdict as JUnit XML: what is not seen is never a pass."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_junit import junit
from ansible_collections.baremetal.gpu.tests.support.verdicts import Host, finding, host, verdict

# What Jenkins' xUnit plugin accepts, which is stricter than other readers: its junit-10.xsd.
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "testcase": {"failure", "error", "skipped", "system-out"},
    "properties": {"property"},
}
ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {"name", "hostname", "timestamp", "tests", "failures", "errors", "skipped"},
    "testcase": {"classname", "name"},
    "property": {"name", "value"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message"},
}


def parsed(document: dict[str, Any]) -> ElementTree.Element:
    return ElementTree.fromstring(junit(document).encode())


def case_of(given: dict[str, Any], **more: Any) -> ElementTree.Element:
    root = parsed(verdict({"one": host(given, lab=more.pop("lab", True))}, **more))
    (case,) = [case for case in root.iter("testcase") if case.attrib["name"].startswith("BG-")]
    return case


def ending_of(case: ElementTree.Element) -> str:
    return next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "pass")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (finding(), "pass"),
        (finding(status="warn", reason="hot"), "pass"),
        (finding(status="fail", reason="gone"), "failure"),
        (finding(status="unknown", reason="no reading"), "error"),
        (finding(status="unknown", reason="no reading", waived=True, waiver="not shown here"), "skipped"),
        (finding(status="skipped", reason="no GPU"), "skipped"),
    ],
)
def test_case_ends_as_its_finding(given: dict[str, Any], expected: str) -> None:
    assert ending_of(case_of(given)) == expected


def test_waiver_gives_its_reason() -> None:
    case = case_of(finding(status="unknown", reason="no reading", waived=True, waiver="not shown here"))
    assert case.find("skipped").attrib["message"] == "waived: not shown here (no reading)"  # type: ignore[union-attr]


def test_failure_says_reason_and_remedy() -> None:
    told = case_of(finding(status="fail", reason="7 of 8", remedy="reseat it")).find("failure")
    assert told is not None
    assert (told.attrib["message"], told.attrib["type"], told.text) == ("7 of 8", "fail", "7 of 8\nreseat it")


def test_simulated_is_a_property_of_the_host_and_stands_with_the_finding() -> None:
    given = finding(simulated=True, requirements=["MPS-09"], reason="10 replicas")
    root = parsed(verdict({"one": host(given), "two": host(finding())}))
    marks = [
        item.attrib["value"] for suite in root for item in suite.iter("property") if item.attrib["name"] == "simulated"
    ]
    assert marks == ["true", "false"]
    assert case_of(given).findtext("system-out") == (
        "status: ok\nsimulated: true\nrequirements: MPS-09\nreason: 10 replicas"
    )


def test_blame_and_action_stand_in_the_output_of_a_case() -> None:
    given = finding(status="fail", reason="gone", action="reset_gpu", blame=[{"kind": "gpu", "name": "0000:9b:00.0"}])
    told = case_of(given).findtext("system-out") or ""
    assert told.splitlines()[2:] == ["reason: gone", "to blame: gpu 0000:9b:00.0", "action: reset gpu"]


def test_simulated_is_a_failure_outside_of_a_lab() -> None:
    assert ending_of(case_of(finding(simulated=True))) == "pass"
    assert ending_of(case_of(finding(simulated=True), lab=False)) == "failure"


def test_check_mode_fails_nothing_and_passes_nothing_bad() -> None:
    case = case_of(finding(status="fail", reason="gone"), check_mode=True)
    assert ending_of(case) == "skipped"
    assert "check mode" in case.find("skipped").attrib["message"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("ended", "expected"),
    [(host(), "pass"), (host(failed=2), "failure"), (host(unreachable=1), "error")],
)
def test_how_the_run_ended_on_a_host_is_a_case_of_its_own(ended: Host, expected: str) -> None:
    (case,) = parsed(verdict({"one": ended})).iter("testcase")
    assert (case.attrib["name"], ending_of(case)) == ("the run comes to its end", expected)


def test_run_without_hosts_is_an_error() -> None:
    root = parsed(verdict({}))
    assert (root.attrib["tests"], root.attrib["errors"]) == ("1", "1")


def test_form_is_what_ci_systems_read() -> None:
    document = verdict(
        {
            "one": host(finding(), finding("BG-GPU-002", status="fail"), finding("BG-GPU-003", status="warn")),
            "two": host(finding(status="unknown", reason="x"), finding("BG-GPU-002", status="skipped", reason="y")),
        },
        clusters={"onyx": ["one"]},
    )
    root = parsed(document)
    for element in root.iter():
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set()), element.tag
        assert set(element.attrib) <= ATTRIBUTES.get(element.tag, set()), element.tag
    for suite in (*root.findall("testsuite"), root):
        cases = list(suite.iter("testcase"))
        assert suite.attrib["tests"] == str(len(cases))
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            if attribute in ATTRIBUTES[suite.tag]:
                assert suite.attrib[attribute] == str(sum(case.find(tag) is not None for case in cases))
    assert (root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == ("7", "1", "1")


HOSTILE = '<script>alert("x")</script>]]>&\x00\x1b[31m\ud800\uffff'


def test_hostile_names_and_texts_are_text() -> None:
    given = finding(subject=HOSTILE, status="fail", reason=HOSTILE, remedy=HOSTILE, requirements=[HOSTILE])
    root = parsed(verdict({HOSTILE: host(given)}))
    assert not list(root.iter("script"))
    assert '<script>alert("x")</script>]]>&' in root.findall("testsuite")[0].attrib["name"]


@settings(max_examples=50)
@given(st.text())
def test_any_text_gives_xml_that_can_be_read(text: str) -> None:
    assert parsed(verdict({text: host(finding(subject=text or "x", status="fail", reason=text))})).tag == "testsuites"
