"""The action nccl_health by one real play: files, stand-ins for mpirun and nvidia-smi on local hosts, and jobs of a small API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.kube_server import Server, end_job, serving
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import GIB, row_line, run_text
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import add_program, write

IMAGE = "registry.example/nccl-tests@sha256:" + "0" * 64
NODES = [f"onyx-g{number}" for number in range(1, 6)]
LIMIT = "all:!onyx-g5"

# Prints what eight ranks each on the hosts behind --host print, slower where the bad one is among them.
MPIRUN = """
import sys
hosts = [part.rpartition(":")[0] for part in sys.argv[sys.argv.index("--host") + 1].split(",")]
if "nvidia-smi" in sys.argv:
    gpus = "".join(f"GPU-{number}, Default, Disabled\\n" for number in range(8))
    print(gpus if any("query-gpu" in word for word in sys.argv) else "", end="")
    raise SystemExit
log = open(DIRECTORY + "/log", encoding="utf-8").read()
for number, host in enumerate(hosts):
    log = log.replace(f"HOST{number}", host)
print(log.replace("351.00", "211.00") if "onyx-g2" in hosts else log, end="")
"""


def task(name: str, once: bool = True, **arguments: Any) -> dict[str, Any]:
    keywords: dict[str, Any] = {key: arguments.pop(key) for key in ("check_mode", "environment") if key in arguments}
    return {"name": name, "baremetal.gpu.nccl_health": arguments, "ignore_errors": True, "run_once": once, **keywords}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The result of each task by its name, then by host."""
    directory = tmp_path_factory.mktemp("nccl")
    log = write(directory / "run.log", run_text())
    pair = run_text(hosts=("HOST0", "HOST1"), rows=(row_line(8 * GIB, "351.00"),))
    write(directory / "log", pair)
    write(directory / "mpirun.py", f"DIRECTORY = {str(directory)!r}\n{MPIRUN}")
    mpirun = add_program(directory, "mpirun", f'exec {sys.executable} {directory}/mpirun.py "$@"\n')
    smi = (
        'case "$1" in *query-gpu*) for gpu in 0 1 2 3 4 5 6 7; do echo "GPU-$gpu, Default, Disabled"; done;; {} esac\n'
    )
    idle, busy = directory / "idle", directory / "busy"
    add_program(idle, "nvidia-smi", smi.format(""))
    add_program(busy, "nvidia-smi", smi.format("*) echo 'GPU-0, 4711, python';;"))
    started = directory / "started"
    for folder in (idle, busy):
        add_program(folder, "all_reduce_perf", f"touch {started}-$(basename $(dirname $0))\ncat {log}\n")
    server = Server()
    for node in NODES:
        server.add_node(node)
    server.begin = lambda job: start(server, job)
    own: dict[str, Any] = {"mode": "run", "run": True, "gpus_per_node": 8, "topology": "h100-sxm-8"}
    isolate: dict[str, Any] = {
        "mode": "isolate",
        "run": True,
        "gpus_per_node": 8,
        "topology": "h100-sxm-8-pair",
        "mpirun": str(mpirun),
    }
    with serving(server, directory) as kubeconfig:
        kubernetes: dict[str, Any] = {
            **own,
            "launcher": "kubernetes",
            "kubeconfig": str(kubeconfig),
            "image": IMAGE,
            "hosts": ["onyx-g1"],
        }
        found = play(
            directory,
            task("judge", logs=[str(log)], topology="h100-sxm-8", subject="onyx-g1"),
            task("judge nothing"),
            task("forbidden", **{**own, "run": False}),
            task("own host", **own, environment=path(idle)),
            task("own host in use", **own, environment=path(busy)),
            task("own host without nvidia-smi", **own, environment={"PATH": str(directory)}),
            task("planned", **own, environment=path(idle), check_mode=True),
            task("isolate", once=False, **isolate, environment=path(idle)),
            task("isolate planned", **isolate, environment=path(idle), check_mode=True),
            task("on a cluster", **kubernetes, poll_interval_s=0.05),
            task("on a cluster planned", **kubernetes, check_mode=True),
            task("image by tag", **{**kubernetes, "image": "nccl-tests:1"}),
        )
    found["made"] = {"jobs": len(server.made), "left": len(server.jobs) + len(server.pods)}
    found["started"] = {"on": sorted(path.name for path in directory.glob("started-*"))}
    return found


def start(server: Server, job: dict[str, Any]) -> None:
    name = job["metadata"]["name"]
    server.add_pod(f"{name}-x7k", "onyx-g1", labels={"job-name": name})
    server.end_pod(f"{name}-x7k", 0, run_text(hosts=(f"{name}-x7k",)))
    end_job(job, "Complete")


def path(directory: Path) -> dict[str, str]:
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


