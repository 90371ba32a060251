"""Nobody is locked out: every attempt ends with the operator able to log in again, and says how long that was impossible."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import access_guard as guard
from ansible_collections.baremetal.gpu.plugins.module_utils.firewall_policy import policy_from, render
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.tests.lab.conftest import KEEP
from ansible_collections.baremetal.gpu.tests.support import packets
from ansible_collections.baremetal.gpu.tests.support.access import HOST, AccessHost, codes, kill
from ansible_collections.baremetal.gpu.tests.support.playbooks import good

pytestmark = pytest.mark.lab

FIREWALL, SSH = "access_firewall.yml", "access_ssh.yml"
# The lab's network is what the operator comes from; the device that stands for the tailnet leads nowhere, so closing
# the host to it locks the operator out for certain.
OPEN = {"tailnet_firewall_interface": "eth0"}
SHUT = {"tailnet_firewall_interface": "tailscale0"}
AFTER_S = 20
LONG_S = 900
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHN1cmVseW5vdHRoZW9wZXJhdG9yc293bmtleTEyMzQ1 another"
# Logs in, and runs nothing.
USELESS = {"ForceCommand": "/bin/false"}
# Passes sshd -t and sshd -T, and ends every login.
DEADLY = {"ChrootDirectory": "/nowhere"}

# Loads the half of a ruleset that closes, and fails.
HALF = """#!/bin/sh
case "$*" in
    *armed/wanted.nft)
        /usr/sbin/nft 'add table inet baremetal_gpu; add chain inet baremetal_gpu input { type filter hook input priority filter; policy drop; }'
        echo "planted failure" >&2
        exit 1 ;;
