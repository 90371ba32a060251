"""Nodes of a real tailnet: real Tailscale on the hosts, real headscale as their login server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.support import playbooks
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab
from ansible_collections.baremetal.gpu.tests.support.playbooks import PlaybookRun, good
from ansible_collections.baremetal.gpu.tests.support.secrets import CommandLines, files_with, leaked

pytestmark = pytest.mark.lab

NODE, OPERATOR, OUTSIDER = "spark-02", "operator", "outsider"
LOGIN = Path(__file__).parent / "playbooks/tailnet_login.yml"


@dataclass(frozen=True)
class Tailnet:
    """The lab's tailnet, driven by what an operator of each part would type."""

    lab: Lab
    predicted: PlaybookRun
    joined: PlaybookRun
    """The run that joined two bare hosts."""

    def play(self, *options: str) -> PlaybookRun:
        return self.lab.play("tailnet.yml", "--limit", NODE, *options)

    def login(self, *options: str, **declared: Any) -> dict[str, Any]:
        """The result of one login of the node."""
        arguments = {"login_server": self.server, "timeout_s": 20, **declared}
        done = playbooks.run(
            LOGIN,
            self.lab.inventories,
            self.declare(test_host=NODE, test_declared=arguments),
            *options,
            environment={**self.lab.environment, "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.lab.sockets)},
            root=self.lab.root,
        )
        return {**done.results[-1].result, "output": done.output}

    def declare(self, **variables: Any) -> str:
        """The option that declares these; by a file, because a command line would lose their types."""
        path = self.lab.state / "secrets/declared.json"
        path.write_text(json.dumps(variables), encoding="utf-8")
        return f"--extra-vars=@{path}"

    def headscale(self, command: str) -> Any:
        return json.loads(self.lab.ssh("headscale", f"headscale --output=json {command}").stdout)

    @property
    def server(self) -> str:
        return f"http://{self.lab.address('headscale')}:8080"

    def key(self, options: str = "", life: str = "1h") -> tuple[str, Path]:
        """A new auth key, and a file of the controller with it."""
        value = str(self.headscale(f"preauthkeys create --user=1 --expiration={life} {options}")["key"])
        path = self.lab.state / "secrets" / f"key-{value[:8]}"
        path.write_text(f"{value}\n", encoding="utf-8")
        return value, path

    def status(self, host: str = NODE) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.lab.ssh(host, "tailscale status --json || true").stdout)
        return found

    def prefs(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.lab.ssh(NODE, "tailscale debug prefs").stdout)
        return found

    def address(self, host: str = NODE) -> str:
        return str(self.status(host)["TailscaleIPs"][0])

    def log_out(self) -> None:
        self.lab.ssh(NODE, "tailscale logout")

    def invocation(self) -> str:
        """systemd's identifier of the running daemon."""
        return self.lab.ssh(NODE, "systemctl show --value --property=InvocationID tailscaled").stdout.strip()


@pytest.fixture(scope="module")
def tailnet(access_lab: Lab) -> Tailnet:
    predicted = access_lab.play("tailnet.yml", "--check", "--diff")
    joined = access_lab.play("tailnet.yml", "--diff")
    good(joined)
    return Tailnet(access_lab, predicted, joined)


@pytest.fixture
def node(tailnet: Tailnet) -> Iterator[Tailnet]:
    """A test gets and leaves the node in the tailnet, as it is declared."""
    yield tailnet
    key = str(tailnet.lab.state / "secrets/tailnet-key")
    done = tailnet.login(auth_key_file=key, hostname=NODE, accept_dns=True, advertise_routes=[], auto_update=False)
    assert done["online"], done


def test_a_join_from_bare_hosts_is_predicted(tailnet: Tailnet) -> None:
    assert tailnet.predicted.returncode == 0, "\n".join(tailnet.predicted.failures())
    assert tailnet.predicted.changed() == tailnet.joined.changed()
    assert any("Join the tailnet" in task for _host, task in tailnet.joined.changed())


@pytest.mark.requirement("SPARK-05", part="joined to a tailnet")
def test_nodes_reach_each_other_and_who_is_not_in_the_tailnet_reaches_none(tailnet: Tailnet) -> None:
    address = tailnet.address()
    assert {finding["code"]: finding["status"] for finding in findings(tailnet.joined)} == {
        "BG-TAILNET-020": "ok",
        "BG-TAILNET-021": "ok",
        "BG-TAILNET-022": "ok",
    }
    # The first packets wait until both sides have found a path.
    tailnet.lab.ssh(OPERATOR, f"ping -c 1 -W 20 {address}")
    tailnet.lab.ssh(OPERATOR, f"timeout 10 bash -c '</dev/tcp/{address}/22'")
    assert tailnet.lab.ssh(OUTSIDER, f"ping -c 1 -W 2 {address}", check=False).returncode != 0


