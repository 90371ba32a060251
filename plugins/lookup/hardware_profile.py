# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hardware profiles from ``data/hardware``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hardware_profile
short_description: What a host of a hardware profile must show
version_added: "0.1.0"
description:
  - Returns C(data/hardware/<profile>.yml), the one place where the collection says how many GPUs a machine has, and which.
options:
  _terms:
    description: Names of profiles.
    required: true
    type: list
    elements: str
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show how many GPUs an HGX H100 has
  ansible.builtin.debug:
    msg: "{{ lookup('baremetal.gpu.hardware_profile', 'h100-sxm-8').gpu.count }}"
"""

RETURN = r"""
_raw:
  description: The content of each profile's file.
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import DIRECTORY, load_profile


class LookupModule(LookupBase):
    """``lookup('baremetal.gpu.hardware_profile', 'gb10')``."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """One profile per name, in order; one that is not usable is refused here, not where a key of it is missing."""
        try:
            return [data_files.load(f"{DIRECTORY}/{load_profile(str(term)).name}.yml") for term in terms]
        except GpuError as error:
            raise AnsibleLookupError(str(error)) from error
