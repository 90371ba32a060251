#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; it never runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_twins
short_description: Find hosts that share what must be a host's own
version_added: "0.1.0"
description:
  - Compares the machine ids and host names that M(baremetal.gpu.host_preflight) read from the hosts of a play (BG-HOST-015, BG-HOST-016).
    Hosts of a copied image share them, and nodes of a cluster would be taken for each other.
  - Compares the hosts of the run only, so that it works with a limit. Runs on the controller, once per play.
options:
  readings:
    description: Name of the variable in which each host registered the result of M(baremetal.gpu.host_preflight).
    type: str
    required: true
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.controller_only
  - baremetal.gpu.attributes.read_only
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Compare the hosts with each other
  baremetal.gpu.host_twins:
    readings: host
  run_once: true
  register: twins
"""

RETURN = r"""
compared:
  description: How many hosts were compared.
  returned: success
  type: int
by_host:
  description: Findings with status V(fail) by host; hosts that share nothing are left out.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Only the action plugin does anything."""
    module = AnsibleModule(argument_spec={"readings": {"type": "str", "required": True}}, supports_check_mode=True)
    module.fail_json(msg="baremetal.gpu.host_twins runs as an action on the controller, not as a module")


if __name__ == "__main__":
    main()