def findings(run: PlaybookRun) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run.verdict["hosts"][NODE]["findings"]
    return found


def test_a_second_run_changes_nothing_and_asks_for_no_key(tailnet: Tailnet) -> None:
    before = tailnet.invocation()
    again = tailnet.play("--extra-vars=tailscale_auth_key_file=/nowhere")
    assert (again.returncode, again.changed()) == (0, set()), "\n".join(again.failures())
    assert tailnet.invocation() == before


def test_drift_is_predicted_and_repaired_without_a_restart(node: Tailnet) -> None:
    node.lab.ssh(
        NODE, "tailscale set --hostname=drifted --accept-dns=false --advertise-routes=10.9.0.0/16 --auto-update=true"
    )
    before, drifted = node.invocation(), node.prefs()
    declared = node.declare(tailscale_tags=["tag:gpu"])
    predicted = node.play("--check", "--diff", declared)
    assert node.prefs() == drifted
    done = node.play("--diff", declared)
    assert done.returncode == 0, "\n".join(done.failures())
    assert predicted.changed() == done.changed() != set()
    assert (
        settings_of(predicted)
        == settings_of(done)
        == {"accept_dns", "advertise_routes", "auto_update", "hostname", "tags"}
    )
    prefs = node.prefs()
    assert (prefs["Hostname"], prefs["CorpDNS"], prefs["AdvertiseRoutes"]) == (NODE, True, None)
    assert prefs["AutoUpdate"]["Apply"] is False
    assert node.status()["Self"]["Tags"] == ["tag:gpu"]
    assert node.invocation() == before


def settings_of(run: PlaybookRun) -> set[str]:
    """Names of the settings that the changing task named."""
    return {
        name
        for result in run.results
        if result.module.endswith("tailscale_node") and result.changed
        for name in result.result["settings"]
    }


def test_a_tag_that_the_policy_does_not_allow_is_refused_and_costs_no_other(node: Tailnet) -> None:
    assert node.login(tags=["tag:gpu"])["tags"] == ["tag:gpu"]
    refused = node.login(tags=["tag:forbidden"])
    assert refused["code"] == "BG-TAILNET-006"
    assert node.status()["Self"]["Tags"] == ["tag:gpu"]


def test_tags_of_a_key_are_enough(node: Tailnet) -> None:
    node.log_out()
    joined = node.login(auth_key_file=str(node.key("--tags=tag:other")[1]), tags=["tag:other"], tag_source="auth_key")
    assert (joined["login"], joined["tags"]) == ("join", ["tag:other"])


def test_keys_that_let_nobody_in_are_told_apart(node: Tailnet) -> None:
    expired = node.key(life="1s")[1]
    once = node.key()[1]
    node.log_out()
    assert node.login(auth_key_file=str(once))["changed"]
    node.log_out()
    unknown = node.lab.state / "secrets/key-unknown"
    unknown.write_text("0" * 48, encoding="utf-8")
    codes = [node.login(auth_key_file=str(path))["code"] for path in (expired, once, unknown)]
    assert codes == ["BG-TAILNET-001", "BG-TAILNET-002", "BG-TAILNET-003"]
    assert node.login()["code"] == "BG-TAILNET-010"
    # The daemon does not go on trying.
    count = "journalctl --unit=tailscaled --output=cat {} | grep -c RegisterReq || true"
    time.sleep(4)
    assert node.lab.ssh(NODE, count.format("--since=-3s")).stdout.strip() == "0"
    assert node.lab.ssh(NODE, count.format("")).stdout.strip() != "0"


def test_another_login_server_is_refused_before_anything_changes(node: Tailnet) -> None:
    before = node.prefs()
    mirror = f"http://{node.lab.address('headscale')}:8081"
    assert node.login(login_server=mirror)["code"] == "BG-TAILNET-004"
    assert node.prefs() == before
    node.log_out()
    key = str(node.key()[1])
    assert node.login(login_server=mirror, auth_key_file=key)["code"] == "BG-TAILNET-005"
    assert node.login("--check", login_server=mirror, auth_key_file=key)["code"] == "BG-TAILNET-005"


def test_a_node_whose_key_ended_logs_in_again_and_keeps_its_address(node: Tailnet) -> None:
    address, mine = node.address(), node.status()["Self"]["ID"]
    node.headscale(f"nodes expire --identifier={mine}")
    until(lambda: node.status()["BackendState"] == "NeedsLogin")
    predicted = node.play("--check", "--diff")
    done = node.play("--diff")
    assert (done.returncode, predicted.changed()) == (0, done.changed()), "\n".join(done.failures())
    assert [result.result["login"] for result in done.results if result.changed] == ["reauthenticate"]
    assert (node.address(), node.status()["Self"]["Online"]) == (address, True)


