"""Each molecule scenario as one test, with its output streamed to the terminal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.support.drift import ONYX, ONYX_ROUNDS
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab
from ansible_collections.baremetal.gpu.tests.support.prediction import compare

pytestmark = pytest.mark.lab

# Spark has a lab of its own for them, in test_check_mode.
DRIFTS = {"onyx": [ONYX[name] for name in ONYX_ROUNDS[0]]}

# Seconds with warm caches on a machine of two cores; booting and building before are not counted.
BUDGET_S = {"spark": 12 * 60, "onyx": 8 * 60}
# Not a measure: only what hangs is ended, so that its output is seen.
HANGS_AFTER_S = 75 * 60


def run(command: list[str], root: Path, environment: dict[str, str], limit_s: float) -> int:
    """Run a command in its own process group with its output on the terminal; end the whole group at the limit."""
    process = subprocess.Popen(command, cwd=root, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(timeout=limit_s)
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        raise


def last_verdict(state: Path) -> dict[str, Any]:
    """What the lab engine wrote about its last run."""
    verdict: dict[str, Any] = json.loads((state / "report/verdict.json").read_text(encoding="utf-8"))
    return verdict


def changed_tasks(verdict: dict[str, Any]) -> list[str]:
    """Every task that changed something, or in check mode would, by host."""
    return [
        f"{host}: {task}"
        for system in verdict["systems"].values()
        for host, record in system["verdict"]["hosts"].items()
        for task in record["changed_tasks"]
    ]


@pytest.mark.parametrize("scenario", sorted(BUDGET_S))
def test_scenario(scenario: str, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Bare hosts converge and testinfra agrees; then `make lab` changes and restarts nothing, and a check run predicts nothing but what drifted."""
    state = root / ".lab" / f"molecule-{scenario}"
    ephemeral = root / ".lab" / "ephemeral" / scenario
    environment = {
        **os.environ,
        "BAREMETAL_GPU_LAB_DIR": str(state),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(ephemeral),
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("ANSIBLE_CONFIG", None)
    # A run that was killed leaves molecule's word that bare hosts are prepared.
    shutil.rmtree(ephemeral, ignore_errors=True)
    lab = [sys.executable, "-m", "lab"]
    with capfd.disabled():
        print(flush=True)
        try:
            # Ahead of molecule, which would hide the progress of a long build.
            assert run([*lab, "up", "--system", scenario], root, environment, HANGS_AFTER_S) == 0
            begun = time.monotonic()
            molecule = [sys.executable, "-m", "molecule", "test", "--destroy=never", "--scenario-name", scenario]
            assert run(molecule, root, environment, HANGS_AFTER_S) == 0
            assert run([*lab, "lab", "--system", scenario], root, environment, HANGS_AFTER_S) == 0
            again = last_verdict(state)
            assert run([*lab, "lab", "--check", "--system", scenario], root, environment, HANGS_AFTER_S) == 0
            predicted = last_verdict(state)
            if scenario in DRIFTS:
                compare(Lab(root, state), scenario, DRIFTS[scenario])
            # Told, not asserted: a busy machine is no defect of the collection.
            elapsed = time.monotonic() - begun
            over = ", OVER BUDGET" if elapsed > BUDGET_S[scenario] else ""
            print(f"scenario {scenario}: {elapsed:.0f} s of {BUDGET_S[scenario]} s{over}", flush=True)
        finally:
            # Whatever happened: nothing may be left on the machine.
            run([*lab, "clean"], root, environment, HANGS_AFTER_S)
            shutil.rmtree(ephemeral, ignore_errors=True)
    assert (again["status"], again["simulated"]) == ("ok", True)
    assert (changed_tasks(again), again["restarted"], again["started_hosts"]) == ([], [], [])
    assert predicted["check_mode"]
    assert changed_tasks(predicted) == []
