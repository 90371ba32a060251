"""A node's lock, the budget and the node's mark as objects of the API."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import change_machine as machine
from ansible_collections.baremetal.gpu.plugins.module_utils.change_machine import Claim, Lock, Node, Read, Write
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import Answer
from ansible_collections.baremetal.gpu.plugins.module_utils.node_lease import (
    BUDGET,
    CLAIM_ANNOTATION,
    LEASES,
    NodeLease,
    parse_lock,
    parse_node,
    parse_out,
)

DATE = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Objects:
    """Objects by path, with versions that a write must find, as the API server keeps them."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {
            "/api/v1/nodes/n1": {"metadata": {"name": "n1", "resourceVersion": "1"}}
        }

    def answer(self, method: str, path: str, absent: int = 0, **more: Any) -> Answer:
        if path == "/version":
            return Answer(200, {}, DATE)
        body: dict[str, Any] = more.get("body") or {}
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
        found = self.items.get(path)
        status = self.status(method, found, body)
        assert status < 400 or status == absent, (method, path, status)
        if status < 400 and body:
            self.items[path] = merged(found or {}, body)
            self.items[path]["metadata"]["resourceVersion"] = str(
                int((found or {}).get("metadata", {}).get("resourceVersion", 0)) + 1
            )
        return Answer(status, self.items.get(path, {}), DATE)

    def status(self, method: str, found: dict[str, Any] | None, body: dict[str, Any]) -> int:
        if method == "POST":
            return 409 if found else 201
        if found is None:
            return 404
        stale = body and body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]
        return 409 if stale else 200


def merged(old: Any, patch: dict[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7396)."""
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value) if isinstance(value, dict) else value
    return result


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def lease(objects: Objects) -> NodeLease:
    return NodeLease(objects, "n1", 900.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "values"),
    [
        (machine.LOCK, [Lock("a", 1000.0), Lock("b", 2000.0), None]),
        (machine.SLOT, [{"n1": "a"}, {"n1": "a", "n2": "b"}, {}]),
        (machine.CLAIM, [Node(True, Claim("a", True)), Node(True, Claim("b", False), "BG-X-001"), Node()]),
    ],
)
def test_what_is_written_is_read_again(lease: NodeLease, what: str, values: list[Any]) -> None:
    for value in values:
        found = lease.answer(Read(what))
        assert lease.answer(Write(what, value, found.version)) is True
        assert lease.answer(Read(what)).value == value


@pytest.mark.parametrize("what", [machine.LOCK, machine.SLOT, machine.CLAIM])
def test_a_write_on_an_older_version_is_refused(lease: NodeLease, what: str) -> None:
    values = {machine.LOCK: Lock("a", 1000.0), machine.SLOT: {"n1": "a"}, machine.CLAIM: Node(True, Claim("a", False))}
    old = lease.answer(Read(what)).version
    assert lease.answer(Write(what, values[what], old)) is True
    assert lease.answer(Write(what, values[what], old)) is False


def test_the_lock_is_a_lease_as_others_read_it(lease: NodeLease, objects: Objects) -> None:
    lease.answer(Write(machine.LOCK, Lock("a", 1000.0), ""))
    spec = objects.items[f"{LEASES}/baremetal-gpu-n1"]["spec"]
    assert spec == {"holderIdentity": "a", "leaseDurationSeconds": 900, "renewTime": "1970-01-01T00:01:40.000000Z"}


def test_the_clock_is_the_api_server_s(lease: NodeLease) -> None:
    assert lease.answer(machine.Now()) == DATE.timestamp()


def test_cordon_and_mark_change_in_one_write_and_go_together(lease: NodeLease, objects: Objects) -> None:
    lease.answer(Write(machine.CLAIM, Node(True, Claim("a", False)), "1"))
    assert objects.items["/api/v1/nodes/n1"]["spec"] == {"unschedulable": True}
    lease.answer(Write(machine.CLAIM, Node(), "2"))
    assert (
        objects.items["/api/v1/nodes/n1"]["spec"],
        objects.items["/api/v1/nodes/n1"]["metadata"]["annotations"],
    ) == (
        {},
        {},
    )


def test_a_node_that_is_not_there_is_refused(objects: Objects) -> None:
    with pytest.raises(GpuError, match="BG-CHANGE-112"):
        NodeLease(objects, "n2", 900.0).answer(Read(machine.CLAIM))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", "null"])
def test_a_list_of_nodes_that_cannot_be_read_is_never_empty(text: str) -> None:
    with pytest.raises(GpuError, match="BG-CHANGE-113") as error:
        parse_out({"metadata": {"annotations": {"baremetal.gpu/nodes-out": text}}})
    assert BUDGET in error.value.what


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"holder": "a"}'])
def test_a_mark_that_cannot_be_read_is_somebody_s_and_keeps_the_cordon(text: str) -> None:
    claim = parse_node({"metadata": {"annotations": {CLAIM_ANNOTATION: text}}}).claim
    assert claim is not None
    assert claim.was_cordoned


def test_a_lock_whose_end_cannot_be_read_is_still_its_holder_s() -> None:
    assert parse_lock({"spec": {"holderIdentity": "a"}}) == Lock("a", 0.0)
    assert (parse_lock({"spec": {}}), parse_lock(None)) == (None, None)
