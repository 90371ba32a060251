"""Names of nodes."""

from __future__ import annotations

import re
from typing import Iterator

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory, Node, Refusal, clusters

# A DNS subdomain (RFC 1123), which is what the API server takes as a node's name.
VALID = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")
MAXIMUM_LENGTH = 253


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse names that the API server would refuse, and names that two hosts of a cluster share."""
    for cluster, members in clusters(inventory).items():
        if not any(node.host.judged for node in members):
            continue
        first: dict[str, Node] = {}
        for node in members:
            if not VALID.fullmatch(node.name) or len(node.name) > MAXIMUM_LENGTH:
                yield Refusal("BG-INV-013", node.host.name, "its node name is {0!r}".format(node.name))
            other = first.setdefault(node.name, node)
            if other.host.name != node.host.name:
                what = "{0} and {1} of cluster {2} both have node name {3}".format(
                    other.host.name, node.host.name, cluster, node.name
                )
                yield Refusal("BG-INV-008", node.host.name, what)
