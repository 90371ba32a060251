"""The plan of one playbook run in check mode, gathered result by result. Pure: no Ansible, no input or output.

The plan is read from what the playbooks' own tasks predict; nothing here knows what a role does. A host that the run did not
look at to its end is never called unchanged: it is ``refused``, ``unreachable`` or ``incomplete``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, RESULT_KEY
from ansible_collections.baremetal.gpu.plugins.plugin_utils.plan_changes import KINDS, REBOOT, TASK, Change, changes_of
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report import (
    UNREACHABLE,
    UNREACHABLE_REMEDY,
    unreachable_reason,
)

SCHEMA = 1
CODE = re.compile(r"\bBG-[A-Z][A-Z0-9]*-\d{3}\b")
# What Ansible says of a task that cannot tell beforehand whether it changes something.
UNPREDICTABLE = re.compile(r"would have run if not in check mode|does not support check mode")
STOPPED = "BG-PLAN-002"

CHANGES = "changes"
UNCHANGED = "unchanged"
REFUSED = "refused"
NOT_REACHED = "unreachable"
INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Task:
    """What identifies a result: the task's name, its module, and whether it is a handler."""

    name: str
    module: str
    handler: bool = False


@dataclass(frozen=True)
class Refusal:
    """Why a host would not be changed to the end."""

    code: str
    task: str
    reason: str
    remedy: str = ""
    subject: str = ""
    """The host that it is about, where it is another one than the host whose task failed."""

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "task": self.task, "reason": self.reason, "remedy": self.remedy}


@dataclass
class HostPlan:
    """What is known about one host so far."""

    tasks: list[str] = field(default_factory=list)
    handlers: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    unreachable: str | None = None


@dataclass(frozen=True)
class Ending:
    """How the run ended for one host.

    ``failed`` counts failures that nothing rescued; ``complete`` says whether every play that is about the host was begun with it.
    """

    failed: bool = False
    unreachable: bool = False
    complete: bool = True


