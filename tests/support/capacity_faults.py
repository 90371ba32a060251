"""Faults of GPU capacity, each with the code that tells it, and the variants of health that must give none."""

from __future__ import annotations

from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import parse_expected
from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_verdict import (
    Context,
    View,
    gpus_of,
    judge,
    undeclared_findings,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_pods import Operand, parse_operand
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import NodeReading, parse_node
from ansible_collections.baremetal.gpu.tests.support.capacity_objects import GPU, NOW, SHARED, node, operand
from ansible_collections.baremetal.gpu.tests.support.seeded_faults import SeededFault

CONTEXT = Context(read_at="2026-01-01T12:00:00Z", requirements=("ONYX-R057",))
EIGHT = {"n1": {"gpus": 8}}
TEN_SHARES = {"n1": {"gpus": 1, "replicas": 10, "sharing": "mps"}}
TEN_RENAMED = {"n1": {"gpus": 1, "replicas": 10, "sharing": "mps", "renamed": True}}
SMALL, LARGE = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"
MIXED = {"n1": {"gpus": 8, "mig": {"1g.10gb": 24, "3g.40gb": 8}, "mig_strategy": "mixed"}}
SINGLE = {"n1": {"gpus": 8, "mig": {"1g.10gb": 56}, "mig_strategy": "single"}}

H100 = {"gpu.count": "8", "gpu.replicas": "1", "gpu.product": "NVIDIA-H100-80GB-HBM3", "gpu.sharing-strategy": "none"}
GB10_MPS = {
    "gpu.count": "1",
    "gpu.replicas": "10",
    "gpu.product": "NVIDIA-GB10-SHARED",
    "gpu.sharing-strategy": "mps",
    "mps.capable": "true",
}


def view(items: list[dict[str, Any]], expected: dict[str, Any], pods: list[dict[str, Any]] | None = None) -> View:
    """The cluster of these nodes and operand pods; ``None`` of pods are pods that were not listed."""
    readings = [parse_node(item) for item in items]
    declared: dict[str, NodeReading] = {each.name: each for each in readings if each.name in expected}
    others = {each.name: each for each in readings if each.name not in expected and gpus_of(each)}
    operands: dict[str, list[Operand]] = {}
    for found in map(parse_operand, pods or ()):
        if found:
            operands.setdefault(found.node, []).append(found)
    return View(declared, others, NOW, None if pods is None else operands)


def judged(
    items: list[dict[str, Any]],
    expected: dict[str, Any],
    pods: list[dict[str, Any]] | None = None,
    waited_s: float | None = None,
) -> list[dict[str, Any]]:
    """Findings about nodes, as the module gives them."""
    seen = view(items, expected, pods)
    verdicts = judge(parse_expected(expected), seen, CONTEXT, waited_s)
    found = [finding for verdict in verdicts.values() for finding in verdict.findings]
    return [finding.as_dict() for finding in (*found, *undeclared_findings(seen, CONTEXT))]


def faults() -> list[SeededFault]:
    """Every fault, with the code of the one finding that is neither ok nor of another fault."""
    running = [operand("n1")]
    rows: list[tuple[str, str, list[dict[str, Any]], dict[str, Any], list[dict[str, Any]] | None]] = [
        ("7 of 8 GPUs since the plugin started", "BG-CAP-002", [node("n1", {GPU: "7"})], EIGHT, running),
        ("sharing is not applied", "BG-CAP-002", [node("n1", {GPU: "1"})], TEN_SHARES, running),
        ("one of 8 GPUs is unhealthy", "BG-CAP-003", [node("n1", {GPU: "8"}, {GPU: "7"})], EIGHT, running),
        ("one share of ten has an Xid", "BG-CAP-003", [node("n1", {GPU: "10"}, {GPU: "9"})], TEN_SHARES, running),
        ("all GPUs are unhealthy", "BG-CAP-003", [node("n1", {GPU: "8"}, {GPU: "0"})], EIGHT, running),
        ("more GPUs than declared", "BG-CAP-004", [node("n1", {GPU: "8"})], {"n1": {"gpus": 4}}, running),
        (
            "whole GPUs offered beside shares",
            "BG-CAP-004",
            [node("n1", {GPU: "1", SHARED: "10"})],
            TEN_RENAMED,
            running,
        ),
        ("plugin never ran", "BG-CAP-005", [node("n1", {})], EIGHT, []),
        ("allocatable without capacity", "BG-CAP-005", [node("n1", {}, {GPU: "8"})], EIGHT, running),
        ("node never joined", "BG-CAP-006", [], EIGHT, None),
        ("node is not Ready", "BG-CAP-007", [node("n1", {GPU: "8"}, ready="Unknown")], EIGHT, running),
        ("node reports no condition", "BG-CAP-007", [node("n1", {GPU: "8"}, ready=None)], EIGHT, running),
        ("node is cordoned", "BG-CAP-008", [node("n1", {GPU: "8"}, cordoned=True)], EIGHT, None),
        ("undeclared GPU node", "BG-CAP-009", [node("n1", {GPU: "8"}), node("n2", {GPU: "8"})], EIGHT, None),
        ("plugin stopped 1 min ago", "BG-CAP-010", [node("n1", {GPU: "8"}, {GPU: "0"})], EIGHT, []),
        (
            "plugin restarts again and again",
            "BG-CAP-010",
            [node("n1", {GPU: "8"}, {GPU: "0"})],
            EIGHT,
            [operand("n1", ready=False, waiting="CrashLoopBackOff")],
        ),
        ("kubelet started 1 min ago", "BG-CAP-010", [node("n1", {GPU: "0"}, ready_for_s=60)], EIGHT, running),
        (
            "MIG manager at work",
            "BG-CAP-010",
            [node("n1", {SMALL: "0"}, labels={"mig.config.state": "pending"})],
            MIXED,
            running,
        ),
        (
            "MPS daemon does not come up",
            "BG-CAP-010",
            [node("n1", {GPU: "0"})],
            TEN_SHARES,
            [*running, operand("n1", "nvidia-mps-control-daemon", ready=False, waiting="CreateContainerError")],
        ),
        (
            "labels name another sharing",
            "BG-CAP-011",
            [node("n1", {GPU: "10"}, labels={**GB10_MPS, "gpu.sharing-strategy": "time-slicing"})],
            TEN_SHARES,
            None,
        ),
        (
            "labels count more GPUs than are offered",
            "BG-CAP-011",
            [node("n1", {GPU: "4"}, labels={"gpu.count": "8", "gpu.replicas": "1"})],
            {"n1": {GPU: 4}},
            None,
        ),
        (
            "GPU lost behind right figures",
            "BG-CAP-012",
            [node("n1", {GPU: "8"}, labels={**H100, "gpu.count": "7"})],
            EIGHT,
            running,
        ),
        ("MIG half applied", "BG-CAP-013", [node("n1", {SMALL: "12", LARGE: "4", GPU: "0"})], MIXED, running),
        ("MIG not applied", "BG-CAP-013", [node("n1", {GPU: "8"})], SINGLE, running),
        (
            "MIG manager failed",
            "BG-CAP-013",
            [node("n1", {SMALL: "24", LARGE: "8", GPU: "0"}, labels={"mig.config.state": "failed"})],
            MIXED,
            running,
        ),
        (
            "MIG layout that single cannot offer",
            "BG-CAP-013",
            [node("n1", {GPU: "0"}, labels={"gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-INVALID"})],
            SINGLE,
            running,
        ),
        ("renamed resource", "BG-CAP-014", [node("n1", {GPU: "0", SHARED: "10"})], TEN_SHARES, running),
        (
            "renamed resource, whose old name is left behind",
            "BG-CAP-014",
            [node("n1", {GPU: "1", SHARED: "10"}, {GPU: "0", SHARED: "10"})],
            TEN_SHARES,
            [],
        ),
        ("resource is not renamed", "BG-CAP-014", [node("n1", {GPU: "10"})], TEN_RENAMED, running),
        ("plugin stopped 10 min ago", "BG-CAP-015", [node("n1", {GPU: "0"})], EIGHT, []),
        ("plugin runs and does not register", "BG-CAP-015", [node("n1", {GPU: "0"})], EIGHT, running),
        (
            "another model",
            "BG-CAP-016",
            [node("n1", {GPU: "8"}, labels={**H100, "gpu.product": "NVIDIA-H200"})],
            {"n1": {"gpus": 8, "product": "NVIDIA-H100-80GB-HBM3"}},
            running,
        ),
        (
            "a watcher of hardware reports an Xid",
            "BG-CAP-017",
            [node("n1", {GPU: "8"}, conditions=[{"type": "GpuXidError", "status": "True", "reason": "Xid79"}])],
            EIGHT,
            None,
        ),
        (
            "node is tainted as ill",
            "BG-CAP-017",
            [node("n1", {GPU: "8"}, taints=[{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}])],
            EIGHT,
            None,
        ),
        ("a quantity that is none", "BG-CAP-018", [node("n1", {GPU: "eight"})], EIGHT, running),
        ("half a GPU", "BG-CAP-002", [node("n1", {GPU: "500m"})], {"n1": {"gpus": 1}}, running),
    ]

    def fault(
        name: str, code: str, items: list[dict[str, Any]], expected: dict[str, Any], pods: list[dict[str, Any]] | None
    ) -> SeededFault:
        return SeededFault(name, "capacity", code, lambda: judged(items, expected, pods))

    return [fault(*row) for row in rows]


def healthy() -> list[SeededFault]:
    """What is as declared: no code is expected."""
    gpu_taint = [{"key": GPU, "value": "present", "effect": "NoSchedule"}]
    well = [{"type": "GpuHealthy", "status": "True"}, {"type": "GpuXidError", "status": "False"}]
    one_slice = {"gpu.count": "56", "gpu.replicas": "1", "gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"}
    rows: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
        ("8 whole GPUs", [node("n1", {GPU: "8"}, labels=H100)], EIGHT),
        ("a GPU shared by MPS", [node("n1", {GPU: "10"}, labels=GB10_MPS)], TEN_SHARES),
        ("a renamed resource, declared so", [node("n1", {GPU: "0", SHARED: "10"})], TEN_RENAMED),
        (
            "what a renamed resource left behind",
            [node("n1", {GPU: "1", SHARED: "10"}, {GPU: "0", SHARED: "10"})],
            TEN_RENAMED,
        ),
        ("MIG devices of two profiles", [node("n1", {SMALL: "24", LARGE: "8", GPU: "0"})], MIXED),
        ("MIG devices of one profile", [node("n1", {GPU: "56"}, labels=one_slice)], SINGLE),
        ("quantities in other words", [node("n1", {GPU: "1k"})], {"n1": {GPU: 1000}}),
        ("the usual taint of GPU nodes", [node("n1", {GPU: "8"}, taints=gpu_taint)], EIGHT),
        ("conditions that say that all is well", [node("n1", {GPU: "8"}, conditions=well)], EIGHT),
        ("a node without GPUs, declared so", [node("n1", {})], {"n1": {GPU: 0}}),
        ("other nodes without GPUs", [node("n1", {GPU: "8"}), node("n2", {}), node("n3", {GPU: "0"})], EIGHT),
    ]

    def variant(name: str, items: list[dict[str, Any]], expected: dict[str, Any]) -> SeededFault:
        return SeededFault(name, "capacity", "", lambda: judged(items, expected))

    return [variant(*row) for row in rows]
