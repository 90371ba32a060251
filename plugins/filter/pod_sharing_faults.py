# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Manifests of pods against how their nodes share GPUs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pod_sharing_faults
short_description: What is wrong with manifests of pods on nodes that share their GPUs
version_added: "0.1.0"
description:
  - Looks at every pod, and at what Deployments, Jobs, CronJobs and the like make pods of, that asks for GPUs. Nothing is asked of a cluster.
  - On nodes that share by MPS, limits must be there, in a form that is certain to be read, and no more than the MPS daemon lets a client have.
    They must be those of the pod's tier where the label C(baremetal.gpu/tier) names one. All pods must run as one user, and say as whom.
  - Everywhere a container may request one share only, of a resource that the nodes offer.
  - What stands elsewhere than in the manifest is not known, and a fault. Limits of all pods together are not summed up.
options:
  _input:
    description: Objects of Kubernetes, for example of C(from_yaml_all). Objects that are no pods are left alone.
    type: list
    elements: dict
    required: true
  sharing:
    description: How the pods' nodes share their GPUs, the inventory's C(gpu_sharing).
    type: dict
    required: true
  profile:
    description: The nodes' hardware profile. Without it the daemon's limit of memory is not known, and not compared.
    type: str
  user:
    description: The user id that all of these pods must have. By default it is the one that most of them have.
    type: int
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Refuse manifests that the GPUs' nodes would not serve as they say
  ansible.builtin.assert:
    that: faults == []
    fail_msg: "{{ faults | map(attribute='what') | join('; ') }}"
  vars:
    faults: "{{ lookup('ansible.builtin.file', 'pods.yml') | from_yaml_all | list
      | baremetal.gpu.pod_sharing_faults(gpu_sharing, gpu_hardware_profile) }}"
"""

RETURN = r"""
_value:
  description: Mappings of C(code), C(subject), which is C(Kind/namespace/name), C(what), C(reason) and C(remedy); an empty list when nothing is wrong.
  type: list
  elements: dict
"""

from typing import Any, Callable, Iterable, Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import require_sharing
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.pods import PodFault, pod_faults
from ansible_collections.baremetal.gpu.plugins.plugin_utils.sharing_data import (
    load_tiers,
    memory_of_profile,
    remedy_of,
)


def pod_sharing_faults(
    manifests: Iterable[Any], sharing: Mapping[str, Any], profile: str | None = None, user: int | None = None
) -> list[dict[str, str]]:
    """The filter. Raises ``AnsibleFilterError`` for what is no list of manifests and for a declaration that is not usable."""
    if isinstance(manifests, (str, Mapping)):
        raise AnsibleFilterError("pod_sharing_faults: BG-SHARE-017: pass a list of manifests, not one or a text")
    try:
        declared, memory = require_sharing(sharing), memory_of_profile(profile)
        found = pod_faults(manifests, declared, memory, load_tiers(), user)
    except GpuError as error:
        raise AnsibleFilterError(f"pod_sharing_faults: {error}") from error
    return [_plain(each) for each in found]


def _plain(found: PodFault) -> dict[str, str]:
    reason, remedy = remedy_of(found.fault.code)
    return {
        "code": found.fault.code,
        "subject": found.subject,
        "what": found.fault.what,
        "reason": reason,
        "remedy": found.fault.hint or remedy,
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {"pod_sharing_faults": pod_sharing_faults}
