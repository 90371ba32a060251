"""The reference system's real shape: a Spark whose agent is a node over the tailnet, and that nobody reaches from anywhere else.

Real Tailscale and headscale, real flannel and kube-proxy, real nftables and sshd; k3s is the lab's stand-in around the real programs.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.tests.lab.conftest import booted
from ansible_collections.baremetal.gpu.tests.support.lab_hosts import Lab
from ansible_collections.baremetal.gpu.tests.support.playbooks import PlaybookRun, good
from lab.versions import version

pytestmark = [pytest.mark.lab, pytest.mark.full]

SERVER, HOST, OPERATOR, OUTSIDER = "calypso", "spark-01", "operator", "outsider"
BYTES = 3_000_000
SAMPLE = 2_000

POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: far, namespace: default}}
spec:
  nodeName: {node}
  tolerations: [{{operator: Exists}}]
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: mirror.lab.internal/busybox:{version}
      imagePullPolicy: IfNotPresent
      command: [sh, -c, "mkdir /tmp/www && head -c {bytes} /dev/zero > /tmp/www/large && exec httpd -f -p 8080 -h /tmp/www"]
      readinessProbe: {{httpGet: {{path: /large, port: 8080}}, periodSeconds: 1}}
"""

# Prints the ports of a TCP address that take a connection.
SCAN = """
import concurrent.futures, json, random, socket
def open_(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(({address!r}, port)) == 0
ports = sorted({{*{known}, *random.Random(7).sample(range(1, 65536), {sample})}})
with concurrent.futures.ThreadPoolExecutor(200) as pool:
    print(json.dumps([port for port, found in zip(ports, pool.map(open_, ports)) if found]))
"""
KNOWN = (22, 80, 443, 6443, 8472, 9100, 9400, 10248, 10249, 10250, 10256, 30000, 32767, 41641)


