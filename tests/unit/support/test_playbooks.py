"""The harness on real runs of ansible-runner, on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.baremetal.gpu.tests.support.playbooks import PlaybookRun, changes, run

PLAYBOOK = """\
- name: Try the harness
  hosts: all
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - name: Write a file
      ansible.builtin.copy: {content: "text", dest: "{{ folder }}/file", mode: "0600"}
    - name: Keep a secret
      ansible.builtin.copy: {content: "secret", dest: "{{ folder }}/secret", mode: "0600"}
      no_log: true
    - name: Leave something alone
      ansible.builtin.file: {path: "{{ folder }}", state: directory}
    - name: Break
      ansible.builtin.fail: {msg: it broke}
      when: broken | default(false) | bool
"""


def play(root: Path, folder: Path, *options: str) -> PlaybookRun:
    target = folder / "target"
    target.mkdir(exist_ok=True, mode=0o755)
    playbook = folder / "playbook.yml"
    playbook.write_text(PLAYBOOK, encoding="utf-8")
    inventory = folder / "hosts.yml"
    inventory.write_text("all: {hosts: {one: {}}}\n", encoding="utf-8")
    return run(playbook, [inventory], f"--extra-vars=folder={target}", *options, root=root)


def test_predicted_and_changed_tasks_can_be_compared(root: Path, tmp_path: Path) -> None:
    predicted = play(root, tmp_path, "--check", "--diff")
    assert (predicted.returncode, list((tmp_path / "target").iterdir())) == (0, [])
    real = play(root, tmp_path, "--diff")
    again = play(root, tmp_path)
    assert predicted.changed() == real.changed() == {("one", "Write a file"), ("one", "Keep a secret")}
    assert again.changed() == set()


def test_plan_and_what_happened_are_told_in_the_same_words(root: Path, tmp_path: Path) -> None:
    planned = changes(play(root, tmp_path, "--check", "--diff").plan)
    happened = play(root, tmp_path, "--diff").happened()
    assert planned["one"] == happened["one"] | {("task", "change", "Keep a secret")}
    assert ("file", "create", str(tmp_path / "target/file")) in happened["one"]


@pytest.mark.parametrize("broken", [False, True])
def test_failures_are_told(root: Path, tmp_path: Path, broken: bool) -> None:
    done = play(root, tmp_path, *(["--extra-vars=broken=true"] if broken else []))
    assert (done.returncode, done.failures()) == ((2, ["one Break: it broke"]) if broken else (0, []))
