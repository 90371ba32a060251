"""Files that a fault has changed or away come back exactly, and what somebody else wrote meanwhile stays."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab import disks
from lab.faults import files
from lab.faults.files import FileAway, FileChanged, Programs
from lab.podman import PodmanError

TOKEN = "K10" + "a" * 64 + "::server:secret\n"


class Here:
    """A target whose host is this machine, without systemd."""

    def __init__(self) -> None:
        self.restarted: list[str] = []
        self.fails = False

    def run(self, *arguments: str, text: str | None = None) -> str:
        if arguments[0] == "systemctl":
            self.restarted.append(arguments[-1])
            if self.fails:
                raise PodmanError("no such unit")
            return ""
        return subprocess.run(arguments, input=text, capture_output=True, text=True, check=True).stdout

    def succeeds(self, *arguments: str) -> bool:
        return subprocess.run(arguments, capture_output=True, check=False).returncode == 0


@pytest.fixture
def target(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BACKUPS", str(tmp_path / "backups"))
    return Here()


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@pytest.fixture
def wrong(token):
    settings = {
        "path": str(token),
        "pattern": "^K10[0-9a-f]{64}",
        "replacement": "K10" + "0" * 64,
        "unit": "agent.service",
    }
    return FileChanged(settings, "token_wrong")


def test_changed_file_keeps_everything_but_its_content(target, token, wrong):
    before = token.stat()
    wrong.apply(target)
    assert token.read_text() == "K10" + "0" * 64 + "::server:secret\n"
    assert (token.stat().st_mode, token.stat().st_ino) == (before.st_mode, before.st_ino)


def test_changed_file_comes_back_and_is_read_again(target, token, wrong, tmp_path):
    kept = wrong.apply(target)
    assert wrong.active(target, kept)
    wrong.undo(target, kept)
    assert token.read_text() == TOKEN
    assert token.stat().st_mode & 0o777 == 0o600
    assert target.restarted == ["agent.service", "agent.service"]
    assert list((tmp_path / "backups").iterdir()) == []


def test_what_is_noted_holds_no_secret(target, wrong):
    assert set(wrong.apply(target)) == {"sha256"}


def test_file_that_was_written_meanwhile_stays(target, token, wrong):
    kept = wrong.apply(target)
    token.write_text("K10 of a playbook\n")
    assert not wrong.active(target, kept)
    wrong.undo(target, kept)
    assert token.read_text() == "K10 of a playbook\n"


def test_attempt_that_is_cut_short_is_taken_back(target, token, wrong):
    target.fails = True
    with pytest.raises(PodmanError):
        wrong.apply(target)
    target.fails = False
    wrong.undo(target, {})
    assert token.read_text() == TOKEN


def test_file_without_what_would_be_changed_is_refused(target, token, wrong):
    token.write_text("short\n")
    assert "holds nothing that this fault changes" in wrong.refusal(target)


def test_absent_file_is_refused(target, token, wrong):
    token.unlink()
    assert "does not exist there" in wrong.refusal(target)


def test_file_that_was_away_comes_back(target, token):
    away = FileAway({"path": str(token)}, "etcd_down")
    away.apply(target)
    assert away.active(target, {})
    assert not token.exists()
    away.undo(target, {})
    assert token.read_text() == TOKEN
    assert not away.active(target, {})


def test_file_that_was_made_anew_while_it_was_away_stays(target, token):
    away = FileAway({"path": str(token)}, "etcd_down")
    away.apply(target)
    token.write_text("new\n")
    away.undo(target, {})
    assert token.read_text() == "new\n"


def test_programs_say_what_was_chosen_and_go(target, tmp_path, monkeypatch):
    monkeypatch.setattr(Programs, "_paths", lambda _self: [str(tmp_path / "chronyc")])
    programs = Programs({"programs": "chronyc", "offset_s": "-7.5"}, "clock_skew_reported")
    assert programs.refusal(target) is None
    programs.apply(target)
    said = subprocess.run([tmp_path / "chronyc", "tracking"], capture_output=True, text=True, check=True).stdout
    assert "System time     : 7.5 seconds fast of NTP time\n" in said
    assert "already" in str(programs.refusal(target))
    programs.undo(target, {})
    assert not (tmp_path / "chronyc").exists()


def test_full_disk_has_no_free_block_and_takes_no_room(tmp_path, monkeypatch):
    """On a file system of its own, the way hosts have one; needs the right to mount."""
    monkeypatch.setattr(disks, "_ROOT", tmp_path)
    try:
        disks.ensure("spark-01")
    except disks.DiskError as error:
        pytest.skip(str(error))
    try:
        image = tmp_path / "spark-01.img"
        before = image.stat().st_blocks * 512
        disks.fill("spark-01")
        with pytest.raises(OSError, match="No space left on device"):
            (disks.folder("spark-01") / "more").write_bytes(bytes(4096))
        assert image.stat().st_blocks * 512 - before < 10e6
        disks.filler("spark-01").unlink()
        (disks.folder("spark-01") / "more").write_bytes(bytes(4096))
    finally:
        disks.remove("spark-01")
    assert list(tmp_path.iterdir()) == []


def test_stand_ins_name_themselves():
    for program in files.PROGRAMS.iterdir():
        assert program.read_text().splitlines()[1].startswith(f"# SIMULATED {program.name}: ")


def test_disk_is_mounted_where_it_is_bound():
    assert {path.parent for path in disks.volumes("spark-01").values()} == {disks.folder("spark-01")}
    assert all(isinstance(path, Path) for path in disks.volumes("spark-01").values())
