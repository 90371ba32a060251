#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Declared GPU resources against what the cluster's nodes offer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_capacity
short_description: Hold declared GPU resources against the capacity and allocatable of a cluster's nodes
version_added: "0.1.0"
description:
  - Reads all nodes in one paged list and compares, for each declared node and resource, capacity I(and) allocatable with
    the declared count. Both must be equal to it, and the labels of GPU feature discovery must not say otherwise.
  - Only when a declared node is not as declared, the pods of NVIDIA's operands are listed once, to tell a node that settles from
    a broken one.
  - Waits until O(wait_timeout_s) for what settles, following the nodes by a watch. What cannot get better by itself is final
    after 20 s, which are two reports of a kubelet.
  - Returns one finding per node and cause. A node that is not Ready is unknown, because its figures are stale. A declared node
    that is not there is a failure, an undeclared node that offers GPUs is a warning.
  - The task itself does not fail on a bad finding. M(baremetal.gpu.verdict) does. It fails when the cluster cannot be read.
  - The user needs the rights to list and watch nodes, and to list pods. Without those on pods, a start cannot be told from a failure.
  - Runs on the controller, delegated to localhost.
  - In check mode nothing was applied that could settle, so the nodes are read once without waiting, and a cluster that
    does not exist yet gives findings with status V(skipped).
options:
  expected:
    description:
      - What each node must offer, by name of node. Either the count of each resource by its name, or GPUs and how they are
        shared or partitioned, with the keys C(gpus), C(replicas) (shares of each GPU), C(sharing) (V(none), V(mps) or
        V(time-slicing)), C(renamed) (shared resources end in C(.shared)), C(mig) (count of each profile), C(mig_strategy)
        (V(single) or V(mixed)) and C(whole_gpus) (GPUs without MIG beside MIG devices).
      - With the key C(dra) the C(gpus) are devices that NVIDIA's DRA driver publishes in ResourceSlices, instead of a resource of the node.
      - The key C(product) names the model as the label C(nvidia.com/gpu.product) does, without the endings of sharing and MIG.
      - One of O(expected) and O(expected_groups) is required.
    type: dict
    default: {}
  expected_groups:
    description: The same for several nodes at once. A node that has two expectations is refused.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the group, for messages.
        type: str
      nodes:
        description: Names of the nodes.
        type: list
        elements: str
        required: true
      expect:
        description: What each of them must offer, as an element of O(expected).
        type: dict
        required: true
  partial:
    description:
      - Whether O(expected) names only some of the declared nodes. Nodes that it does not name are then not called undeclared.
    type: bool
    default: false
  free:
    description: Whether pods are listed to say what of each declared node's GPU resources no pod holds.
    type: bool
    default: false
  operand_selectors:
    description:
      - Label selectors of the pods of NVIDIA's operands. The first that finds a pod counts.
      - When not given, those of this collection's role and of NVIDIA's chart, of the GPU operator, and of the static manifest.
      - With an empty list no pods are listed, and a node that offers nothing is not told to settle.
    type: list
    elements: str
  summarize_ok:
    description:
      - Whether nodes that are as declared share one finding about the cluster, which names their number, instead of one each.
      - C(nodes) then holds only the others. C(verdicts) names every node's verdict in any case.
      - For large clusters, where thousands of findings cost Ansible more than the nodes cost to read.
    type: bool
    default: false
  requirements:
    description: Ids of the requirements that the findings prove.
    type: list
    elements: str
    default: []
  simulated:
    description: Whether the nodes' GPUs are simulated. The findings are then marked.
    type: bool
    default: false
  wait_timeout_s:
    description: How long to wait for the declared state, in seconds. V(0) reads once.
    type: float
    default: 310
extends_documentation_fragment:
  - baremetal.gpu.kube_auth
  - baremetal.gpu.cluster
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.read_only
seealso:
  - module: baremetal.gpu.gpu_info
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Prove that the GPUs of all workers are offered, each whole
  baremetal.gpu.gpu_capacity:
    kubeconfig: ~/.kube/onyx.yaml
    expected_groups:
      - name: onyx_gpu
        nodes: "{{ groups['onyx_gpu'] }}"
        expect: {gpus: 8, product: NVIDIA-H100-80GB-HBM3}
    requirements: [ONYX-R057]
  delegate_to: localhost
  run_once: true
  register: capacity

- name: Prove that one GPU is offered ten times by MPS
  baremetal.gpu.gpu_capacity:
    kubeconfig: ~/.kube/spark.yaml
    expected:
      spark-01: {gpus: 1, replicas: 10, sharing: mps}
    wait_timeout_s: 120
  delegate_to: localhost
  register: capacity

- name: Prove MIG devices of two profiles, and read what is free of them
  baremetal.gpu.gpu_capacity:
    kubeconfig: ~/.kube/onyx.yaml
    expected:
      onyx-g1:
        gpus: 8
        mig: {1g.10gb: 24, 3g.40gb: 8}
        mig_strategy: mixed
    partial: true
    free: true
  delegate_to: localhost
  register: capacity

