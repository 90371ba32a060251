"""Reads a cluster's capacity and follows it until it is final: one paged list of nodes, then a watch from there. Runs on the controller."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Callable, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import Expected
from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_verdict import (
    MISSING,
    SETTLING,
    Context,
    NodeVerdict,
    View,
    gpus_of,
    judge,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import OK, UNKNOWN
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_pods import Operand, parse_operand, requests
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import (
    NodeReading,
    as_map,
    is_gpu,
    parse_node,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import (
    NODES,
    PODS,
    Cluster,
    ExpiredError,
    Listed,
    NotServedError,
    TransientError,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.resource_slices import PATHS, RESOURCE, Slices

# Pods become Ready without a change of their node, so while something settles they are looked at this often.
_OPERANDS_FRESH_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0


@dataclass(frozen=True)
class Outcome:
    """What was read last and what it means. ``polls`` are lists of nodes, ``events`` what a watch brought about declared nodes."""

    view: View
    verdicts: Mapping[str, NodeVerdict]
    node_count: int
    polls: int
    events: int
    waited_s: float


class NodeTable:
    """The nodes of a cluster, of which only what is declared, or has GPUs, is kept."""

    def __init__(self, expected: Collection[str], keep_undeclared: bool) -> None:
        self._expected = expected
        self._keep_undeclared = keep_undeclared
        self.declared: Dict[str, NodeReading] = {}
        self.undeclared: Dict[str, NodeReading] = {}
        self.count = 0

    def clear(self) -> None:
        self.declared.clear()
        self.undeclared.clear()
        self.count = 0

    def take(self, item: Mapping[str, Any]) -> None:
        """One object of the list."""
        self.count += 1
        self._keep(parse_node(item))

    def apply(self, event: Mapping[str, Any]) -> Optional[str]:
        """One event of a watch; the name of a declared node that now says something else."""
        kind, node = event.get("type"), parse_node(as_map(event.get("object")))
        if kind == "DELETED":
            self.count -= 1
            self.undeclared.pop(node.name, None)
            return node.name if self.declared.pop(node.name, None) else None
        if kind not in ("ADDED", "MODIFIED") or not node.name:
            return None
        self.count += kind == "ADDED"
        changed = node.differs(self.declared.get(node.name))
        self._keep(node)
        return node.name if changed and node.name in self._expected else None

    def _keep(self, node: NodeReading) -> None:
        if node.name in self._expected:
            self.declared[node.name] = node
        elif self._keep_undeclared and gpus_of(node):
            self.undeclared[node.name] = node
        else:
            self.undeclared.pop(node.name, None)


class Reader:
    """Reads, judges and waits. ``selectors`` find operand pods; the first that finds one counts. ``context`` is that of findings now."""

    def __init__(
        self,
        cluster: Cluster,
        expected: Expected,
        selectors: Sequence[str],
        context: Callable[[], Context],
        partial: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._expected = expected
        self._selectors = list(selectors)
        self._context = context
        self._nodes = NodeTable(expected, not partial)
        self._clock, self._sleep = clock, sleep
        self._listed: Optional[Listed] = None
        self._listed_at = 0.0
        self._version = ""
        self._operands: Optional[Dict[str, List[Operand]]] = None
        self._operands_at = self._operands_took_s = 0.0
        self._operands_problem = ""
        self._wants_slices = any(RESOURCE in each.resources for each in expected.values())
        self._devices: Dict[str, Tuple[Decimal, Decimal]] = {}
        self._since: Dict[str, Tuple[Tuple[str, ...], float]] = {}
        self._polls = self._events = 0

    def run(self, wait_timeout_s: float) -> Outcome:
        """Read until everything is final or the deadline is reached; what was read last counts.

        Raises ``GpuError``; one that may pass only at the deadline.
        """
        begun = self._clock()
        deadline = begun + wait_timeout_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                if self._listed is None:
                    self._read()
                verdicts = self._judge()
                look_at = self._look_again(verdicts)
                if not look_at or self._clock() >= deadline:
                    return self._outcome(verdicts, self._clock() - begun, bool(wait_timeout_s))
                self._follow(min(deadline, *look_at.values()), set(look_at))
                pause_s = _FIRST_PAUSE_S
            except ExpiredError:
                self._listed = None
                self._sleep(max(0.0, min(pause_s, deadline - self._clock())))
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
            except TransientError as error:
                if self._clock() >= deadline:
                    raise
                asked = error.retry_after_s or 0.0
                self._sleep(max(0.0, min(max(pause_s, asked), deadline - self._clock())))
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    def _read(self) -> None:
        self._polls += 1
        self._listed = self._cluster.objects(NODES, self._nodes.take, self._nodes.clear)
        self._listed_at = self._clock()
        self._version = self._listed.resource_version
        if self._wants_slices:
            self._list_slices()

    def _now(self) -> datetime:
        """The API server's clock: the times in its objects are compared with it, not with this machine's."""
        if self._listed is None:
            raise RuntimeError("the clock is known only from a list")
        return self._listed.date + timedelta(seconds=self._clock() - self._listed_at)

    def _view(self) -> View:
        return View(
            nodes={name: self._with_devices(node) for name, node in self._nodes.declared.items()},
            undeclared=self._nodes.undeclared,
            now=self._now(),
            operands=self._operands,
            operands_problem=self._operands_problem,
        )

    def _judge(self) -> Dict[str, NodeVerdict]:
        verdicts = judge(self._expected, self._view(), self._context())
        # Only of nodes whose figures count and are not as declared: of the others no pod matters.
        unclear = any(verdict.verdict not in (OK, UNKNOWN, MISSING) for verdict in verdicts.values())
        if unclear and self._selectors and self._are_stale():
            self._list_operands()
            if self._wants_slices:
                self._list_slices()
            verdicts = judge(self._expected, self._view(), self._context())
        return verdicts

    def _are_stale(self) -> bool:
        never = self._operands is None and not self._operands_problem
        # On a large cluster the list takes long: at most a tenth of the waiting is spent on it.
        return never or self._clock() - self._operands_at > max(_OPERANDS_FRESH_S, 10 * self._operands_took_s)

    def _list_operands(self) -> None:
        """One labelled list of the cluster's operand pods, also of those that are on no node yet."""
        begun = self._clock()
        found: Dict[str, List[Operand]] = {}

        def take(item: Mapping[str, Any]) -> None:
            operand = parse_operand(item)
            if operand is not None:
                found.setdefault(operand.node, []).append(operand)

        self._operands, self._operands_problem = None, ""
        for selector in self._selectors:
            query = {"labelSelector": selector}
            try:
                self._cluster.objects(PODS, take, found.clear, query)
            except TransientError:
                raise
            except GpuError as error:
                # Nodes may be all that the user may list; then a start cannot be told from a failure.
                self._operands_problem = "the operand pods cannot be listed: {0}".format(error.what)
                self._operands = None
                break
            self._operands = found
            if found:
                break
        self._operands_at = self._clock()
        self._operands_took_s = self._operands_at - begun

    def _list_slices(self) -> None:
        """The devices of NVIDIA's DRA driver. Raises the last ``NotServedError`` when the API server knows no ResourceSlices."""
        for path in PATHS:
            slices = Slices()
            try:
                self._cluster.objects(path, slices.take, slices.clear)
            except NotServedError:
                if path == PATHS[-1]:
                    raise
                continue
            self._devices = slices.by_node()
            return

    def _with_devices(self, node: NodeReading) -> NodeReading:
        if node.name not in self._devices:
            return node
        capacity, allocatable = self._devices[node.name]
        return replace(
            node,
            capacity={**node.capacity, RESOURCE: capacity},
            allocatable={**node.allocatable, RESOURCE: allocatable},
        )

    def _look_again(self, verdicts: Mapping[str, NodeVerdict]) -> Dict[str, float]:
        """When to look again at each node that is not final, on the clock."""
        now = self._clock()
        found: Dict[str, float] = {}
        for name, verdict in verdicts.items():
            codes, since = self._since.get(name, ((), now))
            if codes != verdict.codes:
                since = now
                self._since[name] = (verdict.codes, now)
            left = since + verdict.final_after_s - now
            if verdict.final_after_s and left > 0:
                found[name] = now + min(left, _OPERANDS_FRESH_S + 0.1)
        return found

    def _follow(self, until: float, names: Collection[str]) -> None:
        """Watch until one of these nodes says something else, or until then. Raises ``ExpiredError`` or ``TransientError``."""
        while self._clock() < until:
            begun = self._clock()
            for event in self._cluster.events(NODES, self._version, until - begun):
                version = as_map(as_map(event.get("object")).get("metadata")).get("resourceVersion")
                self._version = str(version or self._version)
                name = self._nodes.apply(event)
                if name is not None:
                    self._events += 1
                if name in names:
                    return
                if self._clock() >= until:
                    return
            # A server that ends watches at once is not asked without pause.
            if self._clock() - begun < _FIRST_PAUSE_S:
                self._sleep(max(0.0, min(_FIRST_PAUSE_S, until - self._clock())))

    def _outcome(self, verdicts: Mapping[str, NodeVerdict], waited_s: float, did_wait: bool) -> Outcome:
        if did_wait and any(verdict.verdict == SETTLING for verdict in verdicts.values()):
            verdicts = judge(self._expected, self._view(), self._context(), waited_s)
        return Outcome(self._view(), verdicts, self._nodes.count, self._polls, self._events, waited_s)


def free(cluster: Cluster, nodes: Mapping[str, NodeReading]) -> Dict[str, Dict[str, Decimal]]:
    """What of each node's GPU resources no pod holds: allocatable, which pods do not reduce, less what they request."""
    held: Dict[str, Dict[str, Decimal]] = {}

    def take(item: Mapping[str, Any]) -> None:
        node, wanted = requests(item)
        if node in nodes:
            for name, count in wanted.items():
                total = held.setdefault(node, {})
                total[name] = total.get(name, Decimal(0)) + count

    query = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
    cluster.objects(PODS, take, held.clear, query)
    return {
        name: {
            resource: count - held.get(name, {}).get(resource, Decimal(0))
            for resource, count in sorted(gpu_allocatable(node).items())
        }
        for name, node in nodes.items()
    }


def gpu_allocatable(node: NodeReading) -> Dict[str, Decimal]:
    """A node's allocatable GPU resources."""
    return {name: count for name, count in node.allocatable.items() if is_gpu(name)}


def read_at() -> str:
    """Now, UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0).isoformat().replace("+00:00", "Z")
