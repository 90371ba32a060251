#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; it never runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_pod
short_description: Run one pod that requests a GPU and judge what it sees
version_added: "0.1.0"
description:
  - Creates the given pod, waits until its only container has ended, judges the UUIDs of GPUs in its termination message, and
    removes it in any case.
  - Returns one finding. V(ok) when the pod ended well and saw a GPU, V(fail) when it ended otherwise, V(unknown) when it did not
    end in time, with what the scheduler or the kubelet said last. The task itself does not fail on a bad finding;
    M(baremetal.gpu.verdict) does. It fails when the cluster refuses or does not answer.
  - Runs on the controller only. The machine's programs are not used.
  - In check mode no pod is started and the finding is V(skipped).
options:
  pod:
    description:
      - Manifest of the pod, with one container that writes what it sees to its termination log, as C(nvidia-smi --list-gpus) prints it.
      - Needs C(generateName), so that a pod left over from an interrupted run never counts as proof.
    type: dict
    required: true
  node:
    description: Name of the node that the pod is bound to; the finding is about it.
    type: str
    required: true
  resource:
    description: Resource that the pod requests, for the finding's text.
    type: str
    default: nvidia.com/gpu
  requirements:
    description: Ids of the requirements that the finding proves.
    type: list
    elements: str
    default: []
  simulated:
    description: Whether the node's GPUs are simulated. The finding is then marked.
    type: bool
    default: false
  wait_timeout_s:
    description: How long the pod may take to be scheduled and to end, in seconds.
    type: float
    default: 120
  poll_interval_s:
    description: Time between two readings while waiting, in seconds.
    type: float
    default: 0.5
attributes:
  check_mode:
    support: full
    details: Starts no pod; the finding is skipped.
  diff_mode:
    support: N/A
    details: Nothing stays that could differ.
  idempotent:
    support: full
    details: The pod is removed, so nothing changes.
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.controller_only
  - baremetal.gpu.cluster
seealso:
  - module: baremetal.gpu.gpu_capacity
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Run nvidia-smi in a pod that requests a GPU
  baremetal.gpu.gpu_pod:
    kubeconfig: ~/.kube/spark.yaml
    node: spark-01
    pod: "{{ lookup('ansible.builtin.template', 'pod.yml.j2') | from_yaml }}"
  register: pod

- name: Fail the host when no pod could use a GPU
  baremetal.gpu.verdict:
    findings: "{{ pod.baremetal_gpu_findings }}"
"""

RETURN = r"""
baremetal_gpu_findings:
  description: One finding with code BG-POD-001 about the node.
  returned: success
  type: list
  elements: dict
  sample:
    - code: BG-POD-001
      subject: spark-01
      requirements: [MPS-09]
      status: ok
      simulated: false
      reason: a pod that requests nvidia.com/gpu sees GPU-00000000-0000-0000-0000-000000000000
      evidence:
        what: nvidia-smi in a pod
        where: node spark-01, namespace default
        message: "GPU 0: NVIDIA GB10 (UUID: GPU-00000000-0000-0000-0000-000000000000)"
      remedy: ""
      waived: false
      waiver: null
"""
