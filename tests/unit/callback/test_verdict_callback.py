"""The callback in real runs of ansible-playbook; no host is contacted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from ansible_collections.baremetal.gpu.plugins.callback.verdict import beside

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


def run(
    root: Path, folder: Path, variables: dict[str, Any], *options: str, **settings: str
) -> tuple[int, dict[str, Any], str]:
    (folder / "playbook.yml").write_text(PLAYBOOK, encoding="utf-8")
    verdict = folder / "report" / "verdict.json"
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
        "BAREMETAL_GPU_VERDICT_FILE": str(verdict),
        "ANSIBLE_NOCOLOR": "1",
        **settings,
    }
    inventory = folder / "hosts.yml"
    inventory.write_text("onyx: {hosts: {one: {}, two: {}}}\n", encoding="utf-8")
    ansible_playbook = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [ansible_playbook, "-i", str(inventory), "--limit=one", *options, "playbook.yml"]
    done = subprocess.run(
        [*command, "-e", json.dumps(variables)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    written = json.loads(verdict.read_text(encoding="utf-8")) if verdict.is_file() else {}
    return done.returncode, written, done.stdout + done.stderr


GIVEN = [
    {"code": "BG-GPU-001", "subject": "one", "status": "ok", "simulated": True},
    {"code": "BG-GPU-009", "subject": "one", "status": "unknown", "reason": "shared kernel", "simulated": True},
]


@pytest.fixture(scope="module")
def lab_run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, dict[str, Any], str]:
    """One run on a lab host that leaves its neighbour out, over the files of an earlier run; with the folder of its documents."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "report").mkdir()
    (folder / "report" / "verdict.html").write_text("of an earlier run", encoding="utf-8")
    return folder / "report", *run(root, folder, {"lab": True, "given": GIVEN})


def test_lab_run_is_written_and_printed(root: Path, lab_run: tuple[Path, int, dict[str, Any], str]) -> None:
    _folder, returncode, document, output = lab_run
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


def test_junit_and_page_lie_beside_the_json(lab_run: tuple[Path, int, dict[str, Any], str]) -> None:
    folder = lab_run[0]
    assert sorted(path.name for path in folder.iterdir()) == ["verdict.html", "verdict.json", "verdict.xml"]
    suites = ElementTree.parse(folder / "verdict.xml").getroot()
    assert [suites[0].get(name) for name in ("tests", "failures", "errors", "skipped")] == ["3", "0", "0", "1"]
    assert "BG-GPU-009" in (folder / "verdict.html").read_text(encoding="utf-8")


def test_cluster_knows_the_hosts_that_the_limit_left_out(lab_run: tuple[Path, int, dict[str, Any], str]) -> None:
    _folder, _returncode, document, output = lab_run
    assert document["clusters"] == {"onyx": {"status": "ok", "proven": False, "hosts": ["one"], "absent": ["two"]}}
    assert "cluster onyx: ok, not proven; 1 of its hosts took no part" in output


def test_only_wanted_formats_are_written(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path, {"lab": True, "given": GIVEN}, BAREMETAL_GPU_VERDICT_FORMATS="html")
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["verdict.html"]


def test_path_that_cannot_be_written_is_told_and_the_table_still_printed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    path = str(tmp_path / "file" / "verdict.json")
    returncode, _document, output = run(root, tmp_path, {"lab": True, "given": GIVEN}, BAREMETAL_GPU_VERDICT_FILE=path)
    assert returncode == 0, "what the run did to hosts is done"
    assert "BG-REPORT-001" in output
    assert "VERDICT playbook.yml: ok" in output


def test_what_a_task_keeps_to_itself_is_in_no_document(root: Path, tmp_path: Path) -> None:
    """Results of a task with no_log never reach a callback; the documents have no other source than results."""
    secret = "correct-horse-battery"
    given = [{**GIVEN[0], "reason": secret, "evidence": {"token": secret}}]
    _returncode, _document, output = run(root, tmp_path, {"lab": True, "given": given}, ANSIBLE_NO_LOG="true")
    texts = [path.read_text(encoding="utf-8") for path in sorted((tmp_path / "report").iterdir())]
    assert len(texts) == 3
    assert secret not in "".join(texts) + output


@pytest.mark.parametrize(
    ("path", "ending", "name"),
    [
        ("verdict.json", ".json", "verdict.json"),
        ("verdict.json", ".html", "verdict.html"),
        ("verdict", ".xml", "verdict.xml"),
        ("report.html", ".json", "report.html"),
        ("report.html", ".html", "report.html.html"),
        ("run.2026.json", ".xml", "run.2026.xml"),
    ],
)
def test_no_document_takes_the_name_of_another(path: str, ending: str, name: str) -> None:
    assert beside(Path(path), ending) == Path(name)
