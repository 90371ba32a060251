#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; it never runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_objects
short_description: Judge whether objects of a cluster are as their manifests declare and their pods run
version_added: "0.2.0"
description:
  - Asks the API server for a dry run of the server-side apply by which the objects were made, so that the server itself compares (first
    code). What it would create is missing, what it would change was edited.
  - Waits until workloads among them are rolled out (second code), and names pods that cannot get ready by themselves. Workloads that
    lack pods only on nodes that are not Ready are a warning, because M(baremetal.gpu.gpu_capacity) judges nodes.
  - What cannot be asked is V(unknown). The task itself does not fail on a bad finding. M(baremetal.gpu.verdict) does.
  - Changes nothing; the kubeconfig's user needs the right to patch the objects all the same, because a dry run is a request to change.
  - Runs on the controller only.
options:
  subject:
    description: What the objects are, for the findings.
    type: str
    required: true
  manifests:
    description: YAML texts, each with one or more objects.
    type: list
    elements: str
    default: []
  sources:
    description: Further manifests that the controller fetches. One that cannot be fetched, or is another, makes the findings V(unknown).
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description: Where the controller finds it.
        type: str
        required: true
      sha256:
        description: Its SHA-256.
        type: str
        required: true
  field_manager:
    description: Name under which the objects were applied.
    type: str
    required: true
  codes:
    description: Codes of the two findings.
    type: dict
    required: true
    suboptions:
      declared:
        description: Of the comparison.
        type: str
        required: true
      running:
        description: Of the workloads.
        type: str
        required: true
  needed:
    description: Names of workloads that must have at least one pod. Others may be meant for nodes that the cluster does not have.
    type: list
    elements: str
    default: []
  wait_timeout_s:
    description: How long workloads may take to settle, in seconds.
    type: float
    default: 180
attributes:
  check_mode:
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.controller_only
  - baremetal.gpu.cluster
  - baremetal.gpu.attributes.read_only
seealso:
  - module: baremetal.gpu.manifests
  - module: baremetal.gpu.host_setup
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Judge the pod network
  baremetal.gpu.cluster_objects:
    kubeconfig: ~/.kube/onyx.yaml
    subject: pod network
    sources:
      - url: https://mirror.site.internal/flannel.yaml
        sha256: "{{ pod_network_manifest_sha256 }}"
    field_manager: baremetal-gpu
    codes: {declared: BG-K8S-009, running: BG-K8S-010}
  register: network
"""

RETURN = r"""
objects:
  description: What the dry run says of each object, in order.
  returned: when the API server answered
  type: list
  elements: dict
  sample: [{kind: DaemonSet, namespace: kube-flannel, name: kube-flannel-ds, outcome: unchanged}]
baremetal_gpu_findings:
  description: The two findings.
  returned: success
  type: list
  elements: dict
"""
