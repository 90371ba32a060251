"""What gpu_info and gpu_health cost on one host, beside a ping: local runs against the lab's simulated driver of eight H100."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from lab.settings import REPOSITORY
from lab.simulation import hardware
from tools.bench.measure import Usage, load, run
from tools.bench.parts import WORK, Repetitions, repeat

TASKS = 10
"""How often each module stands in one playbook, so that starting Ansible is not what is measured."""
PROFILE = "h100x8"
BUDGET_S = 120.0
REPETITIONS = 3


def measure(_repetitions: Repetitions) -> dict[str, Any]:
    """CPU seconds of playbooks with nothing but pings, gpu_info or gpu_health, and of the driver's tool alone; the load meanwhile.

    Controller and host are this machine, so CPU of both is in the figures, and that of nvidia-smi too.
    """
    folder = WORK / "host_modules"
    environment = _environment(folder)
    ways: dict[str, dict[str, Any]] = {"ping": {"ansible.builtin.ping": {}}, "gpu_info": {"baremetal.gpu.gpu_info": {}}}
    health = {"profile": "h100-sxm-8", "state_file": str(folder / "state.json")}
    ways["gpu_health"] = {"baremetal.gpu.gpu_health": health}
    measured: dict[str, list[float]] = {way: [] for way in (*ways, "tools")}
    for way, task in ways.items():
        (folder / f"{way}.yml").write_text(yaml.safe_dump(playbook(task)), encoding="utf-8")

    def once(number: int) -> None:
        for way in ways:
            command = [sys.executable, "-m", "ansible", "playbook", str(folder / f"{way}.yml")]
            measured[way].append(_cpu_of_one(_checked(command, folder / f"{way}-{number + 1}.log", environment)))
        commands = " && ".join(["nvidia-smi -q -x", "nvidia-smi nvlink -s", "nvidia-smi nvlink -e"] * TASKS)
        tools = ["/bin/sh", "-c", f"{{ {commands}; }} > /dev/null"]
        measured["tools"].append(_cpu_of_one(_checked(tools, folder / f"tools-{number + 1}.log", environment)))

    # The first run of a boot waits between two looks; a later one compares with its snapshot.
    warm = [sys.executable, "-m", "ansible", "playbook", str(folder / "gpu_health.yml")]
    _checked(warm, folder / "warm.log", environment)
    with load() as found:
        repeat(REPETITIONS, BUDGET_S, once)
    return {"tasks": TASKS, "cpu_s": measured, "load": asdict(found)}


def playbook(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A play of one task again and again."""
    tasks = [{"name": f"Do it, time {number}", **task} for number in range(1, TASKS + 1)]
    return [
        {"name": "Measure", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks},
    ]


def _cpu_of_one(usage: Usage) -> float:
    return round(usage.cpu_s / TASKS, 4)


def _checked(command: list[str], log: Path, environment: Mapping[str, str]) -> Usage:
    usage = run(command, log, cwd=log.parent, environment=environment)
    if usage.returncode:
        raise RuntimeError(f"{' '.join(command)[:80]} ended with {usage.returncode}; see {log}")
    return usage


def _environment(folder: Path) -> dict[str, str]:
    """An environment in which nvidia-smi is the lab's stand-in, and Ansible has no settings of the checkout."""
    built, root = folder / "built", folder / "root"
    folder.mkdir(parents=True, exist_ok=True)
    if not root.exists():
        hardware.build(built, None)
        hardware.install(root, PROFILE, built)
    settings = folder / "ansible.cfg"
    settings.write_text("[defaults]\n", encoding="utf-8")
    state = root / hardware.state_file(hardware.load(PROFILE))
    return {
        **os.environ,
        "PATH": f"{root / 'usr/bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "SIMULATED_HARDWARE_STATE": str(state),
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_HOME": str(folder / "home"),
    }
