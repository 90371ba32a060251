"""The controller proves the way back before a change, uses it after, and never leaves a change that it could not confirm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.action import ssh_access, tailnet_firewall
from ansible_collections.baremetal.gpu.plugins.plugin_utils.fresh_connection import GUARD, fresh_arguments
from ansible_collections.baremetal.gpu.plugins.plugin_utils.guarded_action import GuardedAction

SEEN = {
    "changed": True,
    "backend": "nftables",
    "differences": ["x"],
    "locked_out": [],
    "addresses": ["100.64.0.1"],
    "machine": "this",
    "pending": None,
    "rolled_back": "",
}


class Task:
    def __init__(self, check_mode: bool, **arguments: Any) -> None:
        self.args, self.check_mode, self.async_val = arguments, check_mode, 0


class World:
    """A host as modules see it, and its two ways in. ``cut`` is about fresh connections after the change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: type[GuardedAction]) -> None:
        self.calls: list[tuple[str, str, bool]] = []
        self.seen: dict[str, Any] = dict(SEEN)
        self.applied: dict[str, Any] | None = {"changed": True}
        self.machine, self.cut, self.refuses = "this", False, False
        self.confirmed: dict[str, Any] = {"changed": True}
        self.fresh = False
        self.action = kind.__new__(kind)
        self.clock = 0.0
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        monkeypatch.setattr(kind, "_execute_module", self.execute)
        monkeypatch.setattr(kind, "_fresh", lambda _self, address, _timeout: self.connect(address))
        monkeypatch.setattr(kind, "_option", lambda _self, name: {"host": "10.0.0.9", "remote_user": "ada"}[name])
        monkeypatch.setattr("time.monotonic", lambda: self.clock)
        monkeypatch.setattr("time.sleep", self.passes)

    def passes(self, seconds: float) -> None:
        self.clock += seconds

    @contextmanager
    def connect(self, address: str) -> Iterator[None]:
        self.address = address
        after = any(step == "apply" for _module, step, _fresh in self.calls)
        if self.refuses if not after else self.cut:
            raise AnsibleConnectionFailure("timed out")
        self.fresh = True
        yield
        self.fresh = False

    def execute(self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        step = "apply" if module_args.get("apply") else str(module_args.get("state", "compare"))
        if module_name == GUARD and step == "compare":
            step = "read"
        self.calls.append((module_name.rpartition(".")[2], step, self.fresh))
        if step == "apply":
            if self.applied is None:
                raise AnsibleConnectionFailure("closed")
            return self.applied
        return {"compare": self.seen, "read": {"machine": self.machine}, "confirmed": self.confirmed}.get(step, {})

    def run(self, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        self.action._task = Task(check_mode, **arguments)
        self.action._templar = None
        return self.action.run(None, {"inventory_hostname": "spark-01"})

    def steps(self) -> list[tuple[str, bool]]:
        return [(step, fresh) for _module, step, fresh in self.calls]


@pytest.fixture(params=[tailnet_firewall.ActionModule, ssh_access.ActionModule])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch, request.param)


@pytest.fixture
def firewall(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch, tailnet_firewall.ActionModule)


def test_change_is_proven_applied_and_confirmed_in_this_order(world: World) -> None:
    result = world.run(way_back="100.64.0.1")
    assert result["changed"] is True
    assert world.steps() == [("compare", False), ("read", True), ("apply", False), ("confirmed", True)]
    assert world.address == "100.64.0.1"


def test_way_back_is_the_present_address_where_none_is_given(world: World) -> None:
    world.run()
    assert world.address == "10.0.0.9"


def test_host_that_is_as_declared_is_left_alone(world: World) -> None:
    world.seen["changed"] = False
    assert world.run()["changed"] is False
    assert world.steps() == [("compare", False)]


def test_check_mode_predicts_and_connects_to_nothing(world: World) -> None:
    assert world.run(check_mode=True)["changed"] is True
    assert world.steps() == [("compare", False)]


def test_no_way_back_refuses_before_anything_is_applied(world: World) -> None:
    world.refuses = True
    assert world.run()["code"] == "BG-ACCESS-103"
    assert ("apply", False) not in world.steps()


def test_another_host_behind_the_address_refuses(world: World) -> None:
    world.machine = "another"
    result = world.run()
    assert (result["code"], result["changed"]) == ("BG-ACCESS-103", False)
    assert "another host answers" in result["msg"]


def test_change_without_a_way_back_is_taken_back_over_the_former_connection(world: World) -> None:
    world.cut = True
    result = world.run(rollback_after_s=30)
    assert result["code"] == "BG-ACCESS-120"
    assert world.steps()[-1] == ("rolled_back", False)
    assert world.clock < 30, "the controller gives up before the host takes it back"


def test_connection_that_ends_with_the_change_is_no_failure_when_the_new_way_works(world: World) -> None:
    world.applied = None
    assert world.run()["changed"] is True
    assert world.steps()[-1] == ("confirmed", True)


def test_refusal_of_the_host_is_returned_as_it_is(world: World) -> None:
    world.applied = {"failed": True, "code": "BG-ACCESS-121", "msg": "BG-ACCESS-121: no"}
    assert world.run()["code"] == "BG-ACCESS-121"
    assert world.steps()[-1] == ("apply", False)


def test_module_that_broke_is_taken_back(world: World) -> None:
    world.applied = {"failed": True, "msg": "MODULE FAILURE"}
    assert world.run()["msg"] == "MODULE FAILURE"
    assert world.steps()[-1] == ("rolled_back", False)


def test_late_confirmation_has_its_own_code_once(world: World) -> None:
    world.confirmed = {"failed": True, "code": "BG-ACCESS-122", "msg": "BG-ACCESS-122: taken back"}
    assert world.run()["msg"] == "BG-ACCESS-122: taken back"


def test_login_that_runs_nothing_is_no_way_back(world: World) -> None:
    world.confirmed = {"failed": True, "msg": "MODULE FAILURE"}
    assert world.run()["code"] == "BG-ACCESS-120"
    assert world.steps()[-1] == ("rolled_back", False)


def test_change_that_waits_is_not_taken_for_a_healthy_host(world: World) -> None:
    world.seen.update(changed=False, pending={"name": "the firewall", "left_s": 41.0})
    result = world.run()
    assert result["code"] == "BG-ACCESS-105"
    assert "for 41 s more" in result["msg"]


def test_tailnet_that_is_not_up_is_refused_unless_somebody_else_may_come_in(firewall: World) -> None:
    firewall.seen["addresses"] = None
    assert firewall.run()["code"] == "BG-ACCESS-104"
    assert firewall.run(sources=[{"source": "10.0.0.5", "ports": ["22/tcp"]}])["changed"] is True


def test_values_that_are_none_touch_no_host(firewall: World) -> None:
    assert firewall.run(nodes=["calypso"])["code"] == "BG-ACCESS-108"
    assert firewall.calls == []


def test_connection_that_is_not_ssh_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = GuardedAction._fresh
    world = World(monkeypatch, tailnet_firewall.ActionModule)
    monkeypatch.setattr(tailnet_firewall.ActionModule, "_fresh", fresh)
    world.action._connection = type("Local", (), {"_load_name": "local"})()
    assert world.run()["code"] == "BG-ACCESS-109"


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {finding["code"]: finding["status"] for finding in result["baremetal_gpu_findings"]}


def test_findings_say_what_differs(world: World, firewall: World) -> None:
    result = firewall.run(verify=True)
    assert statuses(result) == {"BG-ACCESS-001": "fail", "BG-ACCESS-004": "ok"}
    assert result["changed"] is False


def test_findings_of_sshd_say_who_is_locked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, ssh_access.ActionModule)
    world.seen.update(differences=[], locked_out=["ada: no"], rolled_back="the firewall")
    found = statuses(world.run(verify=True))
    assert found == {"BG-ACCESS-002": "ok", "BG-ACCESS-003": "fail", "BG-ACCESS-004": "warn"}


@pytest.mark.parametrize(
    ("options", "address", "alias"),
    [
        ({"host": "10.0.0.9"}, "10.0.0.9", None),
        ({"host": "10.0.0.9"}, "100.64.0.1", "10.0.0.9"),
        ({"host": "10.0.0.9", "port": 2222}, "100.64.0.1", "'[10.0.0.9]:2222'"),
        ({"host": "100.64.0.1", "ssh_common_args": "-o HostKeyAlias=10.0.0.9"}, "spark-01.tailnet", None),
    ],
)
def test_fresh_connection_shares_nothing_and_expects_the_host_s_own_key(
    options: dict[str, Any], address: str, alias: str | None
) -> None:
    text = fresh_arguments(options, address)
    assert "ControlPath=none" in text
    assert "PasswordAuthentication=no" in text
    assert (f"HostKeyAlias={alias}" in text) if alias else ("HostKeyAlias" not in text)
