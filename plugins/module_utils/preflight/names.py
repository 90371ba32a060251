"""Names of nodes."""

from __future__ import annotations

import re
from typing import Iterator

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory, Node, Refusal, clusters

# A DNS subdomain (RFC 1123), which is what the API server takes as a node's name.
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")
MAXIMUM_LENGTH = 253
# The kubelet labels the node with its name (kubernetes.io/hostname), and a label's value has at most 63 characters.
MAXIMUM_LABEL_LENGTH = 63


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse names that the API server would refuse, and names that two hosts of a cluster share."""
    for cluster, members in clusters(inventory).items():
        if not any(node.host.judged for node in members):
            continue
        first: dict[str, Node] = {}
        for node in members:
            if not is_subdomain(node.name):
                yield Refusal("BG-INV-013", node.host.name, "its node name is {0!r}".format(node.name))
            elif len(node.name) > MAXIMUM_LABEL_LENGTH:
                what = "its node name {0} has {1} characters; the label kubernetes.io/hostname takes {2}".format(
                    node.name, len(node.name), MAXIMUM_LABEL_LENGTH
                )
                yield Refusal("BG-INV-013", node.host.name, what)
            other = first.setdefault(node.name, node)
            if other.host.name != node.host.name:
                what = "{0} and {1} of cluster {2} both have node name {3}".format(
                    other.host.name, node.host.name, cluster, node.name
                )
                yield Refusal("BG-INV-008", node.host.name, what)


def is_subdomain(text: str) -> bool:
    """Whether a text is a DNS subdomain of at most 253 characters."""
    return len(text) <= MAXIMUM_LENGTH and bool(_SUBDOMAIN.fullmatch(text))
