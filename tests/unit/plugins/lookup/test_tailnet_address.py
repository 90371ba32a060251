"""Where a host is reached: one declaration that answers another address once the host was reached in its tailnet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils.tailnet_record import Record, forget, read, record_of, write
from ansible_collections.baremetal.gpu.tests.unit.plugins.action.test_plays import play

HERE = Record(("fd7a:115c:a1e0::2", "100.64.0.2"), "spark-01.tailnet.example")


def test_what_is_kept_is_read_until_it_is_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert read(folder, "spark-01") is None
    write(folder, "spark-01", HERE)
    assert read(folder, "spark-01") == HERE
    assert HERE.address == "100.64.0.2"
    assert [path.name for path in folder.iterdir()] == ["spark-01.json"]
    assert (forget(folder, "spark-01"), forget(folder, "spark-01")) == (True, False)


def test_a_node_without_address_is_nothing_to_keep() -> None:
    assert record_of([], "spark-01.tailnet.example") is None
    assert record_of(["fd7a::2"], "") == Record(("fd7a::2",))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"addresses": [], "name": ""}', '{"addresses": ["spark"], "name": ""}', '{"name": ""}']
)
def test_a_file_that_says_nothing_is_no_host_in_the_lan(tmp_path: Path, text: str) -> None:
    (tmp_path / "spark-01.json").write_text(text, encoding="utf-8")
    with pytest.raises(GpuError, match="BG-TAILNET-018"):
        read(tmp_path, "spark-01")


def test_the_inventory_s_one_declaration_moves_with_the_host_between_two_tasks(tmp_path: Path) -> None:
    """As ``ansible_host`` is evaluated: anew for every task, also within one run."""
    folder = tmp_path / "tailnet"
    declared = {
        "tailscale_addresses_folder": str(folder),
        "there": "{{ lookup('baremetal.gpu.tailnet_address', 'spark-01', otherwise='10.20.0.21') }}",
        "named": "{{ lookup('baremetal.gpu.tailnet_address', 'spark-01', 'spark-02', otherwise='lan', answer='name') }}",
    }
    show = {"name": "Show", "ansible.builtin.debug": {"msg": ["{{ there }}", "{{ named }}"]}, "vars": declared}
    kept = {"name": "Keep", "ansible.builtin.copy": {"dest": f"{folder}/spark-01.json", "content": HERE.text()}}
    made = {"name": "Make", "ansible.builtin.file": {"path": str(folder), "state": "directory"}}
    spoil = {"name": "Spoil", "ansible.builtin.copy": {"dest": f"{folder}/spark-01.json", "content": "{"}}
    failed = {**show, "ignore_errors": True}
    before, _made, _kept, after, nowhere, _spoilt, broken = play(
        tmp_path,
        show,
        made,
        kept,
        show,
        {**show, "vars": {**declared, "tailscale_addresses_folder": ""}},
        spoil,
        failed,
    )
    assert before["msg"] == ["10.20.0.21", "lan,lan"]
    assert after["msg"] == ["100.64.0.2", "spark-01.tailnet.example,lan"]
    assert nowhere["msg"] == before["msg"]
    assert "BG-TAILNET-018" in json.dumps(broken)
