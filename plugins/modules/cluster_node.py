#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A node's readiness, labels and taints in the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_node
short_description: Wait until a node is Ready and correct its labels and taints
version_added: "0.2.0"
description:
  - Waits until the node is in the cluster, is Ready and runs O(release), then corrects its labels and taints.
  - Touches only labels and taints that are wanted or that it set before; it remembers those in the annotations
    C(baremetal.gpu/labels) and C(baremetal.gpu/taints). One that is no longer wanted is removed, those of others stay.
  - With O(observed), which M(baremetal.gpu.cluster_nodes) read, a node that is as wanted costs no request.
  - Runs on the controller, delegated to localhost.
  - In check mode it does not wait, and a node that is not there yet is predicted to change.
options:
  name:
    description: Name of the node.
    type: str
    required: true
  labels:
    description: Labels as C(key=value).
    type: list
    elements: str
    default: []
  taints:
    description: Taints as C(key=value:Effect) or C(key:Effect).
    type: list
    elements: str
    default: []
  release:
    description: Release that the node's kubelet must report, for example V(vX.Y.Z+k3s1).
    type: str
  reported_after:
    description:
      - Heartbeat of the node that was read before it was restarted. The node counts as Ready only with another one, because the
        API shows the old state until the kubelet reports anew.
    type: str
    default: ""
  observed:
    description: The node as it was read a moment ago, an element of C(nodes) of M(baremetal.gpu.cluster_nodes).
    type: dict
  wait_timeout_s:
    description: How long to wait, in seconds.
    type: float
    default: 300
  poll_interval_s:
    description: Time between two readings while waiting, in seconds.
    type: float
    default: 1
attributes:
  action:
    description: Decides on the controller whether a request is needed.
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.full
  - baremetal.gpu.cluster
seealso:
  - module: baremetal.gpu.cluster_nodes
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Settle the node
  baremetal.gpu.cluster_node:
    kubeconfig: ~/.kube/spark.yaml
    name: spark-01
    labels: [accelerator=gb10]
    taints: ["nvidia.com/gpu=present:NoSchedule"]
  delegate_to: localhost
"""

RETURN = r"""
node:
  description: The node as it was read last, before a correction. V(null) when the cluster has no such node (check mode).
  returned: success
  type: dict
"""

import time
from typing import Any, Dict, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import (
    TransientError,
    connect,
    get_node,
    patch_node,
    require_client,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.node_settings import (
    Correction,
    Node,
    correct,
    difference,
    parse_labels,
    parse_node,
    parse_taint,
)

ARGUMENTS: Dict[str, Any] = {
    "kubeconfig": {"type": "path", "required": True},
    "context": {"type": "str"},
    "name": {"type": "str", "required": True},
    "labels": {"type": "list", "elements": "str", "default": []},
    "taints": {"type": "list", "elements": "str", "default": []},
    "release": {"type": "str"},
    "reported_after": {"type": "str", "default": ""},
    "wait_timeout_s": {"type": "float", "default": 300},
    "poll_interval_s": {"type": "float", "default": 1},
    "request_timeout_s": {"type": "float", "default": 30},
}

_ATTEMPTS = 5
"""A node's status changes all the time, and a patch on a stale reading is refused."""


def main() -> None:
    """Wait, compare, correct."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        require_client()
        labels = parse_labels(module.params["labels"])
        taints = tuple(parse_taint(text) for text in module.params["taints"])
        client = connect(module.params["kubeconfig"], module.params["context"])
        node = _read(client, module.params) if module.check_mode else _await(client, module.params)
        # A node that is only predicted registers with its labels and taints, and then needs the annotations.
        base = node or parse_node({"metadata": {"name": module.params["name"]}})
        correction = correct(base, labels, taints)
        if correction.needed and not module.check_mode:
            node, correction = _apply(client, module.params, labels, taints)
    except GpuError as error:
        module.fail_json(**error.as_result())
    module.exit_json(
        changed=correction.needed,
        node=node.as_dict() if node else None,
        diff=difference(node, correction),
    )


def _read(client: Any, params: Dict[str, Any]) -> Optional[Node]:
    item = get_node(client, params["name"], params["request_timeout_s"])
    return parse_node(item) if item is not None else None


def _await(client: Any, params: Dict[str, Any]) -> Node:
    """The node when it is Ready with the wanted release. Raises ``GpuError`` BG-K3S-010 at the time limit."""
    deadline = time.monotonic() + params["wait_timeout_s"]
    while True:
        node: Optional[Node] = None
        unanswered = ""
        try:
            node = _read(client, params)
        except TransientError as error:
            unanswered = error.what
        missing = _missing(node, params, unanswered)
        if not missing and node is not None:
            return node
        if time.monotonic() > deadline:
            raise GpuError(
                "BG-K3S-010",
                "node {0} did not settle within {1:.0f} s: {2}".format(
                    params["name"], params["wait_timeout_s"], missing
                ),
                "it would offer nothing, or something else than declared",
                "read the service's journal on the host, then run again",
            )
        time.sleep(params["poll_interval_s"])


def _missing(node: Optional[Node], params: Dict[str, Any], unanswered: str) -> str:
    """What is not yet as it must be, in words; empty when nothing is."""
    if unanswered:
        return unanswered
    if node is None:
        return "it is not in the cluster"
    if not node.ready:
        return "it is not Ready ({0})".format(node.message or "no message")
    if params["reported_after"] and node.heartbeat == params["reported_after"]:
        return "its kubelet has not reported since the restart"
    if params["release"] and node.kubelet_version != params["release"]:
        return "its kubelet is {0}, not {1}".format(node.kubelet_version or "of no version", params["release"])
    return ""


def _apply(
    client: Any, params: Dict[str, Any], labels: Dict[str, str], taints: Tuple[Any, ...]
) -> Tuple[Optional[Node], Correction]:
    """Patch the node, reading it anew when it changed meanwhile. Raises ``GpuError`` BG-K3S-010 when that goes on."""
    for _attempt in range(_ATTEMPTS):
        node = _read(client, params)
        if node is None:
            break
        correction = correct(node, labels, taints)
        patch = correction.patch(node.resource_version)
        if not correction.needed or patch_node(client, params["name"], patch, params["request_timeout_s"]):
            return node, correction
    raise GpuError(
        "BG-K3S-010",
        "labels and taints of node {0} could not be corrected".format(params["name"]),
        "the node went away, or something else changes it without pause",
        "look which controllers write to the node, then run again",
    )


if __name__ == "__main__":
    main()
