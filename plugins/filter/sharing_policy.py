# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An admission policy for pods on GPUs that are shared by MPS."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sharing_policy
short_description: An admission policy for pods on GPUs that are shared by MPS
version_added: "0.1.0"
description:
  - Returns a ValidatingAdmissionPolicy and its binding. With them the API server admits a pod that asks for a GPU only when it requests one
    share, has both limits of MPS in a form that is certain to be read, these are those of the tier that its label C(baremetal.gpu/tier) names, the
    nodes give that tier in full, and it runs as the given user.
  - Only pods of namespaces with the given labels are looked at. Nothing is added to a pod, and pods are not summed up.
  - Nothing in this collection applies the policy by itself.
options:
  _input:
    description: How the pods' nodes share their GPUs, the inventory's C(gpu_sharing).
    type: dict
    required: true
  profile:
    description: The nodes' hardware profile.
    type: str
    required: true
  user:
    description: The user id that all GPU pods of these nodes have. An MPS server serves one user.
    type: int
    required: true
  namespaces:
    description: Labels of the namespaces that the policy is about.
    type: dict
    default: {baremetal.gpu/sharing: mps}
  name:
    description: Name of the policy and of its binding.
    type: str
    default: baremetal-gpu-sharing
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Predict what the policy would change in a cluster
  baremetal.gpu.manifests:
    kubeconfig: /secrets/kubeconfig
    field_manager: baremetal-gpu
    manifests: "{{ gpu_sharing | baremetal.gpu.sharing_policy(gpu_hardware_profile, user=1000) | map('to_json') | list }}"
  check_mode: true
"""

RETURN = r"""
_value:
  description: The policy and its binding.
  type: list
  elements: dict
"""

from typing import Any, Callable, Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import require_sharing, whole_number
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.policy import policy_objects
from ansible_collections.baremetal.gpu.plugins.plugin_utils.sharing_data import load_tiers, memory_of_profile


def sharing_policy(
    sharing: Mapping[str, Any],
    profile: str,
    user: int,
    namespaces: Mapping[str, str] | None = None,
    name: str = "baremetal-gpu-sharing",
) -> list[dict[str, Any]]:
    """The filter. Raises ``AnsibleFilterError`` for a declaration that is not usable or not of MPS."""
    number = whole_number(user)
    if number is None or number < 0:
        raise AnsibleFilterError(
            f"sharing_policy: BG-SHARE-012: {user!r} is no id of a user; give the one of all GPU pods"
        )
    labels = {"baremetal.gpu/sharing": "mps"} if namespaces is None else dict(namespaces.items())
    try:
        declared, memory = require_sharing(sharing), memory_of_profile(profile)
        return policy_objects(name, declared, memory, load_tiers(), number, labels)
    except GpuError as error:
        raise AnsibleFilterError(f"sharing_policy: {error}") from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {"sharing_policy": sharing_policy}
