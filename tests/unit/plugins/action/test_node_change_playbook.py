"""In which order a roll takes its nodes, and that it ends at the first that fails. The cluster is not there, so the first one fails."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils import change_machine as machine
from ansible_collections.baremetal.gpu.plugins.module_utils.change_machine import Entry
from ansible_collections.baremetal.gpu.plugins.plugin_utils.change_journal import opened
from ansible_collections.baremetal.gpu.tests.support import playbooks

NODES = ("spark-01", "spark-02", "spark-03")
BEGUN = Entry("ops-1/reboot/1", machine.LOCK, machine.BEGUN)
ENDED = Entry("ops-1/reboot/1", machine.UNLOCK, machine.DONE)


def tried(folder: Path, journals: dict[str, Iterable[Entry]]) -> tuple[list[str], str]:
    """The nodes that a roll over three came to, and what it said about the last of them."""
    for node, entries in journals.items():
        with opened(folder / "journal", node) as journal:
            for entry in entries:
                journal.append(entry)
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "gpu_verify_kubeconfig": str(folder / "absent"),
        "node_change_journal": str(folder / "journal"),
    }
    inventory = folder / "inventory.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": dict.fromkeys(NODES), "vars": variables}}))
    environment = {"ANSIBLE_HOME": str(folder / "ansible")}
    run = playbooks.run(playbooks.ROOT / "playbooks/reboot.yml", [inventory], "--check", environment=environment)
    assert run.returncode != 0
    asked = [result.host for result in run.results if result.module == "baremetal.gpu.node_change"]
    return asked, "\n".join(run.failures())


@pytest.mark.parametrize(
    ("journals", "first"),
    [
        ({}, "spark-01"),
        ({"spark-03": [BEGUN]}, "spark-03"),
        ({"spark-02": [BEGUN, ENDED], "spark-03": [BEGUN]}, "spark-03"),
        ({"spark-02": [BEGUN, ENDED]}, "spark-01"),
    ],
    ids=["none was begun", "one was cut off", "one ended and one was cut off", "one ended"],
)
def test_a_roll_begins_with_what_was_cut_off_and_ends_at_the_first_that_fails(
    tmp_path: Path, journals: dict[str, Iterable[Entry]], first: str
) -> None:
    asked, said = tried(tmp_path, journals)
    assert asked == [first]
    assert "BG-CAP-103" in said


def test_a_roll_goes_by_the_inventory_however_fast_each_host_is_answered_for(tmp_path: Path) -> None:
    names = [f"spark-{number:02d}" for number in range(1, 13)]
    variables = {"ansible_connection": "local", "node_change_journal": str(tmp_path / "journal")}
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": dict.fromkeys(names), "vars": variables}}))
    show = {"name": "Show", "ansible.builtin.debug": {"var": "groups.change_others"}}
    plays = [
        {"name": "Order", "import_playbook": str(playbooks.ROOT / "playbooks/parts/nodes_to_change.yml")},
        {"name": "Show the order", "hosts": "spark-01", "gather_facts": False, "tasks": [show]},
    ]
    (tmp_path / "order.yml").write_text(yaml.safe_dump(plays))
    run = playbooks.run(tmp_path / "order.yml", [inventory], environment={"ANSIBLE_HOME": str(tmp_path / "ansible")})
    shown = [result.result["groups.change_others"] for result in run.results if result.task == "Show"]
    assert shown == [names]


def test_a_journal_that_cannot_be_read_ends_the_roll_before_its_first_node(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal/spark-02.jsonl").write_text("nonsense\n")
    asked, said = tried(tmp_path, {})
    assert asked == []
    assert "BG-CHANGE-114" in said
