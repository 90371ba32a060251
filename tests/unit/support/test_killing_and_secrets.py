"""What the robustness tests are made of does what they rely on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ansible_collections.baremetal.gpu.tests.support.killing import MANNERS, descendants, draw, processes
from ansible_collections.baremetal.gpu.tests.support.secrets import CommandLines, files_with, leaked

SECRETS = {"token": "0f5c1d7a9be24c6d8e13"}


def test_seed_decides_everything_about_a_kill() -> None:
    assert [draw(seed) for seed in range(1, 21)] == [draw(seed) for seed in range(1, 21)]


def test_twenty_seeds_know_every_manner_and_early_and_late_instants() -> None:
    kills = [draw(seed) for seed in range(1, 21)]
    assert {kill.manner for kill in kills} == set(MANNERS)
    assert min(kill.fraction for kill in kills) < 0.2
    assert max(kill.fraction for kill in kills) > 0.8


def test_own_process_is_among_the_processes() -> None:
    assert any(Path(words[0]).name.startswith("python") for _pid, words in processes())


def test_process_in_a_session_of_its_own_is_still_a_descendant() -> None:
    inner = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], start_new_session=True)"
    with subprocess.Popen([sys.executable, "-c", inner], stdin=subprocess.PIPE) as outer:
        while not (found := descendants(outer.pid)):
            assert outer.poll() is None
        assert all(words for pid, words in processes() if pid in found)
        outer.communicate(b"\n")
    assert outer.returncode == 0


def test_secret_on_a_command_line_is_seen() -> None:
    with CommandLines(SECRETS, interval_s=0.01) as lines:
        subprocess.run([sys.executable, "-c", "import time; time.sleep(1)", SECRETS["token"]], check=True)
    assert lines.leaks
    assert all(leak.startswith("token on the command line of python") for leak in lines.leaks)


def test_nothing_is_seen_where_nothing_leaks() -> None:
    with CommandLines(SECRETS, interval_s=0.01) as lines:
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.2)"], check=True)
    assert (lines.leaks, lines.samples > 0) == (set(), True)


def test_secret_is_found_in_text_and_files_but_not_behind_links(tmp_path: Path) -> None:
    (tmp_path / "loud").write_bytes(b"\x00\xff" + SECRETS["token"].encode())
    (tmp_path / "quiet").write_text("nothing", encoding="utf-8")
    (tmp_path / "link").symlink_to("loud")
    assert files_with(SECRETS, tmp_path) == {tmp_path / "loud": ["token"]}
    assert leaked(SECRETS, f"x{SECRETS['token']}y") == ["token"]
    assert leaked(SECRETS, "x") == []
