"""plan.yml in real runs of ansible-playbook: it predicts, and it cannot do anything else. No host but this machine is contacted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

# Every way in which a task may change something: in a role's handler, in an included file, by a module that knows no check mode.
TASKS = """\
- name: Try the callback
  hosts: all
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - name: Make sure that nothing is changed
      baremetal.gpu.plan_only:
    - name: Write a file
      ansible.builtin.copy: {content: "a secret\\n", dest: "{{ folder }}/file", mode: "0600"}
      notify: Touch
    - name: Write for those who ask the variable
      ansible.builtin.command: {argv: [touch, "{{ folder }}/asked"], creates: "{{ folder }}/asked"}
      when: not ansible_check_mode
    - name: Run a command
      ansible.builtin.command: {argv: [touch, "{{ folder }}/command"]}
    - name: Include more
      ansible.builtin.include_tasks: more.yml
  handlers:
    - name: Touch
      ansible.builtin.copy: {content: "", dest: "{{ folder }}/touched", mode: "0600"}
"""
MORE = """\
- name: Make a folder
  ansible.builtin.file: {path: "{{ folder }}/made", state: directory, mode: "0700"}
"""
DEAD = """\
- name: Ask a host that is not there
  hosts: all
  gather_facts: false
  tasks:
    - name: Ask
      ansible.builtin.ping:
      delegate_to: "{{ asked | default(inventory_hostname) }}"
"""


def run(
    root: Path, folder: Path, name: str, *options: str, **variables: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run a playbook called ``name``; its result, and the plan when one was written."""
    target = folder / "target"
    target.mkdir(exist_ok=True)
    plan = folder / "report" / "plan.json"
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "--inventory=one,",
            f"--extra-vars={json.dumps({'folder': str(target), **variables})}",
            *options,
            str(folder / name),
        ],
        cwd=root,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "BAREMETAL_GPU_PLAN_FILE": str(plan),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done, json.loads(plan.read_text(encoding="utf-8")) if plan.exists() else {}


def write(folder: Path, **playbooks: str) -> None:
    for name, text in playbooks.items():
        (folder / f"{name}.yml").write_text(text, encoding="utf-8")


def test_plan_changes_nothing_and_says_what_would_change(root: Path, tmp_path: Path) -> None:
    write(tmp_path, plan=TASKS, more=MORE)
    done, plan = run(root, tmp_path, "plan.yml")
    assert done.returncode == 0, done.stdout
    assert list((tmp_path / "target").iterdir()) == []
    schema = json.loads((root / "data/schemas/plan.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(plan, schema, format_checker=jsonschema.FormatChecker())
    host = plan["hosts"]["one"]
    target = tmp_path / "target"
    assert [(change["kind"], change["action"], change["name"]) for change in host["changes"]] == [
        ("file", "create", str(target / "file")),
        ("file", "create", str(target / "made")),
        ("file", "create", str(target / "touched")),
        ("task", "may change", "Run a command"),
    ]
    assert (host["tasks"], host["handlers"]) == (["Write a file", "Make a folder"], ["Touch"])
    assert "PLAN plan.yml: ok, 4 changes on 1 of 1 hosts; nothing was changed" in done.stdout
    assert "secret" not in json.dumps(plan)
    assert plan["deviations"] == [], "the host is of no system"


def test_the_same_tasks_under_another_name_are_stopped_before_they_do_anything(root: Path, tmp_path: Path) -> None:
    write(tmp_path, other=TASKS, more=MORE)
    done, plan = run(root, tmp_path, "other.yml")
    assert done.returncode != 0
    assert "BG-PLAN-001" in done.stdout + done.stderr
    assert list((tmp_path / "target").iterdir()) == []
    assert plan == {}


def test_any_playbook_in_check_mode_gives_a_plan_when_a_path_is_set(root: Path, tmp_path: Path) -> None:
    write(tmp_path, other=TASKS, more=MORE)
    done, plan = run(root, tmp_path, "other.yml", "--check")
    assert done.returncode == 0, done.stdout
    assert plan["hosts"]["one"]["status"] == "changes"
    assert list((tmp_path / "target").iterdir()) == []


def test_plan_is_refused_where_its_callback_is_not_enabled(root: Path, tmp_path: Path) -> None:
    """Somebody else's ansible.cfg: then nothing makes the run a prediction, and it must not go on."""
    (tmp_path / "ansible.cfg").write_text("[defaults]\ncallbacks_enabled = baremetal.gpu.verdict\n", encoding="utf-8")
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("spark_system: {hosts: {calypso: {}}}\nspark: {hosts: {spark-01: {}}}\n", encoding="utf-8")
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            f"--inventory={inventory}",
            str(root / "playbooks/plan.yml"),
        ],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "BG-PLAN-001" in done.stdout + done.stderr
    assert "Refuse an inventory of Spark" not in done.stdout, "the plays after the refusal began"


def test_refused_inventory_stands_in_the_plan_of_the_hosts_it_is_about(root: Path, tmp_path: Path) -> None:
    for name in ("plan.yml", "spark.yml", "onyx.yml"):
        shutil.copy(root / "playbooks" / name, tmp_path / name)
    shutil.copytree(root / "playbooks/parts", tmp_path / "parts")
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        "spark_system: {hosts: {calypso: {}}, children: {spark: {hosts: {spark-01: {}}}}}\n", encoding="utf-8"
    )
    done, plan = run(root, tmp_path, "plan.yml", f"--inventory={inventory}", "--limit=!one")
    assert done.returncode != 0
    assert {name: host["status"] for name, host in plan["hosts"].items()} == {
        "calypso": "refused",
        "spark-01": "refused",
    }
    assert "BG-INV-012" in {refusal["code"] for refusal in plan["hosts"]["calypso"]["refusals"]}
    # The hosts' system is told what it does not get as specified, and no other.
    deviations = {entry["id"]: entry["requirements"] for entry in plan["deviations"]}
    assert deviations["DEV-006"] == ["MPS-02", "MPS-05"]
    assert all(name.split("-")[0] in ("SPARK", "MPS") for names in deviations.values() for name in names)
    assert "DEV-006 deviates from MPS-02, MPS-05: With ten replicas only the tier of 10 %" in done.stdout


@pytest.mark.parametrize(("asked", "subject"), [({}, "one"), ({"asked": "two"}, "two")])
def test_silent_host_is_named_with_its_code(root: Path, tmp_path: Path, asked: dict[str, str], subject: str) -> None:
    write(tmp_path, plan=DEAD)
    # Port 9 discards: no ssh server answers there.
    done, plan = run(
        root,
        tmp_path,
        "plan.yml",
        "--ssh-common-args=-o BatchMode=yes",
        ansible_host="127.0.0.9",
        ansible_port="9",
        **asked,
    )
    assert done.returncode == 4
    (refusal,) = plan["hosts"]["one"]["refusals"]
    assert refusal["code"] == "BG-HOST-020"
    assert refusal["reason"].startswith("two, which one needs," if subject == "two" else "the host does not answer")
    assert f"BG-HOST-020 {subject} [unknown]" in done.stdout
