"""Declared GPU resources against what nodes offer. Pure: takes parsed API answers, returns findings.

Capacity and allocatable must both equal the declaration. Their meaning follows the kubelet: capacity is what the
device plugin registered (0 five minutes after it stopped), allocatable is capacity without unhealthy devices (0 as
soon as the plugin stopped). Pods do not reduce either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, UNKNOWN, WARN, Finding

Quantity = Callable[[str], Decimal]
"""Parses a Kubernetes quantity ("8", "1k"). Raises ``ValueError``."""

Expectation = Dict[str, Dict[str, int]]
"""Resource counts by node: ``{"onyx-g1": {"nvidia.com/gpu": 8}}``."""

# What the device plugin and the operator call GPUs: whole or shared ones, and MIG devices.
_GPU_RESOURCE = re.compile(r"^nvidia\.com/(gpu|mig-)")
_OPERAND_REMEDY = "read the log of the node's device plugin pod"


@dataclass(frozen=True)
class NodeReading:
    """One node of the list. Counts are of GPU-like and declared resources only; ``None`` in ``ready`` is no report."""

    name: str
    ready: Optional[bool]
    ready_reason: str
    unschedulable: bool
    capacity: Mapping[str, Decimal]
    allocatable: Mapping[str, Decimal]
    resource_version: str
    problems: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    """What all findings of one reading share. ``read_at`` is the reading's time, UTC, ISO 8601."""

    read_at: str
    requirements: Tuple[str, ...] = ()
    simulated: bool = False


def parse_expectation(data: Mapping[str, Any]) -> Expectation:
    """The declaration, checked. Raises ``GpuError`` BG-CAP-104."""
    if not data:
        raise _unusable("no node is declared")
    expected: Expectation = {}
    for node, resources in data.items():
        if not isinstance(resources, Mapping) or not resources:
            raise _unusable("node {0} declares no resource".format(node))
        expected[str(node)] = {str(name): _count(str(node), str(name), value) for name, value in resources.items()}
    return expected


def _count(node: str, name: str, value: Any) -> int:
    # Templates give numbers as text; true is a number to Python and a mistake here.
    text = "" if isinstance(value, bool) else str(value).strip()
    if not re.match(r"^[0-9]{1,9}$", text):
        raise _unusable("node {0} declares {1}: {2!r}, which is not a count".format(node, name, value))
    return int(text)


def _unusable(what: str) -> GpuError:
    return GpuError(
        "BG-CAP-104",
        "the expected capacity is not usable: {0}".format(what),
        "nothing can be compared with it",
        "declare {node: {nvidia.com/gpu: count}} in the inventory",
    )


def parse_node(item: Mapping[str, Any], quantity: Quantity) -> NodeReading:
    """A node object of the API. A quantity that cannot be parsed is noted as a problem and has no value."""
    metadata, status = _map(item.get("metadata")), _map(item.get("status"))
    ready, reason = _ready(status.get("conditions"))
    capacity, problems = _quantities("capacity", _map(status.get("capacity")), quantity)
    allocatable, more = _quantities("allocatable", _map(status.get("allocatable")), quantity)
    return NodeReading(
        name=str(metadata.get("name") or ""),
        ready=ready,
        ready_reason=reason,
        unschedulable=bool(_map(item.get("spec")).get("unschedulable")),
        capacity=capacity,
        allocatable=allocatable,
        resource_version=str(metadata.get("resourceVersion") or ""),
        problems=problems + more,
    )


def _map(value: Any) -> Mapping[str, Any]:
    """``value``, or an empty map where the object has none or something else."""
    return value if isinstance(value, Mapping) else {}


def _ready(conditions: Any) -> Tuple[Optional[bool], str]:
    for condition in map(_map, conditions if isinstance(conditions, list) else ()):
        if condition.get("type") == "Ready":
            reason = "{0}: {1}".format(condition.get("reason") or "", condition.get("message") or "").strip(": ")
            status = condition.get("status")
            return (True if status == "True" else False if status == "False" else None), reason
    return None, "the node reports no condition Ready"


def _quantities(
    where: str, values: Mapping[str, Any], quantity: Quantity
) -> Tuple[Dict[str, Decimal], Tuple[str, ...]]:
    """Extended resources (``vendor/name``) only: CPU and memory of thousands of nodes are not worth their parsing."""
    found: Dict[str, Decimal] = {}
    problems: List[str] = []
    for name, value in values.items():
        if "/" not in name:
            continue
        try:
            found[name] = quantity(str(value))
        except (ValueError, ArithmeticError):
            problems.append("{0} of {1} is {2!r}, which is not a quantity".format(where, name, value))
    return found, tuple(problems)


def judge(expected: Expectation, nodes: Sequence[NodeReading], context: Context) -> List[Finding]:
    """Findings for every declared node, in order of names, then for undeclared nodes that offer GPUs."""
    by_name = {node.name: node for node in nodes}
    found: List[Finding] = []
    for name in sorted(expected):
        found += _judge_node(name, expected[name], by_name.get(name))
    for node in sorted(nodes, key=lambda node: node.name):
        extra = {resource: count for resource, count in node.capacity.items() if _is_gpu(resource) and count > 0}
        if node.name not in expected and extra:
            reason = "the node offers {0} and is not declared".format(_words(extra))
            remedy = "add the node to the inventory, or remove its GPU resources"
            found.append(_finding("BG-CAP-009", node.name, WARN, reason, remedy, _evidence(node, {})))
    return [_in_context(finding, context) for finding in found]


