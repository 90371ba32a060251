"""The verdict of one playbook run, gathered result by result. Pure: no Ansible, no input or output.

A host's part fails when a task of it failed, when it was unreachable, or when its findings are refused. Whether findings
are refused is what the action ``baremetal.gpu.verdict`` says (it knows which are required); where it did not run, every
finding is required. A finding that is simulated fails outside a lab either way.

Nothing failed is not the same as something shown: ``status`` is ok on a host on which nothing was judged, which is fine for a
playbook that only prepares; ``proven`` is true only where the verdict action judged findings and passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, RESULT_KEY, UNKNOWN
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_outcome import (
    WAIVED,
    counted,
    outcome,
    worst_outcome,
)

SCHEMA = 1
UNREACHABLE = "BG-HOST-020"
UNREACHABLE_REMEDY = "start it, or repair its address, key or network; then run again with --limit to what is missing"
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
    judged: set[tuple[str, str]] = field(default_factory=set)
    """Code and subject of what the verdict action judged for this host."""

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
        if JUDGED_BY in result:
            record.judged.update((finding["code"], finding["subject"]) for finding in _findings_of(result))
        if isinstance(result.get("passed"), bool) and JUDGED_BY in result:
            record.passed = result["passed"]
            record.refused = tuple(str(code) for code in result.get("refused") or ())
            record.shown = any(finding["status"] == OK for finding in _findings_of(result))

    def unreachable(self, host: str, silent: str, message: str) -> None:
        """Take a host that does not answer: nothing about it is known, and that is a finding of its own.

        ``silent`` is the host that was asked: another one where a task of ``host`` is delegated.
        """
        finding = {
            "code": UNREACHABLE,
            "subject": silent,
            "status": UNKNOWN,
            "reason": unreachable_reason(host, silent, message),
            "evidence": {"what": "connection to the host", "where": "controller"},
            "remedy": UNREACHABLE_REMEDY,
        }
        _replace(self._hosts.setdefault(host, HostRecord()).findings, iter([_complete(finding)]))

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
        clusters: Mapping[str, Sequence[str]] | None = None,
    ) -> dict[str, Any]:
        """The verdict as ``data/schemas/verdict.schema.json`` describes it.

        ``counts`` names every host that took part; ``lab`` says for each whether the inventory calls it a lab host. ``clusters`` names
        every host of the inventory that belongs to each cluster, whether or not it took part.
        """
        records = {name: self._hosts.get(name, HostRecord()) for name in sorted(counts)}
        judged_keys = {key for record in records.values() for key in record.judged}
        hosts = {
            name: _host(record, judged_keys, counts[name], lab.get(name, False), check_mode)
            for name, record in records.items()
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
            "clusters": _clusters(hosts, clusters or {}),
            "requirements": _requirements(hosts, clusters or {}),
            "waivers": _waivers(findings),
        }


def unreachable_reason(host: str, silent: str, message: str) -> str:
    """Who does not answer, in the connection's own words."""
    told = " ".join(message.split()) or "no message"
    return (
        f"the host does not answer: {told}"
        if silent == host
        else f"{silent}, which {host} needs, does not answer: {told}"
    )


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
    lines += [_cluster_line(name, cluster) for name, cluster in document["clusters"].items()]
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


def _host(
    record: HostRecord, judged: Set[tuple[str, str]], counts: Counts, lab: bool, check_mode: bool
) -> dict[str, Any]:
    """One host's part. ``judged`` is what any host's verdict judged, by code and subject."""
    findings = _own(record, judged)
    broken = counts.failed > 0 or counts.unreachable > 0
    refused = _refused(record, findings, lab)
    # In check mode nothing was applied, so findings tell the state before the run: they can neither fail nor prove it.
    failed = broken or (not check_mode and (bool(refused) or record.passed is False))
    return {
        "status": "fail" if failed else "ok",
        "lab": lab,
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


def _own(record: HostRecord, judged: Set[tuple[str, str]]) -> list[dict[str, Any]]:
    """Findings about this host. One read of the cluster is a result of the host that asked; what other hosts' verdicts took from it is theirs."""
    found = record.all_findings()
    if record.passed is None:
        return found
    keyed = [((finding["code"], finding["subject"]), finding) for finding in found]
    return [finding for key, finding in keyed if key in record.judged or key not in judged]


def _clusters(hosts: Mapping[str, Mapping[str, Any]], clusters: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The verdict per cluster of which a host took part. It is proven only when each of its hosts is, also those left out of the run."""
    found = {}
    for name, members in sorted(clusters.items()):
        present = [member for member in sorted(members) if member in hosts]
        if not present:
            continue
        absent = sorted(set(members) - set(present))
        good = all(hosts[member]["status"] == "ok" for member in present)
        found[name] = {
            "status": "ok" if good else "fail",
            "proven": not absent and all(hosts[member]["proven"] for member in present),
            "hosts": present,
            "absent": absent,
        }
    return found


def _requirements(hosts: Mapping[str, Mapping[str, Any]], clusters: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What the findings of this run say about each requirement that they name.

    A host on which the run stopped may lack the finding that would have spoken about a requirement. So where its neighbours in the
    cluster have one, the requirement is unknown at best, and the host is named.
    """
    cluster_of = {member: name for name, members in clusters.items() for member in members}
    about: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for host, told in hosts.items():
        for finding in told["findings"]:
            for requirement in finding["requirements"]:
                about.setdefault(requirement, []).append((host, finding))
    stopped = [host for host, told in hosts.items() if told["failed"] or told["unreachable"]]
    found = {}
    for requirement, told_by in sorted(about.items()):
        seen = sorted({host for host, _finding in told_by})
        places = {cluster_of.get(host) for host in seen}
        unseen = [host for host in stopped if host not in seen and cluster_of.get(host) in places]
        outcomes = [outcome(finding, hosts[host]["lab"]) for host, finding in told_by]
        worst = worst_outcome(outcomes + [UNKNOWN] * bool(unseen))
        found[requirement] = {
            "status": UNKNOWN if worst == WAIVED else worst,
            "waived": worst == WAIVED,
            "simulated": any(finding["simulated"] for _host, finding in told_by),
            "findings": counted(outcomes),
            "codes": sorted({finding["code"] for _host, finding in told_by}),
            "hosts": seen,
            "unseen": unseen,
        }
    return found


def _refused(record: HostRecord, findings: list[dict[str, Any]], lab: bool) -> list[str]:
    """Codes of the findings that fail a host."""
    # What was judged before a host stopped answering says nothing about it any more.
    found = {
        finding["code"] for finding in findings if (finding["simulated"] and not lab) or finding["code"] == UNREACHABLE
    }
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


def _cluster_line(name: str, cluster: Mapping[str, Any]) -> str:
    text = f"cluster {name}: {cluster['status']}, {'proven' if cluster['proven'] else 'not proven'}"
    count = len(cluster["absent"])
    return f"{text}; {count} of its hosts took no part" if count else text


def _line(finding: Mapping[str, Any]) -> str:
    marks = [finding["status"]]
    marks += ["simulated"] if finding["simulated"] else []
    marks += ["waived"] if finding.get("waived") else []
    parts = [finding["reason"] or "no reason given", finding["remedy"]]
    return f"{finding['code']} {finding['subject']} [{', '.join(marks)}]: {'; '.join(part for part in parts if part)}"
