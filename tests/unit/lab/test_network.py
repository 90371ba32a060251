"""The lab's network is its own: no collision, and machine-wide settings are put back."""

from __future__ import annotations

import json
import subprocess

import pytest

from lab import network


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "STATE", tmp_path / "state")
    monkeypatch.setattr(network, "RUN", tmp_path / "run")
    settings = tmp_path / "sys"
    settings.mkdir()
    for name, value in (("fs.inotify.max_user_instances", "128"), ("net.ipv4.ip_forward", "0")):
        (settings / name).write_text(f"{value}\n")
    monkeypatch.setattr(network, "_sysctl", lambda name: settings / name)
    monkeypatch.setattr(network, "podman", lambda *_, **__: subprocess.CompletedProcess([], 0, "", ""))
    return settings


def _routes(monkeypatch, *destinations: str) -> None:
    text = json.dumps([{"dst": "default"}, *({"dst": destination} for destination in destinations)])
    monkeypatch.setattr(network.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, text, ""))


def test_a_routed_subnet_is_not_taken(lab, monkeypatch):
    _routes(monkeypatch)
    first = network.subnet()
    (network.STATE / "subnet").unlink()
    _routes(monkeypatch, str(first))
    assert not network.subnet().overlaps(first)


def test_the_chosen_subnet_is_kept(lab, monkeypatch):
    _routes(monkeypatch)
    first = network.subnet()
    _routes(monkeypatch, str(first))
    assert network.subnet() == first


def test_no_free_subnet_is_an_error(lab, monkeypatch):
    _routes(monkeypatch, "10.91.0.0/16")
    with pytest.raises(RuntimeError, match=r"10\.91"):
        network.subnet()


def test_machine_wide_settings_are_raised_and_put_back(lab, monkeypatch):
    _routes(monkeypatch)
    network.ensure_network()
    assert int((lab / "fs.inotify.max_user_instances").read_text()) == 8192
    network.remove_network()
    assert int((lab / "fs.inotify.max_user_instances").read_text()) == 128
    assert int((lab / "net.ipv4.ip_forward").read_text()) == 0


def test_settings_stay_while_another_lab_runs(lab, monkeypatch):
    _routes(monkeypatch)
    network.ensure_network()
    monkeypatch.setattr(network, "identity", lambda: "01234567")
    network.ensure_network()
    network.remove_network()
    assert int((lab / "fs.inotify.max_user_instances").read_text()) == 8192
