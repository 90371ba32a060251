"""What the controller does for a node of a tailnet: it reads the secret, and judges what was read in check mode."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.action.tailscale_node import ActionModule, read_secret
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils.tailnet_record import Record, read

FOUND: dict[str, Any] = {
    "known": True,
    "login": "",
    "settings": [],
    "backend_state": "Running",
    "online": True,
    "network_device": True,
    "key_expires": "",
}


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the action with a module that returns what it was given."""

    def run(check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        action = ActionModule.__new__(ActionModule)
        action._task = SimpleNamespace(args=arguments, check_mode=check_mode, async_val=0)
        monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
        monkeypatch.setattr(
            action, "_execute_module", lambda module_args, **_: {**FOUND, "given": module_args}, raising=False
        )
        return action.run(task_vars={"inventory_hostname": "spark-02"})

    return run


def test_a_key_is_read_without_its_line_end_and_its_path_stays_here(act: Any, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("canary\n", encoding="utf-8")
    assert act(auth_key_file=str(path), tags=[])["given"] == {"tags": [], "auth_key": "canary", "secret_problem": ""}
    oauth = act(auth_key_file=str(path), oauth_client_secret_file=str(path))["given"]
    assert oauth == {"oauth_client_secret": "canary", "secret_problem": ""}


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "FileNotFoundError"), ("", "is empty"), (b"\xff", "UnicodeDecodeError")]
)
def test_a_key_that_cannot_be_read_is_a_problem_only_of_a_host_that_needs_it(
    act: Any, tmp_path: Path, content: str | bytes | None, problem: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    given = act(auth_key_file=str(path))["given"]
    assert list(given) == ["secret_problem"]
    assert problem in given["secret_problem"]
    assert read_secret(str(path))[0] == ""


def test_a_host_that_leaves_gets_no_key(act: Any) -> None:
    assert act(state="absent", auth_key_file="/nowhere")["given"] == {"state": "absent"}


def test_only_check_mode_judges_because_a_run_changes_what_it_read(act: Any) -> None:
    assert "baremetal_gpu_findings" not in act()
    found = act(check_mode=True)["baremetal_gpu_findings"]
    assert [(finding["code"], finding["subject"], finding["status"]) for finding in found] == [
        ("BG-TAILNET-020", "spark-02", "ok"),
        ("BG-TAILNET-021", "spark-02", "ok"),
        ("BG-TAILNET-022", "spark-02", "skipped"),
    ]


FOLDER = "addresses"
CONNECTED = {**FOUND, "changed": False, "addresses": ["100.64.0.2"], "dns_name": "spark-02.tailnet.example", "diff": {}}


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs the action on a connected host; ``problems`` are what fresh connections say one after the other, the last one for ever."""
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))

    def run(*problems: Any, check_mode: bool = False, found: Any = CONNECTED, **arguments: Any) -> dict[str, Any]:
        action = ActionModule.__new__(ActionModule)
        given = {"addresses_folder": str(tmp_path / FOLDER), **arguments}
        action._task = SimpleNamespace(args=given, check_mode=check_mode, async_val=0)
        left, tried = list(problems), []

        def execute(module_name: str, module_args: Any, **_: Any) -> dict[str, Any]:
            assert "addresses_folder" not in module_args
            return {"machine": "this"} if module_name.endswith("access_guard") else dict(found)

        def problem_of(address: str, machine: str, _timeout: int, _variables: Any) -> str:
            tried.append((address, machine))
            problem = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(problem, GpuError):
                raise problem
            return str(problem)

        monkeypatch.setattr(action, "_execute_module", execute, raising=False)
        monkeypatch.setattr(action, "problem_of", problem_of, raising=False)
        return {**action.run(task_vars={"inventory_hostname": "spark-02"}), "tried": tried}

    return run


def test_an_address_is_kept_once_the_host_was_reached_there(keep: Any, tmp_path: Path) -> None:
    predicted = keep("", check_mode=True)
    assert (predicted["changed"], predicted["tried"], (tmp_path / FOLDER).exists()) == (True, [], False)
    done = keep("timed out", "")
    assert (done["changed"], done["tried"]) == (True, [("100.64.0.2", "this")] * 2)
    assert done["diff"] == predicted["diff"]
    assert read(tmp_path / FOLDER, "spark-02") == Record(("100.64.0.2",), "spark-02.tailnet.example")
    again = keep("timed out")
    assert (again["changed"], again["tried"]) == (False, [])


@pytest.mark.parametrize("problem", ["another host answers there", GpuError("BG-ACCESS-109", "not over ssh")])
def test_a_host_that_is_not_reached_in_its_tailnet_goes_on_at_its_former_address(
    keep: Any, tmp_path: Path, problem: Any
) -> None:
    refused = keep(problem)
    assert (refused["failed"], refused["code"]) == (True, "BG-TAILNET-017")
    assert str(getattr(problem, "what", problem)) in refused["msg"]
    assert read(tmp_path / FOLDER, "spark-02") is None


def test_what_is_not_known_yet_forgets_nothing(keep: Any, tmp_path: Path) -> None:
    keep("")
    keep("", check_mode=True, found={**CONNECTED, "addresses": []})
    assert read(tmp_path / FOLDER, "spark-02") is not None
    failed = keep("", found={"failed": True, "msg": "no"})
    assert (failed["msg"], read(tmp_path / FOLDER, "spark-02") is None) == ("no", False)


def test_a_host_that_leaves_is_forgotten(keep: Any, tmp_path: Path) -> None:
    keep("")
    left = {"changed": False, "backend_state": ""}
    assert keep("", state="absent", check_mode=True, found=left)["changed"]
    assert read(tmp_path / FOLDER, "spark-02") is not None
    assert keep("", state="absent", found=left)["changed"]
    assert read(tmp_path / FOLDER, "spark-02") is None
    assert not keep("", state="absent", found=left)["changed"]


def test_a_file_that_says_nothing_is_refused(keep: Any, tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "spark-02.json").write_text("{", encoding="utf-8")
    assert keep("")["code"] == "BG-TAILNET-018"
