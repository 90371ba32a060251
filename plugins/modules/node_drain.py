#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes the pods off a node, or lets pods on it again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_drain
short_description: Cordon a node and evict its pods, or let pods on it again
version_added: "0.1.0"
description:
  - Cordons the node and asks the eviction API for all of its pods at once. What a disruption budget does not allow is asked for again
    until the deadline. The task succeeds only when a new list shows that no pod is left that had to go, and that the node is still cordoned.
  - What can be refused is refused before the first change - pods that a policy does not let go, pods under several disruption budgets,
    GPU jobs that would lose work, missing rights, a node that is not there.
  - When it fails and nothing was evicted, its own cordon is taken back. When something was evicted, the cordon stays, and the message says so.
    A cordon that was there before is never touched.
  - Pods that have ended are left alone, pods that are ending already are waited for.
  - The user needs the rights to get and patch the node, to list and watch pods of all namespaces, and to create C(pods/eviction). With the right
    to list disruption budgets, those that block are named with their figures.
  - Runs on the controller, delegated to localhost.
  - In check mode the evictions are asked for as a dry run. The API server holds each against its budget by itself, so RV(in_turns) says
    which budgets allow fewer than all.
options:
  name:
    description: Name of the node.
    type: str
    required: true
  state:
    description: With V(drained) the node is cordoned and emptied, with V(uncordoned) pods may come to it again.
    type: str
    choices: [drained, uncordoned]
    default: drained
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - baremetal.gpu.drain
  - baremetal.gpu.kube_auth
  - baremetal.gpu.attributes
  - baremetal.gpu.cluster
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Empty a node, its training jobs may run on for an hour
  baremetal.gpu.node_drain:
    kubeconfig: ~/.kube/onyx.yaml
    name: onyx-g01
    emptydir: evict
    gpu_jobs_wait_s: 3600
  delegate_to: localhost

- name: Let pods on it again
  baremetal.gpu.node_drain:
    kubeconfig: ~/.kube/onyx.yaml
    name: onyx-g01
    state: uncordoned
  delegate_to: localhost
"""

RETURN = r"""
evicted:
  description: Pods that were evicted and are gone, in check mode those that would be. C(seconds) is when each was gone, from the task's beginning.
  returned: always
  type: list
  elements: dict
  sample: [{pod: "team-a/web-1", owner: ReplicaSet/web, gpus: {}, seconds: 1.2}]
blocked:
  description: Pods that are left although they had to go, with the reason and the disruption budgets that they are under.
  returned: always
  type: list
  elements: dict
  sample:
    - pod: team-a/db-0
      owner: StatefulSet/db
      gpus: {}
      reason: disruption budget db (2 healthy, 2 needed)
      budgets: [{name: team-a/db, current_healthy: 2, desired_healthy: 2, disruptions_allowed: 0}]
skipped:
  description: Pods that were left on purpose, with the reason.
  returned: always
  type: list
  elements: dict
gpu_jobs:
  description: Pods with GPUs that run to an end of their own and were there at the beginning. Evicted, they lose what they have not saved.
  returned: always
  type: list
  elements: dict
in_turns:
  description: Disruption budgets that allow fewer evictions at once than they have pods on the node, so that the drain takes turns.
  returned: always
  type: list
  elements: dict
  sample: [{budget: team-a/web, pods: 3, disruptions_allowed: 1}]
cordoned:
  description: Whether the node is cordoned now, in check mode before. V(null) when taking the cordon back failed.
  returned: always
  type: bool
cordon_is_ours:
  description: Whether this task set the cordon that the node now has.
  returned: always
  type: bool
seconds:
  description: How long it took.
  returned: always
  type: float
"""

import math
from typing import Any, Dict, Mapping

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils.drain import OPTIONS, Drain, Outcome, from_options
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import ARGUMENTS as CONNECTION
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import connect, require_client
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import Cluster

ARGUMENTS: Dict[str, Any] = {
    **CONNECTION,
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["drained", "uncordoned"], "default": "drained"},
    **OPTIONS,
    "request_timeout_s": {"type": "float", "default": 30},
}

_LEAST = {"timeout_s": 0.1, "gpu_jobs_wait_s": 0.0, "request_timeout_s": 0.1, "grace_period_s": 0.0}


def main() -> None:
    """Drain or uncordon; the outcome is returned either way."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        require_client()
        _require_limits(module.params)
        outcome = _work(module.params, module.check_mode)
    except GpuError as error:
        module.fail_json(**Outcome().as_result(), **error.as_result())
    if outcome.error is not None:
        module.fail_json(**outcome.as_result(), **outcome.error.as_result())
    module.exit_json(**outcome.as_result())


def _work(params: Mapping[str, Any], check_mode: bool) -> Outcome:
    limits, policies = from_options(params)
    drain = Drain(Cluster(connect(params), params["request_timeout_s"]), params["name"], policies, limits)
    if params["state"] == "uncordoned":
        return drain.uncordon(check_mode)
    return drain.predict() if check_mode else drain.run()


def _require_limits(params: Mapping[str, Any]) -> None:
    for name, least in _LEAST.items():
        value = params[name]
        if value is not None and not (math.isfinite(value) and value >= least):
            raise GpuError(
                "BG-DRAIN-101",
                "{0} is {1}".format(name, value),
                "nothing can be waited for so long",
                "give a number of seconds, at least {0:g}".format(least),
            )
    if "/" in params["name"] or not params["name"]:
        raise GpuError(
            "BG-DRAIN-101",
            "{0!r} is no node's name".format(params["name"]),
            "nothing was changed",
            "give the node's name as the cluster knows it",
        )


if __name__ == "__main__":
    main()
