"""Runs that are killed, hosts that are down, limits of every kind, and secrets that stay where they belong."""

from __future__ import annotations

import stat
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.tests.support.bare import make_bare
from ansible_collections.baremetal.gpu.tests.support.drift import SPARK
from ansible_collections.baremetal.gpu.tests.support.killing import draw, run_and_kill
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab
from ansible_collections.baremetal.gpu.tests.support.playbooks import good
from ansible_collections.baremetal.gpu.tests.support.secrets import CommandLines, files_with, leaked, secrets_of

pytestmark = pytest.mark.lab

SPARK_HOSTS = ("calypso", "spark-01")
# What a run says when a variable or an attribute is missing where it is used.
UNDEFINED = (
    "is undefined",
    "has no attribute",
    "object has no element",
    "Unable to look up a name or access an attribute",
)


def test_run_that_was_killed_is_finished_by_the_next(
    spark: Any, seed: int, capfd: pytest.CaptureFixture[str], record_property: Any
) -> None:
    """From a bare host; both runs tell all they can (-vvvv), and no secret is among it or on a command line."""
    lab, kill = spark.lab, draw(seed)
    secrets = secrets_of(lab)
    make_bare(lab)
    with CommandLines(secrets) as lines:
        killed = run_and_kill(lab, "spark.yml", kill, spark.run.seconds, "-vvvv")
        told = f"seed {seed}: {kill.manner} killed at {kill.fraction:.0%}, in: {killed.task}"
        record_property("told", told)
        with capfd.disabled():
            print(f"\n{told}", flush=True)
        again = lab.play("spark.yml", "-vvvv")
    good(again)
    assert again.verdict["proven"] is True
    assert leaked(secrets, killed.output) == []
    assert leaked(secrets, again.output) == []
    assert lines.leaks == set()
    assert lines.samples > 10
    assert lines.seen >= {"ansible-playbook", "ssh"}


def test_secrets_stay_where_they_belong(spark: Any) -> None:
    """On the controller in secrets/ and kubeconfig/, on hosts in files of root alone; in no journal and no report."""
    lab = spark.lab
    secrets = secrets_of(lab)
    hosts = lab.state / "disks"
    found = files_with(secrets, lab.state)
    assert found, "the secrets themselves were not found, so nothing was looked at"
    assert {path.relative_to(lab.state).parts[0] for path in found} <= {"kubeconfig", "secrets", "disks"}
    readable = [path for path in found if not path.is_relative_to(hosts) and stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert readable == []
    for host in SPARK_HOSTS:
        for name, secret in secrets.items():
            assert _journal_lines(lab, host, secret) == "0", f"{name} in the journal of {host}"
            loose = _loose_files(lab, host, secret)
            assert loose == "", f"{name} on {host}"


def _journal_lines(lab: Lab, host: str, secret: str) -> str:
    return lab.ssh(host, f"journalctl --no-pager --output=cat | grep -cF -- '{secret}' || true").stdout.strip()


def _loose_files(lab: Lab, host: str, secret: str) -> str:
    """Files that hold a secret and that others than root may read, or that are logs."""
    search = "grep -rlsaF --devices=skip --binary-files=text -f -"
    return lab.ssh(
        host,
        f"printf %s '{secret}' | {search} /etc /var/log /var/tmp /root /opt /srv /home 2>/dev/null | while read -r file; do "
        'case "$file" in /var/log/*) echo "$file" ;; *) find "$file" -perm /077 ;; esac; done',
    ).stdout.strip()


def subsets(names: tuple[str, ...]) -> list[str]:
    return [",".join(chosen) for size in range(1, len(names) + 1) for chosen in combinations(names, size)]


@pytest.mark.parametrize("limit", subsets(SPARK_HOSTS))
def test_every_subset_of_hosts_can_be_planned_and_verified(spark: Any, limit: str) -> None:
    chosen = set(limit.split(","))
    plan = spark.lab.play("plan.yml", "--limit", limit)
    good(plan)
    assert {name: host["status"] for name, host in plan.plan["hosts"].items()} == dict.fromkeys(chosen, "unchanged")
    verified = spark.lab.play("verify.yml", "--limit", limit)
    good(verified)
    assert {name: host["proven"] for name, host in verified.verdict["hosts"].items()} == dict.fromkeys(chosen, True)
    # Nodes of hosts outside the limit are declared, only not here.
    codes = {finding["code"] for host in verified.verdict["hosts"].values() for finding in host["findings"]}
    assert "BG-CAP-009" not in codes
    for run in (plan, verified):
        assert [mark for mark in UNDEFINED if mark in run.output] == []


@pytest.fixture
def dead_host(spark: Any, tmp_path: Path) -> Path:
    """An inventory with a further Spark at an address of the lab's network at which nothing is."""
    network = spark.lab.address("spark-01").rpartition(".")[0]
    inventory = tmp_path / "dead.yml"
    host = {"ansible_host": f"{network}.250", "ansible_ssh_timeout": 5}
    text = yaml.safe_dump({"all": {"children": {"spark": {"hosts": {"spark-00": host}}}}})
    inventory.write_text(text, encoding="utf-8")
    return inventory


def test_dead_first_host_keeps_no_other_from_being_served(spark: Any, dead_host: Path) -> None:
    """Tasks that run once for all are then another host's, and the dead one is named with its code."""
    SPARK["operand's label removed"].apply(spark.lab)
    run = spark.lab.play("spark.yml", inventories=(dead_host,))
    assert run.returncode == 4, "\n".join(run.failures())
    hosts = run.verdict["hosts"]
    assert [name for name in hosts if name.startswith("spark-")] == ["spark-00", "spark-01"]
    assert hosts["spark-00"]["refused"] == ["BG-HOST-020"]
    assert {name: (host["status"], host["proven"]) for name, host in hosts.items()} == {
        "calypso": ("ok", True),
        "spark-00": ("fail", False),
        "spark-01": ("ok", True),
    }
    assert (run.verdict["status"], run.verdict["proven"]) == ("fail", False)
    assert ("spark-01", "baremetal.gpu.nvidia_device_plugin : Apply the operands") in run.changed()
    assert [mark for mark in UNDEFINED if mark in run.output] == []


def test_plan_names_a_dead_host_and_plans_the_others(spark: Any, dead_host: Path) -> None:
    run = spark.lab.play("plan.yml", "--limit", "spark_system", inventories=(dead_host,))
    assert run.returncode == 4
    assert {name: host["status"] for name, host in run.plan["hosts"].items()} == {
        "calypso": "unchanged",
        "spark-00": "unreachable",
        "spark-01": "unchanged",
    }
