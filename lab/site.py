"""The site around the managed hosts: the mirror that serves artefacts, and Calypso, the k3s server that already has work to do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from lab.artefacts import Artefacts
from lab.hosts import ssh_key
from lab.images import REGISTRY
from lab.model import Host, mirror
from lab.network import address, container
from lab.podman import execute
from lab.progress import step
from lab.settings import STATE
from lab.versions import version

MIRROR_CONFIGURATION = """\
server {{
    listen 80 default_server;
    root /srv/mirror/{entry}/tree;
    autoindex on;
    default_type application/octet-stream;
}}
"""

K3S_UNIT = """\
[Unit]
Description=Lightweight Kubernetes (lab stand-in)
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
KillMode=process
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStart=/usr/local/bin/k3s server

[Install]
WantedBy=multi-user.target
"""

# The small workload that was there before the GPU node joined: joining must leave it alone (SPARK-21).
WORKLOAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: {registry}/busybox:{version}
          imagePullPolicy: IfNotPresent
          command: [sh, -c, "mkdir -p /tmp/www && hostname > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 2}
          resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 32Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: 8080}]}
"""


def mirror_url() -> str:
    """Where this lab's hosts and its controller find artefacts."""
    return f"http://{address(mirror().address)}"


def prepare(hosts: tuple[Host, ...], artefacts: Artefacts) -> None:
    """Bring the site up and write what the plays need to know about it. Safe to repeat; a second call changes nothing."""
    _serve_mirror(artefacts.tree)
    for host in hosts:
        if host.purpose == "k3s-server":
            _k3s_server(host, artefacts)
    write_inventory(hosts, artefacts)


def write_inventory(hosts: tuple[Host, ...], artefacts: Artefacts) -> None:
    """The generated half of the inventory: addresses, keys, and what this site's mirror holds."""
    inventory = {
        "all": {
            "vars": {
                "lab": True,
                "lab_state_dir": str(STATE),
                "site_mirror_url": mirror_url(),
                "site_mirror_sha256": dict(artefacts.sha256),
                "site_repository_key_fingerprint": artefacts.key_fingerprint,
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(ssh_key()),
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={STATE}/ssh/known_hosts -o IdentitiesOnly=yes",
            },
            "hosts": {host.name: {"ansible_host": address(host.address)} for host in hosts if host.purpose != "mirror"},
        }
    }
    _private(STATE / "inventory/hosts.yml", yaml.safe_dump(inventory, sort_keys=False))


def _serve_mirror(tree: Path) -> None:
    name, configuration = container(mirror().name), "/etc/nginx/sites-enabled/default"
    wanted = MIRROR_CONFIGURATION.format(entry=tree.parent.name)
    if execute(name, "cat", configuration, check=False).stdout != wanted:
        with step("Serve the mirror"):
            execute(name, "tee", configuration, text=wanted)
            execute(name, "systemctl", "enable", "--quiet", "nginx")
            execute(name, "systemctl", "reload-or-restart", "nginx")


def _k3s_server(host: Host, artefacts: Artefacts) -> None:
    name, token_file = container(host.name), STATE / "secrets/k3s-token"
    # The token is kept last: without it an earlier run did not come to its end.
    if not token_file.exists() or execute(name, "systemctl", "is-active", "--quiet", "k3s", check=False).returncode:
        with step(f"Start the k3s server on {host.name}"):
            folders = ["/etc/rancher/k3s", "/var/lib/rancher/k3s/agent/images", "/var/lib/rancher/k3s/server/manifests"]
            execute(name, "mkdir", "-p", *folders)
            _download(name, artefacts.k3s_path, "/usr/local/bin/k3s")
            execute(name, "chmod", "0755", "/usr/local/bin/k3s")
            for archive in (artefacts.airgap_path, artefacts.operands_path):
                _download(name, archive, f"/var/lib/rancher/k3s/agent/images/{Path(archive).name}")
            configuration = {
                "node-ip": address(host.address),
                "write-kubeconfig-mode": "0600",
                "tls-san": [host.name],
                "disable": ["traefik", "servicelb"],
            }
            execute(name, "tee", "/etc/rancher/k3s/config.yaml", text=yaml.safe_dump(configuration))
            execute(name, "tee", "/var/lib/rancher/k3s/server/manifests/shop.yaml", text=_workload())
            execute(name, "tee", "/etc/systemd/system/k3s.service", text=K3S_UNIT)
            execute(name, "systemctl", "enable", "--quiet", "k3s")
            execute(name, "systemctl", "start", "k3s")
            _wait(f"the workload on {host.name}", lambda: _workload_ready(name))
    kubeconfig = execute(name, "cat", "/etc/rancher/k3s/k3s.yaml").stdout
    _private(
        STATE / f"kubeconfig/{host.name}.yaml",
        kubeconfig.replace("https://127.0.0.1:", f"https://{address(host.address)}:"),
    )
    _private(token_file, execute(name, "cat", "/var/lib/rancher/k3s/server/node-token").stdout)


def _workload() -> str:
    return WORKLOAD.replace("{registry}", REGISTRY).replace("{version}", version("busybox"))


def _workload_ready(name: str) -> bool:
    query = ("k3s", "kubectl", "get", "deployment", "shop", "--output=jsonpath={.status.readyReplicas}")
    return execute(name, *query, check=False).stdout.strip() == "2"


def _download(name: str, path: str, destination: str) -> None:
    execute(
        name,
        "curl",
        "--fail",
        "--silent",
        "--show-error",
        "--output",
        destination,
        f"{mirror_url()}/{path.replace('+', '%2B')}",
    )


def _wait(what: str, ready: Callable[[], bool], timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not ready after {timeout_s:.0f} s")
        time.sleep(1)


def _private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, without a moment in which others could."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
