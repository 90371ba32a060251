"""How long the verdict about every node of a large cluster takes: this collection's module against k8s_info and filters, in pairs.

Both read nodes only, from the same API server; a raw paged GET is the floor below both.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from lab.progress import say
from lab.settings import REPOSITORY
from tools.bench import apiserver, fleet_objects
from tools.bench.measure import Usage, load, run
from tools.bench.parts import HERE, WORK, Repetitions, repeat

WAYS = {"module": "cluster_capacity.yml", "k8s_info": "cluster_k8s_info.yml"}
_WRITERS = 8


def measure(repetitions: Repetitions) -> dict[str, Any]:
    """Seconds of each way and of the floor, peak memory, how the verdicts compare, and the machine's load meanwhile.

    Raises RuntimeError when the two ways, or what was built, do not say the same of every node.
    """
    count, pods = repetitions.cluster_nodes, 4 * repetitions.cluster_nodes
    folder = WORK / "large-cluster"
    with apiserver.running(folder / "api") as server:
        say(f"create {count} nodes and {pods} pods")
        fill(server, count, pods)
        declared = folder / "declared.json"
        declared.write_text(json.dumps(fleet_objects.expected(count)), encoding="utf-8")
        measured: dict[str, list[dict[str, float]]] = {way: [] for way in (*WAYS, "floor", "alone")}
        peaks_mb: list[float] = []
        truth = fleet_objects.verdicts(count)

        # A server that was just filled is busy with it for a while.
        _floor(server, folder, -1)

        def pair(number: int) -> None:
            # Turn about, so that neither always finds a warm server.
            for way in sorted(WAYS, reverse=number % 2 == 0):
                verdicts = folder / f"verdicts-{way}.json"
                verdicts.unlink(missing_ok=True)
                usage = _play(way, server, declared, verdicts, number)
                measured[way].append(_figures(usage))
                require_equal(truth, json.loads(verdicts.read_text(encoding="utf-8")), way)
            measured["floor"].append(_figures(_floor(server, folder, number)))
            measured["alone"].append(_figures(_alone(server, folder, declared, number)))
            peaks_mb.append(round(int((folder / "peak").read_text(encoding="ascii")) / 1e6, 1))

        with load() as found:
            repeat(repetitions.cluster, repetitions.budget_s["cluster"], pair)
    read = int((folder / "floor.log").read_text(encoding="ascii"))
    return {
        "nodes": count,
        "pods": pods,
        "bytes": read,
        "runs": measured,
        "peak_mb": peaks_mb,
        "verdicts": {verdict: list(truth.values()).count(verdict) for verdict in sorted(set(truth.values()))},
        "load": asdict(found),
    }


def fill(server: apiserver.ApiServer, count: int, pods: int) -> None:
    """Create the objects through the API. Raises RuntimeError when one is refused."""
    local = threading.local()

    def post(path: str, item: dict[str, Any]) -> None:
        if not hasattr(local, "connection"):
            local.connection = server.connection()
        connection: HTTPSConnection = local.connection
        connection.request("POST", path, json.dumps(item), server.headers())
        response = connection.getresponse()
        body = response.read()
        if response.status != 201:
            raise RuntimeError(f"POST {path}: HTTP {response.status}: {body[:300]!r}")

    with ThreadPoolExecutor(_WRITERS) as writers:
        _drain(writers.map(lambda item: post("/api/v1/nodes", item), fleet_objects.nodes(count)))
        path = "/api/v1/namespaces/default/pods"
        _drain(writers.map(lambda number: post(path, fleet_objects.pod(number, number % count)), range(pods)))


def _drain(results: Iterable[None]) -> None:
    for _result in results:
        pass


def require_equal(truth: dict[str, str], found: dict[str, str], way: str) -> None:
    """Raises RuntimeError naming the first nodes of which the verdict is another than what was built."""
    different = {
        name: (truth.get(name), found.get(name))
        for name in sorted({*truth, *found})
        if truth.get(name) != found.get(name)
    }
    if different:
        raise RuntimeError(f"{way} says something else of {len(different)} nodes: {dict(list(different.items())[:5])}")


def _play(way: str, server: apiserver.ApiServer, declared: Path, verdicts: Path, number: int) -> Usage:
    values = {
        "kubeconfig": str(server.kubeconfig),
        "declared_file": str(declared),
        "verdicts_file": str(verdicts),
        "ansible_python_interpreter": sys.executable,
    }
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "-i", "localhost,", "--extra-vars", json.dumps(values), str(HERE / WAYS[way])]
    return _run(command, declared.with_name(f"{way}-{number + 1}.log"), way)


def _floor(server: apiserver.ApiServer, folder: Path, number: int) -> Usage:
    command = [sys.executable, "-m", "tools.bench.paged_get", str(server.kubeconfig)]
    return _run(command, folder / "floor.log", f"floor {number + 1}")


def _alone(server: apiserver.ApiServer, folder: Path, declared: Path, number: int) -> Usage:
    """The module without ansible-playbook around it: that process's peak memory is the module's."""
    arguments = {
        "kubeconfig": str(server.kubeconfig),
        "expected": json.loads(declared.read_text(encoding="utf-8")),
        "wait_timeout_s": 0,
    }
    path = folder / "arguments.json"
    path.write_text(json.dumps(arguments), encoding="utf-8")
    command = [sys.executable, "-m", "tools.bench.run_module", "gpu_capacity", str(path), str(folder / "peak")]
    return _run(command, folder / f"alone-{number + 1}.log", "the module alone, with operand pods")


def _run(command: list[str], log: Path, name: str) -> Usage:
    usage = run(command, log, cwd=REPOSITORY, environment={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    if usage.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"{name} ended with {usage.returncode}; the end of {log}:\n{tail}")
    say(f"{name}: {usage.wall_s:.1f} s, CPU {usage.cpu_s:.1f} s")
    return usage


def _figures(usage: Usage) -> dict[str, float]:
    return {"wall_s": round(usage.wall_s, 2), "cpu_s": round(usage.cpu_s, 2)}
