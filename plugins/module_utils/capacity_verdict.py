"""Declared GPU resources against what nodes offer: one verdict per node, with its findings. Pure.

Capacity and allocatable must both equal the declaration. Their meaning follows the kubelet (``devicemanager.GetCapacity``): capacity is
what the device plugin registered, and falls to 0 five minutes after the plugin stopped; allocatable is capacity without unhealthy
devices, and 0 as soon as the plugin stopped. Pods reduce neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import (
    GPU,
    Expectation,
    Expected,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_labels import Disagreement, disagreements
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_pods import MPS_DAEMON, PLUGIN, Operand
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import NodeReading, is_gpu
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import plain

SETTLE_S = 300.0
"""The kubelet keeps a stopped plugin's resources so long (``endpointStopGracePeriod``); whoever starts in that time goes on."""
CONFIRM_S = 20.0
"""A kubelet writes its node's status every 10 s (``nodeStatusUpdateFrequency``): what two of these show is no passing state."""
LABELS_S = 75.0
"""GPU feature discovery writes its labels anew every 60 s (``sleepInterval``)."""
UNTIL_DEADLINE = float("inf")

_STARTED_S = 30.0  # a plugin that registers is in the node's status at the latest two periods after it is Ready

SHORT, DEGRADED, SETTLING, SURPLUS, MISSING = "short", "degraded", "settling", "surplus", "missing"
VERDICTS = (OK, SHORT, DEGRADED, SETTLING, SURPLUS, UNKNOWN, MISSING)

_FIGURES = ("what", "where", "expected", "capacity", "allocatable", "ready", "resource_version")
_MIG_MOVES = ("pending", "rebooting")
# Taints that say what is wrong with a node; those of a site's own scheduling are no news.
_ILL_TAINT = re.compile(
    r"\A(node\.kubernetes\.io/(?!unschedulable)|node\.cloudprovider\.kubernetes\.io/|.*(nvsentinel|xid|unhealthy|quarantine))",
    re.IGNORECASE,
)
# Conditions that are True when all is well.
_WELL = re.compile(r"(Ready|Healthy|Available|Succeeded|OK|Passed)\Z", re.IGNORECASE)
_LOG = "read the log of the node's device plugin pod"
_COMPARE = "compare with gpu_info of the host; {0}".format(_LOG)


@dataclass(frozen=True)
class Context:
    """What all findings of one reading share. ``read_at`` is the reading's time, UTC, ISO 8601."""

    read_at: str
    requirements: Tuple[str, ...] = ()
    simulated: bool = False


@dataclass(frozen=True)
class View:
    """A cluster as it was read last. ``operands`` are by node; None when they were not asked for or could not be listed."""

    nodes: Mapping[str, NodeReading]
    undeclared: Mapping[str, NodeReading]
    now: datetime
    operands: Optional[Mapping[str, Sequence[Operand]]] = None
    operands_problem: str = ""


@dataclass(frozen=True)
class NodeVerdict:
    """What a node is, its findings, and for how long it must be so before that is final (0: it is)."""

    verdict: str
    findings: Tuple[Finding, ...]
    final_after_s: float = 0.0

    @property
    def codes(self) -> Tuple[str, ...]:
        return tuple(finding.code for finding in self.findings)


@dataclass(frozen=True)
class _Case:
    """One node under judgement."""

    name: str
    expected: Expectation
    node: NodeReading
    operands: Optional[Sequence[Operand]]
    operands_problem: str
    now: datetime
    context: Context
    waited_s: Optional[float] = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def capacity(self, resource: str) -> Decimal:
        return self.node.capacity.get(resource, Decimal(0))

    def allocatable(self, resource: str) -> Decimal:
        return self.node.allocatable.get(resource, Decimal(0))

    @property
    def wanted(self) -> List[str]:
        """Resources of which there must be some."""
        return sorted(name for name, count in self.expected.resources.items() if count > 0)

    @property
    def offers_nothing(self) -> bool:
        return bool(self.wanted) and all(self.allocatable(name) == 0 for name in self.wanted)

    @property
    def others(self) -> Dict[str, Decimal]:
        """GPU resources that the node offers beside the declared ones. What an earlier plugin left behind offers nothing."""
        return {
            name: count
            for name, count in sorted(self.node.allocatable.items())
            if is_gpu(name) and name not in self.expected.resources and count > 0
        }

    def brief(self) -> _Case:
        """The case with the figures alone as evidence: of thousands of nodes that are as declared, more is a burden."""
        return replace(self, evidence={key: self.evidence[key] for key in self.evidence if key in _FIGURES})

    def finding(self, code: str, status: str, reason: str, remedy: str = "") -> Finding:
        return _finding(code, self.name, status, reason, remedy, self.evidence, self.context)


