"""The verdict of one playbook run, gathered result by result. Pure: no Ansible, no input or output.

A host's part fails when a task of it failed, when it was unreachable, or when its findings are refused. Whether findings
are refused is what the action ``baremetal.gpu.verdict`` says (it knows which are required); where it did not run, every
finding is required. A finding that is simulated fails outside a lab either way.

Nothing failed is not the same as something shown: ``status`` is ok on a host on which nothing was judged, which is fine for a
playbook that only prepares; ``proven`` is true only where the verdict action judged findings and passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, RESULT_KEY, UNKNOWN

SCHEMA = 1
JUDGED_BY = "unused_waivers"
"""The result key by which a result of the verdict action is recognised, beside ``passed``."""


@dataclass(frozen=True)
class Counts:
    """One host's task counts as Ansible sums them up at the end; rescued and ignored failures are not failures."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0


@dataclass
class HostRecord:
    """What is known about one host so far."""

    findings: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    changed_tasks: list[str] = field(default_factory=list)
    passed: bool | None = None
    refused: tuple[str, ...] = ()
    shown: bool = False
    """Whether a finding that the verdict action judged was ok."""

    def all_findings(self) -> list[dict[str, Any]]:
        """Every finding that was not replaced by a later look at the same thing."""
        return [finding for group in self.findings.values() for finding in group]


class Record:
    """Collects results in the order in which they arrive."""

    def __init__(self) -> None:
        self._hosts: dict[str, HostRecord] = {}

    def add(self, host: str, task: str, result: Mapping[str, Any], changed: bool) -> None:
        """Take one task's result on one host. Results of loops carry the findings of all their items."""
        record = self._hosts.setdefault(host, HostRecord())
        if changed and task not in record.changed_tasks:
            record.changed_tasks.append(task)
        _replace(record.findings, _findings_of(result))
        if isinstance(result.get("passed"), bool) and JUDGED_BY in result:
            record.passed = result["passed"]
            record.refused = tuple(str(code) for code in result.get("refused") or ())
            record.shown = any(finding["status"] == OK for finding in _findings_of(result))

    def document(
        self,
        *,
        playbook: str,
        started: str,
        finished: str,
        elapsed_s: float,
        check_mode: bool,
        lab: Mapping[str, bool],
        counts: Mapping[str, Counts],
    ) -> dict[str, Any]:
        """The verdict as ``data/schemas/verdict.schema.json`` describes it.

        ``counts`` names every host that took part; ``lab`` says for each whether the inventory calls it a lab host.
        """
        hosts = {
            name: _host(self._hosts.get(name, HostRecord()), counts[name], lab.get(name, False), check_mode)
            for name in sorted(counts)
        }
        findings = [finding for host in hosts.values() for finding in host["findings"]]
        judged = [name for name in hosts if name in self._hosts and self._hosts[name].passed is not None]
        # A run that touched no host proved nothing.
        status = "ok" if hosts and all(host["status"] == "ok" for host in hosts.values()) else "fail"
        return {
            "schema": SCHEMA,
            "playbook": playbook,
            "started": started,
            "finished": finished,
            "elapsed_s": round(elapsed_s, 3),
            "check_mode": check_mode,
            "lab": bool(hosts) and all(lab.get(name, False) for name in hosts),
            "simulated": any(finding["simulated"] for finding in findings),
            "status": status,
            "proven": status == "ok" and bool(judged) and all(hosts[name]["proven"] for name in judged),
            "hosts": hosts,
            "waivers": _waivers(findings),
        }


def table(document: Mapping[str, Any]) -> list[str]:
    """The verdict for people: a line per host, then every finding that is not plainly ok."""
    rows = [("HOST", "VERDICT", "OK", "CHANGED", "FAILED", "UNREACHABLE", "FINDINGS")]
    for name, host in document["hosts"].items():
        counted = (str(host[key]) for key in ("ok", "changed", "failed", "unreachable"))
        rows.append((name, host["status"], *counted, _summary(host["findings"])))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[6]]).rstrip()
        for row in rows
    ]
    for host in document["hosts"].values():
        lines += [_line(finding) for finding in host["findings"] if finding["status"] != "ok"]
    lines += [f"waived: {waiver['code']}: {waiver['reason']}" for waiver in document["waivers"]]
    possible = (
        ("check mode: nothing was applied; findings are about the present state", document["check_mode"]),
        ("nothing was proven", document["status"] == "ok" and not document["proven"] and not document["check_mode"]),
        ("SIMULATED hardware", document["simulated"]),
    )
    marks = [mark for mark, holds in possible if holds]
    suffix = f" ({', '.join(marks)})" if marks else ""
    lines.append(f"VERDICT {document['playbook']}: {document['status']}{suffix} after {document['elapsed_s']:.1f} s")
    return lines


