#!/usr/bin/python
"""Declared GPU resources against what the cluster's nodes offer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_capacity
short_description: Hold declared GPU resources against the capacity and allocatable of a cluster's nodes
version_added: "0.1.0"
description:
  - Reads all nodes in one paged list and compares, for each declared node and resource, capacity I(and) allocatable with
    the declared count. Both must be equal to it.
  - Waits through settling states (a device plugin that registers, a node that becomes Ready) until O(wait_timeout_s).
  - Returns one finding per node. A node that is not Ready is unknown, because its figures are stale. A declared node that
    is not there is a failure, an undeclared node that offers GPUs is a warning.
  - The task itself does not fail on a bad finding. M(baremetal.gpu.verdict) does. It fails when the cluster cannot be read.
  - Runs on the controller, delegated to localhost.
  - In check mode nothing was applied that could settle, so the nodes are read once without waiting, and a cluster that
    does not exist yet gives findings with status V(skipped).
options:
  kubeconfig:
    description:
      - Path of the kubeconfig.
      - When not given, the value of the environment variable E(K8S_AUTH_KUBECONFIG), then the client's default.
    type: path
  context:
    description:
      - Context of the kubeconfig.
      - When not given, the value of the environment variable E(K8S_AUTH_CONTEXT), then the current context.
    type: str
  expected:
    description: Count of each resource that each node must offer, by node name.
    type: dict
    required: true
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
    default: 300
  poll_interval_s:
    description: Time between two readings while waiting, in seconds.
    type: float
    default: 3
  request_timeout_s:
    description: How long one request may take, in seconds.
    type: float
    default: 30
requirements:
  - Python package kubernetes
attributes:
  platform:
    description: Target systems.
    platforms: posix
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.read_only
seealso:
  - module: baremetal.gpu.gpu_info
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors
"""

EXAMPLES = r"""
- name: Prove that the GPUs of both workers are offered
  baremetal.gpu.gpu_capacity:
    kubeconfig: ~/.kube/onyx.yaml
    expected:
      onyx-g1: {nvidia.com/gpu: 8}
      onyx-g2: {nvidia.com/gpu: 8}
    requirements: [ONYX-R057]
  delegate_to: localhost
  register: capacity

- name: Prove that one GPU is offered ten times by MPS
  baremetal.gpu.gpu_capacity:
    kubeconfig: ~/.kube/spark.yaml
    expected:
      spark-01: {nvidia.com/gpu: 10}
    wait_timeout_s: 120
  delegate_to: localhost
  register: capacity
"""

RETURN = r"""
nodes:
  description: The declared nodes as they were read last, by name. V(null) when the cluster has no such node.
  returned: success
  type: dict
  sample:
    spark-01:
      ready: true
      unschedulable: false
      capacity: {nvidia.com/gpu: "10"}
      allocatable: {nvidia.com/gpu: "10"}
      resource_version: "1234"
node_count:
  description: How many nodes the cluster has. V(null) when it could not be read in check mode.
  returned: success
  type: int
polls:
  description: How many times the nodes were read.
  returned: success
  type: int
elapsed_s:
  description: How long reading and waiting took.
  returned: success
  type: float
settled:
  description: Whether no failure and no unknown was left at the end.
  returned: success
  type: bool
baremetal_gpu_findings:
  description: One finding per declared node, more for cordoned and undeclared ones.
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
"""

import datetime
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ansible.module_utils.basic import AnsibleModule, env_fallback

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY, SKIPPED, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.node_capacity import (
    Context,
    Expectation,
    NodeReading,
    is_settled,
    judge,
    parse_expectation,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import (
    TransientError,
    connect,
    read_nodes,
    require_client,
)

ARGUMENTS: Dict[str, Any] = {
    "kubeconfig": {"type": "path", "fallback": (env_fallback, ["K8S_AUTH_KUBECONFIG"])},
    "context": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_CONTEXT"])},
    "expected": {"type": "dict", "required": True},
    "requirements": {"type": "list", "elements": "str", "default": []},
    "simulated": {"type": "bool", "default": False},
    "wait_timeout_s": {"type": "float", "default": 300},
    "poll_interval_s": {"type": "float", "default": 3},
    "request_timeout_s": {"type": "float", "default": 30},
}


def main() -> None:
    """Return the findings about the declared nodes; nothing is changed."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        require_client()
        expected = parse_expectation(module.params["expected"])
        result = _verify(module.params, expected, module.check_mode)
    except GpuError as error:
        module.fail_json(**error.as_result())
    module.exit_json(changed=False, **result)


def _verify(params: Dict[str, Any], expected: Expectation, check_mode: bool) -> Dict[str, Any]:
    started = time.monotonic()
    nodes: Optional[List[NodeReading]] = None
    polls = 0
    try:
        nodes, findings, polls = _wait(params, expected, 0.0 if check_mode else params["wait_timeout_s"])
    except GpuError as error:
        # A bare host's cluster is made by tasks that check mode only predicts; refused credentials are an error.
        if not check_mode or error.code not in ("BG-CAP-101", "BG-CAP-103"):
            raise
        findings = _skipped(expected, params, error)
    by_name = {node.name: node for node in nodes or ()}
    return {
        "nodes": {name: _shown(by_name.get(name)) for name in sorted(expected)},
        "node_count": None if nodes is None else len(nodes),
        "polls": polls,
        "elapsed_s": round(time.monotonic() - started, 3),
        "settled": nodes is not None and is_settled(findings),
        RESULT_KEY: [finding.as_dict() for finding in findings],
    }


def _wait(
    params: Dict[str, Any], expected: Expectation, wait_timeout_s: float
) -> Tuple[List[NodeReading], Sequence[Finding], int]:
    """Read until the declared state is there or the deadline is reached; the last reading counts.

    Errors that may pass are retried until the deadline.
    """
    client = connect(params["kubeconfig"], params["context"])
    deadline = time.monotonic() + wait_timeout_s
    polls = 0
    while True:
        polls += 1
        try:
            nodes = read_nodes(client, params["request_timeout_s"])
            findings = judge(expected, nodes, _context(params))
            if is_settled(findings) or time.monotonic() >= deadline:
                return nodes, findings, polls
        except TransientError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(max(0.0, min(params["poll_interval_s"], deadline - time.monotonic())))


def _context(params: Dict[str, Any]) -> Context:
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return Context(
        read_at=now.isoformat().replace("+00:00", "Z"),
        requirements=tuple(params["requirements"]),
        simulated=params["simulated"],
    )


def _skipped(expected: Expectation, params: Dict[str, Any], error: GpuError) -> List[Finding]:
    context = _context(params)
    return [
        Finding(
            code="BG-CAP-001",
            subject=name,
            status=SKIPPED,
            reason="check mode, and the cluster cannot be read yet: {0}".format(error.what),
            evidence={"what": "list of nodes", "expected": expected[name], "when": context.read_at},
            requirements=context.requirements,
            simulated=context.simulated,
        )
        for name in sorted(expected)
    ]


def _shown(node: Optional[NodeReading]) -> Optional[Dict[str, Any]]:
    if node is None:
        return None
    return {
        "ready": node.ready,
        "unschedulable": node.unschedulable,
        "capacity": {name: "{0:f}".format(count) for name, count in node.capacity.items()},
        "allocatable": {name: "{0:f}".format(count) for name, count in node.allocatable.items()},
        "resource_version": node.resource_version,
    }


if __name__ == "__main__":
    main()
