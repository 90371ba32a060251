"""helm works from the controller against this cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# One host, so that it runs once.
testinfra_hosts = ["ansible://calypso"]


def test_a_chart_is_installed_predicted_upgraded_and_removed(request: pytest.FixtureRequest) -> None:
    root = request.config.rootpath
    playbook = Path(sys.executable).with_name("ansible-playbook")
    inventories = ["--inventory=inventories/lab", "--inventory=.lab/molecule-spark/inventory/hosts.yml"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "false"}
    command = [playbook, *inventories, "molecule/spark/helm.yml"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
