# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a container of a workload tier requests."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tier_resources
short_description: The resources that a container of a workload tier requests
version_added: "0.1.0"
description:
  - Returns requests and limits, which are equal, for a workload tier of C(data/tiers.yml) on nodes that share their GPUs as declared.
  - A tier's threads and memory are no resources of Kubernetes. They are limited by what the filter C(baremetal.gpu.mps_environment) gives, and
    nothing counts them against the GPU.
options:
  _input:
    description: The name of a tier.
    type: str
    required: true
  sharing:
    description: How the pod's nodes share their GPUs, the inventory's C(gpu_sharing).
    type: dict
    required: true
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show what a pod of the smallest tier requests
  ansible.builtin.debug:
    msg: "{{ 'small' | baremetal.gpu.tier_resources({'strategy': 'mps', 'replicas': 10}) }}"
"""

RETURN = r"""
_value:
  description: C(requests) and C(limits), each a mapping of resource and quantity.
  type: dict
"""

from typing import Any, Callable, Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import require_sharing
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.tiers import resources, tier_named
from ansible_collections.baremetal.gpu.plugins.plugin_utils.sharing_data import load_tiers


def tier_resources(tier: str, sharing: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The filter. Raises ``AnsibleFilterError`` for an unknown tier and for a declaration that is not usable."""
    try:
        return resources(tier_named(tier, load_tiers()), require_sharing(sharing).resource)
    except GpuError as error:
        raise AnsibleFilterError(f"tier_resources: {error}") from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {"tier_resources": tier_resources}