- name: Ask with a token from the environment (K8S_AUTH_HOST, K8S_AUTH_API_KEY, K8S_AUTH_SSL_CA_CERT), once
  baremetal.gpu.gpu_capacity:
    expected:
      onyx-g1: {nvidia.com/gpu: 8}
    wait_timeout_s: 0
  delegate_to: localhost
  register: capacity
"""

RETURN = r"""
nodes:
  description:
    - The declared nodes as they were read last, by name. V(null) when the cluster has no such node. Without those that are V(ok) when
      O(summarize_ok) is set.
    - C(free) is there when O(free) is set, and negative when pods hold more than is allocatable.
  returned: success
  type: dict
  sample:
    spark-01:
      verdict: ok
      ready: true
      unschedulable: false
      capacity: {nvidia.com/gpu: "10"}
      allocatable: {nvidia.com/gpu: "10"}
      free: {nvidia.com/gpu: "7"}
verdicts:
  description:
    - The verdict about every declared node, by name.
    - V(ok), V(short) (capacity is less than declared), V(degraded) (allocatable is less than capacity, or GPUs are missing behind
      right figures), V(settling), V(surplus), V(unknown) or V(missing). Empty when the cluster could not be read in check mode.
  returned: success
  type: dict
  sample: {spark-01: ok}
undeclared:
  description: GPU resources of nodes that are not declared, by name; empty when O(partial) is set.
  returned: success
  type: dict
  sample:
    spark-07: {nvidia.com/gpu: "1"}
summary:
  description: How many declared nodes have each verdict.
  returned: success
  type: dict
  sample: {ok: 19, short: 1}
node_count:
  description: How many nodes the cluster has. V(null) when it could not be read in check mode.
  returned: success
  type: int
  sample: 21
polls:
  description: How many times all nodes were listed. It is more than one when the API server forgot where the watch was.
  returned: success
  type: int
  sample: 1
events:
  description: How many changes of declared nodes the watch brought.
  returned: success
  type: int
  sample: 3
elapsed_s:
  description: How long reading and waiting took.
  returned: success
  type: float
  sample: 12.4
settled:
  description: Whether no failure and no unknown was left at the end.
  returned: success
  type: bool
  sample: true
baremetal_gpu_findings:
  description: One finding per declared node and cause, more for cordoned and undeclared ones.
  returned: success
  type: list
  elements: dict
  sample:
    - code: BG-CAP-001
      subject: spark-01
      requirements: [MPS-09]
      status: ok
      simulated: false
      reason: capacity and allocatable as declared
      evidence:
        what: capacity and allocatable
        where: Kubernetes API, node spark-01
        expected: {nvidia.com/gpu: 10}
        capacity: {nvidia.com/gpu: "10"}
        allocatable: {nvidia.com/gpu: "10"}
        ready: true
        resource_version: "1234"
        when: "2026-01-01T00:00:00Z"
      remedy: ""
      waived: false
      waiver: null
    - code: BG-CAP-003
      subject: onyx-g1
      requirements: [ONYX-R057]
      status: fail
      simulated: false
      reason: allocatable is nvidia.com/gpu 7 instead of 8, capacity is as declared
      evidence:
        what: capacity and allocatable
        where: Kubernetes API, node onyx-g1
        expected: {nvidia.com/gpu: 8}
        capacity: {nvidia.com/gpu: "8"}
        allocatable: {nvidia.com/gpu: "7"}
        operands:
          - {role: device plugin, pod: gpu-operator/nvidia-device-plugin-x1, state: Ready, restarts: 0}
        ready: true
        resource_version: "5678"
        when: "2026-01-01T00:00:00Z"
      remedy: read the log of the node's device plugin pod; after a GPU recovers, restart the device plugin
      waived: false
      waiver: null
"""

import math
from typing import Any, Dict, List, Mapping, Optional

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_expectation import Expected, parse_expected
from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_reading import Reader, free, read_at
from ansible_collections.baremetal.gpu.plugins.module_utils.capacity_verdict import (
    Context,
    NodeVerdict,
    gpus_of,
    is_settled,
    relevant,
    summarized,
    undeclared_findings,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import OK, RESULT_KEY, SKIPPED, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_pods import SELECTORS
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import ARGUMENTS as CONNECTION
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import connect, require_client
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import NodeReading
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import Cluster
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import plain

GROUP: Dict[str, Any] = {
    "name": {"type": "str"},
    "nodes": {"type": "list", "elements": "str", "required": True},
    "expect": {"type": "dict", "required": True},
}

ARGUMENTS: Dict[str, Any] = {
    **CONNECTION,
    "expected": {"type": "dict", "default": {}},
    "expected_groups": {"type": "list", "elements": "dict", "default": [], "options": GROUP},
    "partial": {"type": "bool", "default": False},
    "free": {"type": "bool", "default": False},
    "operand_selectors": {"type": "list", "elements": "str"},
    "summarize_ok": {"type": "bool", "default": False},
    "requirements": {"type": "list", "elements": "str", "default": []},
    "simulated": {"type": "bool", "default": False},
    "wait_timeout_s": {"type": "float", "default": 310},
    "request_timeout_s": {"type": "float", "default": 30},
}


def main() -> None:
    """Return the findings about the declared nodes; nothing is changed."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        require_client()
        expected = parse_expected(module.params["expected"], module.params["expected_groups"])
        _require_limits(module.params)
        result = _verify(module.params, expected, module.check_mode)
    except GpuError as error:
        module.fail_json(**error.as_result())
    module.exit_json(changed=False, **result)


