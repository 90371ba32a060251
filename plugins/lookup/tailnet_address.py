# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a host is reached: over its tailnet once that was shown to work, else at another address."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tailnet_address
short_description: A host's address in its tailnet, once the controller reached it there
version_added: "0.3.0"
description:
  - Returns the tailnet address, or the name, that M(baremetal.gpu.tailscale_node) kept when a fresh connection over it reached the host. For a host of
    which nothing is kept it returns O(otherwise).
  - Meant for C(ansible_host), which is evaluated for every task, so the tasks after the one that joined the host connect over the tailnet already, and so do
    all later runs. Nothing is edited in between.
options:
  _terms:
    description: Names of hosts, as in the inventory.
    required: true
    type: list
    elements: str
  otherwise:
    description: What is returned for a host of which nothing is kept.
    type: str
    default: ""
  answer:
    description: What to return. Names need the tailnet's name servers on the controller; for a node without name its address is returned.
    type: str
    choices: [address, name]
    default: address
notes:
  - Reads C(tailscale_addresses_folder), a folder on the controller. Where that is empty nothing is kept.
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show where a host is reached
  ansible.builtin.debug:
    msg: "{{ lookup('baremetal.gpu.tailnet_address', 'spark-01', otherwise='10.20.0.21') }}"
  vars:
    tailscale_addresses_folder: "{{ inventory_dir }}/tailnet"
"""

RETURN = r"""
_raw:
  description: One address or name per host.
  type: list
  elements: str
"""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils.tailnet_record import VARIABLE, read


class LookupModule(LookupBase):
    """``lookup('baremetal.gpu.tailnet_address', 'spark-01', otherwise='10.20.0.21')``."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """One answer per host, in order."""
        self.set_options(var_options=variables, direct=kwargs)
        folder = str(self._templar.template((variables or {}).get(VARIABLE, "")) or "")
        return [self._answer(folder, str(term)) for term in terms]

    def _answer(self, folder: str, host: str) -> str:
        try:
            record = read(Path(folder).expanduser(), host) if folder else None
        except GpuError as error:
            raise AnsibleLookupError(str(error)) from error
        if record is None:
            return str(self.get_option("otherwise"))
        return (record.name if self.get_option("answer") == "name" else "") or record.address
