"""Restoring a cluster between repetitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench.cluster import Cluster, Object, declared, in_calls

LISTING = """\
v1 Namespace <none> gpu-operands <none>
apps/v1 DaemonSet gpu-operands device-plugin <none>
apps/v1 ReplicaSet default shop-1 shop
v1 Node <none> spark-01 <none>
"""
PLUGIN = Object("DaemonSet.v1.apps", "gpu-operands", "device-plugin")
NAMESPACE = Object("Namespace", "", "gpu-operands")
NODE = Object("Node", "", "spark-01")


class Recorded(Cluster):
    """A cluster that answers from a list of states and remembers what was asked of it."""

    states: list[frozenset[Object]]
    asked: list[tuple[str, ...]]

    def ask(self, *arguments: str) -> str:
        self.asked.append(arguments)
        return ""

    def objects(self) -> frozenset[Object]:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


def recorded(*states: set[Object]) -> Recorded:
    cluster = Recorded(Path("kubectl"), Path("kubeconfig"))
    object.__setattr__(cluster, "states", [frozenset(state) for state in states])
    object.__setattr__(cluster, "asked", [])
    return cluster


def test_what_another_object_owns_goes_with_it():
    assert set(declared(LISTING)) == {NAMESPACE, PLUGIN, NODE}


def test_objects_of_one_kind_and_namespace_are_one_call():
    second = Object("DaemonSet.v1.apps", "gpu-operands", "mps")
    assert in_calls([second, PLUGIN]) == [("DaemonSet.v1.apps", "gpu-operands", ["device-plugin", "mps"])]


def test_a_namespace_goes_after_what_is_in_it():
    assert [call[0] for call in in_calls([NAMESPACE, NODE, PLUGIN])] == ["DaemonSet.v1.apps", "Node", "Namespace"]


def test_only_what_was_added_is_deleted():
    cluster = recorded({NODE, PLUGIN}, {NODE})
    cluster.restore(frozenset({NODE}))
    assert [call[:2] for call in cluster.asked] == [("delete", "DaemonSet.v1.apps")]


def test_an_unchanged_cluster_is_left_alone():
    cluster = recorded({NODE})
    cluster.restore(frozenset({NODE}))
    assert cluster.asked == []


def test_a_cluster_that_lost_something_is_an_error():
    """A repetition must not start from another state than the one before."""
    with pytest.raises(RuntimeError, match=r"missing .*spark-01"):
        recorded(set()).restore(frozenset({NODE}), timeout_s=0)
