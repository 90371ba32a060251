"""What check mode predicts is what then happens: from bare hosts, and from hosts that drifted."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.support.drift import ONYX, SPARK
from ansible_collections.baremetal.gpu.tests.support.playbooks import changes
from ansible_collections.baremetal.gpu.tests.support.prediction import EXCEPTIONS, HOSTS, compare

pytestmark = pytest.mark.lab


def test_spark_drift_is_predicted(spark: Any, spark_drifts: tuple[str, ...]) -> None:
    compare(spark.lab, "spark", [SPARK[name] for name in spark_drifts])


# In other runs of the tests the molecule scenario's hosts drift, before they are removed.
@pytest.mark.full
def test_onyx_drift_is_predicted(onyx: Any, onyx_drifts: tuple[str, ...]) -> None:
    compare(onyx.lab, "onyx", [ONYX[name] for name in onyx_drifts])


def test_plan_from_a_bare_spark_is_what_then_happens(spark: Any) -> None:
    hold_against_what_happened(spark, "spark")


@pytest.mark.full
def test_plan_from_a_bare_onyx_is_what_then_happens(onyx: Any) -> None:
    hold_against_what_happened(onyx, "onyx")


def hold_against_what_happened(converged: Any, system: str) -> None:
    plan = converged.plan.plan
    assert plan["status"] == "ok", plan
    assert converged.plan.changed() == converged.run.changed()
    planned, happened = changes(plan), converged.run.happened()
    for host in HOSTS[system]:
        # Dependencies of a package whose repository is only predicted are not known before; what was asked for is.
        wanted = {name for kind, _action, name in planned[host] if kind == "package"}
        came = {name for kind, _action, name in happened[host] if kind == "package"}
        assert wanted <= came, host
        assert all(not change["exact"] for change in plan["hosts"][host]["changes"] if change["kind"] == "package")
        for kind in ("service", "node", "image", "kernel", "reboot"):
            assert {row for row in planned[host] if row[0] == kind} == {row for row in happened[host] if row[0] == kind}
        # Not by what happens to them: one that is to be created may come with a package first, and is then changed.
        assert _files(planned[host]) == _files(happened[host])


def _files(rows: set[tuple[str, str, str]]) -> set[str]:
    return {name for kind, _action, name in rows if kind == "file"}


def test_exceptions_are_few_and_never_a_restart() -> None:
    assert len(EXCEPTIONS) <= 5
    assert all(reason for reason in EXCEPTIONS.values())
    assert not any("start" in task.lower() or "boot" in task.lower() for task in EXCEPTIONS)
