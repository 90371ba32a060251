#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waits until a node is what it has to be after a change."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_ready
short_description: Wait until a node is Ready, with its GPUs and the pods of its DaemonSets
version_added: "0.1.0"
description:
  - Follows the node and its pods by watches until nothing is missing, and says at the deadline what still is. The last word has a new list.
  - The pods of DaemonSets that are on the node have to be Ready. Whether a DaemonSet has yet to place a pod there is not judged.
  - The user needs the rights to list and watch nodes, and with O(daemonsets) also pods.
  - Runs on the controller, delegated to localhost.
  - In check mode nothing was changed that could settle, so the node is read once, and what is missing is no failure.
options:
  name:
    description: Name of the node. One that is not in the cluster is waited for.
    type: str
    required: true
  timeout_s:
    description: How long to wait, in seconds. Reaching it is a failure.
    type: float
    default: 600
  schedulable:
    description: Whether the node must not be cordoned. A node that is proven before it is let in again is.
    type: bool
    default: true
  resources:
    description: Counts that the node's allocatable must equal, by name of resource, for example C(nvidia.com/gpu).
    type: dict
    default: {}
  daemonsets:
    description: Whether the pods of DaemonSets on the node must be Ready.
    type: bool
    default: true
  not_boot_id:
    description:
      - Boot id of the node before it was rebooted (RV(boot_id)). The API shows the old state until the kubelet reports anew, which
        only another boot id proves.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
extends_documentation_fragment:
  - baremetal.gpu.kube_auth
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.read_only
  - baremetal.gpu.cluster
seealso:
  - module: baremetal.gpu.node_drain
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Wait for the node with its eight GPUs
  baremetal.gpu.node_ready:
    kubeconfig: ~/.kube/onyx.yaml
    name: onyx-g01
    resources: {nvidia.com/gpu: 8}
    schedulable: false
  delegate_to: localhost
"""

RETURN = r"""
ready:
  description: Whether nothing is missing.
  returned: always
  type: bool
missing:
  description: What is still missing, in words.
  returned: always
  type: list
  elements: str
  sample: ["allocatable nvidia.com/gpu is 7, not 8", "gpu/device-plugin-x1: it is Pending, not Ready"]
boot_id:
  description: The node's boot id as its kubelet reported it; empty when it is not known.
  returned: always
  type: str
seconds:
  description: How long it took.
  returned: always
  type: float
"""

import math
from decimal import Decimal
from typing import Any, Dict, Mapping

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import ARGUMENTS as CONNECTION
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import connect, require_client
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import Cluster
from ansible_collections.baremetal.gpu.plugins.module_utils.node_readiness import Readiness, Waiter, Wanted
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import parse_quantity

ARGUMENTS: Dict[str, Any] = {
    **CONNECTION,
    "name": {"type": "str", "required": True},
    "timeout_s": {"type": "float", "default": 600},
    "schedulable": {"type": "bool", "default": True},
    "resources": {"type": "dict", "default": {}},
    "daemonsets": {"type": "bool", "default": True},
    "not_boot_id": {"type": "str", "default": ""},
    "request_timeout_s": {"type": "float", "default": 30},
}


def main() -> None:
    """Wait; what is missing at the deadline is the failure."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    found = Readiness((), "", 0.0)
    try:
        require_client()
        wanted = _wanted(module.params)
        cluster = Cluster(connect(module.params), module.params["request_timeout_s"])
        found = Waiter(cluster, module.params["name"], wanted).run(
            0.0 if module.check_mode else module.params["timeout_s"]
        )
        if found.missing and not module.check_mode:
            raise GpuError(
                "BG-READY-102",
                "node {0} is not ready after {1:.0f} s: {2}".format(
                    module.params["name"], found.seconds, "; ".join(found.missing)
                ),
                "it would offer nothing, or less than declared",
                "read the kubelet's log and the pods that are named, then run again",
            )
    except GpuError as error:
        module.fail_json(changed=False, **{**_result(found), "ready": False}, **error.as_result())
    module.exit_json(changed=False, **_result(found))


def _result(found: Readiness) -> Dict[str, Any]:
    return {
        "ready": not found.missing,
        "missing": list(found.missing),
        "boot_id": found.boot_id,
        "seconds": round(found.seconds, 3),
    }


def _wanted(params: Mapping[str, Any]) -> Wanted:
    for name in ("timeout_s", "request_timeout_s"):
        if not (math.isfinite(params[name]) and params[name] > 0):
            raise _unusable("{0} is {1}".format(name, params[name]), "give a number of seconds above 0")
    if not params["name"]:
        raise _unusable("the name is empty", "give the node's name as the cluster knows it")
    counts: Dict[str, Decimal] = {}
    for name, text in params["resources"].items():
        try:
            counts[str(name)] = parse_quantity(str(text))
        except ValueError as error:
            raise _unusable("resources: {0} of {1} is no quantity".format(text, name), "give a count") from error
        if "/" not in str(name):
            raise _unusable("resources: {0} is no extended resource".format(name), "give a name like nvidia.com/gpu")
    return Wanted(params["schedulable"], counts, params["daemonsets"], params["not_boot_id"])


def _unusable(what: str, remedy: str) -> GpuError:
    return GpuError("BG-READY-101", what, "nothing can be waited for so", remedy)


if __name__ == "__main__":
    main()
