#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; it never runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_sheet
short_description: Write the sheet of a node for a site's documentation
version_added: "0.2.0"
description:
  - Writes one Markdown file per host on the controller - hostname, name and addresses in the tailnet, other addresses, hardware, versions. What was not
    read is C(unknown), never left out.
  - Only what stays the same on an unchanged host stands on it, so it can be kept in version control.
  - Serial numbers, UUIDs of GPUs and hardware addresses stand on it only with O(serials).
  - The role C(node_sheet) reads what it takes.
options:
  directory:
    description: Folder on the controller; the file is named by the host.
    type: path
    required: true
  facts:
    description: What M(ansible.builtin.setup) returned in C(ansible_facts), not necessarily all of it.
    type: dict
    required: true
  readings:
    description: What M(baremetal.gpu.gpu_info) returned in C(readings).
    type: dict
    required: true
  tailscale:
    description: What C(tailscale status --json) printed. Empty means that Tailscale is not installed.
    type: str
    default: ""
  node:
    description: What M(baremetal.gpu.cluster_nodes) returned about the node.
    type: dict
    default: {}
  cluster:
    description: What the cluster is called. Empty leaves out what the cluster says.
    type: str
    default: ""
  serials:
    description: Whether what names one single device stands on the sheet.
    type: bool
    default: false
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.controller_only
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: baremetal.gpu.gpu_info
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Read the host's GPUs
  baremetal.gpu.gpu_info:
  register: gpus

- name: Write the host's sheet
  baremetal.gpu.node_sheet:
    directory: docs/nodes
    facts: "{{ ansible_facts }}"
    readings: "{{ gpus.readings }}"
"""

RETURN = r"""
path:
  description: The sheet.
  returned: success
  type: str
  sample: docs/nodes/spark-01.md
"""
