"""The supervisor starts a host again when it reboots, and never otherwise."""

from __future__ import annotations

import subprocess
import threading

import pytest

from lab import supervisor
from lab.supervisor import REBOOT_STATUS, Supervisor


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "FOLDER", tmp_path / "supervisor")
    (tmp_path / "supervisor/hosts").mkdir(parents=True)
    return tmp_path / "supervisor"


@pytest.fixture
def host(folder):
    """A process that stands for a host's systemd, and is watched."""
    process = subprocess.Popen(["sleep", "60"])
    (folder / "hosts/spark-01").write_text(f"{process.pid}\n")
    yield process
    process.kill()
    process.wait()


def watching(status: int | None) -> tuple[Supervisor, list[str]]:
    started: list[str] = []
    return Supervisor(started.append, lambda _host, _process: status), started


@pytest.mark.parametrize(("status", "expected"), [(REBOOT_STATUS, ["spark-01"]), (130, []), (137, []), (None, [])])
def test_only_a_reboot_starts_a_host_again(host, folder, status, expected):
    watched, started = watching(status)
    watched.look()
    assert started == []
    host.kill()
    host.wait()
    watched.look()
    assert started == expected
    # Whoever starts it says so anew.
    assert not (folder / "hosts/spark-01").exists()


def test_a_host_that_ended_before_it_was_watched_is_not_missed(host):
    host.kill()
    host.wait()
    watched, started = watching(REBOOT_STATUS)
    watched.look()
    assert started == ["spark-01"]


def test_a_host_that_cannot_be_started_does_not_end_the_supervisor(host, capsys):
    def restart(_host: str) -> None:
        raise RuntimeError("no disk")

    watched = Supervisor(restart, lambda _host, _process: REBOOT_STATUS)
    host.kill()
    host.wait()
    watched.look()
    assert "spark-01 cannot be started again: no disk" in capsys.readouterr().err


def test_nobody_runs_where_nothing_was_started(folder):
    assert supervisor.running() is None
    supervisor.end()


def test_the_one_that_runs_is_found_by_its_lock(folder, monkeypatch):
    began, go_on = threading.Event(), threading.Event()

    def run(_self: Supervisor) -> None:
        began.set()
        go_on.wait(30)

    monkeypatch.setattr(Supervisor, "run", run)
    thread = threading.Thread(target=supervisor.supervise, args=(lambda _: None, lambda *_: None))
    thread.start()
    try:
        assert began.wait(30)
        assert supervisor.running() is not None
        # A second one sees the first and leaves.
        supervisor.supervise(lambda _: None, lambda *_: None)
    finally:
        go_on.set()
        thread.join()
    assert supervisor.running() is None
