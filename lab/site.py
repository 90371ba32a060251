"""The site around the managed hosts: the mirror that serves artefacts, and Calypso, the k3s server that already has work to do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lab import helm, plays
from lab.artefacts import Artefacts
from lab.hosts import ssh_key
from lab.images import REGISTRY
from lab.model import Host, System, mirror
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


WORKLOAD_FILE = "/var/lib/rancher/k3s/server/manifests/shop.yaml"


def mirror_url() -> str:
    """Where this lab's hosts and its controller find artefacts."""
    return f"http://{address(mirror().address)}"


def prepare(hosts: tuple[Host, ...], artefacts: Artefacts, variables: Mapping[str, Any]) -> None:
    """Let the mirror serve, and write what the plays need to know about the site. Safe to repeat; a second call changes nothing."""
    _serve_mirror(artefacts.tree)
    helm.link(artefacts.helm)
    write_inventory(hosts, artefacts, variables)


def write_inventory(hosts: tuple[Host, ...], artefacts: Artefacts, variables: Mapping[str, Any]) -> None:
    """The generated half of the inventory: addresses, keys, what this site's mirror holds, and `variables` of the chosen systems."""
    inventory: dict[str, Any] = {
        "all": {
            "vars": {
                "lab": True,
                "lab_state_dir": str(STATE),
                "site_mirror_url": mirror_url(),
                "site_mirror_sha256": dict(artefacts.sha256),
                "site_repository_key_fingerprint": artefacts.key_fingerprint,
                "site_helm": str(helm.FOLDER / "bin/helm"),
                "site_helm_environment": helm.environment(),
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(ssh_key()),
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={STATE}/ssh/known_hosts -o IdentitiesOnly=yes",
                **variables,
            },
            "hosts": {host.name: {"ansible_host": address(host.address)} for host in hosts if host.purpose != "mirror"},
        }
    }
    for host in hosts:
        if host.purpose == "login-server":
            inventory["all"]["vars"]["site_login_server"] = address(host.address)
    # Declared here because they are there only when they were asked for.
    groups = {host.group for host in hosts if host.group}
    if groups:
        inventory["all"]["children"] = {
            group: {"hosts": {host.name: None for host in hosts if host.group == group}} for group in sorted(groups)
        }
    write_private(STATE / "inventory/hosts.yml", yaml.safe_dump(inventory, sort_keys=False))


def _serve_mirror(tree: Path) -> None:
    name, configuration = container(mirror().name), "/etc/nginx/sites-enabled/default"
    wanted = MIRROR_CONFIGURATION.format(entry=tree.parent.name)
    if execute(name, "cat", configuration, check=False).stdout != wanted:
        with step("Serve the mirror"):
            execute(name, "tee", configuration, text=wanted)
            execute(name, "systemctl", "enable", "--quiet", "nginx")
            execute(name, "systemctl", "reload-or-restart", "nginx")


def start_k3s_server(host: Host) -> None:
    """Make a host the k3s server that the plays find at work, by the collection's own role; then the workload on it.

    The mirror must serve. Safe to repeat; a second call changes nothing.
    """
    run = plays.run(System(name="site", playbook="k3s_server.yml", hosts=(host,), services=("k3s",)))
    if run.returncode:
        lines = run.log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise RuntimeError("\n".join([f"playbooks/k3s_server.yml failed on {host.name}; see {run.log}", *lines[-30:]]))
    name = container(host.name)
    if execute(name, "cat", WORKLOAD_FILE, check=False).stdout != _workload():
        with step(f"Start the workload on {host.name}"):
            execute(name, "tee", WORKLOAD_FILE, text=_workload())
            _wait(f"the workload on {host.name}", lambda: _workload_ready(name))


def _workload() -> str:
    return WORKLOAD.replace("{registry}", REGISTRY).replace("{version}", version("busybox"))


def _workload_ready(name: str) -> bool:
    query = ("k3s", "kubectl", "get", "deployment", "shop", "--output=jsonpath={.status.readyReplicas}")
    return execute(name, *query, check=False).stdout.strip() == "2"


def _wait(what: str, ready: Callable[[], bool], timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not ready after {timeout_s:.0f} s")
        time.sleep(1)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, without a moment in which others could."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
