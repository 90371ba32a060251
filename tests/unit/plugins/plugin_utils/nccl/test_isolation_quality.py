"""How well isolation works on simulated clusters with noise; the numbers repeat exactly for their seed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def simulation(root: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("simulate_isolation", root / "tools/simulate_isolation.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("nodes", "runs", "rounds"), [(16, 1000, 3.3), (128, 150, 4.7)])
def test_one_bad_node_is_found_in_few_rounds_despite_disturbances(
    simulation: ModuleType, nodes: int, runs: int, rounds: float
) -> None:
    result = simulation.score(nodes, 1, 0.02, runs, seed=1)
    assert result.missed == 0
    assert result.undecided < 0.01
    assert result.rounds <= rounds
    if nodes == 16:
        assert result.false < 0.005


def test_many_disturbances_convict_fewer_healthy_nodes_than_two_of_three_votes_do(simulation: ModuleType) -> None:
    """With two of three votes it is 0.06 per run at a tenth of disturbed measurements (16 nodes, one bad)."""
    result = simulation.score(16, 1, 0.1, 600, seed=1)
    assert (result.missed, result.false < 0.04, result.rounds < 3.6) == (0, True, True)


def test_the_table_has_a_row_for_each_case(simulation: ModuleType) -> None:
    lines = simulation.table([(8, 1, 0.0), (4, 4, 0.0)], runs=5, seed=3)
    assert len(lines) == 3
    assert lines[2].startswith("| 8 | 1 | 0 | 3.00 | 0.0000 | 0.0000 |")
