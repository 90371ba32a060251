"""What the controller does for a node of a tailnet: it reads the secret, and judges what was read in check mode."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.action.tailscale_node import ActionModule, read_secret

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