def play(directory: Path, *tasks: dict[str, Any]) -> dict[str, dict[str, Any]]:
    common: dict[str, Any] = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"hosts": {node: dict(common) for node in NODES}}}
    for name, content in (
        ("inventory.yml", inventory),
        ("play.yml", [{"name": "Test", "hosts": "all", "gather_facts": False, "tasks": list(tasks)}]),
    ):
        write(directory / name, yaml.safe_dump(content))
    write(directory / "ansible.cfg", "[defaults]\n")
    environment = {
        **os.environ,
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_HOME": str(directory / "ansible"),
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
    }
    command = [sys.executable, "-m", "ansible", "playbook", "-i", str(directory / "inventory.yml"), "--limit", LIMIT]
    completed = subprocess.run(
        [*command, str(directory / "play.yml")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert completed.stdout.startswith("{"), completed.stdout + completed.stderr
    return {entry["task"]["name"]: entry["hosts"] for entry in json.loads(completed.stdout)["plays"][0]["tasks"]}


def of(results: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    result: dict[str, Any] = results[name]["onyx-g1"]
    return result


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {finding["code"]: finding["status"] for finding in result["baremetal_gpu_findings"]}


def test_a_log_on_the_host_is_judged_on_the_controller(results: dict[str, dict[str, Any]]) -> None:
    result = of(results, "judge")
    assert statuses(result) == dict.fromkeys(("BG-NCCL-001", "BG-NCCL-002", "BG-NCCL-003", "BG-NCCL-004"), "ok")
    assert "invocation" not in result


def test_to_judge_nothing_is_refused(results: dict[str, dict[str, Any]]) -> None:
    assert of(results, "judge nothing")["failed"]


def test_without_the_permission_to_run_the_task_fails_with_its_code(results: dict[str, dict[str, Any]]) -> None:
    assert of(results, "forbidden")["code"] == "BG-NCCL-104"


def test_a_host_tests_its_own_gpus_without_mpi(results: dict[str, dict[str, Any]]) -> None:
    result = of(results, "own host")
    assert not result["changed"]
    assert statuses(result)["BG-NCCL-020"] == "ok"
    assert statuses(result)["BG-NCCL-002"] == "ok"
    assert result["outcomes"][0]["exit_code"] == 0


def test_a_host_whose_gpus_are_in_use_or_not_seen_refuses_before_anything_is_started(
    results: dict[str, dict[str, Any]],
) -> None:
    assert of(results, "own host in use")["code"] == "BG-NCCL-110"
    assert "python" in of(results, "own host in use")["msg"]
    assert of(results, "own host without nvidia-smi")["code"] == "BG-NCCL-111"
    assert results["started"]["on"] == ["started-idle"]


def test_check_mode_shows_what_would_be_run(results: dict[str, dict[str, Any]]) -> None:
    result = of(results, "planned")
    (run,) = result["plan"][0]["runs"]
    assert run["command"][0] == "all_reduce_perf"
    assert run["environment"] == {"NCCL_DEBUG": "WARN"}
    assert statuses(result) == {"BG-NCCL-020": "skipped"}


def test_one_host_isolates_the_bad_node_for_all_hosts_of_the_limited_play(results: dict[str, dict[str, Any]]) -> None:
    result = of(results, "isolate")
    _all, finding = result["baremetal_gpu_findings"]
    assert (finding["code"], finding["subject"]) == ("BG-NCCL-031", "onyx-g2")
    measured = {node for entry in result["measurements"] for node in (entry["first"], entry["second"])}
    assert measured == set(NODES[:4])
    assert all(results["isolate"][node]["skipped"] for node in NODES[1:4])


def test_check_mode_shows_the_rounds_of_an_isolation(results: dict[str, dict[str, Any]]) -> None:
    result = of(results, "isolate planned")
    assert [[run["nodes"] for run in entry["runs"]] for entry in result["plan"]] == [
        [["onyx-g1", "onyx-g2"], ["onyx-g3", "onyx-g4"]]
    ]
    assert "measurements" not in result


def test_a_job_on_a_cluster_is_judged_and_nothing_of_it_is_left(results: dict[str, dict[str, Any]]) -> None:
    result = of(results, "on a cluster")
    assert statuses(result)["BG-NCCL-002"] == "ok"
    ranks = [finding for finding in result["baremetal_gpu_findings"] if finding["code"] == "BG-NCCL-004"]
    assert ranks[0]["evidence"]["hosts"] == ["onyx-g1"]
    assert results["made"] == {"jobs": 1, "left": 0}


def test_check_mode_shows_the_job(results: dict[str, dict[str, Any]]) -> None:
    (run,) = of(results, "on a cluster planned")["plan"][0]["runs"]
    assert run["manifest"]["kind"] == "Job"


def test_an_image_by_tag_is_refused(results: dict[str, dict[str, Any]]) -> None:
    assert of(results, "image by tag")["code"] == "BG-NCCL-105"