@dataclass(frozen=True)
class Site:
    """The lab's hosts of both systems, with what a site would add to its inventory."""

    lab: Lab

    @property
    def extra(self) -> Path:
        return self.lab.state / "inventory/site.yml"

    @property
    def jump(self) -> list[str]:
        """ssh through the operator's machine, which is in the tailnet; the controller itself is not."""
        known = yaml.safe_load((self.lab.state / "inventory/hosts.yml").read_text(encoding="utf-8"))["all"]["vars"]
        common = f"-i {known['ansible_ssh_private_key_file']} {known['ansible_ssh_common_args']}"
        return [*common.split(), "-o", f"ProxyCommand=ssh {common} -W %h:%p root@{self.lab.address(OPERATOR)}"]

    def declare(self, *, closed: bool) -> None:
        """Write the site's own inventory, which comes after the lab's."""
        lan = {name: self.lab.address(name) for name in (SERVER, HOST)}
        server = (
            "{{ lookup('baremetal.gpu.tailnet_address', 'calypso', otherwise=hostvars['calypso'].site_lan_address) }}"
        )
        through: dict[str, dict[str, Any]] = {
            name: {
                "site_lan_address": address,
                "ansible_ssh_common_args": shlex.join([*self.jump, "-o", f"HostKeyAlias={address}"]),
                "tailscale_addresses_folder": str(self.lab.state / "inventory/tailnet"),
            }
            for name, address in lan.items()
        }
        through[HOST].update(
            ansible_host="{{ lookup('baremetal.gpu.tailnet_address', inventory_hostname, otherwise=site_lan_address) }}",
            k3s_agent_node_ip="",
            k3s_agent_over_tailnet=True,
            k3s_agent_server=f"https://{server}:6443",
        )
        through[SERVER].update(
            k3s_server_node_ip="",
            k3s_server_over_tailnet=True,
            k3s_server_api_address=f"https://{lan[SERVER]}:6443",
            k3s_server_tls_san=[SERVER, lan[SERVER]],
        )
        groups: dict[str, Any] = {"tailnet": {"hosts": through}}
        if closed:
            groups["tailnet_only"] = {"hosts": {HOST: None}}
        self.extra.write_text(yaml.safe_dump({"all": {"children": groups}}), encoding="utf-8")

    def play(self, playbook: str, *options: str) -> PlaybookRun:
        return self.lab.play(playbook, f"--inventory={self.extra}", *options)

    def kubectl(self, command: str, check: bool = True) -> str:
        return self.lab.ssh(SERVER, f"k3s kubectl {command}", check=check).stdout

    def node(self, name: str = HOST) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl(f"get node {name} --output=json"))
        return found

    def address(self, host: str) -> str:
        record = json.loads((self.lab.state / f"inventory/tailnet/{host}.json").read_text(encoding="utf-8"))
        return str(record["addresses"][0])

    def on(self, command: str, *, check: bool = True) -> str:
        """Run a shell command on the Spark, at its tailnet address through the operator's machine."""
        options = [
            *self.jump,
            "-o",
            f"HostKeyAlias={self.lab.address(HOST)}",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=5",
        ]
        done = subprocess.run(
            ["ssh", *options, f"root@{self.address(HOST)}", f"set -eu; {command}"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def open_ports(self, source: str, address: str) -> list[int]:
        script = SCAN.format(address=address, known=KNOWN, sample=SAMPLE)
        found: list[int] = json.loads(self.lab.ssh(source, f"python3 -c {shlex.quote(script)}").stdout)
        return found


@pytest.fixture(scope="module")
def site(root: Path) -> Iterator[Site]:
    for lab in booted(root, "spark", "access"):
        yield Site(lab)


@dataclass(frozen=True)
class Closed:
    """The site after ``spark.yml``, with the runs that led there."""

    site: Site
    refused: PlaybookRun
    predicted: PlaybookRun
    run: PlaybookRun


@pytest.fixture(scope="module")
def closed(site: Site) -> Closed:
    """From a server in the LAN and a bare Spark to a Spark that is reached over the tailnet only."""
    site.declare(closed=False)
    refused = site.play("spark.yml")
    good(site.play("tailnet.yml", "--limit", f"{SERVER},{OPERATOR}"))
    good(site.play("k3s_server.yml"))
    site.declare(closed=True)
    predicted = site.play("spark.yml", "--check", "--diff")
    return Closed(site, refused, predicted, good(site.play("spark.yml", "--diff")))


def findings(run: PlaybookRun) -> dict[str, str]:
    return {finding["code"]: finding["status"] for finding in run.verdict["hosts"][HOST]["findings"]}


def test_a_node_over_the_tailnet_is_refused_while_another_node_has_no_route(closed: Closed) -> None:
    assert closed.refused.returncode != 0
    assert any("BG-K3S-023" in failure and SERVER in failure for failure in closed.refused.failures())
    assert closed.refused.changed() == set()


@pytest.mark.requirement("SPARK-05", part="node over the tailnet, closed to everything else")
def test_one_run_joins_the_agent_over_the_tailnet_and_closes_the_host(closed: Closed) -> None:
    assert closed.run.verdict["proven"]
    told = findings(closed.run)
    expected = {"BG-TAILNET-020", "BG-K3S-024", "BG-ACCESS-001", "BG-ACCESS-002", "BG-ACCESS-003", "BG-ACCESS-004"}
    assert {code: told.get(code) for code in expected} == dict.fromkeys(expected, "ok")
    node = closed.site.node()
    addresses = [entry["address"] for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"]
    assert addresses == [closed.site.address(HOST)]
    assert node["metadata"]["annotations"]["flannel.alpha.coreos.com/public-ip"] == closed.site.address(HOST)


def test_the_agent_comes_after_tailscaled(closed: Closed) -> None:
    after = closed.site.on(
        "systemctl show --value --property=After k3s-agent; systemctl show --value --property=Wants k3s-agent"
    )
    assert [line.split().count("tailscaled.service") for line in after.splitlines()] == [1, 1]


def test_pods_on_both_sides_talk_through_the_tailnet_also_in_large_packets(
    closed: Closed, record_property: Any
) -> None:
    site = closed.site
    pod = POD.format(node=HOST, version=version("busybox"), bytes=BYTES)
    site.lab.ssh(SERVER, f"echo {shlex.quote(pod)} | k3s kubectl apply -f -")
    site.kubectl("wait --for=condition=Ready pod/far --timeout=120s")
    address = site.kubectl("get pod far --output=jsonpath={.status.podIP}")
    counter = "cat /sys/class/net/tailscale0/statistics/tx_bytes"
    before, began = int(site.on(counter)), time.monotonic()
    size = site.kubectl(f"exec deploy/shop -- sh -c 'wget -qO- http://{address}:8080/large | wc -c'")
    record_property("told", f"{BYTES} bytes in {time.monotonic() - began:.1f} s")
    assert int(size) == BYTES
    assert int(site.on(counter)) - before > BYTES, "it went another way"
    # The other way round, by a Service, and the API server reaches the kubelet for it.
    service = site.kubectl("get service shop --output=jsonpath={.spec.clusterIP}")
    assert site.kubectl(f"exec far -- wget -qO- -T 10 http://{service}").strip().startswith("shop-")
    assert site.kubectl("exec far -- cat /sys/class/net/eth0/mtu").strip() == "1230"


def test_an_outsider_finds_no_port_and_the_tailnet_does(closed: Closed) -> None:
    site = closed.site
    lan, tailnet = site.lab.address(HOST), site.address(HOST)
    assert site.open_ports(OUTSIDER, lan) == []
    assert site.open_ports(SERVER, lan) == [], "a node is reached over the tailnet, too"
    assert {22, 10250} <= set(site.open_ports(OPERATOR, tailnet))
    assert site.lab.ssh(HOST, "true", check=False).returncode == 255, "the controller's LAN is outside, too"


def test_the_agent_stays_ready_behind_closed_doors(closed: Closed) -> None:
    def ready() -> dict[str, Any]:
        conditions = closed.site.node()["status"]["conditions"]
        (found,) = [entry for entry in conditions if entry["type"] == "Ready"]
        return dict(found)

    since = ready()["lastTransitionTime"]
    # Longer than the control plane waits for a node that says nothing (50 s).
    time.sleep(75)
    assert (ready()["status"], ready()["lastTransitionTime"]) == ("True", since)


def test_a_second_run_changes_nothing(closed: Closed) -> None:
    identity = "systemctl show --value --property=InvocationID k3s-agent tailscaled ssh"
    before = closed.site.on(identity)
    again = good(closed.site.play("spark.yml"))
    assert (again.changed(), closed.site.on(identity)) == (set(), before)
    assert again.verdict["proven"]


def test_check_mode_named_what_then_changed(closed: Closed) -> None:
    assert closed.predicted.returncode == 0, "\n".join(closed.predicted.failures())
    assert closed.predicted.changed() == closed.run.changed()


def test_an_agent_waits_for_its_address_and_comes_back(closed: Closed) -> None:
    """While tailscaled is away the agent is started: it waits. With the daemon its address is back, and it runs."""
    site = closed.site
    outage = (
        "systemctl stop k3s-agent tailscaled; systemctl start --no-block k3s-agent; systemctl stop tailscaled; sleep 8; "
        "systemctl is-active k3s-agent > /run/agent-waited; systemctl start tailscaled"
    )
    site.on(f"systemd-run --quiet --unit=outage sh -c {shlex.quote(outage)}")
    deadline = time.monotonic() + 120
    while site.on("cat /run/agent-waited; systemctl is-active k3s-agent", check=False).split()[1:] != ["active"]:
        assert time.monotonic() < deadline, site.on("systemctl status k3s-agent; cat /run/agent-waited", check=False)
        time.sleep(1)
    assert site.on("cat /run/agent-waited").strip() == "activating"
