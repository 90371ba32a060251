# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What follows from a declaration of how GPUs are shared."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sharing_figures
short_description: What one share of a GPU is, and what each workload tier gets of it
version_added: "0.1.0"
description:
  - Derives the figures of one share from the number of replicas and the hardware profile, so that they are typed nowhere.
  - Says beside them what the MPS daemon really lets a client have, and what each workload tier of C(data/tiers.yml) gets there.
  - A declaration that nothing in this collection applies yet is refused.
options:
  _input:
    description: How nodes share their GPUs, the inventory's C(gpu_sharing).
    type: dict
    required: true
  profile:
    description: The nodes' hardware profile.
    type: str
    required: true
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show what one of ten pods on a DGX Spark has
  ansible.builtin.debug:
    msg: "{{ {'strategy': 'mps', 'replicas': 10} | baremetal.gpu.sharing_figures('gb10') }}"
"""

RETURN = r"""
_value:
  description:
    - C(strategy), C(replicas), C(gpus), which is the number of GPUs of a node, C(resource), and C(shares), which is how many of that
      resource a node has; none with strategy V(mig), where MIG devices have names of their own.
    - C(thread_percent) and C(memory_gb) are an equal part of a GPU; C(memory_limit) is that part as MPS writes it, rounded down.
      Memory is none where the profile has no figure for it.
    - C(thread_cap) is the percentage and C(memory_cap) the memory that the MPS daemon lets each client have, none where it limits nothing.
    - C(tiers) has for each tier C(thread_percent) and C(memory_limit), which are what a pod gets and none where nothing limits it,
      C(in_full), a truth value, and C(faults), a list of mappings with C(code), C(what) and C(remedy).
  type: dict
"""

from decimal import Decimal
from typing import Any, Callable, Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.declaration import MIG, Fault, require_sharing
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.figures import GB, TierShare, share_of, tier_share
from ansible_collections.baremetal.gpu.plugins.module_utils.sharing.limits import render_memory
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile
from ansible_collections.baremetal.gpu.plugins.plugin_utils.sharing_data import load_tiers, memory_of, remedy_of


def sharing_figures(sharing: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """The filter. Raises ``AnsibleFilterError`` for a declaration that is not usable and for an unknown profile."""
    try:
        declared, hardware = require_sharing(sharing), load_profile(str(profile))
        memory, tiers = memory_of(hardware), load_tiers()
    except GpuError as error:
        raise AnsibleFilterError(f"sharing_figures: {error}") from error
    share = share_of(declared, memory)
    return {
        "strategy": declared.strategy,
        "replicas": declared.replicas,
        "gpus": hardware.gpu_count,
        "resource": declared.resource,
        "shares": None if declared.strategy == MIG else hardware.gpu_count * declared.replicas,
        "thread_percent": _number(share.thread_percent),
        "memory_gb": None if share.memory_bytes is None else share.memory_bytes / GB,
        "memory_limit": _amount(share.memory_bytes),
        "thread_cap": share.thread_cap,
        "memory_cap": _amount(share.memory_cap_bytes),
        "tiers": {name: _tier(tier_share(tier, declared, memory)) for name, tier in tiers.items()},
    }


def _tier(share: TierShare) -> dict[str, Any]:
    return {
        "thread_percent": None if share.thread_percent is None else _number(share.thread_percent),
        "memory_limit": _amount(share.memory_bytes),
        "in_full": not share.faults,
        "faults": [_fault(each) for each in share.faults],
    }


def _fault(fault: Fault) -> dict[str, str]:
    return {"code": fault.code, "what": fault.what, "remedy": fault.hint or remedy_of(fault.code)[1]}


def _amount(size: int | None) -> str | None:
    return None if size is None else render_memory(size)


def _number(value: Decimal) -> int | float:
    return int(value) if value == int(value) else round(float(value), 6)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {"sharing_figures": sharing_figures}
