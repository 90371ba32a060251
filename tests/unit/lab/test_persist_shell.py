"""The scripts that need the network before there is a virtual environment try again too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.mark.parametrize(("failures", "status", "attempts"), [(0, 0, 1), (2, 0, 3), (9, 1, 3)])
def test_a_command_is_tried_again_while_it_fails(
    root: Path, tmp_path: Path, failures: int, status: int, attempts: int
) -> None:
    script = (
        'root=$1; . "$root/tools/environments.sh"; persist_pauses="0 0"\n'
        'attempt() { echo x >>"$2"; [ "$(wc -l <"$2")" -gt "$1" ]; }\n'
        'persist attempt "$2" "$3"\n'
    )
    command = ["sh", "-euc", script, "sh", str(root), str(failures), str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert len((tmp_path / "log").read_text(encoding="ascii").splitlines()) == attempts
    assert done.stderr.count("was interrupted; going on") == attempts - 1