class PlanRecord:
    """Collects results in the order in which they arrive."""

    def __init__(self) -> None:
        self._hosts: dict[str, HostPlan] = {}

    def ok(self, host: str, task: Task, result: Mapping[str, Any]) -> None:
        """Take a result that is no failure."""
        if not result.get("changed"):
            return
        plan = self._plan(host)
        names = plan.handlers if task.handler else plan.tasks
        if task.name not in names:
            names.append(task.name)
        plan.changes += [change for change in changes_of(task.module, task.name, result) if change not in plan.changes]

    def skipped(self, host: str, task: Task, result: Mapping[str, Any]) -> None:
        """Take a task that was left out; it counts when only check mode kept it from being carried out."""
        if UNPREDICTABLE.search(str(result.get("msg") or "")):
            self._plan(host).changes.append(Change(TASK, "may change", task.name, task.module, exact=False))

    def failed(self, host: str, task: Task, result: Mapping[str, Any]) -> None:
        """Take a failure; it counts unless something rescues the host."""
        self._plan(host).refusals += _refusals(task, result)

    def unreachable(self, host: str, silent: str, message: str) -> None:
        """Take a host that does not answer; ``silent`` is the one that was asked, another one for a delegated task."""
        self._plan(host).unreachable = unreachable_reason(host, silent, message)

    def document(
        self,
        *,
        playbook: str,
        made: str,
        elapsed_s: float,
        endings: Mapping[str, Ending],
        deviations: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """The plan as ``data/schemas/plan.schema.json`` describes it.

        ``endings`` names every host that the playbook is about, ``deviations`` where their systems are not what was specified.
        """
        refusals = self._by_subject(endings)
        hosts = {
            name: _host(self._hosts.get(name, HostPlan()), endings[name], refusals[name]) for name in sorted(endings)
        }
        whole = bool(hosts) and all(host["status"] in (CHANGES, UNCHANGED) for host in hosts.values())
        return {
            "schema": SCHEMA,
            "playbook": playbook,
            "made": made,
            "elapsed_s": round(elapsed_s, 3),
            # A plan about no host says nothing.
            "status": "ok" if whole else "fail",
            "hosts": hosts,
            "deviations": [dict(each) for each in deviations],
        }

    def _by_subject(self, endings: Mapping[str, Ending]) -> dict[str, list[Refusal]]:
        """Each host's refusals: one host's task may look at the whole inventory. Failures that were rescued do not count."""
        found: dict[str, list[Refusal]] = {name: [] for name in endings}
        for name, plan in self._hosts.items():
            if name in endings and endings[name].failed:
                for refusal in plan.refusals:
                    found[refusal.subject if refusal.subject in endings else name].append(refusal)
        return found

    def _plan(self, host: str) -> HostPlan:
        return self._hosts.setdefault(host, HostPlan())


def _host(plan: HostPlan, ending: Ending, refusals: list[Refusal]) -> dict[str, Any]:
    if ending.unreachable:
        refusals = [Refusal(UNREACHABLE, "", plan.unreachable or "the host does not answer", UNREACHABLE_REMEDY)]
    return {
        "status": _status(plan, ending, refusals),
        "changes": [change.as_dict() for kind in KINDS if kind != REBOOT for change in _of_kind(plan.changes, kind)],
        "reboots": [change.as_dict() for change in _of_kind(plan.changes, REBOOT)],
        "refusals": [refusal.as_dict() for refusal in refusals],
        "tasks": list(plan.tasks),
        "handlers": list(plan.handlers),
    }


def _status(plan: HostPlan, ending: Ending, refusals: list[Refusal]) -> str:
    if ending.unreachable:
        return NOT_REACHED
    if refusals:
        return REFUSED
    if ending.failed or not ending.complete:
        return INCOMPLETE
    return CHANGES if plan.changes else UNCHANGED


def _of_kind(changes: Iterable[Change], kind: str) -> list[Change]:
    return [change for change in changes if change.kind == kind]


def _refusals(task: Task, result: Mapping[str, Any]) -> list[Refusal]:
    """The findings that a refusal consists of, else its own code; a failure without a code gets the one of an unfinished plan."""
    message = " ".join(str(result.get("msg") or "no message").split())
    findings = result.get(RESULT_KEY)
    failing = [
        Refusal(
            str(finding["code"]),
            task.name,
            str(finding.get("reason") or "no reason given"),
            str(finding.get("remedy") or ""),
            str(finding.get("subject") or ""),
        )
        for finding in (findings if isinstance(findings, (list, tuple)) else ())
        if isinstance(finding, Mapping) and finding.get("code") and finding.get("status") == FAIL
    ]
    if failing:
        return failing
    code = result.get("code") or next(iter(CODE.findall(message)), None)
    if code:
        reason = message.removeprefix(f"{code}:").strip()
        return [Refusal(str(code), task.name, reason, str(result.get("remedy") or ""))]
    return [
        Refusal(
            STOPPED,
            task.name,
            f"the task failed, so what follows it is not known: {message}",
            "correct what the message says, then plan again",
        )
    ]


def deviations_of(specifications: Iterable[str], register: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries of ``data/deviations.yml`` about requirements of these specifications, as the plan has them."""
    known = frozenset(specifications)
    return [
        {key: entry[key] for key in ("id", "requirements", "asks", "does", "restore")}
        for entry in register
        if any(requirement.split("-")[0] in known for requirement in entry["requirements"])
    ]


def table(document: Mapping[str, Any]) -> list[str]:
    """The plan for people: per host every change, what would be rebooted, and what is refused; then what deviates from specifications."""
    lines = []
    for name, host in document["hosts"].items():
        lines.append(f"{name}: {_headline(host)}")
        lines += [_line(change) for change in host["changes"] + host["reboots"]]
        lines += [
            f"  refused  {refusal['code']}: {'; '.join(part for part in (refusal['reason'], refusal['remedy']) if part)}"
            for refusal in host["refusals"]
        ]
    for entry in document["deviations"]:
        lines.append(f"{entry['id']} deviates from {', '.join(entry['requirements'])}: {entry['does']}")
    lines.append(f"PLAN {document['playbook']}: {document['status']}, {_total(document)}; nothing was changed")
    return lines


def _headline(host: Mapping[str, Any]) -> str:
    count = len(host["changes"])
    restarts = [change["name"] for change in host["changes"] if change["action"] == "restart"]
    words = {
        UNCHANGED: "nothing would change",
        CHANGES: f"{count} {'change' if count == 1 else 'changes'}",
        REFUSED: f"refused after {count} predicted changes" if count else "refused",
        NOT_REACHED: "not reached, so nothing is known",
        INCOMPLETE: "not looked at to the end, because the run stopped elsewhere",
    }[host["status"]]
    if host["status"] != CHANGES:
        return words
    restarted = f"restarts {', '.join(restarts)}" if restarts else "restarts nothing"
    return f"{words}; {restarted}; {'REBOOTS' if host['reboots'] else 'no reboot'}"


def _line(change: Mapping[str, Any]) -> str:
    marks = "" if change["exact"] else "  (as far as it is known before what it depends on is there)"
    detail = f"  {change['detail']}" if change["detail"] else ""
    return f"  {change['kind']:8} {change['action']:10} {change['name']}{detail}{marks}"


def _total(document: Mapping[str, Any]) -> str:
    hosts = document["hosts"].values()
    changed = sum(len(host["changes"]) + len(host["reboots"]) for host in hosts)
    return (
        f"{changed} changes on {sum(bool(host['changes'] or host['reboots']) for host in hosts)} of {len(hosts)} hosts"
    )
