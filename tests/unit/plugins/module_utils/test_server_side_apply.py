"""Server-side apply against an API that is kept in memory."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.action import manifests
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi, NoAnswerError
from ansible_collections.baremetal.gpu.plugins.module_utils.server_side_apply import (
    CHANGED,
    CREATED,
    UNCHANGED,
    Applied,
    Cluster,
    essence,
)

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gpu"}}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "gpu"}, "data": {"a": "1"}}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.example.org"},
}
THING = {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "t"}}
RESOURCES = {
    "/api/v1": [("namespaces", "Namespace", False), ("configmaps", "ConfigMap", True), ("pods/log", "Pod", True)],
    "/apis/apiextensions.k8s.io/v1": [("customresourcedefinitions", "CustomResourceDefinition", False)],
}


class Memory(KubeApi):
    """Objects by path. A change gives an object a new version; `answers` come first, by method; `silent` answers nothing."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.resources = {root: list(kinds) for root, kinds in RESOURCES.items()}
        self.answers: dict[str, list[int]] = {}
        self.silent = False
        self.asked: list[tuple[str, str]] = []
        self.queries: list[dict[str, Any]] = []

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Any = None,
        content_type: str = "application/json",
    ) -> tuple[int, dict[str, Any]]:
        self.asked.append((method, path))
        if self.silent:
            raise NoAnswerError("refused")
        if self.answers.get(method) and path not in self.resources:
            return self.answers[method].pop(0), {"message": "no"}
        if path in self.resources:
            kinds = [{"name": name, "kind": kind, "namespaced": spaced} for name, kind, spaced in self.resources[path]]
            return 200, {"resources": kinds}
        if method == "GET":
            return (200, self.objects[path]) if path in self.objects else (404, {"message": "not found"})
        assert (method, content_type) == ("PATCH", "application/apply-patch+yaml")
        self.queries.append(query)
        return 200, self._patched(path, body, dry="dryRun" in query)

    def _patched(self, path: str, body: Any, dry: bool) -> dict[str, Any]:
        now = copy.deepcopy(self.objects.get(path) or {"metadata": {"uid": "u", "resourceVersion": "0"}, "status": {}})
        merged = {**now, **body, "metadata": {**now["metadata"], **body["metadata"]}}
        if essence(merged) != essence(now):
            merged["metadata"]["resourceVersion"] += "1"
        if not dry:
            self.objects[path] = merged
        return merged


@pytest.fixture
def api() -> Memory:
    return Memory()


def cluster(api: Memory, predict: bool = False) -> Cluster:
    return Cluster(api, "site", predict=predict, sleep=lambda _seconds: None)


def outcomes(applied: list[Applied]) -> list[str]:
    return [each.outcome for each in applied]


def test_objects_are_created_once_and_then_left_alone(api: Memory) -> None:
    assert outcomes(cluster(api).apply([NAMESPACE, CONFIG])) == [CREATED, CREATED]
    assert set(api.objects) == {"/api/v1/namespaces/gpu", "/api/v1/namespaces/gpu/configmaps/c"}
    assert outcomes(cluster(api).apply([NAMESPACE, CONFIG])) == [UNCHANGED, UNCHANGED]
    assert {query["fieldManager"] for query in api.queries} == {"site"}


def test_only_what_differs_is_changed_with_before_and_after(api: Memory) -> None:
    cluster(api).apply([NAMESPACE, CONFIG])
    applied = cluster(api).apply([NAMESPACE, {**CONFIG, "data": {"a": "2"}}])
    assert outcomes(applied) == [UNCHANGED, CHANGED]
    assert applied[1].before is not None
    assert applied[1].after is not None
    assert (applied[1].before["data"], applied[1].after["data"]) == ({"a": "1"}, {"a": "2"})


@pytest.mark.parametrize(("force", "said"), [(True, "true"), (False, "false")])
def test_fields_of_other_owners_are_taken_only_by_force(api: Memory, force: bool, said: str) -> None:
    Cluster(api, "site", force=force).apply([NAMESPACE])
    assert [query["force"] for query in api.queries] == [said]


