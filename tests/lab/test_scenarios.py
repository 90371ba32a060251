"""Each molecule scenario as one test, with its output streamed to the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

# Seconds with warm caches on a machine of two cores; booting and building before are not counted.
BUDGET_S = {"spark": 8 * 60, "onyx": 8 * 60}
# The longest that building everything from nothing may take on such a machine.
BUILD_LIMIT_S = 50 * 60


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


@pytest.mark.parametrize("scenario", sorted(BUDGET_S))
def test_scenario(scenario: str, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Bare hosts converge, a second run changes nothing, a check run predicts nothing, and testinfra agrees."""
    state = root / ".lab" / f"molecule-{scenario}"
    environment = {
        **os.environ,
        "BAREMETAL_GPU_LAB_DIR": str(state),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(root / ".lab" / "ephemeral" / scenario),
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("ANSIBLE_CONFIG", None)
    lab = [sys.executable, "-m", "lab"]
    with capfd.disabled():
        print(flush=True)
        try:
            # Ahead of molecule, which would hide the progress of a long build.
            assert run([*lab, "up", "--system", scenario], root, environment, BUILD_LIMIT_S) == 0
            begun = time.monotonic()
            command = [sys.executable, "-m", "molecule", "test", "--scenario-name", scenario]
            assert run(command, root, environment, 3 * BUDGET_S[scenario]) == 0
            elapsed = time.monotonic() - begun
            # Told, not asserted: a busy machine is no defect of the collection.
            over = ", OVER BUDGET" if elapsed > BUDGET_S[scenario] else ""
            print(f"scenario {scenario}: {elapsed:.0f} s of {BUDGET_S[scenario]} s{over}", flush=True)
        finally:
            # Whatever happened: nothing may be left on the machine.
            run([*lab, "clean"], root, environment, 300)