def _require_limits(params: Mapping[str, Any]) -> None:
    for name, least in (("wait_timeout_s", 0.0), ("request_timeout_s", 0.1)):
        if not (math.isfinite(params[name]) and params[name] >= least):
            raise GpuError(
                "BG-CAP-104",
                "{0} is {1}".format(name, params[name]),
                "nothing can be waited for so long",
                "give a number of seconds",
            )


def _verify(params: Mapping[str, Any], expected: Expected, check_mode: bool) -> Dict[str, Any]:
    wait_timeout_s = 0.0 if check_mode else params["wait_timeout_s"]
    try:
        cluster = Cluster(connect(params), params["request_timeout_s"])
        given = params["operand_selectors"]
        selectors = SELECTORS if given is None else given
        reader = Reader(cluster, expected, selectors, lambda: _context(params), params["partial"])
        outcome = reader.run(wait_timeout_s)
        unheld = free(cluster, outcome.view.nodes) if params["free"] else None
    except GpuError as error:
        # A bare host's cluster is made by tasks that check mode only predicts; refused credentials are an error.
        if not check_mode or error.code not in ("BG-CAP-101", "BG-CAP-103"):
            raise
        return _not_read(expected, params, error)
    context = _context(params)
    verdicts = outcome.verdicts
    findings = [finding for verdict in verdicts.values() for finding in verdict.findings]
    if params["summarize_ok"]:
        findings = summarized(findings, cluster.api.host, context)
    findings += undeclared_findings(outcome.view, context)
    return {
        "verdicts": {name: verdict.verdict for name, verdict in verdicts.items()},
        "nodes": {
            name: _shown(outcome.view.nodes.get(name), verdict, expected[name].resources, (unheld or {}).get(name))
            for name, verdict in verdicts.items()
            if not params["summarize_ok"] or verdict.verdict != OK
        },
        "undeclared": {name: _text(gpus_of(node)) for name, node in sorted(outcome.view.undeclared.items())},
        "summary": _summary(verdicts),
        "node_count": outcome.node_count,
        "polls": outcome.polls,
        "events": outcome.events,
        "elapsed_s": round(outcome.waited_s, 3),
        "settled": is_settled(findings),
        RESULT_KEY: [finding.as_dict() for finding in findings],
    }


def _context(params: Mapping[str, Any]) -> Context:
    return Context(read_at=read_at(), requirements=tuple(params["requirements"]), simulated=params["simulated"])


def _not_read(expected: Expected, params: Mapping[str, Any], error: GpuError) -> Dict[str, Any]:
    return {
        "verdicts": {},
        "nodes": dict.fromkeys(sorted(expected)),
        "undeclared": {},
        "summary": {},
        "node_count": None,
        "polls": 0,
        "events": 0,
        "elapsed_s": 0.0,
        "settled": False,
        RESULT_KEY: [finding.as_dict() for finding in _skipped(expected, _context(params), error)],
    }


def _skipped(expected: Expected, context: Context, error: GpuError) -> List[Finding]:
    return [
        Finding(
            code="BG-CAP-001",
            subject=name,
            status=SKIPPED,
            reason="check mode, and the cluster cannot be read yet: {0}".format(error.what),
            evidence={"what": "list of nodes", "expected": dict(expected[name].resources), "when": context.read_at},
            requirements=context.requirements,
            simulated=context.simulated,
        )
        for name in sorted(expected)
    ]


def _summary(verdicts: Mapping[str, NodeVerdict]) -> Dict[str, int]:
    found: Dict[str, int] = {}
    for verdict in verdicts.values():
        found[verdict.verdict] = found.get(verdict.verdict, 0) + 1
    return dict(sorted(found.items()))


def _shown(
    node: Optional[NodeReading], verdict: NodeVerdict, wanted: Mapping[str, int], unheld: Optional[Mapping[str, Any]]
) -> Optional[Dict[str, Any]]:
    if node is None:
        return None
    shown: Dict[str, Any] = {
        "verdict": verdict.verdict,
        "ready": node.ready,
        "unschedulable": node.unschedulable,
        "capacity": _text(relevant(node.capacity, wanted)),
        "allocatable": _text(relevant(node.allocatable, wanted)),
    }
    if unheld is not None:
        shown["free"] = _text(unheld)
    return shown


def _text(counts: Mapping[str, Any]) -> Dict[str, str]:
    return {name: plain(count) for name, count in counts.items()}


if __name__ == "__main__":
    main()
