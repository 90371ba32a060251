"""Hosts reboot as machines do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.support.breaking import Spark, until

pytestmark = pytest.mark.lab

BACK_S = 240
REBOOT = """\
- name: Reboot
  hosts: spark-01
  gather_facts: false
  tasks:
    - name: Reboot the host
      ansible.builtin.reboot:
        reboot_timeout: 120
"""


def state_of(lab: Spark, host: str) -> dict[str, str]:
    """Identity of the boot, seconds since it, and when the host says that it was."""
    names = ("boot_id", "uptime", "btime", "now")
    text = lab.shell(host, "cat /proc/sys/kernel/random/boot_id /proc/uptime; grep btime /proc/stat; date +%s")
    return dict(zip(names, (line.removeprefix("btime ").split()[0] for line in text.splitlines()), strict=True))


def test_worker_comes_back_as_another_boot_of_the_same_node(breakable: Spark, spark: Any, tmp_path: Path) -> None:
    before = state_of(breakable, "spark-01")
    assert breakable.node()["boot_id"] == before["boot_id"]
    playbook = tmp_path / "reboot.yml"
    playbook.write_text(REBOOT, encoding="utf-8")
    # An absolute path: the playbook is the test's own.
    done = spark.lab.play(str(playbook))
    assert done.returncode == 0, "\n".join(done.failures())
    after = state_of(breakable, "spark-01")
    assert after["boot_id"] != before["boot_id"]
    assert float(after["uptime"]) < float(before["uptime"])
    assert abs(int(after["now"]) - int(after["btime"]) - float(after["uptime"])) < 3
    assert breakable.shell("spark-01", "systemctl is-active k3s-agent").strip() == "active"
    until(lambda: breakable.node().get("boot_id") == after["boot_id"], BACK_S, breakable.node)
    until(breakable.is_healthy, BACK_S, breakable.node)


def test_what_is_stored_survives_and_what_runs_does_not(breakable: Spark) -> None:
    for fault in ("mirror_down", "clock_skew_reported", "net_slow"):
        breakable.run("fault", "mirror", fault)
    before = state_of(breakable, "mirror")["boot_id"]
    breakable.shell("mirror", "systemctl reboot", check=False)

    def is_back() -> bool:
        text = breakable.shell(
            "mirror", "cat /proc/sys/kernel/random/boot_id; systemctl is-system-running", check=False
        )
        return before not in text and text.endswith("running\n")

    until(is_back, BACK_S)
    until(lambda: "mirror_down" not in breakable.active(), BACK_S)
    assert breakable.active() == {"clock_skew_reported": "active", "net_slow": "active"}
    assert breakable.shell("mirror", "systemctl is-active nginx").strip() == "active"


def test_host_that_was_switched_off_stays_off_until_it_is_switched_on(breakable: Spark) -> None:
    breakable.shell("mirror", "systemctl poweroff", check=False)
    until(lambda: breakable.run("shell", "mirror", "--command", "true", check=False).returncode == 2, BACK_S)
    refused = breakable.run("shell", "mirror", "--command", "true", check=False)
    assert "mirror is exited: `make lab SYSTEM=spark` boots it" in refused.stderr
    breakable.run("boot", "mirror")
    assert breakable.shell("mirror", "systemctl is-system-running").strip() == "running"
