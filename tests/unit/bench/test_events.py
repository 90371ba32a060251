"""Counting tasks from events of a real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bench.events import OUTSIDE_ROLES, Event, busiest, environment, per_host, per_role, read, statuses

PLAYBOOK = """\
- name: Count these
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Do something
      ansible.builtin.debug:
        msg: done
    - name: Do nothing
      ansible.builtin.debug:
        msg: never
      when: false
    - name: Do it three times
      ansible.builtin.debug:
        msg: "{{ item }}"
      loop: [1, 2, 3]
"""

EVENTS = [
    Event("spark-01", "baremetal.gpu.k3s_agent", "Check", "ok"),
    Event("spark-01", "baremetal.gpu.k3s_agent", "Start", "skipped"),
    Event("calypso", "baremetal.gpu.gpu_verify", "Decide", "ok"),
    Event("spark-01", None, "Gather", "ok"),
]


@pytest.fixture(scope="module")
def real_events(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """What the callback writes in a run of ansible-playbook."""
    folder = tmp_path_factory.mktemp("events")
    (folder / "play.yml").write_text(PLAYBOOK)
    subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "localhost,",
            "-c",
            "local",
            str(folder / "play.yml"),
        ],
        cwd=root,
        env={**os.environ, "ANSIBLE_HOME": str(folder / "ansible"), **environment(folder / "events.jsonl")},
        check=True,
        capture_output=True,
    )
    return list(read((folder / "events.jsonl").read_text().splitlines()))


def test_a_skipped_task_counts_and_a_loop_counts_once(real_events):
    assert per_host(real_events) == {"localhost": 3}
    assert statuses(real_events) == {"ok": 2, "skipped": 1}


def test_tasks_of_a_playbook_belong_to_no_role(real_events):
    assert per_role(real_events) == {OUTSIDE_ROLES: {"localhost": 3}}


def test_tasks_are_counted_by_role_and_host():
    assert per_role(EVENTS) == {
        "k3s_agent": {"spark-01": 2},
        "gpu_verify": {"calypso": 1},
        OUTSIDE_ROLES: {"spark-01": 1},
    }


def test_the_host_with_the_most_tasks_decides():
    assert busiest(per_host(EVENTS)) == 3
    assert busiest({}) == 0


def test_a_line_that_is_no_event_is_not_passed_over():
    with pytest.raises(json.JSONDecodeError):
        list(read(["PLAY [Count these] ***"]))
