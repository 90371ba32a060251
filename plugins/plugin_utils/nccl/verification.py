"""Runs and isolates: from options to runs, through an executor, to findings. What starts programs stands behind ``Executor``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.idle import IN_USE, SHARED, Obstacle
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import isolation, runs
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.data import Threshold
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.judgement import Expectation
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.outcomes import Judge

DEFAULT_COLLECTIVE = "all_reduce"
DEFAULT_LARGEST = "8G"

_ADVICE = {
    SHARED: (
        "a run needs whole GPUs for itself, and would disturb who shares them",
        "end the sharing on these nodes, or leave them out",
    ),
    IN_USE: ("a run would disturb their users, and they its result", "drain the nodes, or wait until they end"),
}


class Executor(Protocol):
    """Starts runs somewhere. ``execute`` returns one outcome per run, in their order, and leaves nothing behind."""

    def obstacles(self, nodes: Sequence[str], wanted: int) -> list[Obstacle]: ...

    def execute(self, planned: Sequence[runs.Run]) -> list[dict[str, Any]]: ...

    def shown(self, run: runs.Run) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Request:
    """What is wanted, checked as far as it can be without looking at a host."""

    nodes: tuple[str, ...]
    tests: tuple[runs.Test, ...]
    expected: Expectation
    environment: Mapping[str, Any]
    debug: str
    prefix: str
    run_id: str
    topology: isolation.Topology
    rails: tuple[str, ...]
    seed: int | None

    def run(self, number: int, nodes: Sequence[str], test: runs.Test, own: Mapping[str, Any]) -> runs.Run:
        variables = runs.environment({**self.environment, **own}, len(nodes) > 1, self.expected.transport, self.debug)
        return runs.Run(runs.job_name(self.prefix, number, self.run_id), tuple(nodes), test, variables)

    def expectation(self, run: runs.Run) -> Expectation:
        """What the output of one run must show; figures of the topology hold for as many ranks as it names."""
        return replace(
            self.expected, collectives=(run.test.collective,), ranks=run.ranks, hosts=(), host_count=len(run.nodes)
        )


def request(
    arguments: Mapping[str, Any], nodes: Sequence[str], thresholds: Mapping[str, Threshold], run_id: str
) -> Request:
    """From options. Raises ``GpuError`` (BG-NCCL-104 to 108) for what may not or cannot be run."""
    isolating = arguments["mode"] == "isolate"
    if not arguments["run"]:
        raise GpuError(
            "BG-NCCL-104",
            f"mode {arguments['mode']} starts programs on GPUs, and run is not true",
            "nothing is started on GPUs without being told so",
            "set run to true where the GPUs may be used",
        )
    runs.check_nodes(nodes, 2 if isolating else 1)
    collectives = tuple(arguments["collectives"] or [DEFAULT_COLLECTIVE])
    if isolating:
        collectives = collectives[:1]
        if arguments["minimum_busbw_gb_per_s"] is None and collectives[0] not in thresholds:
            raise GpuError(
                "BG-NCCL-105",
                f"there is no minimum for {collectives[0]} between two nodes",
                "without one a cluster that is slow everywhere cannot be told from a healthy one",
                "give the topology of a pair, or minimum_busbw_gb_per_s",
            )
    wanted = Request(
        nodes=tuple(nodes),
        tests=tuple(_test(arguments, name, thresholds.get(name), isolating) for name in collectives),
        expected=Expectation(
            thresholds=thresholds,
            transport=arguments["transport"],
            nccl_version=arguments["nccl_version"],
            strict=arguments["strict"],
            minimum_busbw_gb_per_s=arguments["minimum_busbw_gb_per_s"],
        ),
        environment=arguments["environment"],
        debug=arguments["debug"],
        prefix=arguments["name"],
        run_id=run_id,
        topology=isolation.Topology(tuple(nodes), dict(arguments["classes"]), len(arguments["rails"])),
        rails=tuple(arguments["rails"]),
        seed=arguments["seed"],
    )
    # Whatever cannot be built is refused before anything is looked at.
    wanted.run(1, nodes, wanted.tests[0], {})
    return wanted


def _test(arguments: Mapping[str, Any], name: str, threshold: Threshold | None, isolating: bool) -> runs.Test:
    if name not in runs.COLLECTIVES:
        raise GpuError(
            "BG-NCCL-105",
            f"{name!r} is no collective of nccl-tests",
            "there is no program of that name",
            f"use one of {', '.join(runs.COLLECTIVES)}",
        )
    limit = threshold.largest_bytes if threshold else None
    largest = runs.size(arguments["max_bytes"]) if arguments["max_bytes"] else limit or runs.size(DEFAULT_LARGEST)
    smallest = largest if isolating else runs.size(arguments["min_bytes"]) if arguments["min_bytes"] else 1 << 30
    if limit is not None and largest > limit:
        raise GpuError(
            "BG-NCCL-105",
            f"messages of {largest} bytes are too large for {threshold.topology if threshold else name}",
            f"its machines may freeze above {limit} bytes, because GPU and system share their memory",
            f"let max_bytes be at most {limit}",
        )
    if smallest > largest:
        raise GpuError(
            "BG-NCCL-105", "min_bytes is above max_bytes", "there would be no message to measure", "correct the sizes"
        )
    return runs.Test(
        collective=name,
        min_bytes=smallest,
        max_bytes=largest,
        gpus_per_node=arguments["gpus_per_node"],
        limits=runs.Limits(arguments["test_timeout_s"], arguments["job_timeout_s"], arguments["task_timeout_s"]),
        iterations=arguments["iterations"],
        warmup=arguments["warmup_iterations"],
        directory=arguments["program_directory"],
        suffix=arguments["program_suffix"],
    )


def look(executor: Executor, wanted: Request) -> None:
    """Refuse before the first change when a node's GPUs are shared, in use or not readable. Raises ``GpuError``."""
    found = executor.obstacles(wanted.nodes, wanted.tests[0].gpus_per_node)
    if not found:
        return
    reason, remedy = _ADVICE.get(
        found[0].code, ("what is not known to be free is not used", "correct what is named, then run again")
    )
    told = "; ".join(f"{obstacle.node}: {obstacle.what}" for obstacle in found[:10])
    more = f"; and {len(found) - 10} more nodes" if len(found) > 10 else ""
    raise GpuError(found[0].code, told + more, reason, remedy)