def until(holds: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.3)


def test_a_stopped_node_is_started_without_a_key(node: Tailnet) -> None:
    node.lab.ssh(NODE, "tailscale down")
    done = node.login()
    assert (done["login"], done["online"]) == ("start", True)


def test_an_exit_node_is_chosen_by_name_and_survives_what_is_done_to_the_node(node: Tailnet) -> None:
    """`tailscale up` knows an exit node by its address only, and forgets it where it is not said again."""
    node.lab.ssh(OPERATOR, "tailscale set --advertise-exit-node")
    other = node.status(OPERATOR)["Self"]["ID"]
    node.headscale(f"nodes approve-routes --identifier={other} --routes=0.0.0.0/0,::/0")
    until(lambda: any(peer["ExitNodeOption"] for peer in (node.status()["Peer"] or {}).values()))
    declared = {"exit_node": OPERATOR, "exit_node_allow_lan_access": True}
    try:
        assert node.login(**declared)["settings"] == sorted(declared)
        assert not node.login(**declared)["changed"]
        tags = ["tag:other"] if node.status()["Self"].get("Tags") == ["tag:gpu"] else ["tag:gpu"]
        assert node.login(tags=tags)["settings"] == ["tags"]
        assert (node.prefs()["ExitNodeID"], node.prefs()["ExitNodeAllowLANAccess"]) == (other, True)
        assert node.login(exit_node="nobody")["code"] == "BG-TAILNET-013"
    finally:
        assert node.login(exit_node="", exit_node_allow_lan_access=False)["changed"]
    assert (node.prefs()["ExitNodeID"], node.prefs()["ExitNodeIP"]) == ("", "")


@pytest.mark.full
def test_a_daemon_goes_to_userspace_mode_and_back(node: Tailnet) -> None:
    for is_userspace in (True, False):
        declared = node.declare(tailscale_userspace=is_userspace)
        predicted, done = node.play("--check", "--diff", declared), node.play("--diff", declared)
        assert done.returncode == 0, "\n".join(done.failures())
        assert predicted.changed() == done.changed()
        assert {task.split(" : ")[-1] for _host, task in done.handlers()} == {"Restart tailscaled"}
        assert node.status()["TUN"] is not is_userspace


@pytest.mark.alone
def test_the_key_is_nowhere_but_in_its_file(node: Tailnet) -> None:
    """Of a login that works and of one that is refused: output at -vvvv, results, command lines, journal and files."""
    value, path = node.key()
    secrets = {"auth key": value}
    node.log_out()
    with CommandLines(secrets) as lines:
        joined = node.login("-vvvv", auth_key_file=str(path))
        node.log_out()
        refused = node.login("-vvvv", auth_key_file=str(path))
    assert (joined["login"], refused["code"]) == ("join", "BG-TAILNET-002")
    assert "tailscale" in lines.seen, "no command line was looked at"
    assert lines.leaks == set()
    assert leaked(secrets, json.dumps([joined, refused], default=str)) == []
    assert set(files_with(secrets, node.lab.state)) == {path}
    # In two halves, so that the search does not find itself. One copy shows that it finds what is there.
    pattern, planted = "/dev/shm/canary", "/var/tmp/planted"
    found = node.lab.ssh(
        NODE,
        f"printf '%s%s\\n' {value[:24]} {value[24:]} > {pattern}; cp {pattern} {planted}; "
        f"grep -rlsF -f {pattern} /etc /home /opt /root /run /srv /tmp /usr/local /var || true; "
        f"journalctl | grep -cF -f {pattern} || true; rm {pattern} {planted}",
    )
    assert found.stdout.split() == [planted, "0"]


def test_a_node_leaves_only_when_that_was_said_twice(tailnet: Tailnet) -> None:
    node = tailnet
    accepted = node.declare(tailscale_accept_removal=True)
    for options, code in (((accepted,), "BG-TAILNET-016"), (("--limit", NODE), "BG-TAILNET-014")):
        refused = node.lab.play("tailnet_remove.yml", *options)
        assert refused.returncode != 0
        assert any(code in failure for failure in refused.failures())
        assert node.status()["BackendState"] == "Running"
    done = node.lab.play("tailnet_remove.yml", "--limit", NODE, accepted)
    assert done.returncode == 0, "\n".join(done.failures())
    assert (
        node.lab.ssh(NODE, "test ! -e /var/lib/tailscale; systemctl is-active tailscaled", check=False).stdout
        == "inactive\n"
    )
    again = node.lab.play("tailnet_remove.yml", "--limit", NODE, accepted)
    assert (again.returncode, again.changed()) == (0, set()), "\n".join(again.failures())
