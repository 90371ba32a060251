"""Manifests against how their nodes share GPUs: each fault by itself beside a good pod, in every kind that makes pods."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import Sharing
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.pods import pod_faults
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.tiers import environment, resources
from ansible_collections.baremetal.gpu.plugins.plugin_utils.sharing_data import load_tiers, memory_of_profile

TEN, TWO = Sharing("mps", 10), Sharing("mps", 2)
TIERS = load_tiers()
GB10, H100 = memory_of_profile("gb10"), memory_of_profile("h100-sxm-8")
THREADS, MEMORY = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
GPU = "nvidia.com/gpu"

Spoil = Callable[[dict[str, Any]], Any]


def pod(name: str = "a", tier: str = "small", user: int | None = 1000) -> dict[str, Any]:
    container = {"name": "c", "env": environment(TIERS[tier]), "resources": resources(TIERS[tier], GPU)}
    spec: dict[str, Any] = {"containers": [container]}
    if user is not None:
        spec["securityContext"] = {"runAsUser": user}
    labels = {"baremetal.gpu/tier": tier}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def codes(*pods: Any, sharing: Sharing = TEN, memory: Any = GB10, user: int | None = None) -> list[str]:
    return [found.fault.code for found in pod_faults(pods, sharing, memory, TIERS, user)]


def container(found: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = found["spec"]["containers"][0]
    return first


def env(found: dict[str, Any], name: str, value: Any) -> None:
    for entry in container(found)["env"]:
        if entry["name"] == name:
            entry["value"] = value


def drop(name: str) -> Spoil:
    def change(found: dict[str, Any]) -> None:
        container(found)["env"] = [entry for entry in container(found)["env"] if entry["name"] != name]

    return change


def put(name: str, value: Any) -> Spoil:
    return lambda found: env(found, name, value)


def asks(requests: Any, limits: Any) -> Spoil:
    def change(found: dict[str, Any]) -> None:
        container(found)["resources"] = {"requests": requests, "limits": limits}

    return change


def elsewhere(found: dict[str, Any]) -> None:
    source = {"configMapKeyRef": {"name": "limits", "key": "threads"}}
    container(found)["env"][0] = {"name": THREADS, "valueFrom": source}


@pytest.mark.requirement("MPS-04", part="limits of pods' manifests")
def test_a_good_pod_has_no_fault() -> None:
    assert codes(pod()) == []
    assert codes(pod("a"), pod("b", "medium"), pod("c", "large"), sharing=TWO) == []


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (drop(THREADS), ["BG-SHARE-013"]),
        (drop(MEMORY), ["BG-SHARE-013"]),
        (lambda found: container(found).pop("env"), ["BG-SHARE-013", "BG-SHARE-013"]),
        (elsewhere, ["BG-SHARE-013"]),
        (lambda found: container(found)["env"].append({"name": THREADS, "value": "10"}), ["BG-SHARE-013"]),
        (put(MEMORY, "1=8G"), ["BG-SHARE-013"]),
        (put(THREADS, "10%"), ["BG-SHARE-001"]),
        (put(MEMORY, "8G"), ["BG-SHARE-002"]),
        (put(MEMORY, "0=8Gi"), ["BG-SHARE-002"]),
        (put(THREADS, "5"), ["BG-SHARE-014"]),
        (put(MEMORY, "0=4G"), ["BG-SHARE-014"]),
        (put(THREADS, "25"), ["BG-SHARE-006", "BG-SHARE-014"]),
        (put(MEMORY, "0=200G"), ["BG-SHARE-007", "BG-SHARE-014"]),
        (lambda found: found["metadata"]["labels"].update({"baremetal.gpu/tier": "huge"}), ["BG-SHARE-005"]),
        (asks({GPU: "2"}, {GPU: "2"}), ["BG-SHARE-011"]),
        (asks(None, {GPU: 2}), ["BG-SHARE-011"]),
        (asks(None, {GPU: "ten"}), ["BG-SHARE-011"]),
        (asks(None, {GPU: "500m"}), ["BG-SHARE-011"]),
        (asks(None, {GPU: "-1"}), ["BG-SHARE-011"]),
        (asks({GPU: "1"}, None), ["BG-SHARE-016"]),
        (asks({GPU: "1"}, {GPU: "2"}), ["BG-SHARE-016"]),
        (asks(None, {GPU + ".shared": "1"}), ["BG-SHARE-015"]),
        (asks(None, {"nvidia.com/mig-1g.10gb": "1"}), ["BG-SHARE-015"]),
        (lambda found: found["spec"].pop("securityContext"), ["BG-SHARE-012"]),
        (lambda found: found["spec"].update(securityContext={"runAsUser": "1000"}), ["BG-SHARE-012"]),
    ],
)
def test_each_fault_by_itself(spoil: Spoil, expected: list[str]) -> None:
    spoilt = pod()
    spoil(spoilt)
    assert codes(spoilt) == expected
    assert codes(pod("good"), spoilt, user=1000) == expected


def test_an_amount_is_compared_and_not_its_spelling() -> None:
    spelt = pod()
    env(spelt, MEMORY, "0=8192MB")
    env(spelt, THREADS, "10.0")
    assert codes(spelt) == []


def test_a_pod_without_a_tier_may_have_limits_of_its_own() -> None:
    own = pod()
    del own["metadata"]["labels"]
    env(own, THREADS, "3")
    env(own, MEMORY, "0=16G")
    assert codes(own) == []
    env(own, THREADS, "11")
    assert codes(own) == ["BG-SHARE-006"]


def test_what_the_daemon_limits_is_compared_where_it_limits_memory() -> None:
    assert codes(pod(tier="small"), memory=H100) == ["BG-SHARE-007"]
    assert codes(pod(tier="small"), memory=None) == []


def test_one_user_for_all_pods_of_the_nodes() -> None:
    found = pod_faults([pod("a"), pod("b", user=0), pod("c")], TEN, GB10, TIERS)
    assert [(each.subject, each.fault.code, each.fault.hint) for each in found] == [
        ("Pod/default/b", "BG-SHARE-012", "set runAsUser to 1000")
    ]
    assert codes(pod("a"), pod("b", user=0), user=0) == ["BG-SHARE-012"]
    assert codes(pod("a", user=0), pod("b", user=0)) == []


def test_a_container_s_own_user_counts_before_the_pod_s() -> None:
    own = pod("b")
    container(own)["securityContext"] = {"runAsUser": 7}
    assert codes(pod("a"), pod("c"), own) == ["BG-SHARE-012"]
    assert codes(own, user=7) == []


def test_users_do_not_matter_without_mps() -> None:
    plain = pod(user=None)
    del plain["metadata"]["labels"], container(plain)["env"]
    assert codes(plain, sharing=Sharing("time-slicing", 4)) == []


def test_limits_of_mps_without_mps_are_refused() -> None:
    assert codes(pod(), sharing=Sharing("time-slicing", 4)) == ["BG-SHARE-008"]
    assert codes(pod(), sharing=Sharing("none")) == ["BG-SHARE-008"]


def test_a_pod_may_have_many_whole_gpus_and_mig_devices() -> None:
    whole = pod(user=None)
    del whole["metadata"]["labels"], container(whole)["env"]
    asks(None, {GPU: 8})(whole)
    assert codes(whole, sharing=Sharing("none")) == []
    asks(None, {"nvidia.com/mig-1g.10gb": 2})(whole)
    assert codes(whole, sharing=Sharing("mig")) == []
    assert codes(whole, sharing=Sharing("none")) == ["BG-SHARE-015"]


def test_pods_without_gpus_and_other_objects_are_left_alone() -> None:
    without = pod()
    asks(None, {"cpu": "1", GPU: "0"})(without)
    env(without, MEMORY, "nonsense")
    assert codes(without, {"kind": "Service", "spec": {"selector": {}}}, {"kind": "Namespace"}, None) == []


def test_init_containers_are_clients_too() -> None:
    found = pod()
    first = copy.deepcopy(container(found))
    first["name"], first["env"] = "init", []
    found["spec"]["initContainers"] = [first]
    faults = pod_faults([found], TEN, GB10, TIERS)
    assert [fault.fault.what.split()[1] for fault in faults] == ["init", "init"]


def wrapped(kind: str, inner: dict[str, Any]) -> dict[str, Any]:
    template = {"metadata": {"labels": inner["metadata"]["labels"]}, "spec": inner["spec"]}
    metadata = {"name": "x", "namespace": "ai"}
    if kind == "CronJob":
        return {"kind": kind, "metadata": metadata, "spec": {"jobTemplate": {"spec": {"template": template}}}}
    if kind == "PodTemplate":
        return {"kind": kind, "metadata": metadata, "template": template}
    return {"kind": kind, "metadata": metadata, "spec": {"template": template}}


@pytest.mark.parametrize(
    "kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "PodTemplate"]
)
def test_what_makes_pods_is_judged_by_its_template(kind: str) -> None:
    spoilt = pod()
    drop(MEMORY)(spoilt)
    assert codes(wrapped(kind, pod())) == []
    (found,) = pod_faults([wrapped(kind, spoilt)], TEN, GB10, TIERS)
    assert (found.subject, found.fault.code) == (f"{kind}/ai/x", "BG-SHARE-013")


def test_lists_are_taken_apart() -> None:
    spoilt = pod()
    drop(MEMORY)(spoilt)
    assert codes({"kind": "List", "items": [pod(), wrapped("Job", spoilt)]}) == ["BG-SHARE-013"]
    bare = {key: value for key, value in spoilt.items() if key != "kind"}
    assert codes({"kind": "PodList", "items": [bare]}) == ["BG-SHARE-013"]


@pytest.mark.parametrize("manifest", ["text", 1, [], {}, {"kind": 1}, {"kind": "List", "items": ["text"]}])
def test_what_is_no_manifest_is_not_passed_over(manifest: Any) -> None:
    with pytest.raises(GpuError, match="BG-SHARE-017"):
        pod_faults([manifest], TEN, GB10, TIERS)


json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["spec", "containers", "env", "name", "resources", "limits", GPU]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200)
@given(json)
def test_a_pod_of_any_shape_is_judged_or_left_alone(spec: Any) -> None:
    for found in pod_faults([{"kind": "Pod", "spec": spec}, {"kind": "Job", "spec": spec}], TEN, GB10, TIERS):
        assert found.fault.code.startswith("BG-SHARE-")
