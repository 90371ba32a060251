"""Labels, taints, further configuration and arguments of the kubelet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.checks import refusals
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory


def codes(inventory: Inventory) -> list[str]:
    return [refusal.code for refusal in refusals(inventory)]


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (["gpu"], "BG-INV-043"),
        (["=gb10"], "BG-INV-043"),
        (["tier=a b"], "BG-INV-043"),
        (["tier=" + "x" * 64], "BG-INV-043"),
        (["Tier_/x=y"], "BG-INV-043"),
        (["a/b/c=d"], "BG-INV-043"),
        (["-tier=gpu"], "BG-INV-043"),
        (["node-role.kubernetes.io/worker=true"], "BG-INV-044"),
        (["kubernetes.io/role=gpu"], "BG-INV-044"),
        (["node-restriction.kubernetes.io/tier=gpu"], "BG-INV-044"),
        (["scheduling.k8s.io/tier=gpu"], "BG-INV-044"),
        (["tier=gpu", "tier=cpu"], "BG-INV-045"),
    ],
)
def test_label_that_no_node_can_register_with(good: Inventory, spoil: Any, labels: list[str], code: str) -> None:
    spoilt = spoil("spark-01", k3s_agent_node_labels=labels)
    assert codes(replace(spoilt, rules=replace(good.rules, labels_by_api=""))) == [code]


def test_reserved_label_is_accepted_where_the_role_sets_it_through_the_api(good: Inventory, spoil: Any) -> None:
    spoilt = spoil("spark-01", k3s_agent_node_labels=["node-role.kubernetes.io/gpu=true"])
    left_to_the_kubelet = replace(spoilt, rules=replace(good.rules, labels_by_api=""))
    assert codes(left_to_the_kubelet) == ["BG-INV-044"]
    by_api = replace(good.rules, labels_by_api=r"([^=/]+\.)?(kubernetes|k8s)\.io/")
    assert codes(replace(spoilt, rules=by_api)) == []


def test_key_that_the_operator_vouches_for_is_accepted(spoil: Any) -> None:
    extra = {"k3s_agent_extra_config": {"new-key": "x"}}
    assert codes(spoil("spark-01", **extra)) == ["BG-INV-046"]
    assert codes(spoil("spark-01", **extra, k3s_agent_known_settings=["new-key"])) == []


@pytest.mark.parametrize(
    "label",
    [
        "accelerator=gb10",
        "tier=",
        "nvidia.com/gpu.family=blackwell",
        "topology.kubernetes.io/zone=hall-1",
        "node.kubernetes.io/pool=gpu",
        "team.node.kubernetes.io/pool=gpu",
        "kubernetes.io/hostname=spark-01",
        "notkubernetes.io/role=gpu",
    ],
)
def test_label_that_a_node_can_register_with(spoil: Any, label: str) -> None:
    assert codes(spoil("spark-01", k3s_agent_node_labels=[label])) == []


@pytest.mark.parametrize(
    ("taints", "code"),
    [
        (["nvidia.com/gpu=present"], "BG-INV-043"),
        (["nvidia.com/gpu=present:NoShedule"], "BG-INV-043"),
        (["nvidia.com/gpu=present:"], "BG-INV-043"),
        ([":NoSchedule"], "BG-INV-043"),
        (["a b=c:NoSchedule"], "BG-INV-043"),
        (["gpu=a:NoSchedule", "gpu=b:NoSchedule"], "BG-INV-045"),
    ],
)
def test_taint_that_no_node_can_register_with(spoil: Any, taints: list[str], code: str) -> None:
    assert codes(spoil("spark-01", k3s_agent_node_taints=taints)) == [code]


def test_one_key_may_taint_with_several_effects(spoil: Any) -> None:
    taints = ["gpu:NoSchedule", "gpu:NoExecute", "node-role.kubernetes.io/gpu=true:PreferNoSchedule"]
    assert codes(spoil("spark-01", k3s_agent_node_taints=taints)) == []


def test_misspelt_effect_is_answered_with_the_near_one(spoil: Any) -> None:
    (refusal,) = refusals(spoil("spark-01", k3s_agent_node_taints=["gpu:NoShedule"]))
    assert refusal.hint == "did you mean NoSchedule?"


@pytest.mark.parametrize(
    ("key", "code", "hint"),
    [
        ("flannel-ifac", "BG-INV-046", "did you mean flannel-iface?"),
        ("flannel_iface", "BG-INV-046", "did you mean flannel-iface?"),
        ("disable", "BG-INV-046", "did you mean"),
        ("node-ip", "BG-INV-047", "set k3s_agent_node_ip"),
        ("token", "BG-INV-047", "set k3s_agent_token_file"),
        ("kubelet-arg+", "BG-INV-047", "set k3s_agent_kubelet_args"),
    ],
)
def test_key_that_would_end_the_agent_or_lose_a_setting(spoil: Any, key: str, code: str, hint: str) -> None:
    (refusal,) = refusals(spoil("spark-01", k3s_agent_extra_config={key: "x"}))
    assert refusal.code == code
    assert refusal.hint.startswith(hint) or code == "BG-INV-046"


@pytest.mark.parametrize("key", ["flannel-conf", "protect-kernel-defaults", "kube-proxy-arg+", "resolv-conf"])
def test_key_that_an_agent_knows(spoil: Any, key: str) -> None:
    assert codes(spoil("spark-01", k3s_agent_extra_config={key: "x"})) == []


@pytest.mark.parametrize(
    "argument", ["--max-pods=50", "max pods=50", "=50", "MaxPods=50", "node-labels=a=b", "hostname-override=x"]
)
def test_argument_that_the_kubelet_cannot_have(spoil: Any, argument: str) -> None:
    assert codes(spoil("spark-01", k3s_agent_kubelet_args=[argument])) == ["BG-INV-048"]


@pytest.mark.parametrize(
    "argument", ["max-pods=50", "fail-swap-on=false", "eviction-hard=memory.available<1Gi", "v=2", "fail-swap-on"]
)
def test_argument_that_the_kubelet_can_have(spoil: Any, argument: str) -> None:
    assert codes(spoil("spark-01", k3s_agent_kubelet_args=[argument])) == []
