"""The verdict about capacity follows a real kubelet and a real device plugin on simulated GPUs, within its deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.modules import gpu_capacity
from ansible_collections.baremetal.gpu.tests.support.breaking import HEALTHY_AFTER_S, Spark, until
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import run_module

pytestmark = pytest.mark.lab

NODE = "spark-01"
SHARED_BY_MPS = {NODE: {"gpus": 1, "replicas": 10, "sharing": "mps", "product": "NVIDIA-GB10"}}
PLUGIN_POD = "app.kubernetes.io/name=nvidia-device-plugin"
FOLLOWS_S = 60
"""A kubelet reports every 10 s, a device plugin registers within 30 s, on a busy machine."""

IMPATIENT_S = 25
"""Longer than two reports of a kubelet, after which what does not settle is final."""


class Capacity:
    """gpu_capacity about spark-01; what it said last is kept for whoever looks at a failure."""

    def __init__(self, lab: Spark) -> None:
        self._kubeconfig = str(lab.state / "kubeconfig/calypso.yaml")
        self.last: dict[str, Any] = {}

    def judge(self, wait_timeout_s: float = 0) -> dict[str, str]:
        """Codes and their statuses, after waiting at most so long."""
        arguments = {"kubeconfig": self._kubeconfig, "expected": SHARED_BY_MPS, "partial": True, "simulated": True}
        self.last = run_module(gpu_capacity, {**arguments, "wait_timeout_s": wait_timeout_s})
        return {finding["code"]: finding["status"] for finding in self.last["baremetal_gpu_findings"]}

    def reasons(self) -> list[str]:
        return [finding["reason"] for finding in self.last.get("baremetal_gpu_findings", [])]


@pytest.fixture
def capacity(breakable: Spark) -> Capacity:
    found = Capacity(breakable)
    assert found.judge(FOLLOWS_S) == {"BG-CAP-001": "ok"}, found.reasons()
    return found


@contextmanager
def meanwhile(action: Callable[[], object]) -> Iterator[None]:
    """Do something beside the block, and wait for it at the block's end."""
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_cordoned_node_keeps_its_capacity_and_is_told(breakable: Spark, capacity: Capacity) -> None:
    breakable.kubectl("cordon", NODE)
    try:
        assert capacity.judge() == {"BG-CAP-001": "ok", "BG-CAP-008": "warn"}
    finally:
        breakable.kubectl("uncordon", NODE)
    assert capacity.judge() == {"BG-CAP-001": "ok"}


def test_a_stopped_plugin_settles_and_its_return_is_followed(breakable: Spark, capacity: Capacity) -> None:
    breakable.run("fault", NODE, "plugin_down")
    until(lambda: capacity.judge() == {"BG-CAP-010": "unknown"}, FOLLOWS_S, capacity.reasons)
    with meanwhile(lambda: breakable.run("unfault", NODE, "plugin_down")):
        assert capacity.judge(FOLLOWS_S * 2) == {"BG-CAP-001": "ok"}, capacity.reasons()
    # Followed by a watch: the list of nodes was read once.
    assert capacity.last["polls"] == 1
    assert capacity.last["events"] >= 1


def test_a_lost_gpu_fails_until_it_is_back_and_the_plugin_has_restarted(
    breakable: Spark, capacity: Capacity, spark: Any
) -> None:
    breakable.run("fault", NODE, "gpu_lost")
    try:
        until(lambda: breakable.node().get("allocatable") != "10", FOLLOWS_S, breakable.node)
        assert breakable.node()["capacity"] == "10"
        # A plugin of the last five minutes that offers nothing could be starting; an older one is not waited for.
        assert capacity.judge(IMPATIENT_S) in ({"BG-CAP-003": "fail"}, {"BG-CAP-010": "fail"}), capacity.reasons()
    finally:
        breakable.run("unfault", NODE, "gpu_lost")
        breakable.kubectl("delete", "pod", "--all-namespaces", f"--selector={PLUGIN_POD}", "--wait=false")
    assert capacity.judge(FOLLOWS_S * 2) == {"BG-CAP-001": "ok"}, capacity.reasons()
    # The Xid stands in the kernel log until the next boot, and what the other tests verify would tell it.
    spark.lab.reboot(NODE)
    until(breakable.is_healthy, HEALTHY_AFTER_S, breakable.node)


def test_a_restarted_kubelet_is_never_called_broken(breakable: Spark, capacity: Capacity) -> None:
    seen: dict[str, set[str]] = {}

    def look() -> None:
        for code, status in capacity.judge().items():
            seen.setdefault(code, set()).add(status)

    breakable.shell(NODE, "systemctl restart k3s-agent")
    reported_twice = time.monotonic() + IMPATIENT_S
    while time.monotonic() < reported_twice:
        look()
        time.sleep(0.5)
    assert capacity.judge(FOLLOWS_S * 2) == {"BG-CAP-001": "ok"}, capacity.reasons()
    assert [code for code, statuses in seen.items() if "fail" in statuses] == [], seen