def test_status_and_bookkeeping_are_no_change() -> None:
    first = {"metadata": {"name": "x", "resourceVersion": "1", "managedFields": []}, "status": {"ready": 1}, "spec": {}}
    second = {"metadata": {"name": "x", "resourceVersion": "2", "generation": 7}, "status": {}, "spec": {}}
    assert essence(first) == essence(second) == {"metadata": {"name": "x"}, "spec": {}}


def test_a_prediction_changes_nothing_and_says_the_same(api: Memory) -> None:
    cluster(api).apply([NAMESPACE, CONFIG])
    before = copy.deepcopy(api.objects)
    changed = {**CONFIG, "data": {"a": "2"}}
    assert outcomes(cluster(api, predict=True).apply([NAMESPACE, changed])) == [UNCHANGED, CHANGED]
    assert api.objects == before
    assert outcomes(cluster(api).apply([NAMESPACE, changed])) == [UNCHANGED, CHANGED]


def test_what_lies_in_a_predicted_namespace_is_not_asked_for(api: Memory) -> None:
    assert outcomes(cluster(api, predict=True).apply([NAMESPACE, CONFIG])) == [CREATED, CREATED]
    assert ("GET", "/api/v1/namespaces/gpu/configmaps/c") not in api.asked
    assert api.objects == {}


def test_what_a_predicted_definition_defines_is_not_asked_for(api: Memory) -> None:
    assert outcomes(cluster(api, predict=True).apply([DEFINITION, THING])) == [CREATED, CREATED]


def test_a_definition_that_was_just_created_is_waited_for(api: Memory) -> None:
    made = cluster(api)
    made.sleep = lambda _seconds: api.resources.update({"/apis/example.org/v1": [("things", "Thing", False)]})
    assert outcomes(made.apply([DEFINITION, THING])) == [CREATED, CREATED]
    assert "/apis/example.org/v1/things/t" in api.objects


def test_an_unknown_kind_is_refused_at_once(api: Memory) -> None:
    with pytest.raises(GpuError, match=r"BG-APPLY-103: the cluster does not know Thing t of example\.org/v1"):
        cluster(api).apply([THING])


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"PATCH": [403]}, r"refused to apply Namespace gpu \(HTTP 403: no\).*needs get, create and patch"),
        ({"PATCH": [409]}, r"HTTP 409.*another program owns"),
        ({"GET": [403]}, r"refused to read Namespace gpu"),
    ],
)
def test_a_refusal_names_the_object_and_what_to_do(api: Memory, answers: dict[str, list[int]], said: str) -> None:
    api.answers = answers
    with pytest.raises(GpuError, match=f"BG-APPLY-101: .*{said}"):
        cluster(api).apply([NAMESPACE])


def test_an_api_without_answer_is_told_with_the_object(api: Memory) -> None:
    api.silent = True
    with pytest.raises(GpuError, match=r"BG-APPLY-102: .*Namespace gpu"):
        cluster(api).apply([NAMESPACE])


def test_texts_with_several_objects_keep_their_order() -> None:
    text = "---\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n"
    assert [each["metadata"]["name"] for each in manifests.parsed([text, text])] == ["a", "b", "a", "b"]


def test_values_of_ansible_are_texts_too() -> None:
    class Tagged(str):
        """What ansible-core makes of every text that it has read or rendered."""

    assert (
        manifests.parsed([Tagged("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")])[0]["kind"] == "Namespace"
    )


@pytest.mark.parametrize("text", ["a: [", "just words", "kind: Pod\nmetadata: {name: x}", "apiVersion: v1\nkind: Pod"])
def test_what_is_no_object_is_refused_before_anything_is_applied(text: str) -> None:
    with pytest.raises(GpuError, match="BG-APPLY-104"):
        manifests.parsed([text])
