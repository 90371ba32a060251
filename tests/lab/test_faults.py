"""Faults on running hosts are seen as the catalogue says, and taken back without a trace."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.support.breaking import Spark, until, verify
from lab.model import find_host

pytestmark = pytest.mark.lab

PROMPT_S = 20
"""For what follows at once, on a busy machine."""
NOT_READY_S = 120
"""Kubernetes calls a node NotReady 40 s after its last heartbeat, which comes every 10 s."""


def ssh(lab: Spark, host: str, command: str = "true", limit_s: int = 4) -> subprocess.CompletedProcess[str]:
    """A command over a connection of its own; what does not answer within the limit ends with 255."""
    options = [
        "BatchMode=yes",
        f"ConnectTimeout={limit_s}",
        "IdentitiesOnly=yes",
        f"UserKnownHostsFile={lab.state}/ssh/known_hosts",
    ]
    network = (lab.state / "subnet").read_text(encoding="utf-8").strip()
    address = network.replace(".0/24", f".{find_host(host).address}")
    return subprocess.run(
        [
            "ssh",
            *(f"-o{option}" for option in options),
            "-i",
            f"{lab.state}/ssh/id_ed25519",
            f"root@{address}",
            command,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


# ---- Whole hosts and their network, on the one host that needs nothing of the cluster ----


@pytest.mark.parametrize("fault", ["host_down", "host_paused", "net_cut"])
def test_host_does_not_answer_by_ssh(breakable: Spark, fault: str) -> None:
    breakable.run("fault", "mirror", fault)
    assert breakable.active() == {fault: "active"}
    assert ssh(breakable, "mirror").returncode == 255
    breakable.run("unfault", "mirror", fault)
    assert ssh(breakable, "mirror", limit_s=PROMPT_S).returncode == 0
    assert breakable.active() == {}


def test_without_its_network_a_host_can_still_answer_by_ssh(breakable: Spark) -> None:
    page = "curl --silent --max-time 4 --output /dev/null http://mirror.lab.internal/"
    assert ssh(breakable, "spark-01", page).returncode == 0
    breakable.run("fault", "spark-01", "net_cut_keep_ssh")
    # curl ends with 28 when its time is over.
    assert ssh(breakable, "spark-01", page).returncode == 28
    breakable.run("unfault", "spark-01", "net_cut_keep_ssh")
    assert ssh(breakable, "spark-01", page).returncode == 0


def test_only_the_api_can_be_out_of_reach(breakable: Spark) -> None:
    def fetch(address: str) -> int:
        return ssh(
            breakable, "spark-01", f"curl --insecure --silent --max-time 4 --output /dev/null {address}"
        ).returncode

    server = (breakable.state / "subnet").read_text().strip().replace(".0/24", ".20")
    breakable.run("fault", "spark-01", "net_cut_api")
    assert fetch(f"https://{server}:6443/") == 28
    assert fetch("http://mirror.lab.internal/") == 0
    breakable.run("unfault", "spark-01", "net_cut_api")
    assert fetch(f"https://{server}:6443/") == 0


def test_narrow_network_is_narrow_in_both_directions(breakable: Spark) -> None:
    breakable.run("fault", "mirror", "net_slow", "rate=512kbit")
    shown = breakable.shell("mirror", "tc qdisc show dev eth0 root")
    assert "qdisc tbf" in shown
    assert "rate 512Kbit" in shown
    assert breakable.active() == {"net_slow": "active"}


def test_locked_package_manager_refuses(breakable: Spark) -> None:
    breakable.run("fault", "spark-01", "apt_locked")
    refused = ssh(breakable, "spark-01", "apt-get install --yes no-such-package")
    assert "Could not get lock /var/lib/dpkg/lock-frontend" in refused.stderr
    breakable.run("unfault", "spark-01", "apt_locked")
    assert "Unable to locate package" in ssh(breakable, "spark-01", "apt-get install --yes no-such-package").stderr


def test_reported_clock_is_off_and_the_real_one_is_not(breakable: Spark) -> None:
    breakable.run("fault", "mirror", "clock_skew_reported", "offset_s=-7.5")
    report = ssh(breakable, "mirror", "timedatectl show --property=NTPSynchronized && chronyc tracking").stdout
    assert "NTPSynchronized=no" in report
    assert "System time     : 7.5 seconds fast of NTP time" in report
    assert ssh(breakable, "mirror", "timedatectl show --property=Timezone").stdout.startswith("Timezone=")
    breakable.run("unfault", "mirror", "clock_skew_reported")
    assert ssh(breakable, "mirror", "command -v chronyc").stdout == ""


def test_stopped_mirror_refuses_connections(breakable: Spark) -> None:
    breakable.run("fault", "mirror", "mirror_down")
    refused = ssh(breakable, "spark-01", "curl --silent --show-error http://mirror.lab.internal/")
    # curl: 7 is a refused connection.
    assert refused.returncode == 7


# ---- The node and its operands ----


def test_dead_mps_control_process_is_noticed_by_the_verdict_only(breakable: Spark, spark: Any) -> None:
    breakable.run("fault", "spark-01", "mps_down")
    assert verify(spark.lab) == {"BG-GPU-012"}
    assert breakable.node()["allocatable"] == "10"


def test_node_without_device_plugin_offers_no_gpu(breakable: Spark) -> None:
    breakable.run("fault", "spark-01", "plugin_down")
    until(lambda: breakable.node().get("allocatable") == "0", PROMPT_S * 3)
    assert breakable.node()["Ready"] == "True"


def test_node_without_agent_becomes_not_ready(breakable: Spark) -> None:
    breakable.run("fault", "spark-01", "k3s_agent_down")
    until(lambda: breakable.node().get("Ready") != "True", NOT_READY_S)


def test_agent_with_a_wrong_token_says_so(breakable: Spark) -> None:
    token = breakable.shell(
        "spark-01", "sha256sum /etc/rancher/k3s/agent-token; stat -c '%a %U %i' /etc/rancher/k3s/agent-token"
    )
    breakable.run("fault", "spark-01", "token_wrong")
    log = "journalctl --unit=k3s-agent --since=-60s --no-pager"
    until(lambda: "Failed to validate connection" in breakable.shell("spark-01", log), PROMPT_S * 2)
    breakable.run("unfault", "spark-01", "token_wrong")
    again = breakable.shell(
        "spark-01", "sha256sum /etc/rancher/k3s/agent-token; stat -c '%a %U %i' /etc/rancher/k3s/agent-token"
    )
    assert again == token
    assert breakable.shell("spark-01", "ls /var/lib/lab-faults") == ""


def test_frozen_api_server_does_not_answer(breakable: Spark) -> None:
    breakable.run("fault", "calypso", "api_hung")
    assert breakable.shell("calypso", "timeout 4 k3s kubectl get --raw /readyz", check=False) == ""
    breakable.run("unfault", "calypso", "api_hung")
    until(lambda: breakable.kubectl("get", "--raw", "/readyz") == "ok", PROMPT_S)


def test_full_disk_takes_nothing_and_leaves_the_machine_s_alone(breakable: Spark) -> None:
    image = breakable.state / "disks/spark-01.img"
    before = image.stat().st_blocks * 512
    breakable.run("fault", "spark-01", "disk_full")
    refused = ssh(breakable, "spark-01", "dd if=/dev/zero of=/var/lib/rancher/more bs=1M count=1")
    assert "No space left on device" in refused.stderr
    assert image.stat().st_blocks * 512 - before < 100e6
    until(lambda: breakable.node().get("DiskPressure") == "True", PROMPT_S * 3)
    breakable.run("unfault", "spark-01", "disk_full")
    ssh(breakable, "spark-01", "rm /var/lib/rancher/more")
    # A kubelet waits five minutes before it believes in the end of the pressure; one that starts looks anew.
    breakable.shell("spark-01", "systemctl restart k3s-agent")


# ---- Errors ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sprak-01", "net_cut"), "did you mean spark-01"),
        (("spark-01", "net_cutt"), "did you mean net_cut"),
        (
            ("mirror", "k3s_agent_down"),
            "mirror cannot have k3s_agent_down, which needs a host with k3s-agent: spark-01",
        ),
        (("onyx-g1", "net_cut"), "`make lab SYSTEM=onyx` boots it"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(breakable: Spark, arguments: tuple[str, str], message: str) -> None:
    refused = breakable.run("fault", *arguments, check=False)
    assert (refused.returncode, message in refused.stderr) == (2, True)


def test_shell_on_an_unknown_host_names_the_near_one(breakable: Spark) -> None:
    refused = breakable.run("shell", "spark01", check=False)
    assert (refused.returncode, "did you mean spark-01" in refused.stderr) == (2, True)


def test_shell_returns_what_its_command_returned(breakable: Spark) -> None:
    assert breakable.run("shell", "mirror", "--command", "echo $HOSTNAME; exit 3", check=False).returncode == 3
