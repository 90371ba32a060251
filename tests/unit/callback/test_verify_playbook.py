"""verify.yml over hosts that are not there: its verdict says so. No host but this machine is contacted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# Port 9 discards: no ssh server answers there.
SILENT = "{ansible_host: 127.0.0.9, ansible_port: 9, ansible_ssh_common_args: -o BatchMode=yes}"
ONYX = f"onyx: {{children: {{onyx_gpu: {{hosts: {{g1: {SILENT}, g2: {SILENT}}}}}}}}}\n"
SPARK = f"""\
spark_system:
  children:
    k3s_server: {{hosts: {{calypso: {SILENT}}}}}
    spark: {{hosts: {{spark-01: {SILENT}}}}}
"""


def verify(root: Path, folder: Path, inventory: str, *options: str) -> tuple[int, dict[str, Any], str]:
    (folder / "hosts.yml").write_text(inventory, encoding="utf-8")
    verdict = folder / "verdict.json"
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            f"--inventory={folder / 'hosts.yml'}",
            *options,
            str(root / "playbooks/verify.yml"),
        ],
        cwd=root,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "BAREMETAL_GPU_VERDICT_FILE": str(verdict),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    written = json.loads(verdict.read_text(encoding="utf-8")) if verdict.exists() else {}
    return done.returncode, written, done.stdout + done.stderr


def test_host_that_does_not_answer_is_unknown_and_fails_the_run(root: Path, tmp_path: Path) -> None:
    returncode, verdict, _output = verify(root, tmp_path, ONYX, "--limit=g2")
    assert returncode == 4
    assert (verdict["status"], verdict["proven"]) == ("fail", False)
    assert list(verdict["hosts"]) == ["g2"]
    assert [(each["code"], each["status"]) for each in verdict["hosts"]["g2"]["findings"]] == [
        ("BG-HOST-020", "unknown")
    ]
    assert verdict["clusters"]["onyx"] == {"status": "fail", "proven": False, "hosts": ["g2"], "absent": ["g1"]}


def test_host_of_a_k3s_server_that_was_made_otherwise_is_not_asked(root: Path, tmp_path: Path) -> None:
    _returncode, verdict, _output = verify(root, tmp_path, SPARK)
    assert [finding["code"] for finding in verdict["hosts"]["spark-01"]["findings"]] == ["BG-HOST-020"]
    assert "BG-HOST-020" not in {finding["code"] for finding in verdict["hosts"]["calypso"]["findings"]}


def test_inventory_with_nothing_to_verify_is_refused(root: Path, tmp_path: Path) -> None:
    returncode, verdict, output = verify(root, tmp_path, "others: {hosts: {one: {}}}\n")
    assert returncode != 0
    assert verdict["status"] == "fail"
    assert "BG-VERDICT-004" in output
