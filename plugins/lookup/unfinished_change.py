# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Changes of nodes that were cut off."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unfinished_change
short_description: Which change of a node was begun on this controller and has not ended
version_added: "0.2.0"
description:
  - Returns, for each node, who holds its change as M(baremetal.gpu.node_change) names it, or an empty string. A roll begins with those that
    have one, because they are out of the cluster already and others find no room in the budget.
options:
  _terms:
    description: Names of nodes.
    required: true
    type: list
    elements: str
notes:
  - Reads the journals in C(node_change_journal), by default C(.node-change) beside the inventory.
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Group nodes by whether they have an unfinished change
  ansible.builtin.group_by:
    key: "{{ 'unfinished' if lookup('baremetal.gpu.unfinished_change', inventory_hostname) else 'others' }}"
"""

RETURN = r"""
_raw:
  description: The holder of each node's unfinished change, or an empty string.
  type: list
  elements: str
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.baremetal.gpu.plugins.module_utils.change_machine import holder_of
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils.change_journal import VARIABLE, directory_for, read


class LookupModule(LookupBase):
    """``lookup('baremetal.gpu.unfinished_change', 'onyx-g01')``."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """One holder per node, in order."""
        given = variables or {}
        known = {**given, VARIABLE: self._templar.template(given.get(VARIABLE, ""))}
        try:
            directory = directory_for(known)
            return [holder_of(read(directory, str(term))) for term in terms]
        except GpuError as error:
            raise AnsibleLookupError(str(error)) from error