class Deadline:
    """The task's own limit: no run begins that could not end within it."""

    def __init__(self, task_s: float, job_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._until, self._job_s, self._clock = clock() + task_s, job_s, clock

    def check(self, rounds: int) -> None:
        """Raises ``GpuError`` BG-NCCL-114."""
        if self._clock() + self._job_s > self._until:
            raise GpuError(
                "BG-NCCL-114",
                f"after {rounds} rounds the rest of the task's time is less than one job may take",
                "an isolation that stops half-way convicts nobody",
                "raise task_timeout_s, or isolate fewer nodes at a time",
            )


def planned_runs(wanted: Request) -> list[runs.Run]:
    """The runs of mode run: one per collective, one after the other."""
    return [wanted.run(number, wanted.nodes, test, {}) for number, test in enumerate(wanted.tests, 1)]


def run(
    wanted: Request, executor: Executor, judge: Judge, subject: str, deadline: Deadline
) -> tuple[list[Finding], list[dict[str, Any]]]:
    """All collectives one after the other: findings and outcomes."""
    findings: list[Finding] = []
    outcomes: list[dict[str, Any]] = []
    for number, planned in enumerate(planned_runs(wanted)):
        deadline.check(number)
        (outcome,) = executor.execute([planned])
        outcomes.append(outcome)
        named = subject if len(wanted.tests) == 1 else f"{subject} {planned.test.collective}"
        findings += judge.findings(outcome, wanted.expectation(planned), named)
    return findings, outcomes


def isolate(wanted: Request, executor: Executor, judge: Judge, deadline: Deadline) -> isolation.Conclusion:
    """Rounds of pairs until the conclusion. Raises ``GpuError`` when the task's time is over."""
    counted = 0

    def measure(wanted_round: isolation.Round) -> list[isolation.Measurement]:
        nonlocal counted
        deadline.check(wanted_round.number - 1)
        planned = pair_runs(wanted, wanted_round, counted)
        counted += len(planned)
        outcomes = executor.execute(planned)
        return [
            judge.measurement(pair, outcome, wanted.expectation(each))
            for pair, each, outcome in zip(wanted_round.pairs, planned, outcomes, strict=True)
        ]

    return isolation.run(wanted.topology, measure, minimum(wanted), wanted.seed)


def minimum(wanted: Request) -> float:
    """What a whole pair must reach at least, in GB/s."""
    if wanted.expected.minimum_busbw_gb_per_s is not None:
        return wanted.expected.minimum_busbw_gb_per_s
    return wanted.expected.thresholds[wanted.tests[0].collective].minimum_busbw_gb_per_s


def pair_runs(wanted: Request, of_round: isolation.Round, before: int) -> list[runs.Run]:
    """The runs of one round. A rail is one GPU with the adapter of the same number."""
    planned = []
    for number, pair in enumerate(of_round.pairs, before + 1):
        test, own = wanted.tests[0], {}
        if pair.rail is not None:
            test = replace(test, gpus_per_node=1)
            own = {"CUDA_VISIBLE_DEVICES": str(pair.rail), "NCCL_IB_HCA": f"={wanted.rails[pair.rail]}"}
        planned.append(wanted.run(number, pair.nodes, test, own))
    return planned


def plan_of_rounds(wanted: Request, executor: Executor) -> list[dict[str, Any]]:
    """The rounds as they come while every pair is healthy, each with its runs. Bad pairs add rounds, which only they determine."""
    rounds: list[dict[str, Any]] = []
    counted = 0

    def healthy(of_round: isolation.Round) -> list[isolation.Measurement]:
        nonlocal counted
        planned = pair_runs(wanted, of_round, counted)
        counted += len(planned)
        rounds.append(
            {"round": of_round.number, "stage": of_round.stage, "runs": [executor.shown(each) for each in planned]}
        )
        return [isolation.Measurement(pair, minimum(wanted)) for pair in of_round.pairs]

    isolation.run(wanted.topology, healthy, minimum(wanted), wanted.seed)
    return rounds
