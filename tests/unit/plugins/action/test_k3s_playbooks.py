"""What the verbs for k3s refuse before they touch a host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml


def run(root: Path, folder: Path, playbook: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook against one host that is never reached."""
    inventory = {
        "spark": {
            "hosts": {"spark-01": {"ansible_host": "192.0.2.1", "ansible_connection": "local"}},
            "vars": {"k3s_agent_kubeconfig": str(folder / "absent"), "ansible_python_interpreter": sys.executable},
        }
    }
    path = folder / "inventory.yml"
    path.write_text(yaml.safe_dump(inventory), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "ansible",
        "playbook",
        "--check",
        "--inventory",
        str(path),
        *options,
        str(playbook),
    ]
    environment = {**os.environ, "ANSIBLE_HOME": str(folder / "ansible"), "ANSIBLE_CONFIG": str(root / "ansible.cfg")}
    environment["ANSIBLE_COLLECTIONS_PATH"] = str(root / "collections")
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_nobody_removes_all_agents_by_mistake(root: Path, tmp_path: Path) -> None:
    ended = run(root, tmp_path, root / "playbooks/k3s_agent_remove.yml")
    assert ended.returncode != 0
    assert "BG-K3S-018" in ended.stdout
    named = run(root, tmp_path, root / "playbooks/k3s_agent_remove.yml", "--limit", "spark-01")
    assert "BG-K3S-018" not in named.stdout
    assert "BG-CAP-103" in named.stdout, "a named host goes on, to the cluster that is not there"


def test_the_only_server_is_not_removed_by_mistake(root: Path, tmp_path: Path) -> None:
    playbook = tmp_path / "remove.yml"
    role = {"name": "baremetal.gpu.k3s_server", "tasks_from": "remove.yml"}
    task = {"name": "Remove", "ansible.builtin.import_role": role}
    play = {"name": "Remove", "hosts": "spark", "gather_facts": False, "tasks": [task]}
    playbook.write_text(yaml.safe_dump([play]), encoding="utf-8")
    ended = run(root, tmp_path, playbook)
    assert ended.returncode != 0
    assert "BG-K3S-017" in ended.stdout
