"""The verdict document as JUnit XML, for CI systems that show tests. Pure.

One suite per host, one case per finding, and one for how the run ended on the host. What could not be seen is an error, never a
pass; an unknown that the inventory waives is skipped, with the waiver's reason. In check mode nothing was applied, so what is bad is
about the state before the run: it is skipped there, as the exit status of such a run ignores it too. Cases have no time: nobody
measured them one by one.

The form is the strictest one that a CI system checks, that of Jenkins' xUnit plugin (its ``junit-10.xsd``): properties belong to suites
only, so what else is to be known of a finding stands in the output of its case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_outcome import (
    STAND_IN,
    WAIVED,
    action_of,
    blamed,
    outcome,
)

# Of the characters below U+10000 those that XML 1.0 has no way to write, not even escaped.
_IMPOSSIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_ELEMENTS = {FAIL: "failure", UNKNOWN: "error", WAIVED: "skipped", SKIPPED: "skipped"}
_COUNTERS = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def junit(document: Mapping[str, Any]) -> str:
    """The XML document. A run that touched no host is an error of its own."""
    root = ElementTree.Element("testsuites", _attributes(name=document["playbook"], time=document["elapsed_s"]))
    started = document["started"].removesuffix("Z")
    for name, host in document["hosts"].items():
        suite = ElementTree.SubElement(root, "testsuite", _attributes(name=name, hostname=name, timestamp=started))
        cluster = next((key for key, value in document["clusters"].items() if name in value["hosts"]), "")
        _properties(
            suite,
            [
                ("status", host["status"]),
                ("proven", _said(host["proven"])),
                ("lab", _said(host["lab"])),
                ("check_mode", _said(document["check_mode"])),
                ("simulated", _said(any(finding["simulated"] for finding in host["findings"]))),
                *([("cluster", cluster)] if cluster else []),
            ],
        )
        _ending(suite, name, host)
        for finding in host["findings"]:
            _case(suite, name, finding, host["lab"], document["check_mode"])
    if not document["hosts"]:
        suite = ElementTree.SubElement(root, "testsuite", _attributes(name=document["playbook"], timestamp=started))
        case = ElementTree.SubElement(
            suite, "testcase", _attributes(classname=document["playbook"], name="the run reaches a host")
        )
        _outcome(case, "error", "no host took part, so nothing was judged", UNKNOWN)
    for suite in root:
        _count(suite, ("failures", "errors", "skipped"))
    _count(root, ("failures", "errors"))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _ending(suite: ElementTree.Element, name: str, host: Mapping[str, Any]) -> None:
    case = ElementTree.SubElement(suite, "testcase", _attributes(classname=name, name="the run comes to its end"))
    if host["failed"]:
        _outcome(case, "failure", f"{host['failed']} tasks failed; see the run's output", FAIL)
    elif host["unreachable"]:
        _outcome(case, "error", "the host did not answer, so the run left it out from then on", UNKNOWN)


def _case(suite: ElementTree.Element, name: str, finding: Mapping[str, Any], lab: bool, check_mode: bool) -> None:
    counts_as = outcome(finding, lab)
    case = ElementTree.SubElement(
        suite, "testcase", _attributes(classname=name, name=f"{finding['code']} {finding['subject']}")
    )
    reason = finding["reason"] or "no reason given"
    if counts_as == WAIVED:
        reason = f"waived: {finding.get('waiver') or 'no reason given'} ({reason})"
    elif counts_as == FAIL and finding["status"] != FAIL:
        reason = f"{STAND_IN}; {reason}"
    element = _ELEMENTS.get(counts_as)
    if element and check_mode and counts_as in (FAIL, UNKNOWN):
        element, reason = "skipped", f"check mode, so about the state before the run: {counts_as}: {reason}"
    if element:
        _outcome(case, element, reason, counts_as, finding["remedy"])
    ElementTree.SubElement(case, "system-out").text = _clean("\n".join(_output(finding)))


def _output(finding: Mapping[str, Any]) -> Iterator[str]:
    """What a case says besides its end, a line each."""
    yield f"status: {finding['status']}"
    yield f"simulated: {_said(finding['simulated'])}"
    if finding["requirements"]:
        yield f"requirements: {', '.join(finding['requirements'])}"
    if finding["reason"]:
        yield f"reason: {finding['reason']}"
    if blamed(finding):
        yield f"to blame: {', '.join(blamed(finding))}"
    if action_of(finding):
        yield f"action: {action_of(finding)}"
    if finding["status"] != OK and finding["remedy"]:
        yield f"do: {finding['remedy']}"


def _outcome(case: ElementTree.Element, element: str, message: str, kind: str, remedy: str = "") -> None:
    # Of a skipped case CI systems read the message alone.
    attributes = _attributes(message=message) if element == "skipped" else _attributes(message=message, type=kind)
    told = ElementTree.SubElement(case, element, attributes)
    told.text = _clean("\n".join(part for part in (message, remedy) if part))


def _properties(parent: ElementTree.Element, pairs: Iterable[tuple[str, str]]) -> None:
    properties = ElementTree.SubElement(parent, "properties")
    for name, value in pairs:
        ElementTree.SubElement(properties, "property", _attributes(name=name, value=value))


def _count(element: ElementTree.Element, attributes: Iterable[str]) -> None:
    """Write the sums that the readers of this form expect of a suite and of the whole."""
    cases = list(element.iter("testcase"))
    element.set("tests", str(len(cases)))
    for attribute in attributes:
        kind = _COUNTERS[attribute]
        element.set(attribute, str(sum(case.find(kind) is not None for case in cases)))


def _attributes(**values: Any) -> dict[str, str]:
    return {name: _clean(str(value)) for name, value in values.items()}


def _said(value: bool) -> str:
    return "true" if value else "false"


def _clean(text: str) -> str:
    return _IMPOSSIBLE.sub("\N{REPLACEMENT CHARACTER}", text)
