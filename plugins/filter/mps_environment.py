# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The environment by which a container limits itself under MPS."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mps_environment
short_description: The environment of a container that uses a part of a GPU
version_added: "0.1.0"
description:
  - Returns C(CUDA_MPS_ACTIVE_THREAD_PERCENTAGE) and C(CUDA_MPS_PINNED_DEVICE_MEM_LIMIT) for a workload tier of C(data/tiers.yml), or for
    limits of your own, as a list for C(env) of a container.
  - Limits that the nodes' MPS daemon does not let a client have are refused, because the program would silently get less. C(docs/sharing.md)
    says what can be done then.
options:
  _input:
    description: The name of a tier, or a mapping of C(thread_percent) and C(memory_limit), for example of V(5) and V(16G).
    type: raw
    required: true
  sharing:
    description: How the pod's nodes share their GPUs, the inventory's C(gpu_sharing).
    type: dict
    required: true
  profile:
    description: The nodes' hardware profile. Without it the daemon's limit of memory is not known, and not compared.
    type: str
  devices:
    description: The container's devices, by index or whole UUID. A container with a share of one GPU has device 0.
    type: list
    elements: str
    default: ["0"]
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the environment of a pod of the smallest tier
  ansible.builtin.debug:
    msg: "{{ 'small' | baremetal.gpu.mps_environment({'strategy': 'mps', 'replicas': 10}, 'gb10') }}"

- name: Show that of a pod with limits of its own
  ansible.builtin.debug:
    msg: "{{ {'thread_percent': 5, 'memory_limit': '16G'} | baremetal.gpu.mps_environment(gpu_sharing, gpu_hardware_profile) }}"
"""

RETURN = r"""
_value:
  description: Mappings of C(name) and C(value), both text.
  type: list
  elements: dict
"""

from typing import Any, Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import require_sharing
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.figures import require_in_full
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.tiers import environment, tier_or_limits
from ansible_collections.baremetal.gpu.plugins.plugin_utils.sharing_data import load_tiers, memory_of_profile


def mps_environment(
    tier: Any, sharing: Mapping[str, Any], profile: str | None = None, devices: Sequence[str] = ("0",)
) -> list[dict[str, str]]:
    """The filter. Raises ``AnsibleFilterError`` for limits that are unknown, badly written, or more than a client can have."""
    try:
        asked = tier_or_limits(tier, load_tiers())
        require_in_full(asked, require_sharing(sharing), memory_of_profile(profile))
        return environment(asked, devices)
    except GpuError as error:
        raise AnsibleFilterError(f"mps_environment: {error}") from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {"mps_environment": mps_environment}
