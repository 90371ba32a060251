"""sshd is asked what would be in effect, and what would shut out an operator is refused before anything is written."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import sshd_host, sshd_settings
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard_host import Guard
from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import run
from ansible_collections.baremetal.gpu.plugins.modules import access_guard, ssh_access
from ansible_collections.baremetal.gpu.tests.unit.plugins.module_utils.test_sshd_settings import EFFECTIVE, KEY
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import add_program, run_module

ME = pwd.getpwuid(os.getuid())
# The first value counts: what the test wrote as the main file, then the drop-in where it is mounted, then defaults.
SSHD = """
file=${FOLDER:-$HOST/etc/ssh/sshd_config.d}/00-baremetal-gpu.conf
if grep -q Nonsense "$file" 2>/dev/null; then echo "$file: Bad configuration option: Nonsense" >&2; exit 255; fi
[ "$1" = -T ] || exit 0
{ cat "$HOST/main"; grep -v -e '^#' -e ' -' "$file" 2>/dev/null; cat "$HOST/effective"; } |
    awk '{ word = tolower($1); if (word == "allowgroups" && NF > 2) { for (i = 2; i <= NF; i++) print word, $i; seen[word]; next } }
         !(word in seen) { seen[word]; $1 = word; print }'
"""
# One service under two names, as Debian has it.
SYSTEMCTL = """
echo "$*" >> "$HOST/calls"
case "$*" in *socket) echo ActiveState=SOCKET ;; *Id,*) printf 'Id=ssh.service\\nLoadState=loaded\\nActiveState=STATE\\n' ;; show*) echo active ;; esac
"""
UNSHARE = 'FOLDER=$7; export FOLDER; shift 8; exec "$@"\n'


class Host:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys = root / "keys"
        self.keys.mkdir(mode=0o755)
        self.own_keys = self.keys / ME.pw_name
        self.own_keys.write_text(KEY + "\n", encoding="utf-8")
        for folder in ("run/systemd/system", "etc/ssh/sshd_config.d", "bin"):
            (root / folder).mkdir(parents=True)
        self.drop_in = root / sshd_settings.DROP_IN.lstrip("/")
        files = f"authorizedkeysfile {self.keys}/%u\n"
        (root / "effective").write_text(files + EFFECTIVE.strip() + "\n", encoding="utf-8")
        (root / "main").write_text("", encoding="utf-8")
        for name, script in {
            "sshd": SSHD,
            "unshare": UNSHARE,
            "systemctl": SYSTEMCTL.replace("STATE", "active"),
        }.items():
            add_program(root / "bin", name, script)

    def run(self, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        return run_module(ssh_access, {"operators": [ME.pw_name], **arguments}, check_mode)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("HOST", str(tmp_path))
    for module in (ssh_access, access_guard):
        monkeypatch.setattr(module, "ROOT", str(tmp_path))
    return made


def test_bare_host_differs_and_is_only_looked_at(host: Host) -> None:
    result = host.run()
    assert result["changed"] is True
    assert "PasswordAuthentication no" in result["diff"][0]["after"]
    assert not host.drop_in.exists()


def test_change_is_reloaded_then_confirmed_and_then_nothing_differs(host: Host) -> None:
    applied = host.run(apply=True, identifier="x")
    assert applied["pending"]["state"] == "applied"
    assert host.drop_in.exists()
    assert (host.root / "calls").read_text(encoding="utf-8").count("reload-or-restart ssh.service\n") == 1
    run_module(access_guard, {"state": "confirmed", "identifier": "x"})
    (host.root / "calls").unlink()
    again = host.run()
    assert (again["changed"], again["pending"]) == (False, None)
    assert not (host.root / "calls").exists() or "reload" not in (host.root / "calls").read_text(encoding="utf-8")


def test_operator_outside_of_the_groups_is_refused(host: Host) -> None:
    result = host.run(allow_groups=["nobody-is-in-it"])
    assert result["code"] == "BG-ACCESS-101"
    assert "AllowGroups" in result["msg"]
    assert not host.drop_in.exists()


def test_operator_without_a_key_is_refused(host: Host) -> None:
    host.own_keys.unlink()
    assert host.run()["code"] == "BG-ACCESS-102"


def test_keys_in_a_file_that_others_may_write_do_not_count(host: Host) -> None:
    host.own_keys.chmod(0o666)
    result = host.run()
    assert result["code"] == "BG-ACCESS-102"
    assert "others may write" in result["msg"]


def test_keys_that_the_same_run_removes_do_not_count(host: Host) -> None:
    assert host.run(authorized_keys={ME.pw_name: []})["code"] == "BG-ACCESS-102"


def test_keys_that_the_same_run_brings_do_count(host: Host) -> None:
    host.own_keys.unlink()
    result = host.run(authorized_keys={ME.pw_name: [KEY]})
    assert result["differences"][1] == f"{host.own_keys} is not as declared"


def test_keys_of_a_user_that_is_not_there_are_refused(host: Host) -> None:
    assert host.run(authorized_keys={"nobody-of-that-name": [KEY]})["code"] == "BG-ACCESS-102"


def test_setting_that_comes_before_ours_is_refused(host: Host) -> None:
    (host.root / "main").write_text("PasswordAuthentication yes\n", encoding="utf-8")
    result = host.run()
    assert result["code"] == "BG-ACCESS-107"
    assert "passwordauthentication yes" in result["msg"]


def test_host_without_a_folder_of_drop_ins_is_refused(host: Host) -> None:
    (host.root / "etc/ssh/sshd_config.d").rmdir()
    assert host.run()["code"] == "BG-ACCESS-107"


def test_settings_that_sshd_does_not_accept_are_refused(host: Host) -> None:
    result = host.run(settings={"Nonsense": "yes"})
    assert result["code"] == "BG-ACCESS-106"
    assert not host.drop_in.exists()


def test_judgement_is_about_what_is_in_effect_now(host: Host) -> None:
    (host.root / "main").write_text("PasswordAuthentication yes\nDenyUsers *\n", encoding="utf-8")
    result = host.run(verify=True)
    assert result["changed"] is False
    assert result["differences"] == ["passwordauthentication yes"]
    assert result["locked_out"] == [f"{ME.pw_name}: DenyUsers names the user"]


def reloads(host: Host) -> list[tuple[str, ...]]:
    change = sshd_host.Sshd(Guard(run, str(host.root)), "sshd").change([])
    assert change.activate == (("sshd", "-t"), *change.restore)
    return list(change.restore)


def test_sshd_that_runs_must_run_again_after_it_was_taken_back(host: Host) -> None:
    assert reloads(host) == [("systemctl", "reload-or-restart", "ssh.service")]


@pytest.mark.parametrize("state", ["active", "inactive"])
def test_sshd_behind_a_socket_is_restarted_if_it_runs(host: Host, state: str) -> None:
    """Reloaded, it would open its port anew and find it taken by the socket."""
    add_program(host.root / "bin", "systemctl", SYSTEMCTL.replace("STATE", state).replace("SOCKET", "active"))
    assert reloads(host) == [("systemctl", "try-restart", "ssh.service")]


def test_host_without_such_a_service_reloads_none(host: Host) -> None:
    add_program(host.root / "bin", "systemctl", SYSTEMCTL.replace("loaded", "not-found"))
    assert reloads(host) == []
