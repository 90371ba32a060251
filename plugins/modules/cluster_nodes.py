#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; it never runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_nodes
short_description: Read a cluster's release and its nodes' identity, state, labels and taints
version_added: "0.2.0"
description:
  - Reads the API server's release and all nodes in one paged list, each reduced to what roles that add, change or remove nodes
    hold their host against. One read serves every host of a play.
  - Runs on the controller only.
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.controller_only
  - baremetal.gpu.cluster
  - baremetal.gpu.attributes.read_only
seealso:
  - module: baremetal.gpu.cluster_node
  - module: baremetal.gpu.k3s_node
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Read the cluster
  baremetal.gpu.cluster_nodes:
    kubeconfig: ~/.kube/spark.yaml
  run_once: true
  register: cluster
"""

RETURN = r"""
server_version:
  description: The API server's release.
  returned: success
  type: str
ca_sha256:
  description: SHA-256 of the CA certificate that the kubeconfig trusts; empty when it trusts none or several.
  returned: success
  type: str
nodes:
  description: The nodes by name.
  returned: success
  type: dict
  sample:
    spark-01:
      name: spark-01
      machine_id: 0f2c5d8c9a7b4e0d8f0c7d2b1a3e4f50
      kubelet_version: v1
      ready: true
      heartbeat: "2026-01-01T00:00:00Z"
      unschedulable: false
      labels: {accelerator: gb10}
      taints: ["nvidia.com/gpu=present:NoSchedule"]
      owned_labels: [accelerator]
      owned_taints: ["nvidia.com/gpu:NoSchedule"]
      resource_version: "1234"
      message: kubelet is posting ready status
      addresses: [10.0.0.21]
      pod_network_address: 10.0.0.21
"""
