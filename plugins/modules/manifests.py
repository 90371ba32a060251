#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; it never runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: manifests
short_description: Apply manifests to a cluster and say exactly what changed
version_added: "0.1.0"
description:
  - Applies Kubernetes objects in their order by server-side apply, with one connection for all of them.
  - An object is changed when anything but its status and the API server's bookkeeping differs afterwards. Fields that another program owns
    are taken from it only with O(force).
  - In check mode the API server is asked for a dry run. An object in a namespace, or of a definition, that this run would create, is
    predicted to be created, and so is everything when the kubeconfig does not exist yet.
  - Runs on the controller only.
options:
  manifests:
    description: YAML texts, each with one or more objects.
    type: list
    elements: str
    required: true
  field_manager:
    description: Name under which the API server notes who owns the applied fields.
    type: str
    required: true
  force:
    description: Whether fields that another program owns are taken from it. Without it they are refused.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.controller_only
  - baremetal.gpu.cluster
seealso:
  - module: baremetal.gpu.gpu_capacity
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Apply a namespace and what is in it
  baremetal.gpu.manifests:
    kubeconfig: ~/.kube/spark.yaml
    field_manager: site
    manifests: "{{ query('ansible.builtin.template', 'namespace.yml.j2', 'plugin.yml.j2') }}"
"""

RETURN = r"""
objects:
  description: What became of each object, in order.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Its kind.
      type: str
    namespace:
      description: Its namespace; empty for an object of the whole cluster.
      type: str
    name:
      description: Its name.
      type: str
    outcome:
      description: V(created), V(changed) or V(unchanged).
      type: str
"""
