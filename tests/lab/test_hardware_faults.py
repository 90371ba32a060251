"""Every fault of simulated hardware is told by the codes that the catalogue names, and by no others."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.support.breaking import HEALTHY_AFTER_S, Spark, until
from ansible_collections.baremetal.gpu.tests.support.playbooks import good
from lab.faults import catalogue
from lab.model import find_host

pytestmark = pytest.mark.lab

CODE = re.compile(r"BG-[A-Z]+-\d{3}")
PLAYBOOK = Path(__file__).with_name("playbooks") / "hardware_faults.yml"


# One for each class of data/xid.yml that is not also the sign of a named fault; full runs take all.
XIDS = {"xid_13", "xid_54", "xid_79", "xid_92", "xid_94", "xid_119", "xid_154"}


def told(path: Path) -> set[str]:
    """Codes of findings that say that something is wrong."""
    findings = json.loads(path.read_text(encoding="utf-8"))
    return {finding["code"] for finding in findings if finding["status"] in ("warn", "fail")}


def faults_of(host: str, *, full: bool) -> dict[str, set[str]]:
    """Faults of the hardware of this host, each with the codes that tell it."""
    return {
        name: set(CODE.findall(way.seen_as))
        for name, fault in catalogue.catalogue().items()
        if (way := fault.way(find_host(host))) is not None
        and way.handler == "hardware"
        and (full or name in XIDS or not name.startswith("xid_"))
    }


def judged(
    lab: Any, host: str, profile: str, sharing: str, expected: Collection[str], results: Path
) -> dict[str, set[str]]:
    """Codes that each fault adds to what is said of the healthy host."""
    settings = {
        "target": host,
        "profile": profile,
        "sharing": sharing,
        "faults": sorted(expected),
        "results": str(results),
    }
    variables = results / "settings.json"
    variables.write_text(json.dumps(settings), encoding="utf-8")
    run = lab.play(str(PLAYBOOK), f"--extra-vars=@{variables}")
    # For the others on these hosts: what was told stands in the kernel log until the next boot.
    lab.reboot(host)
    good(run)
    assert told(results / "healthy.json") == set()
    return {name: told(results / f"{name}.json") for name in expected}


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full"))


def test_faults_of_a_gb10_are_told_by_their_codes(breakable: Spark, spark: Any, full: bool, tmp_path: Path) -> None:
    expected = faults_of("spark-01", full=full)
    found = judged(spark.lab, "spark-01", "gb10", "mps", expected, tmp_path)
    until(breakable.is_healthy, HEALTHY_AFTER_S, breakable.node)
    assert found == expected


def test_faults_of_an_h100_server_are_told_by_their_codes(onyx_lab: Any, full: bool, tmp_path: Path) -> None:
    expected = faults_of("onyx-g1", full=full)
    assert judged(onyx_lab, "onyx-g1", "h100-sxm-8", "none", expected, tmp_path) == expected
