"""The labs that tests share: each is booted once, and nothing of it is left."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ansible_collections.baremetal.gpu.tests.support.breaking import Spark
from ansible_collections.baremetal.gpu.tests.support.drift import ONYX, ONYX_ROUNDS, SPARK, SPARK_ROUNDS
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab
from ansible_collections.baremetal.gpu.tests.support.playbooks import PlaybookRun

KEEP = "BAREMETAL_GPU_KEEP_TEST_LABS"
"""Set while working on these tests: their hosts then stay, and the next run starts with them. ``make lab-clean`` removes them."""


SEEDS = {False: range(1, 3), True: range(1, 21)}
"""Seeds of killed runs: in every run of the tests, and in full ones."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Full runs let each drift come by itself; others put together what does not hide each other."""
    full = bool(metafunc.config.getoption("--full"))
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", SEEDS[full])
    for fixture, rounds, each in (("spark_drifts", SPARK_ROUNDS, SPARK), ("onyx_drifts", ONYX_ROUNDS, ONYX)):
        if fixture in metafunc.fixturenames:
            chosen = [(name,) for name in each] if full else list(rounds)
            metafunc.parametrize(fixture, chosen, ids=", ".join)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--full"):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="only in full runs: make test-full"))


@dataclass(frozen=True)
class Converged:
    """A lab whose playbook has run once. ``plan`` was made on bare hosts, ``run`` is what then happened to them."""

    lab: Lab
    plan: PlaybookRun
    run: PlaybookRun


def booted(root: Path, *systems: str) -> Iterator[Lab]:
    lab = Lab(root, root / ".lab" / "-".join(("tests", *systems)))
    lab.state.parent.mkdir(exist_ok=True)
    with lab.state.with_suffix(".lock").open("w") as lock:
        # Fails at once where two processes would break each other's hosts (tests/support/turns.py keeps them in one).
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            lab.engine("up", *(f"--system={system}" for system in systems))
            yield lab
        finally:
            if not os.environ.get(KEEP):
                lab.engine("clean")
                lab.state.with_suffix(".lock").unlink()


@pytest.fixture(scope="session")
def spark_lab(root: Path) -> Iterator[Lab]:
    """Calypso and a bare spark-01, booted once for all tests; a test leaves it converged or bare, never in between."""
    yield from booted(root, "spark")


@pytest.fixture(scope="session")
def onyx_lab(root: Path) -> Iterator[Lab]:
    """A bare control plane host and a bare GPU host."""
    yield from booted(root, "onyx")


@pytest.fixture(scope="session")
def access_lab(root: Path) -> Iterator[Lab]:
    """A headscale at work, two hosts that are to be nodes of its tailnet, and one that stays outside."""
    yield from booted(root, "access")


@pytest.fixture(scope="session")
def pair_lab(root: Path) -> Iterator[Lab]:
    """Calypso and two agents of it, spark-01 and spark-03, bare."""
    yield from booted(root, "spark-pair")


@pytest.fixture(scope="session")
def before_lab(root: Path) -> Iterator[Lab]:
    """Calypso with the minor release of k3s before, and a bare spark-01."""
    yield from booted(root, "spark-before")


def converged(lab: Lab, playbook: str) -> Converged:
    """Plan, then run. Raises AssertionError when the run does not end in proof."""
    plan = lab.play("plan.yml", "--limit", "spark_system" if playbook == "spark.yml" else "onyx")
    # With --diff, as the plan was made: only then results tell new files from changed ones.
    run = lab.play(playbook, "--diff")
    assert (run.returncode, run.verdict.get("proven")) == (0, True), "\n".join(run.failures()) or run.output[-3000:]
    return Converged(lab, plan, run)


@pytest.fixture(scope="session")
def spark(spark_lab: Lab) -> Converged:
    """Spark, converged."""
    return converged(spark_lab, "spark.yml")


@pytest.fixture(scope="session")
def onyx(onyx_lab: Lab) -> Converged:
    """ONYX, converged."""
    return converged(onyx_lab, "onyx.yml")


@pytest.fixture
def breakable(spark: Converged) -> Iterator[Spark]:
    """The converged Spark system to break by name; every test gets and leaves it healthy."""
    lab = Spark(spark.lab.root, spark.lab.state)
    if not lab.is_healthy():
        # Another test left it bare.
        spark.lab.engine("lab", "--system", "spark")
    yield lab
    lab.heal()


_reports: list[pytest.TestReport] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.failed or report.skipped:
        _reports.append(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A full run leaves its result in the documentation, also a bad one."""
    if session.config.getoption("--full") and _reports and not hasattr(session.config, "workerinput"):
        path = Path(session.config.rootpath) / "docs/test-full.md"
        path.write_text(page(_reports), encoding="utf-8")


def page(reports: list[pytest.TestReport]) -> str:
    """The result of a full run: one line per test, with what the test told about itself."""
    counted = ", ".join(
        f"{sum(report.outcome == outcome for report in reports)} {outcome}"
        for outcome in ("passed", "failed", "skipped")
    )
    rows = []
    for report in sorted(reports, key=lambda report: report.nodeid.partition("::")[0]):
        name = report.nodeid.split("::", 1)[-1].removeprefix("test_").replace("_", " ").replace("|", "/")
        told = "; ".join(str(value) for key, value in report.user_properties if key == "told").replace("|", "/")
        rows.append(f"| {name} | {report.outcome} | {report.duration:.0f} s | {told} |")
    lines = [
        "# Last full test",
        "",
        "<!-- Written by `make test-full`. -->",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on the embedded lab (simulated hardware): {counted}, "
        f"{sum(report.duration for report in reports) / 60:.0f} min without booting hosts.",
        "",
        "`make test` runs the same tests with fewer seeds and with several drifts at a time.",
        "",
        "| test | result | time | |",
        "|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"
