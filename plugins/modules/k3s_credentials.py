#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; it never runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_credentials
short_description: Bring a k3s server's kubeconfig and join token to the controller
version_added: "0.2.0"
description:
  - Reads C(/etc/rancher/k3s/k3s.yaml) and the join token on the server and writes them to files of the controller, mode 0600,
    where they differ. The kubeconfig gets the address by which the controller reaches the server.
  - What is in the files appears in no result, no diff and no output of any verbosity.
  - In check mode a server that is not there yet is predicted to give new credentials.
options:
  server:
    description: Address of the API for the kubeconfig, for example V(https://10.0.0.20:6443).
    type: str
    required: true
  kubeconfig:
    description: File on the controller for the kubeconfig.
    type: path
    required: true
  token_file:
    description: File on the controller for the token with which agents join. Nothing is written when it is empty.
    type: path
    default: ""
attributes:
  action:
    description: Writes files of the controller.
    support: full
  check_mode:
    support: full
  diff_mode:
    support: partial
    details: Names the files that change, not what is in them.
  idempotent:
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Fetch the kubeconfig and the token
  baremetal.gpu.k3s_credentials:
    server: https://10.0.0.20:6443
    kubeconfig: ~/.kube/spark.yaml
    token_file: ~/secrets/k3s-token
"""

RETURN = r"""
written:
  description: Files of the controller that were written, or in check mode would be.
  returned: success
  type: list
  elements: str
"""
