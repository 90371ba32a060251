"""An executor for tests: a cluster that answers with output of nccl-tests, as slow and as broken as a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.idle import Obstacle
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.reading import read
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import Scanner
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import data, runs
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import row_line, run_text

Log = Callable[[runs.Run], str]


def output(run: runs.Run, busbw: float = 350.0, wrong: int | str = 0) -> str:
    """What a run that ends well prints."""
    text = run_text(
        collective=run.test.collective,
        hosts=run.nodes,
        per_host=run.test.gpus_per_node,
        rows=(row_line(run.test.max_bytes, busbw, wrong),),
    )
    return text.replace("maxBytes 8589934592", f"maxBytes {run.test.max_bytes}")


def outcome(run: runs.Run, log: str, ended: str = "by-itself") -> dict[str, Any]:
    """The outcome of a run that printed `log`."""
    return {
        "name": run.name,
        "ended": ended,
        "exit_code": 0 if ended == "by-itself" else None,
        "message": "",
        "reading": read([log.encode()], Scanner(data.raw_signatures())).as_dict(),
    }


class FakeExecutor:
    """Keeps what it was asked to run, side by side, in order."""

    def __init__(self, log: Log = output, obstacles: Sequence[Obstacle] = ()) -> None:
        self.rounds: list[list[runs.Run]] = []
        self._log, self._obstacles = log, list(obstacles)

    def obstacles(self, nodes: Sequence[str], wanted: int) -> list[Obstacle]:
        return self._obstacles

    def execute(self, planned: Sequence[runs.Run]) -> list[dict[str, Any]]:
        self.rounds.append(list(planned))
        return [outcome(run, self._log(run)) for run in planned]

    def shown(self, run: runs.Run) -> dict[str, Any]:
        return {"name": run.name, "nodes": list(run.nodes)}