def judge(expected: Expected, view: View, context: Context, waited_s: Optional[float] = None) -> Dict[str, NodeVerdict]:
    """The verdict about every declared node, in order of names. ``waited_s`` is how long was waited; None when nobody did."""
    return {name: judge_node(name, expected[name], view, context, waited_s) for name in sorted(expected)}


def undeclared_findings(view: View, context: Context) -> List[Finding]:
    """A warning for every node that offers GPUs and is not declared."""
    found = []
    for name in sorted(view.undeclared):
        node = view.undeclared[name]
        reason = "the node offers {0} and is not declared".format(_words(gpus_of(node)))
        remedy = "add the node to the inventory, or remove its GPU resources"
        found.append(_finding("BG-CAP-009", name, WARN, reason, remedy, _evidence(node, {}, None), context))
    return found


def summarized(findings: Sequence[Finding], where: str, context: Context) -> List[Finding]:
    """The findings with those that are ok put together as one about the cluster; none when none is ok."""
    well = [finding for finding in findings if finding.status == OK]
    rest = [finding for finding in findings if finding.status != OK]
    if not well:
        return rest
    reason = "capacity and allocatable of {0} nodes are as declared".format(len(well))
    evidence = {"what": "capacity and allocatable", "where": where, "nodes": len(well)}
    return [_finding("BG-CAP-001", "cluster", OK, reason, "", evidence, context), *rest]


def gpus_of(node: NodeReading) -> Dict[str, Decimal]:
    """The GPU resources that a node has."""
    return {name: count for name, count in sorted(node.capacity.items()) if is_gpu(name) and count > 0}


def relevant(counts: Mapping[str, Decimal], expected: Mapping[str, int]) -> Dict[str, Decimal]:
    """The counts that a verdict is about: of declared resources and of GPUs."""
    return {name: counts[name] for name in sorted(counts) if name in expected or is_gpu(name)}


def judge_node(
    name: str, expected: Expectation, view: View, context: Context, waited_s: Optional[float] = None
) -> NodeVerdict:
    """The verdict about one declared node."""
    node = view.nodes.get(name)
    if node is None:
        reason, remedy = "the cluster has no such node", "join the node, or correct its name in the inventory"
        evidence = {"what": "list of nodes", "where": "Kubernetes API", "expected": dict(expected.resources)}
        missing = _finding("BG-CAP-006", name, FAIL, reason, remedy, evidence, context)
        return NodeVerdict(MISSING, (missing,), CONFIRM_S)
    operands = None if view.operands is None else tuple(view.operands.get(name, ()))
    evidence = _evidence(node, expected.resources, operands)
    case = _Case(name, expected, node, operands, view.operands_problem, view.now, context, waited_s, evidence)
    verdict = _capacity(case)
    return NodeVerdict(verdict.verdict, (*verdict.findings, *_remarks(case)), verdict.final_after_s)


