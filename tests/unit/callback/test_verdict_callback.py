"""The callback in real runs of ansible-playbook; no host is contacted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema

PLAYBOOK = """\
- name: Try the callback
  hosts: all
  connection: local
  gather_facts: false
  tasks:
    - name: Judge
      baremetal.gpu.verdict:
        findings: "{{ given }}"
        waivers: [{code: BG-GPU-009, reason: not shown here}]
        lab: "{{ lab | default(false) }}"
    - name: Change something
      ansible.builtin.debug:
        msg: changed
      changed_when: true
"""


def run(root: Path, folder: Path, variables: dict[str, Any], *options: str) -> tuple[int, dict[str, Any], str]:
    (folder / "playbook.yml").write_text(PLAYBOOK, encoding="utf-8")
    verdict = folder / "report" / "verdict.json"
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
        "BAREMETAL_GPU_VERDICT_FILE": str(verdict),
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "one,", *options, "playbook.yml"]
    done = subprocess.run(
        [*command, "-e", json.dumps(variables)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(verdict.read_text(encoding="utf-8")), done.stdout + done.stderr


GIVEN = [
    {"code": "BG-GPU-001", "subject": "one", "status": "ok", "simulated": True},
    {"code": "BG-GPU-009", "subject": "one", "status": "unknown", "reason": "shared kernel", "simulated": True},
]


def test_lab_run_is_written_and_printed(root: Path, tmp_path: Path) -> None:
    returncode, document, output = run(root, tmp_path, {"lab": True, "given": GIVEN})
    schema = json.loads((root / "data/schemas/verdict.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, schema, format_checker=jsonschema.FormatChecker())
    assert (returncode, document["status"], document["lab"], document["simulated"]) == (0, "ok", True, True)
    assert (document["proven"], document["hosts"]["one"]["proven"]) == (True, True)
    assert document["hosts"]["one"]["changed_tasks"] == ["Change something"]
    assert document["waivers"] == [{"code": "BG-GPU-009", "reason": "not shown here"}]
    assert "VERDICT playbook.yml: ok (SIMULATED hardware)" in output


def test_the_same_run_outside_a_lab_fails(root: Path, tmp_path: Path) -> None:
    returncode, document, output = run(root, tmp_path, {"given": GIVEN})
    assert (returncode, document["status"], document["lab"]) == (2, "fail", False)
    assert document["hosts"]["one"]["refused"] == ["BG-GPU-001", "BG-GPU-009"]
    assert document["proven"] is False
    assert "BG-VERDICT-001" in output


def test_check_mode_is_noted(root: Path, tmp_path: Path) -> None:
    given = [*GIVEN, {"code": "BG-GPU-002", "subject": "one", "status": "fail", "reason": "none yet"}]
    returncode, document, output = run(root, tmp_path, {"lab": True, "given": given}, "--check")
    assert (returncode, document["check_mode"], document["status"], document["proven"]) == (0, True, "ok", False)
    assert document["hosts"]["one"]["refused"] == ["BG-GPU-002"]
    assert "check mode: nothing was applied; findings are about the present state" in output
