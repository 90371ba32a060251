"""The lab's network is its own: no collision, and machine-wide settings are put back."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading

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
    monkeypatch.setattr(network, "sysctl", lambda name: settings / name)
    monkeypatch.setattr("lab.firewall.has_furniture", lambda: True)
    monkeypatch.setattr(network, "release_store", lambda: None)
    monkeypatch.setattr(network, "podman", lambda *_, **__: subprocess.CompletedProcess([], 0, "", ""))
    return settings


def _routes(monkeypatch: pytest.MonkeyPatch, *destinations: str) -> None:
    text = json.dumps([{"dst": "default"}, *({"dst": destination} for destination in destinations)])
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, text, ""))


def test_a_routed_subnet_is_not_taken(lab, monkeypatch):
    _routes(monkeypatch)
    first = network.subnet()
    (lab.parent / "state/subnet").unlink()
    _routes(monkeypatch, str(first))
    assert not network.subnet().overlaps(first)


def test_the_chosen_subnet_is_kept(lab, monkeypatch):
    _routes(monkeypatch)
    first = network.subnet()
    _routes(monkeypatch, str(first))
    assert network.subnet() == first


def test_a_host_s_hardware_address_is_its_own_and_nobody_s_product(lab, monkeypatch):
    found = {network.hardware_address(number) for number in range(256)}
    assert len(found) == 256
    monkeypatch.setattr(network, "STATE", lab.parent / "another")
    assert not found & {network.hardware_address(number) for number in range(256)}
    # The lowest bits of the first octet: given locally, and to one interface.
    assert {int(each.split(":")[0], 16) & 0b11 for each in found} == {0b10}
    assert all(len(bytes.fromhex(each.replace(":", ""))) == 6 for each in found)


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


def test_two_labs_that_begin_together_choose_different_networks(lab, monkeypatch):
    """Neither is routed yet, so only their register tells."""
    _routes(monkeypatch)
    monkeypatch.setattr(network, "identity", lambda: "00000007")
    first = network.subnet()
    (lab.parent / "state/subnet").unlink()
    # The same first choice as the other lab's.
    monkeypatch.setattr(network, "identity", lambda: "00000107")
    assert not network.subnet().overlaps(first)


def test_after_the_last_lab_nothing_of_the_labs_is_left(lab, monkeypatch):
    _routes(monkeypatch)
    (lab.parent / "run/podman-0123").mkdir(parents=True)
    with network.alone():
        network.ensure_network()
        network.remove_network()
        shutil.rmtree(lab.parent / "state", ignore_errors=True)
    assert not (lab.parent / "run").exists()


def test_the_lock_of_a_lab_that_lives_on_stays(lab, monkeypatch):
    _routes(monkeypatch)
    with network.alone():
        network.subnet()
    assert [path.name for path in (lab.parent / "run").glob("lab-*.lock")] == [f"lab-{network.identity()}.lock"]


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(lab):
    """Who waited for it holds a file that no later one would open."""
    path = lab.parent / "run/lock"
    entered = threading.Event()

    def wait_for_it() -> None:
        with network._locked(path):
            entered.set()

    with network._locked(path) as lock:
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        lock.unlink()
    waiting.join(30)
    assert entered.is_set()
    assert path.exists()


def test_podman_s_chains_are_removed_only_when_labs_brought_them(lab, monkeypatch):
    removed = []
    monkeypatch.setattr("lab.firewall.remove_furniture", lambda: removed.append(True))
    _routes(monkeypatch)
    for there_before in (True, False):
        monkeypatch.setattr("lab.firewall.has_furniture", lambda there=there_before: there)
        network.ensure_network()
        network.remove_network()
    assert removed == [True]
