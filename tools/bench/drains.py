"""How long it takes to empty a node, and what is said when that cannot be: node_drain beside kubectl and kubernetes.core.k8s_drain.

All against the same real API server with its disruption controller; a stand-in confirms the ends of pods within a tenth of a second.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.baremetal.gpu.tests.support.real_cluster import (
    BUDGETS,
    MERGE,
    PODS,
    STUCK,
    RealCluster,
    running,
)
from lab.progress import say
from lab.settings import REPOSITORY
from tools.bench.cluster import kubectl_folder
from tools.bench.measure import load, run
from tools.bench.parts import HERE, WORK, Repetitions, ping_playbook, repeat

NODE, BUDGET = "bench-node", "bench-keeps-all"


@dataclass(frozen=True)
class Case:
    """So many pods on the node; whether a budget keeps all of them, whether they never end, and what each way is given, in seconds."""

    pods: int
    kept: bool = False
    stuck: bool = False
    limit_s: int = 60


CASES = {"free": Case(100), "budget": Case(2, kept=True, limit_s=5), "stuck": Case(2, stuck=True, limit_s=5)}
_PLAYBOOK = (str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,")
_OWN_PYTHON = {"ansible_python_interpreter": sys.executable}
WAYS = ("node_drain", "kubectl", "k8s_drain_waits", "k8s_drain")


def measure(repetitions: Repetitions) -> dict[str, Any]:
    """Of each case and way the seconds of each whole call, and what it said and left behind. And the machine's load meanwhile."""
    folder = WORK / "drains"
    folder.mkdir(parents=True, exist_ok=True)
    cases: dict[str, dict[str, list[dict[str, Any]]]] = {case: {way: [] for way in WAYS} for case in CASES}
    with running(folder / "cluster") as cluster, load() as found:
        cluster.add_node(NODE)

        starts_s: list[float] = []

        def round_of_all(number: int) -> None:
            starts_s.append(_start(folder / f"start-{number + 1}.log"))
            for name, case in CASES.items():
                # Turn about, so that neither always comes first.
                for way in sorted(WAYS, reverse=number % 2 == 0):
                    cases[name][way].append(_one(cluster, folder / f"{name}-{way}-{number + 1}", case, way))

        repeat(repetitions.drain, repetitions.budget_s["drain"], round_of_all)
    return {
        "pods": {name: case.pods for name, case in CASES.items()},
        "cases": cases,
        "start_s": starts_s,
        "load": asdict(found),
    }


def _start(log: Path) -> float:
    """Seconds of a playbook with one ping: what Ansible takes for itself."""
    playbook = log.with_suffix(".yml")
    playbook.write_text(yaml.safe_dump(ping_playbook({"localhost": 1})), encoding="utf-8")
    command = [*_PLAYBOOK, "--connection", "local", "--extra-vars", json.dumps(_OWN_PYTHON), str(playbook)]
    usage = run(command, log, cwd=REPOSITORY, environment=_environment())
    if usage.returncode:
        raise RuntimeError(f"a ping ended with {usage.returncode}; see {log}")
    return round(usage.wall_s, 2)


def _one(cluster: RealCluster, place: Path, case: Case, way: str) -> dict[str, Any]:
    """One drain of a node that was just filled; afterwards the cluster is as before."""
    pods = [f"bench-pod-{number:03d}" for number in range(case.pods)]
    for pod in pods:
        cluster.add_pod(pod, NODE, "bench", **({STUCK: "yes"} if case.stuck else {}))
    if case.kept:
        cluster.add_budget(BUDGET, "bench", case.pods)
        _until(lambda: cluster.budget_status(BUDGET).get("currentHealthy") == case.pods)
    said_file = place.with_suffix(".json")
    said_file.unlink(missing_ok=True)
    usage = run(
        _command(cluster, case, way, said_file), place.with_suffix(".log"), cwd=REPOSITORY, environment=_environment()
    )
    said = said_file if way != "kubectl" else place.with_suffix(".log")
    figures = {
        "wall_s": round(usage.wall_s, 2),
        "succeeded": usage.returncode == 0,
        **heard(said.read_text(encoding="utf-8"), pods),
        "cordoned": cluster.cordoned(NODE),
        "left": len(cluster.pods_on(NODE)),
    }
    say(f"{place.name}: {figures}")
    _restore(cluster)
    return figures


def heard(said: str, pods: list[str]) -> dict[str, Any]:
    """What somebody who reads that learns: how many of the pods are named as left, and whether the budget is. Of a result that is JSON
    what names pods that are gone, or the task's own arguments, does not count."""
    try:
        result = json.loads(said)
        said = json.dumps([result.get(key) for key in ("msg", "result", "blocked", "warnings")])
    except ValueError:
        # kubectl also tells which pods it begins with, and which are gone.
        said = "\n".join(line for line in said.splitlines() if line.startswith("error") or "error when" in line)
    return {"pods_named": sum(pod in said for pod in pods), "budget_named": BUDGET in said}


def _command(cluster: RealCluster, case: Case, way: str, said_file: Path) -> list[str]:
    if way == "kubectl":
        kubectl = kubectl_folder() / "kubectl"
        return [str(kubectl), "drain", NODE, f"--kubeconfig={cluster.kubeconfig}", f"--timeout={case.limit_s}s"]
    values = {
        "kubeconfig": cluster.kubeconfig,
        "node": NODE,
        "limit_s": case.limit_s,
        "waits": way == "k8s_drain_waits",
        "said_file": str(said_file),
        **_OWN_PYTHON,
    }
    playbook = HERE / f"drain_{way.removesuffix('_waits')}.yml"
    return [*_PLAYBOOK, "--extra-vars", json.dumps(values), str(playbook)]


def _environment() -> Mapping[str, str]:
    return {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}


def _restore(cluster: RealCluster) -> None:
    """Remove pods and budget, and let pods on the node again."""
    for pod in cluster.pods_on(NODE):
        cluster.api.request("DELETE", f"{PODS}/{pod['metadata']['name']}", {"gracePeriodSeconds": 0})
    cluster.api.request("DELETE", f"{BUDGETS}/{BUDGET}")
    cluster.ask("PATCH", f"/api/v1/nodes/{NODE}", {"spec": {"unschedulable": None}}, content_type=MERGE)
    _until(lambda: not cluster.pods_on(NODE))


def _until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"the cluster of the bench did not settle within {seconds:.0f} s")
        time.sleep(0.1)