def _capacity(case: _Case) -> NodeVerdict:
    """One cause gives one finding: the first that explains what is there."""
    node = case.node
    if node.ready is not True:
        return _not_ready(case)
    relevant = [text for name, text in sorted(node.problems.items()) if name in case.expected.resources or is_gpu(name)]
    if relevant:
        finding = case.finding("BG-CAP-018", UNKNOWN, "; ".join(relevant), "find out what wrote this status")
        return NodeVerdict(UNKNOWN, (finding,), CONFIRM_S)
    moving = _mig_moves(node)
    if moving:
        return _settling_verdict(case, moving)
    broken = _mig_broken(node)
    if broken:
        remedy = "read the log of the node's MIG manager pod; make the layout anew"
        return NodeVerdict(_arithmetic(case), (case.finding("BG-CAP-013", FAIL, broken, remedy),), CONFIRM_S)
    verdict = _arithmetic(case)
    if verdict == OK:
        return _as_declared(case)
    settling = _settles(case)
    if settling:
        return _settling_verdict(case, settling)
    code, reason, remedy = _difference(case)
    # Where no operand was ever seen, one may still come: its pod needs labels that node feature discovery has yet to set.
    waits = code == "BG-CAP-005" and not _plugins(case)
    finding = case.finding(code, FAIL, reason + _about_operands(case), remedy)
    return NodeVerdict(verdict, (finding,), UNTIL_DEADLINE if waits else CONFIRM_S)


def _not_ready(case: _Case) -> NodeVerdict:
    state = "not Ready" if case.node.ready is False else "not known to be Ready"
    reason = "the node is {0} ({1}), so its figures are stale".format(state, case.node.ready_reason)
    finding = case.finding("BG-CAP-007", UNKNOWN, reason, "repair the node's kubelet first, then verify again")
    age = _age(case.now, case.node.ready_since)
    # A node that joins, or starts again, is Ready in minutes; one that has been away for long is not waited for.
    return NodeVerdict(UNKNOWN, (finding,), UNTIL_DEADLINE if age is None or age < SETTLE_S else CONFIRM_S)


def _arithmetic(case: _Case) -> str:
    """The verdict by figures alone."""
    wanted = case.expected.resources
    if any(case.capacity(name) < count for name, count in wanted.items()):
        return SHORT
    # A plugin that goes on under another name leaves its old registration, which offers nothing.
    if any(case.capacity(name) > count and (count or case.allocatable(name)) for name, count in wanted.items()):
        return SURPLUS
    if any(case.allocatable(name) != count for name, count in wanted.items()):
        return DEGRADED
    return OK


def _as_declared(case: _Case) -> NodeVerdict:
    found = disagreements(case.expected, case.node) if case.wanted else []
    failures = [each for each in found if each.fails]
    if failures:
        return NodeVerdict(DEGRADED, tuple(_from_labels(case, each) for each in failures), LABELS_S)
    warnings = tuple(_from_labels(case, each) for each in found)
    if case.others:
        reason = "the node also offers {0}, which is not declared".format(_words(case.others))
        surplus = case.finding("BG-CAP-004", WARN, reason, "declare it, or correct the sharing")
        return NodeVerdict(SURPLUS, (surplus, *warnings))
    as_declared = case.brief().finding("BG-CAP-001", OK, "capacity and allocatable as declared")
    return NodeVerdict(OK, (as_declared, *warnings))


def _from_labels(case: _Case, found: Disagreement) -> Finding:
    return case.finding(found.code, FAIL if found.fails else WARN, found.reason, found.remedy)


def _mig_moves(node: NodeReading) -> str:
    state = node.labels.get("nvidia.com/mig.config.state", "")
    return "the MIG manager's state is {0}".format(state) if state in _MIG_MOVES else ""


def _mig_broken(node: NodeReading) -> str:
    if node.labels.get("nvidia.com/mig.config.state") == "failed":
        return "the MIG manager failed to apply {0}".format(node.labels.get("nvidia.com/mig.config") or "its layout")
    if node.labels.get("nvidia.com/gpu.product", "").endswith("-MIG-INVALID"):
        return "the GPUs' MIG layout is not one that the strategy single can offer"
    return ""


def _settling_verdict(case: _Case, why: str) -> NodeVerdict:
    figures = _figures(case)
    if case.waited_s is None:
        finding = case.finding("BG-CAP-010", UNKNOWN, "the node settles: {0}; {1}".format(why, figures), _LOG)
    else:
        reason = "the node did not settle within {0:.0f} s: {1}; {2}".format(case.waited_s, why, figures)
        finding = case.finding("BG-CAP-010", FAIL, reason, _LOG)
    return NodeVerdict(SETTLING, (finding,), UNTIL_DEADLINE)