def _judge_node(name: str, expected: Mapping[str, int], node: Optional[NodeReading]) -> List[Finding]:
    if node is None:
        reason, remedy = "the cluster has no such node", "join the node, or correct its name in the inventory"
        evidence = {"what": "list of nodes", "where": "Kubernetes API", "expected": dict(expected)}
        return [_finding("BG-CAP-006", name, FAIL, reason, remedy, evidence)]
    evidence = _evidence(node, expected)
    if node.ready is not True:
        state = "not Ready" if node.ready is False else "not known to be Ready"
        reason = "the node is {0} ({1}), so its figures are stale".format(state, node.ready_reason)
        remedy = "repair the node's kubelet first, then verify again"
        return [_finding("BG-CAP-007", name, UNKNOWN, reason, remedy, evidence)]
    found = [_compare(name, expected, node, evidence)]
    if node.unschedulable:
        remedy = "uncordon it when its maintenance ends"
        found.append(_finding("BG-CAP-008", name, WARN, "the node is unschedulable (cordoned)", remedy, evidence))
    return found


def _compare(name: str, expected: Mapping[str, int], node: NodeReading, evidence: Mapping[str, Any]) -> Finding:
    """One verdict per node: the first of the ways in which it can differ, so that one cause gives one finding."""
    absent = [item for item in expected if item not in node.capacity and expected[item] > 0]
    if node.problems:
        reason, remedy = "; ".join(node.problems), "find out what wrote this status"
        return _finding("BG-CAP-005", name, UNKNOWN, reason, remedy, evidence)
    if absent:
        reason = "the node does not offer {0}{1}".format(", ".join(sorted(absent)), _instead(expected, node))
        remedy = "see that the device plugin runs on the node and how its sharing names resources"
        return _finding("BG-CAP-005", name, FAIL, reason, remedy, evidence)
    short = [item for item in expected if node.capacity.get(item, Decimal(0)) < expected[item]]
    if short:
        reason = "capacity is {0}{1}".format(_against(short, node.capacity, expected), _instead(expected, node))
        remedy = "compare with gpu_info of the host; {0}".format(_OPERAND_REMEDY)
        return _finding("BG-CAP-002", name, FAIL, reason, remedy, evidence)
    surplus = [item for item in expected if node.capacity.get(item, Decimal(0)) > expected[item]]
    if surplus:
        reason = "capacity is {0}".format(_against(surplus, node.capacity, expected))
        remedy = "correct the inventory or the sharing configuration"
        return _finding("BG-CAP-004", name, FAIL, reason, remedy, evidence)
    unequal = [item for item in expected if node.allocatable.get(item, Decimal(0)) != expected[item]]
    if unequal:
        reason = "allocatable is {0}, capacity is as declared".format(_against(unequal, node.allocatable, expected))
        remedy = "{0}; after a GPU recovers, restart the device plugin".format(_OPERAND_REMEDY)
        return _finding("BG-CAP-003", name, FAIL, reason, remedy, evidence)
    undeclared = _others(expected, node)
    if undeclared:
        reason = "the node also offers {0}, which is not declared".format(_words(undeclared))
        return _finding("BG-CAP-004", name, WARN, reason, "declare it, or correct the sharing", evidence)
    return _finding("BG-CAP-001", name, OK, "capacity and allocatable as declared", "", evidence)


def _others(expected: Mapping[str, int], node: NodeReading) -> Dict[str, Decimal]:
    """GPU resources that the node offers beside the declared ones."""
    return {
        name: count for name, count in node.capacity.items() if _is_gpu(name) and name not in expected and count > 0
    }


def _instead(expected: Mapping[str, int], node: NodeReading) -> str:
    others = _others(expected, node)
    return "; it offers {0} instead".format(_words(others)) if others else ""


def _against(names: Sequence[str], found: Mapping[str, Decimal], expected: Mapping[str, int]) -> str:
    return ", ".join(
        "{0} {1} instead of {2}".format(name, _plain(found.get(name, Decimal(0))), expected[name])
        for name in sorted(names)
    )


def _words(counts: Mapping[str, Decimal]) -> str:
    return ", ".join("{0} {1}".format(name, _plain(counts[name])) for name in sorted(counts))


def _is_gpu(resource: str) -> bool:
    return _GPU_RESOURCE.match(resource) is not None


def _plain(count: Decimal) -> str:
    """``8`` rather than ``8.000`` or ``1E+3``."""
    return "{0:f}".format(count.normalize())


def _evidence(node: NodeReading, expected: Mapping[str, int]) -> Dict[str, Any]:
    """What was read of the node; counts as text, as the API gives them."""

    def relevant(counts: Mapping[str, Decimal]) -> Dict[str, str]:
        return {name: _plain(counts[name]) for name in sorted(counts) if name in expected or _is_gpu(name)}

    return {
        "what": "capacity and allocatable",
        "where": "Kubernetes API, node {0}".format(node.name),
        "expected": dict(expected),
        "capacity": relevant(node.capacity),
        "allocatable": relevant(node.allocatable),
        "ready": node.ready,
        "resource_version": node.resource_version,
    }


def _finding(code: str, subject: str, status: str, reason: str, remedy: str, evidence: Mapping[str, Any]) -> Finding:
    return Finding(code=code, subject=subject, status=status, reason=reason, remedy=remedy, evidence=evidence)


def _in_context(finding: Finding, context: Context) -> Finding:
    return replace(
        finding,
        evidence=dict(finding.evidence, when=context.read_at),
        requirements=context.requirements,
        simulated=context.simulated,
    )


def is_settled(findings: Sequence[Finding]) -> bool:
    """True when waiting longer can change nothing for the better: no failure and no unknown is left."""
    return all(finding.status not in (FAIL, UNKNOWN) for finding in findings)
