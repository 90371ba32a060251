#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; it never runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: plan_only
short_description: Stop a run that would do more than predict
version_added: "0.2.0"
description:
  - Fails unless the run is in check mode, for modules and for conditions of roles alike.
  - The first task of C(plan.yml). It stands before every other task, so a plan that cannot be kept from changing hosts ends there.
  - Runs on the controller only.
attributes:
  action:
    description: Runs on the controller.
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.read_only
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Make sure that nothing is changed
  baremetal.gpu.plan_only:
  any_errors_fatal: true
"""

RETURN = r""" # """

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Only the action plugin does anything."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.fail_json(msg="baremetal.gpu.plan_only runs as an action on the controller, not as a module")


if __name__ == "__main__":
    main()