def _plugins(case: _Case) -> List[Operand]:
    return [operand for operand in case.operands or () if operand.role == PLUGIN]


def _settles(case: _Case) -> str:
    """Why what is missing may come by itself; empty when it will not."""
    # A plugin that offers its GPUs under another name is at work.
    nothing = case.offers_nothing and not case.others
    if case.operands is None:
        problem = case.operands_problem
        return "a start cannot be told from a failure ({0})".format(problem) if nothing and problem else ""
    plugins = _plugins(case)
    waiting = [each for each in plugins if not each.ready]
    if nothing:
        waiting += [each for each in case.operands if each.role == MPS_DAEMON and not each.ready]
    if waiting:
        return "; ".join("{0} {1}: {2}".format(each.role, each.pod, each.state) for each in waiting)
    if nothing and not plugins and any(case.capacity(name) > 0 for name in case.wanted):
        return "the node has no device plugin pod, and had one less than five minutes ago"
    limit = SETTLE_S if nothing else _STARTED_S
    for each in plugins:
        age = _age(case.now, each.ready_since)
        if age is not None and age < limit:
            return "the device plugin has run for {0:.0f} s".format(age)
    age = _age(case.now, case.node.ready_since)
    if (
        nothing
        and age is not None
        and age < SETTLE_S
        and (plugins or any(n in case.node.capacity for n in case.wanted))
    ):
        return "the node has been Ready for {0:.0f} s".format(age)
    return ""


def _age(now: datetime, since: Optional[datetime]) -> Optional[float]:
    """Seconds since then, at least 0: clocks of nodes differ."""
    return None if since is None else max(0.0, (now - since).total_seconds())


def _difference(case: _Case) -> Tuple[str, str, str]:
    """Code, reason and remedy of the first of the ways in which a node can differ."""
    wanted = case.expected.resources
    short = [name for name, count in wanted.items() if case.capacity(name) < count]
    gone = [name for name in case.wanted if case.capacity(name) == 0]
    others = case.others
    of_mig = bool(case.expected.mig) or any("/mig-" in name for name in {*wanted, *others})
    if short and of_mig and (others or any(case.capacity(name) for name in wanted)):
        reason = "the MIG devices are not as declared: {0}{1}".format(_figures(case), _instead(others))
        return "BG-CAP-013", reason, "apply the declared layout with the MIG manager, then restart the device plugin"
    unoffered = [name for name in case.wanted if case.allocatable(name) == 0]
    if unoffered and others:
        reason = "the node does not offer {0}{1}".format(", ".join(unoffered), _instead(others))
        remedy = "declare the name under which the sharing offers GPUs, or correct renameByDefault"
        return "BG-CAP-014", reason, remedy
    absent = [name for name in case.wanted if name not in case.node.capacity]
    if absent:
        reason = "the node does not offer {0}".format(", ".join(absent))
        return "BG-CAP-005", reason, "see that the device plugin runs on the node; {0}".format(_LOG)
    if len(gone) == len(case.wanted) and gone:
        reason = "no device plugin is registered: capacity is {0}".format(_against(gone, case.node.capacity, wanted))
        return (
            "BG-CAP-015",
            reason,
            "see that the device plugin runs on the node and reaches its kubelet; {0}".format(_LOG),
        )
    if short:
        return "BG-CAP-002", "capacity is {0}".format(_against(short, case.node.capacity, wanted)), _COMPARE
    surplus = [name for name, count in wanted.items() if case.capacity(name) > count]
    if surplus:
        reason = "capacity is {0}".format(_against(surplus, case.node.capacity, wanted))
        return "BG-CAP-004", reason, "correct the inventory or the sharing configuration"
    unequal = [name for name, count in wanted.items() if case.allocatable(name) != count]
    reason = "allocatable is {0}, capacity is as declared{1}".format(
        _against(unequal, case.node.allocatable, wanted), _shares(case, unequal)
    )
    return "BG-CAP-003", reason, "{0}; after a GPU recovers, restart the device plugin".format(_LOG)


