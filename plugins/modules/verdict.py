#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; it never runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verdict
short_description: Fail a host when one of its required findings is not ok
version_added: "0.1.0"
description:
  - Merges findings, applies the inventory's waivers and fails the host when a required finding is V(fail), is V(unknown)
    and not waived, or is simulated while O(lab) is V(false).
  - A later finding with the same code and subject replaces an earlier one.
  - Only unknowns can be waived. A waiver never hides a failure.
  - In check mode nothing was applied yet, so the verdict is returned and printed but fails nothing.
  - Runs on the controller only.
options:
  findings:
    description: Findings, or lists of findings, from the key C(baremetal_gpu_findings) of results. V(null) is left out.
    type: list
    elements: raw
    required: true
  waivers:
    description: Unknowns that the inventory accepts, each with O(waivers[].code) and O(waivers[].reason). They are printed.
    type: list
    elements: dict
    default: []
    suboptions:
      code:
        description: The finding's code.
        type: str
        required: true
      reason:
        description: Why the unknown is acceptable here.
        type: str
        required: true
  lab:
    description: Whether the host belongs to the embedded lab, where simulated findings count.
    type: bool
    default: false
  required:
    description: Codes of the findings that must be ok. Without it (or with V(all)) every finding is required.
    type: list
    elements: str
  preconditions:
    description:
      - Whether the findings are about what must hold before the run. Then they fail the host in check mode as well, because nothing in the run would
        repair them, and a host that passes is not counted as proven.
    type: bool
    default: false
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.controller_only
  - baremetal.gpu.attributes.read_only
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Fail the host when a required finding is not ok
  baremetal.gpu.verdict:
    findings:
      - "{{ gpu.baremetal_gpu_findings }}"
      - "{{ capacity.baremetal_gpu_findings | default(none) }}"
    waivers:
      - code: BG-GPU-009
        reason: containers share the machine's kernel, so its driver's version cannot be shown
    lab: "{{ lab | default(false) }}"
"""

RETURN = r"""
passed:
  description: Whether no required finding was refused.
  returned: without O(preconditions)
  type: bool
refused:
  description: Codes of the refused findings; in check mode they fail nothing.
  returned: success or failure
  type: list
  elements: str
simulated:
  description: Whether a finding comes from a stand-in.
  returned: success or failure
  type: bool
waived:
  description: The waived findings, one line each.
  returned: success or failure
  type: list
  elements: str
unused_waivers:
  description: Codes of waivers that no finding needed.
  returned: success or failure
  type: list
  elements: str
baremetal_gpu_findings:
  description: The merged findings. C(waived) tells which were waived, C(waiver) why.
  returned: success or failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Only the action plugin does anything."""
    module = AnsibleModule(
        argument_spec={
            "findings": {"type": "list", "elements": "raw", "required": True},
            "waivers": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"code": {"type": "str", "required": True}, "reason": {"type": "str", "required": True}},
            },
            "lab": {"type": "bool", "default": False},
            "required": {"type": "list", "elements": "str"},
            "preconditions": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="baremetal.gpu.verdict runs as an action on the controller, not as a module")


if __name__ == "__main__":
    main()
