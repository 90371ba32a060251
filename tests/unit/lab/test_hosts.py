"""Removing a lab touches only what a lab made."""

from __future__ import annotations

import pytest

from lab import hosts
from lab.model import Host, find_host
from lab.network import container


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "STATE", tmp_path / "state")
    monkeypatch.setattr(hosts, "store", lambda: tmp_path / "no-store")
    monkeypatch.setattr(hosts, "ssh_sockets", lambda: tmp_path / "sockets")
    monkeypatch.setattr(hosts, "podman", lambda *_, **__: pytest.fail("there is nothing to ask podman for"))
    monkeypatch.setattr("lab.supervisor.FOLDER", tmp_path / "state/supervisor")
    monkeypatch.setattr("lab.disks._ROOT", tmp_path / "state/disks")
    return tmp_path / "state"


def test_cleaning_where_nothing_was_made_needs_no_podman(state):
    hosts.down()
    assert not state.exists()


def test_files_of_others_stay(state):
    (state / "log").mkdir(parents=True)
    (state / "notes.txt").write_text("mine")
    hosts.down()
    assert [path.name for path in state.iterdir()] == ["notes.txt"]


def test_a_shell_where_no_lab_was_made_says_how_to_make_one(state, monkeypatch):
    monkeypatch.setattr("lab.faults.keeps_off", lambda _host: False)
    with pytest.raises(
        hosts.HostError, match=r"spark-01 has not been made in this lab: `make lab SYSTEM=spark` boots it"
    ):
        hosts.shell(find_host("spark-01"))


@pytest.mark.parametrize(("by_fault", "hint"), [(False, "make lab SYSTEM=spark"), (True, "make lab-faults")])
def test_a_shell_on_a_host_that_is_off_says_how_to_start_it(state, tmp_path, monkeypatch, by_fault, hint):
    monkeypatch.setattr(hosts, "store", lambda: tmp_path)
    monkeypatch.setattr("lab.power.states", lambda: {"spark-01": "exited"})
    monkeypatch.setattr("lab.faults.keeps_off", lambda _host: by_fault)
    with pytest.raises(hosts.HostError, match=rf"spark-01 is exited: .*{hint}"):
        hosts.shell(find_host("spark-01"))


def test_a_removed_host_is_made_anew_and_the_others_stay(state, monkeypatch):
    asked = []
    monkeypatch.setattr(hosts, "podman", lambda *arguments, **_: asked.append(arguments))
    for name in ("spark-01", "calypso"):
        (state / "disks" / name).mkdir(parents=True)
        (state / "disks" / f"{name}.img").touch()
        (state / "dressed").mkdir(exist_ok=True)
        (state / "dressed" / name).touch()
    hosts.remove((Host(name="spark-01", address=21, image="debian"),))
    assert sorted(path.name for path in (state / "disks").iterdir()) == ["calypso", "calypso.img"]
    assert [path.name for path in (state / "dressed").iterdir()] == ["calypso"]
    assert [arguments[-1] for arguments in asked] == [container("spark-01")]


def test_booting_one_host_leaves_the_others_known_to_ssh(state, monkeypatch):
    (state / "ssh").mkdir(parents=True)
    monkeypatch.setattr(hosts, "address", lambda number: f"10.0.0.{number}")
    for name in ("spark-01", "mirror"):
        (state / f"ssh/host_{name}").touch()
        (state / f"ssh/host_{name}.pub").write_text(f"ssh-ed25519 key-of-{name}\n")
    spark, mirror = (
        Host(name=name, address=number, image="debian") for name, number in (("spark-01", 21), ("mirror", 2))
    )
    for machines in ((spark, mirror), (mirror,)):
        hosts._known_hosts(machines)
    known = (state / "ssh/known_hosts").read_text()
    assert known == "10.0.0.21 ssh-ed25519 key-of-spark-01\n10.0.0.2 ssh-ed25519 key-of-mirror\n"