def _shares(case: _Case, unequal: Sequence[str]) -> str:
    """Of a shared GPU that fails only one share becomes unhealthy, and the others are handed out as before."""
    replicas = case.expected.replicas or _number(case.node.labels.get("nvidia.com/gpu.replicas"))
    if not replicas or replicas < 2 or not any(name.startswith(GPU) for name in unequal):
        return ""
    return "; each missing share is a GPU that all of its {0} shares lose, although they are still offered".format(
        replicas
    )


def _number(text: Optional[str]) -> int:
    return int(text) if text and re.match(r"^[0-9]{1,6}$", text) else 0


def _remarks(case: _Case) -> List[Finding]:
    """What is to be known about a node whatever it offers."""
    found = []
    if case.node.unschedulable:
        remedy = "uncordon it when its maintenance ends"
        found.append(case.finding("BG-CAP-008", WARN, "the node is unschedulable (cordoned)", remedy))
    ill = ["taint {0}".format(taint) for taint in case.node.taints if _ILL_TAINT.match(taint)]
    ill += [
        "condition {0} ({1})".format(name, text)
        for name, text in sorted(case.node.conditions.items())
        if not _WELL.search(name)
    ]
    if ill and case.node.ready is True:
        reason = "what watches the node reports {0}".format("; ".join(ill))
        found.append(
            case.finding("BG-CAP-017", WARN, reason, "look at the node's events and at gpu_health of the host")
        )
    return found


def _about_operands(case: _Case) -> str:
    if case.operands is None:
        return "; {0}".format(case.operands_problem) if case.operands_problem else ""
    if not _plugins(case):
        return "; there is no device plugin pod on the node"
    unwell = ["{0} {1}: {2}".format(each.role, each.pod, each.state) for each in case.operands if not each.ready]
    return "; {0}".format("; ".join(unwell)) if unwell else ""


def _figures(case: _Case) -> str:
    return ", ".join(
        "{0} {1} of {2} allocatable, {3} declared".format(
            name, plain(case.allocatable(name)), plain(case.capacity(name)), count
        )
        for name, count in sorted(case.expected.resources.items())
    )


def _instead(others: Mapping[str, Decimal]) -> str:
    return "; it offers {0} instead".format(_words(others)) if others else ""


def _against(names: Sequence[str], found: Mapping[str, Decimal], expected: Mapping[str, int]) -> str:
    return ", ".join(
        "{0} {1} instead of {2}".format(name, plain(found.get(name, Decimal(0))), expected[name])
        for name in sorted(names)
    )


def _words(counts: Mapping[str, Decimal]) -> str:
    return ", ".join("{0} {1}".format(name, plain(counts[name])) for name in sorted(counts))


def _evidence(node: NodeReading, expected: Mapping[str, int], operands: Optional[Sequence[Operand]]) -> Dict[str, Any]:
    """What was read of the node; counts as text, as the API gives them. What it does not report is left out."""

    def text(counts: Mapping[str, Decimal]) -> Dict[str, str]:
        return {name: plain(count) for name, count in relevant(counts, expected).items()}

    found: Dict[str, Any] = {
        "what": "capacity and allocatable",
        "where": "Kubernetes API, node {0}".format(node.name),
        "expected": dict(expected),
        "capacity": text(node.capacity),
        "allocatable": text(node.allocatable),
        "ready": node.ready,
        "resource_version": node.resource_version,
    }
    if node.labels:
        found["labels"] = dict(sorted(node.labels.items()))
    if node.taints:
        found["taints"] = list(node.taints)
    if operands is not None:
        found["operands"] = [
            {"role": each.role, "pod": each.pod, "state": each.state, "restarts": each.restarts} for each in operands
        ]
    return found


def _finding(
    code: str, subject: str, status: str, reason: str, remedy: str, evidence: Mapping[str, Any], context: Context
) -> Finding:
    return Finding(
        code=code,
        subject=subject,
        status=status,
        reason=reason,
        remedy=remedy,
        evidence=dict(evidence, when=context.read_at),
        requirements=context.requirements,
        simulated=context.simulated,
    )


def is_settled(findings: Sequence[Finding]) -> bool:
    """True when no failure and no unknown is left."""
    return all(finding.status not in (FAIL, UNKNOWN) for finding in findings)