esac
exec /usr/sbin/nft "$@"
"""


@pytest.fixture(scope="module")
def booted_host(root: Path) -> Iterator[AccessHost]:
    # Not the state of the system `access`, which other tests may have booted meanwhile.
    host = AccessHost(root, root / ".lab/tests-lock-out")
    host.state.parent.mkdir(exist_ok=True)
    with host.state.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            host.engine("boot", HOST)
            host.write_inventory()
            yield host
        finally:
            if not os.environ.get(KEEP):
                host.engine("clean")
                host.state.with_suffix(".lock").unlink()


@pytest.fixture
def host(booted_host: AccessHost) -> AccessHost:
    booted_host.reset()
    return booted_host


def assert_untouched(host: AccessHost) -> None:
    """What is in effect, and what a boot would find, is what was before."""
    assert host.console("nft list tables | grep baremetal || true").strip() == ""
    assert host.console("ls /etc/ssh/sshd_config.d").strip() == ""
    assert (
        host.console("cmp /root/.ssh/authorized_keys /root/.ssh/authorized_keys.before; ls /etc/baremetal-gpu").find(
            "firewall"
        )
        < 0
    )
    assert host.console("find /etc/systemd/system -name 'baremetal-gpu-*'").strip() == ""
    assert host.console(f"ls {guard.GUARD} 2>/dev/null || true").split() in (["lock"], ["lock", "rolled-back"], [])


@pytest.mark.requirement("SPARK-05", part="keys only, and the second run changes nothing")
def test_change_is_kept_after_it_was_confirmed_and_the_second_run_changes_nothing(host: AccessHost) -> None:
    sessions = "systemctl show --property=ExecMainPID,ActiveEnterTimestampMonotonic --value ssh.service"
    before = host.console(sessions)
    for playbook in (FIREWALL, SSH):
        good(host.change(playbook, **OPEN))
    assert host.console(sessions) == before, "sshd was restarted, not reloaded"
    journal = "journalctl --no-pager -u ssh.service -u baremetal-gpu-firewall.service -o cat | wc -l"
    looked = "date +%s%N; stat -c %Y /etc/ssh/sshd_config.d/* /etc/baremetal-gpu/firewall.nft; " + journal
    first = host.console(looked).splitlines()[1:]
    for playbook in (FIREWALL, SSH):
        again = host.change(playbook, **OPEN)
        good(again)
        assert again.changed() == set()
        assert len([result for result in again.results if result.status != "skipped"]) <= 8
    assert host.console(looked).splitlines()[1:-1] == first[:-1]
    assert host.console("find /etc/systemd/system -name '*rollback*'").strip() == ""


def test_rules_and_settings_are_there_after_a_boot(host: AccessHost) -> None:
    for playbook in (FIREWALL, SSH):
        good(host.change(playbook, **OPEN))
    host.restart()
    for playbook in (FIREWALL, SSH):
        after = host.change(playbook, **OPEN)
        good(after)
        assert after.changed() == set()


def test_check_mode_names_what_then_changes(host: AccessHost) -> None:
    for playbook in (FIREWALL, SSH):
        predicted = host.change(playbook, "--check", **OPEN)
        good(predicted)
        assert_untouched(host)
        done = host.change(playbook, **OPEN)
        good(done)
        assert predicted.changed() == done.changed() != set()
        host.reset()


EVERYTHING = ["tcp/10250", "tcp/22", "tcp/31000", "tcp/443", "tcp/6443", "udp/41641", "udp/53", "udp/68", "udp/8472"]
PUBLISHED = ["tcp/8080", "udp/8080"]


def both(names: list[str]) -> set[str]:
    """The same ports for IPv4 and IPv6."""
    return {*names, *(name.replace("/", "6/") for name in names)}


def sixth(names: list[str]) -> set[str]:
    return both(names) - set(names)


@pytest.mark.requirement("SPARK-05", part="firewall")
def test_real_packets_come_through_only_where_they_are_declared(host: AccessHost) -> None:
    """Sent in network namespaces of their own, over the real kernel and nft, also to a port that is published by DNAT."""
    variables = {
        "links": ["enp1s0f0np0"],
        "nodes": ["192.0.2.20", "2001:db8:1::20"],
        "pod_networks": ["10.42.0.0/16", "2001:db8:42::/64"],
        "sources": [
            {"source": source, "ports": ["443/tcp", "8080/tcp"]} for source in ("192.0.2.30", "2001:db8:1::30")
        ],
    }
    rules = render(policy_from(data_files.load("data/ports.yml"), variables))
    host.put("/run/packets.nft", rules, "600")
    host.put("/run/packets.py", Path(packets.__file__).read_text(encoding="utf-8"), "700")
    told = json.loads(host.console("python3 /run/packets.py /run/packets.nft"))
    before, after = ({place: set(seen) for place, seen in told[when].items()} for when in ("before", "after"))
    whole = both([*EVERYTHING, *PUBLISHED])
    # Without the rules everything comes through, so what does not with them is their doing.
    assert before["outsider"] == before["tailnet"] == before["link"] == before["pod"] == whole
    assert before["outsider to containers"] == {"tcp/80", "tcp6/80"}
    assert told["tables"] == ["table ip dockerlike", "table ip6 dockerlike", "table inet baremetal_gpu", ""]
    assert after.pop("outsider") == both(["udp/41641"])
    for place in ("tailnet", "link", "pod"):
        assert after.pop(place) == whole, place
    assert after.pop("container") == both(["udp/41641"])
    of_nodes = ["tcp/10250", "tcp/6443", "udp/8472", "udp/41641"]
    assert (after.pop("node"), after.pop("node6")) == (set(of_nodes), sixth(of_nodes))
    of_sources = ["tcp/443", "tcp/8080", "udp/41641"]
    assert (after.pop("source"), after.pop("source6")) == (set(of_sources), sixth(of_sources))
    assert after.pop("pretended pod") == {"udp/41641"}
    assert after.pop("outsider to containers") == set()
    # Two networks each, and as ever: what goes out, DHCP and ping.
    assert {place: after[place] for place in after} == {place: before[place] for place in after}
    assert set(after) == {"tailnet to containers", "container to the world", "host to the world", "dhcp", "ping"}
    assert told["scan"] == {"outsider": 0, "tailnet": 2 * 2000}, "ports of a sample at which a packet came through"


@pytest.mark.full
def test_operator_who_is_not_root_comes_back_with_the_same_rights(host: AccessHost) -> None:
    """The fresh connection becomes root as the present one does."""
    host.console(
        "getent passwd ada >/dev/null || useradd --create-home --shell /bin/bash --groups sudo ada; "
        "echo 'ada ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ada; "
        "install -d -o ada -m 700 /home/ada/.ssh; install -o ada -m 600 /root/.ssh/authorized_keys /home/ada/.ssh/authorized_keys"
    )
    as_ada = {"ansible_user": "ada", "ansible_become": True, "ssh_access_allow_groups": ["sudo", "root"]}
    for playbook in (FIREWALL, SSH):
        good(host.change(playbook, **OPEN, **as_ada))
        again = host.change(playbook, **OPEN, **as_ada)
        good(again)
        assert again.changed() == set()
    refused = host.change(SSH, **{**as_ada, "ssh_access_allow_groups": ["root"]})
    assert codes(refused) == ["BG-ACCESS-101"]
    assert "ada" in refused.failures()[0]


# Each of the following is an attempt to lock the operator out.


@pytest.mark.requirement("SPARK-05", part="a controller that dies locks nobody out")
def test_controller_that_is_killed_after_it_applied(host: AccessHost, record_property: Any) -> None:
    with host.watched() as outage:
        with host.controller(FIREWALL, **SHUT, tailnet_firewall_rollback_after=AFTER_S) as process:
            kill(process)
            assert not host.can_log_in(), "the attempt locked nobody out, so it shows nothing"
        host.await_login(AFTER_S + 30)
    record_property("told", f"outage {outage.seconds:.1f} s of {AFTER_S} s until the timer")
    assert_untouched(host)


def test_key_that_the_same_run_removes(host: AccessHost, record_property: Any) -> None:
    with host.watched() as outage:
        run = host.change(
            SSH,
            ssh_access_authorized_keys={"root": [OTHER_KEY]},
            ssh_access_rollback_after=AFTER_S,
            ssh_access_connect_timeout=3,
        )
        host.await_login(AFTER_S + 30)
    assert codes(run) == ["BG-ACCESS-120"]
    record_property("told", f"outage {outage.seconds:.1f} s")
    assert_untouched(host)


def test_rules_that_are_loaded_by_half(host: AccessHost, record_property: Any) -> None:
    host.put("/usr/local/sbin/nft", HALF, "755")
    with host.watched() as outage:
        run = host.change(FIREWALL, **OPEN, tailnet_firewall_rollback_after=AFTER_S)
        host.await_login(AFTER_S + 30)
    assert codes(run) == ["BG-ACCESS-121"]
    assert "planted failure" in run.failures()[0]
    record_property("told", f"outage {outage.seconds:.1f} s")
    assert_untouched(host)


@pytest.mark.requirement("SPARK-05", part="a boot in the middle locks nobody out")
def test_boot_while_a_deadly_setting_is_armed(host: AccessHost, record_property: Any) -> None:
    """The timer that was started has hours left, so only the one of the boot can have done it."""
    with host.watched() as outage:
        with host.controller(SSH, ssh_access_settings=DEADLY, ssh_access_rollback_after=LONG_S) as process:
            kill(process)
            assert not host.can_log_in()
        host.console("systemctl reboot", check=False)
        host.await_login(120)
    record_property("told", f"outage {outage.seconds:.1f} s with the boot")
    assert_untouched(host)
    assert host.console(f"cat {guard.ROLLED_BACK}/state").strip() == guard.APPLIED


@pytest.mark.full
def test_boot_while_a_deadly_firewall_is_armed(host: AccessHost, record_property: Any) -> None:
    with host.watched() as outage:
        with host.controller(FIREWALL, **SHUT, tailnet_firewall_rollback_after=LONG_S) as process:
            kill(process)
            assert not host.can_log_in()
        host.console("systemctl reboot", check=False)
        host.await_login(120)
    record_property("told", f"outage {outage.seconds:.1f} s with the boot")
    assert_untouched(host)


@pytest.mark.full
def test_rules_that_close_the_way_by_which_the_controller_came(host: AccessHost, record_property: Any) -> None:
    with host.watched() as outage:
        run = host.change(FIREWALL, **SHUT, tailnet_firewall_rollback_after=AFTER_S, tailnet_firewall_connect_timeout=3)
        host.await_login(AFTER_S + 30)
    assert codes(run) == ["BG-ACCESS-120"]
    record_property("told", f"outage {outage.seconds:.1f} s")
    assert_untouched(host)


@pytest.mark.full
@pytest.mark.parametrize("settings", [DEADLY, USELESS], ids=["ends every login", "runs nothing"])
def test_settings_that_parse_and_refuse_everybody(
    host: AccessHost, settings: dict[str, str], record_property: Any
) -> None:
    with host.watched() as outage:
        run = host.change(
            SSH, ssh_access_settings=settings, ssh_access_rollback_after=AFTER_S, ssh_access_connect_timeout=3
        )
        host.await_login(AFTER_S + 30)
    assert codes(run) == ["BG-ACCESS-120"]
    record_property("told", f"outage {outage.seconds:.1f} s")
    assert_untouched(host)


@pytest.mark.full
@pytest.mark.parametrize(
    ("playbook", "variables", "code"),
    [
        (FIREWALL, {"tailnet_firewall_way_back": "10.255.255.1"}, "BG-ACCESS-103"),
        (FIREWALL, {"tailnet_firewall_way_back": "spark-01.gone.invalid"}, "BG-ACCESS-103"),
        (FIREWALL, {"tailnet_firewall_way_back": "127.0.0.1"}, "BG-ACCESS-103"),
        (FIREWALL, {"tailnet_firewall_interface": "tailscale9"}, "BG-ACCESS-104"),
        (SSH, {"ssh_access_way_back": "10.255.255.1"}, "BG-ACCESS-103"),
        (SSH, {"ssh_access_allow_groups": ["sudo"]}, "BG-ACCESS-101"),
        (SSH, {"ssh_access_permit_root": "no"}, "BG-ACCESS-101"),
        (SSH, {"ssh_access_settings": {"DenyUsers": "*"}}, "BG-ACCESS-101"),
        (SSH, {"ssh_access_settings": {"PubkeyAcceptedAlgorithms": "ecdsa-sha2-nistp521"}}, "BG-ACCESS-102"),
        (SSH, {"ssh_access_authorized_keys": {"root": []}}, "BG-ACCESS-102"),
        (SSH, {"ssh_access_settings": {"NoSuchKeyword": "yes"}}, "BG-ACCESS-106"),
    ],
    ids=[
        "wrong address",
        "name that DNS does not know",
        "address of another machine",
        "tailnet that is not up",
        "wrong address for sshd",
        "groups without the user",
        "no root",
        "everybody denied",
        "no algorithm of the key",
        "no key left",
        "no setting of sshd",
    ],
)
def test_what_would_lock_out_is_refused_before_anything_changes(
    host: AccessHost, playbook: str, variables: dict[str, Any], code: str, record_property: Any
) -> None:
    with host.watched() as outage:
        run = host.change(
            playbook, **{**SHUT, "tailnet_firewall_connect_timeout": 3, "ssh_access_connect_timeout": 3, **variables}
        )
    assert codes(run) == [code]
    assert len(outage.good) == outage.attempts, "the operator was locked out for a moment"
    record_property("told", "no outage")
    assert_untouched(host)


@pytest.mark.full
def test_no_clock_on_the_wall_counts_while_a_change_waits(host: AccessHost, record_property: Any) -> None:
    """The clock is not set; what systemd waits for is on the monotonic one, and nothing else."""
    show = f"systemctl show --property=NextElapseUSecMonotonic,NextElapseUSecRealtime,TimersCalendar {guard.TIMER}"
    with host.watched() as outage:
        with host.controller(SSH, ssh_access_settings=USELESS, ssh_access_rollback_after=60) as process:
            shown = dict(line.split("=", 1) for line in host.console(show).splitlines())
            enabled = host.console(f"systemctl is-enabled {guard.TIMER} {guard.BOOT_TIMER}").split()
            process.wait()
        host.await_login(90)
    assert shown["NextElapseUSecMonotonic"] not in ("", "0", "infinity")
    assert (shown["NextElapseUSecRealtime"], shown.get("TimersCalendar", "")) == ("", "")
    assert enabled == ["enabled", "enabled"]
    record_property("told", f"outage {outage.seconds:.1f} s")
    assert_untouched(host)


@pytest.mark.full
def test_two_controllers_at_once_leave_the_change_of_one(host: AccessHost, record_property: Any) -> None:
    with host.watched() as outage, host.controller(FIREWALL, **SHUT, tailnet_firewall_rollback_after=AFTER_S) as first:
        # The first one's shared connection outlives the rules, so the second one gets in by it.
        second = host.change(FIREWALL, **OPEN)
        assert codes(second) == ["BG-ACCESS-105"]
        first.wait()
        host.await_login(AFTER_S + 30)
    record_property("told", f"outage {outage.seconds:.1f} s")
    assert_untouched(host)


@pytest.mark.full
def test_way_back_that_is_killed_is_run_again(host: AccessHost, record_property: Any) -> None:
    """The first attempts of the service die in the middle, after the files were put back and before sshd is reloaded."""
    with host.watched() as outage:
        with host.controller(SSH, ssh_access_settings=DEADLY, ssh_access_rollback_after=AFTER_S) as process:
            kill(process)
            script = host.console(f"cat {guard.SCRIPT}")
            dies = "    [ -e /run/twice ] || { touch /run/twice; kill -KILL $$; }\n    systemctl "
            assert script.count("    systemctl ") == 1
            host.put(guard.SCRIPT, script.replace("    systemctl ", dies), "700")
        host.await_login(AFTER_S + 40)
    assert host.console("ls /run/twice; rm /run/twice").strip() == "/run/twice"
    record_property("told", f"outage {outage.seconds:.1f} s")
    assert_untouched(host)


@pytest.mark.full
def test_sshd_behind_a_socket(host: AccessHost, record_property: Any) -> None:
    host.console("systemctl disable --quiet --now ssh.service; systemctl enable --quiet --now ssh.socket")
    with host.watched() as outage:
        good(host.change(SSH))
        run = host.change(
            SSH, ssh_access_settings=DEADLY, ssh_access_rollback_after=AFTER_S, ssh_access_connect_timeout=3
        )
        host.await_login(AFTER_S + 30)
    assert codes(run) == ["BG-ACCESS-120"]
    assert host.console("systemctl is-active ssh.socket").strip() == "active"
    assert "ChrootDirectory" not in host.console("cat /etc/ssh/sshd_config.d/00-baremetal-gpu.conf")
    record_property("told", f"outage {outage.seconds:.1f} s")
