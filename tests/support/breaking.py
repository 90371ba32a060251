"""A Spark lab that tests break by name, look at, and leave healthy."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARES = "10"
# The longest way back to health: a node whose device plugin has to register again.
HEALTHY_AFTER_S = 300
_VERIFY = "parts/spark_verify.yml"
# A node without its GPUs need not be waited for when it is meant to have none.
_IMPATIENT = (
    "--extra-vars=gpu_verify_capacity_timeout=8",
    "--extra-vars=gpu_verify_pod_timeout=15",
    "--extra-vars=nvidia_device_plugin_rollout_timeout=8",
)


def until(condition: Callable[[], bool], limit_s: float, told: Callable[[], Any] = lambda: "") -> None:
    """Wait for what must happen; fail, telling what is there instead, at the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s; {told()}"
        time.sleep(1)


@dataclass(frozen=True)
class Engine:
    """The engine's command line for the lab in `state`."""

    root: Path
    state: Path

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`python -m lab …` with its output kept. Raises AssertionError with that output when it fails and `check` is set."""
        done = subprocess.run(
            [sys.executable, "-m", "lab", *arguments],
            cwd=self.root,
            env={**os.environ, "BAREMETAL_GPU_LAB_DIR": str(self.state)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{shlex.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def shell(self, host: str, command: str, *, check: bool = True) -> str:
        """What a shell command on a host prints; it does not go over the network."""
        return self.run("shell", host, "--command", command, check=check).stdout

    def active(self) -> dict[str, str]:
        """What is listed as broken: fault and state."""
        return {entry["fault"]: entry["state"] for entry in json.loads(self.run("faults", "--json").stdout)["active"]}


class Spark(Engine):
    """The Spark system: calypso with the API, and the worker spark-01."""

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints, as the cluster's administrator; nothing while the API does not answer."""
        return self.shell("calypso", f"k3s kubectl {shlex.join(arguments)}", check=False)

    def node(self) -> dict[str, Any]:
        """spark-01 as the API shows it: conditions by type, GPUs, boot id. Empty while the API does not answer."""
        text = self.kubectl("get", "node", "spark-01", "--output=json")
        if not text:
            return {}
        status = json.loads(text)["status"]
        return {
            **{condition["type"]: condition["status"] for condition in status["conditions"]},
            "capacity": status["capacity"].get("nvidia.com/gpu"),
            "allocatable": status["allocatable"].get("nvidia.com/gpu"),
            "boot_id": status["nodeInfo"]["bootID"],
        }

    def is_healthy(self) -> bool:
        """Whether spark-01 is what the playbook made of it."""
        node = self.node()
        ready = (node.get("Ready"), node.get("DiskPressure")) == ("True", "False")
        return ready and node["allocatable"] == node["capacity"] == SHARES and self.is_served()

    def is_served(self) -> bool:
        """Whether the pods of spark-01 run and MPS has set its GPU up. The node offers its shares before that, after a boot or an eviction."""
        chosen = ("--all-namespaces", "--field-selector=spec.nodeName=spark-01", "--output=json")
        pods = json.loads(self.kubectl("get", "pods", *chosen) or '{"items": []}')["items"]
        conditions = [
            pod["status"].get("conditions", []) for pod in pods if pod["status"]["phase"] in ("Pending", "Running")
        ]
        ready = [any((item["type"], item["status"]) == ("Ready", "True") for item in each) for each in conditions]
        mode = self.shell("spark-01", "simulated-hardware get gpu.0.compute_mode", check=False).strip()
        return bool(ready) and all(ready) and mode.endswith("Exclusive_Process")

    def heal(self) -> None:
        """Take every fault back, the last first, and wait until spark-01 is healthy."""
        if self.active():
            self.run("unfault")
        until(self.is_healthy, HEALTHY_AFTER_S, self.node)


def failed_codes(verdict: Mapping[str, Any], host: str) -> set[str]:
    """Codes of the findings about a host that make a run fail. What the inventory waives does not."""
    findings = verdict["hosts"][host]["findings"]
    return {
        finding["code"]
        for finding in findings
        if finding["status"] == "fail" or (finding["status"] == "unknown" and not finding.get("waived"))
    }


def verify(lab: Any) -> set[str]:
    """Run the read-only verdict over a lab; return the codes that are red for spark-01."""
    return failed_codes(lab.play(_VERIFY, *_IMPATIENT).verdict, "spark-01")
