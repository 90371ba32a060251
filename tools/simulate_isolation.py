#!/usr/bin/env python3
"""Print how well the isolation of bad nodes works, on simulated clusters. Run by `make simulate-isolation`.

Every figure repeats exactly for the same seed. A pair with a bad node gives 0.6 of the usual bandwidth, a transient
disturbance the same; noise is 0.6 % of the bandwidth (public pair data of H100 clusters, alltoall: 0.1 to 0.9 %).
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.isolation import (
    CLUSTER_WIDE,
    UNDECIDED,
    Conclusion,
    Measurement,
    Round,
    Topology,
    run,
)

USUAL_GB_PER_S = 350.0
BAD_FACTOR = 0.6
NOISE = 0.006
CASES = tuple(
    (nodes, bad, transient)
    for nodes in (4, 8, 16, 32, 64, 128)
    for bad in (0, 1, 2, 4)
    for transient in (0.0, 0.02, 0.1)
)


@dataclass(frozen=True)
class Score:
    """Means over all runs: rounds of tests, bad nodes neither convicted nor left undecided, healthy nodes convicted; runs that left a node undecided."""

    runs: int
    rounds: float
    missed: float
    false: float
    undecided: float


def simulate(
    nodes: int, bad: int, transient: float, draw: random.Random, minimum: float = 0.0
) -> tuple[Conclusion, set[str]]:
    """One isolation on a cluster with `bad` bad nodes; each measurement is disturbed with probability `transient`."""
    names = tuple(f"node-{index:03d}" for index in range(nodes))
    ill = set(draw.sample(names, bad))

    def measure(wanted: Round) -> list[Measurement]:
        results = []
        for pair in wanted.pairs:
            slow = not ill.isdisjoint(pair.nodes) or draw.random() < transient
            value = USUAL_GB_PER_S * (BAD_FACTOR if slow else 1.0) * draw.gauss(1.0, NOISE)
            results.append(Measurement(pair, value))
        return results

    return run(Topology(names), measure, minimum), ill


def named(conclusion: Conclusion) -> set[str]:
    """Nodes about which the isolation says that it cannot decide: such a one is not missed, and not convicted either."""
    doubts = (*conclusion.of_kind(CLUSTER_WIDE), *conclusion.of_kind(UNDECIDED))
    return {node for culprit in doubts for node in culprit.nodes}


def score(nodes: int, bad: int, transient: float, runs: int, seed: int, minimum: float = 0.9 * USUAL_GB_PER_S) -> Score:
    """Many isolations of the same kind; `minimum` is the absolute minimum that the site declares, in GB/s."""
    draw = random.Random(f"{seed}/{nodes}/{bad}/{transient}")  # repeatable on purpose
    rounds = missed = false = undecided = 0
    for _run in range(runs):
        conclusion, ill = simulate(nodes, bad, transient, draw, minimum)
        convicted, open_ = set(conclusion.convicted), named(conclusion)
        rounds += conclusion.rounds
        undecided += bool(open_)
        missed += len(ill - convicted - open_)
        false += len(convicted - ill)
    return Score(runs, rounds / runs, missed / runs, false / runs, undecided / runs)


def table(cases: Iterable[tuple[int, int, float]], runs: int, seed: int) -> list[str]:
    """A Markdown table, one row per case."""
    lines = [
        "| nodes | bad | transient | rounds | missed per run | false per run | runs undecided |",
        "|---|---|---|---|---|---|---|",
    ]
    for nodes, bad, transient in cases:
        if bad >= nodes:
            continue
        result = score(nodes, bad, transient, runs, seed)
        lines.append(
            f"| {nodes} | {bad} | {transient:g} | {result.rounds:.2f} | {result.missed:.4f} | {result.false:.4f} "
            f"| {result.undecided:.2%} |"
        )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="isolations per row")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    print(f"{chosen.runs} runs per row, seed {chosen.seed}\n")
    print("\n".join(table(CASES, chosen.runs, chosen.seed)))


if __name__ == "__main__":
    main()
