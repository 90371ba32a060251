"""Findings and the verdict over them (DESIGN section 9). Pure: no Ansible, no input or output.

A finding says what one check saw on one host or cluster. Its status is one of ``ok``, ``warn``, ``fail``,
``skipped`` (not applicable here, the reason says why) and ``unknown`` (could not be seen; never counted as ok).
``simulated`` is a separate boolean: what ran on a stand-in keeps its status and stays marked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

OK = "ok"
WARN = "warn"
FAIL = "fail"
SKIPPED = "skipped"
UNKNOWN = "unknown"
STATUSES = (OK, WARN, FAIL, SKIPPED, UNKNOWN)

# What a finding asks for, from the mildest to the most drastic; empty where a check names no action.
NO_ACTION = "none"
FIX_CONFIGURATION = "fix_configuration"
RESTART_APP = "restart_app"
RESET_GPU = "reset_gpu"
REBOOT = "reboot"
RMA = "rma"
ACTIONS = (NO_ACTION, FIX_CONFIGURATION, RESTART_APP, RESET_GPU, REBOOT, RMA)

RESULT_KEY = "baremetal_gpu_findings"
"""The key under which any module or action result carries its findings."""

# From best to worst; the status of a group of findings is its worst member's.
_SEVERITY = {OK: 0, SKIPPED: 1, WARN: 2, UNKNOWN: 3, FAIL: 4}


@dataclass(frozen=True)
class Finding:
    """What one check saw. ``evidence`` holds what was read, where and when.

    Checks of hardware also say what to do (``action``, one of ``ACTIONS``) and whom they blame: ``blame`` lists things by kind
    (``gpu``, ``port``, ``link``, ``host``, ``switch``) and name. Both are left out of the plain form where they are empty.
    """

    code: str
    subject: str
    status: str
    reason: str = ""
    remedy: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    requirements: Tuple[str, ...] = ()
    simulated: bool = False
    waiver: Optional[str] = None
    action: str = ""
    blame: Tuple[Mapping[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError("status {0!r} is none of {1}".format(self.status, ", ".join(STATUSES)))
        if self.action not in ("", *ACTIONS):
            raise ValueError("action {0!r} is none of {1}".format(self.action, ", ".join(ACTIONS)))
        if self.status in (SKIPPED, UNKNOWN) and not self.reason:
            raise ValueError("{0}: a finding that is {1} needs a reason".format(self.code, self.status))

    @property
    def waived(self) -> bool:
        """True when the inventory accepts this unknown, with a reason."""
        return self.waiver is not None

    def as_dict(self) -> Dict[str, Any]:
        """The plain form that travels in module results and in the verdict file."""
        plain: Dict[str, Any] = {
            "code": self.code,
            "subject": self.subject,
            "requirements": list(self.requirements),
            "status": self.status,
            "simulated": self.simulated,
            "reason": self.reason,
            "evidence": dict(self.evidence),
            "remedy": self.remedy,
            "waived": self.waived,
            "waiver": self.waiver,
        }
        if self.action:
            plain["action"] = self.action
        if self.blame:
            plain["blame"] = [dict(item) for item in self.blame]
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """The finding that ``as_dict`` made. Raises ``GpuError`` (BG-VERDICT-003) on anything else."""
        try:
            return cls(
                code=str(data["code"]),
                subject=str(data["subject"]),
                status=str(data["status"]),
                reason=str(data.get("reason") or ""),
                remedy=str(data.get("remedy") or ""),
                evidence=dict(data.get("evidence") or {}),
                requirements=tuple(str(item) for item in data.get("requirements") or ()),
                simulated=bool(data.get("simulated", False)),
                waiver=None if data.get("waiver") is None else str(data["waiver"]),
                action=str(data.get("action") or ""),
                blame=tuple({str(key): str(value) for key, value in item.items()} for item in data.get("blame") or ()),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GpuError(
                "BG-VERDICT-003",
                "this is not a finding: {0!r} ({1})".format(data, error),
                "a verdict over it would not be true",
                "pass the key {0} of a module's result".format(RESULT_KEY),
            ) from error


@dataclass(frozen=True)
class Waiver:
    """The inventory's acceptance of an unknown finding."""

    code: str
    reason: str


