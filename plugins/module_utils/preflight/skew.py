"""Versions of a cluster's nodes against its API server, and how versions of k3s are written."""

from __future__ import annotations

import re
from typing import Iterator, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import (
    Host,
    Inventory,
    Node,
    Refusal,
    clusters,
)

# Kubernetes' version skew policy: a kubelet is never newer than the API server and at most three minor versions older.
OLDEST_MINORS = 3

Version = Tuple[int, int, int]

# At the start of a text, or as a part of a URL; there the leading v tells it from an address.
_VERSION = re.compile(r"(?:^v?|(?<=[/_-])v)(\d+)\.(\d+)\.(\d+)(?![\d.])")
_SERVERS = ("k3s_server_version", "kubeadm_control_plane_kubernetes_version")
K3S_SERVER = "k3s_server_version"
# What `k3s --version` prints and releases are called: v<Kubernetes>+k3s<build>, candidates with -rc<number> before the plus sign.
_K3S_VERSION = re.compile(r"v\d+\.\d+\.\d+(-rc\d+)?\+k3s\d+")
_AGENTS = {"k3s_agent": "k3s_agent_binary_url", "kubeadm_worker": "kubernetes_node_version"}


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse nodes newer than, or too old for, the API server of their cluster. Unknown versions are left to the run."""
    yield from _spelling(inventory)
    for members in clusters(inventory).values():
        server = next(filter(None, map(_server_version, members)), None)
        for node in members:
            agent = _agent_version(node.host)
            if server is None or agent is None or not node.host.judged:
                continue
            if agent > server:
                yield _refusal(node, agent, "is newer than", server)
            elif agent[0] != server[0] or server[1] - agent[1] > OLDEST_MINORS:
                yield _refusal(node, agent, "is more than three minor versions older than", server)


def _spelling(inventory: Inventory) -> Iterator[Refusal]:
    for host in inventory.judged():
        text = host.text(K3S_SERVER)
        if "k3s_agent" in host.roles and text and not _K3S_VERSION.fullmatch(text):
            what = "{0} is {1!r}, which is no version of k3s".format(K3S_SERVER, text)
            yield Refusal("BG-INV-053", host.name, what, variable=K3S_SERVER)


def version_in(text: str) -> Optional[Version]:
    """The first Kubernetes version in a text, for example in a URL; None when there is none."""
    match = _VERSION.search(text)
    return (int(match.group(1)), int(match.group(2)), int(match.group(3))) if match else None


def _server_version(node: Node) -> Optional[Version]:
    """What is declared about the cluster's server, on the server itself or as a fact of the site on its agents."""
    return next(filter(None, (version_in(node.host.text(name)) for name in _SERVERS)), None)


def _agent_version(host: Host) -> Optional[Version]:
    names = [name for role, name in _AGENTS.items() if role in host.roles]
    return next(filter(None, (version_in(host.text(name)) for name in names)), None)


def _refusal(node: Node, agent: Version, relation: str, server: Version) -> Refusal:
    dotted = ["v" + ".".join(map(str, version)) for version in (agent, server)]
    what = "version {0} of this node {1} its API server's {2}".format(dotted[0], relation, dotted[1])
    return Refusal("BG-INV-011", node.host.name, what)
