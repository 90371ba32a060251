"""Removing a lab touches only what a lab made."""

from __future__ import annotations

import pytest

from lab import hosts


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "STATE", tmp_path / "state")
    monkeypatch.setattr(hosts, "store", lambda: tmp_path / "no-store")
    monkeypatch.setattr(hosts, "ssh_sockets", lambda: tmp_path / "sockets")
    monkeypatch.setattr(hosts, "podman", lambda *_, **__: pytest.fail("there is nothing to ask podman for"))
    return tmp_path / "state"


def test_cleaning_where_nothing_was_made_needs_no_podman(state):
    hosts.down()
    assert not state.exists()


def test_files_of_others_stay(state):
    (state / "log").mkdir(parents=True)
    (state / "notes.txt").write_text("mine")
    hosts.down()
    assert [path.name for path in state.iterdir()] == ["notes.txt"]