@dataclass(frozen=True)
class Judgement:
    """The verdict over one host's findings. ``refused`` are the findings that make it fail."""

    findings: Tuple[Finding, ...]
    refused: Tuple[Finding, ...]
    unused_waivers: Tuple[Waiver, ...]

    @property
    def passed(self) -> bool:
        return not self.refused

    @property
    def simulated(self) -> bool:
        return any(finding.simulated for finding in self.findings)


def severity(status: str) -> int:
    """How bad a status is, to compare it with others."""
    return _SEVERITY[status]


def worst(statuses: Iterable[str]) -> str:
    """The worst of several statuses; ``ok`` for none."""
    return max(statuses, key=severity, default=OK)


def merge(findings: Iterable[Finding]) -> Tuple[Finding, ...]:
    """One finding per (code, subject), the last one read: a later look at the same thing replaces an earlier one."""
    latest: Dict[Tuple[str, str], Finding] = {}
    for finding in findings:
        key = (finding.code, finding.subject)
        latest.pop(key, None)
        latest[key] = finding
    return tuple(latest.values())


def waivers_from(data: Sequence[Mapping[str, Any]]) -> Tuple[Waiver, ...]:
    """Waivers from an inventory's list of ``{code, reason}``. Raises ``GpuError`` when one lacks either."""
    waivers = []
    for item in data:
        code = str(item.get("code") or "").strip()
        reason = str(item.get("reason") or "").strip()
        if not code or not reason:
            raise GpuError(
                "BG-VERDICT-002",
                "waiver {0!r} has no {1}".format(dict(item), "reason" if code else "code"),
                "an unknown may be accepted only by its code and with a reason",
                "write {code: BG-..., reason: why the unknown is acceptable here}",
            )
        waivers.append(Waiver(code, reason))
    return tuple(waivers)


def judge(
    findings: Iterable[Finding],
    waivers: Sequence[Waiver] = (),
    lab: bool = False,
    required: Optional[Sequence[str]] = None,
) -> Judgement:
    """Hold findings against the inventory's waivers.

    A required finding is refused when it is ``fail``, when it is ``unknown`` and its code is not waived, or when it
    is ``simulated`` outside a lab. Only unknowns can be waived: a waiver never hides a failure.
    ``required`` lists codes; ``None`` means all.
    """
    reasons = {waiver.code: waiver.reason for waiver in waivers}
    judged = tuple(
        replace(finding, waiver=reasons.get(finding.code) if finding.status == UNKNOWN else None)
        for finding in merge(findings)
    )
    used = {finding.code for finding in judged if finding.waived}
    return Judgement(
        findings=judged,
        refused=tuple(
            finding
            for finding in judged
            if (required is None or finding.code in required) and _is_refused(finding, lab)
        ),
        unused_waivers=tuple(waiver for waiver in waivers if waiver.code not in used),
    )


def _is_refused(finding: Finding, lab: bool) -> bool:
    if finding.status == FAIL or (finding.simulated and not lab):
        return True
    return finding.status == UNKNOWN and not finding.waived


def describe(finding: Finding) -> str:
    """One line for a person: code, subject, status, reason and remedy."""
    marks = [finding.status] + (["simulated"] if finding.simulated else [])
    line = "{0} {1} [{2}]: {3}".format(finding.code, finding.subject, ", ".join(marks), finding.reason or "-")
    if finding.waived:
        return "{0}; waived: {1}".format(line, finding.waiver)
    return "{0}; {1}".format(line, finding.remedy) if finding.remedy else line