def _findings_of(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    own = result.get(RESULT_KEY)
    for finding in own if isinstance(own, (list, tuple)) else ():
        if isinstance(finding, Mapping) and finding.get("code"):
            yield _complete(finding)
    items = result.get("results")
    for item in items if isinstance(items, (list, tuple)) else ():
        if isinstance(item, Mapping):
            yield from _findings_of(item)


def _complete(finding: Mapping[str, Any]) -> dict[str, Any]:
    """A finding with every field of the schema. One without a known status counts as unknown, never as ok."""
    status = finding.get("status")
    return {
        **finding,
        "code": str(finding["code"]),
        "subject": str(finding.get("subject") or "unnamed"),
        "requirements": [str(item) for item in finding.get("requirements") or ()],
        "status": status if status in ("ok", "warn", "fail", "skipped", "unknown") else "unknown",
        "simulated": bool(finding.get("simulated", False)),
        "reason": str(finding.get("reason") or ""),
        "evidence": dict(finding.get("evidence") or {}),
        "remedy": str(finding.get("remedy") or ""),
    }


def _replace(known: dict[tuple[str, str], list[dict[str, Any]]], found: Iterator[dict[str, Any]]) -> None:
    """Let one result's findings replace earlier ones of the same code and subject; ``simulated`` is never lost."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for finding in found:
        groups.setdefault((finding["code"], finding["subject"]), []).append(finding)
    for key, group in groups.items():
        if any(earlier["simulated"] for earlier in known.get(key, ())):
            for finding in group:
                finding["simulated"] = True
        known[key] = group


def _host(record: HostRecord, counts: Counts, lab: bool, check_mode: bool) -> dict[str, Any]:
    findings = record.all_findings()
    broken = counts.failed > 0 or counts.unreachable > 0
    refused = _refused(record, findings, lab)
    # In check mode nothing was applied, so findings tell the state before the run: they can neither fail nor prove it.
    failed = broken or (not check_mode and (bool(refused) or record.passed is False))
    return {
        "status": "fail" if failed else "ok",
        "proven": bool(record.passed) and record.shown and not failed and not check_mode,
        "refused": refused,
        "ok": counts.ok,
        "changed": counts.changed,
        "failed": counts.failed,
        "unreachable": counts.unreachable,
        "skipped": counts.skipped,
        "changed_tasks": list(record.changed_tasks),
        "findings": findings,
    }


def _refused(record: HostRecord, findings: list[dict[str, Any]], lab: bool) -> list[str]:
    """Codes of the findings that fail a host."""
    found = {finding["code"] for finding in findings if finding["simulated"] and not lab}
    if record.passed is not None:
        return sorted(found | set(record.refused))
    return sorted(found | {finding["code"] for finding in findings if _is_bad(finding)})


def _is_bad(finding: Mapping[str, Any]) -> bool:
    return finding["status"] == FAIL or (finding["status"] == UNKNOWN and not finding.get("waived"))


def _waivers(findings: list[dict[str, Any]]) -> list[dict[str, str]]:
    used = {(finding["code"], str(finding.get("waiver") or "")) for finding in findings if finding.get("waived")}
    return [{"code": code, "reason": reason} for code, reason in sorted(used)]


def _summary(findings: list[dict[str, Any]]) -> str:
    """``3 ok, 1 unknown (4 simulated)``."""
    if not findings:
        return "none"
    statuses = [finding["status"] for finding in findings]
    text = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses)))
    simulated = sum(finding["simulated"] for finding in findings)
    return f"{text} ({simulated} simulated)" if simulated else text


def _line(finding: Mapping[str, Any]) -> str:
    marks = [finding["status"]]
    marks += ["simulated"] if finding["simulated"] else []
    marks += ["waived"] if finding.get("waived") else []
    parts = [finding["reason"] or "no reason given", finding["remedy"]]
    return f"{finding['code']} {finding['subject']} [{', '.join(marks)}]: {'; '.join(part for part in parts if part)}"
