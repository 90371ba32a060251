#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; it never runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Refuse a broken inventory before any host is touched
version_added: "0.1.0"
description:
  - Looks at the whole inventory on the controller, without any connection, and tells everything that is wrong with it at
    once, each thing with a stable code, the reason and the remedy.
  - "Looks at: groups, the site's readiness checklist, missing, misspelt and unusable variables, secrets in plain text, secret files and
    kubeconfigs on the controller, hardware profiles, GPU sharing and MIG, versions, names and addresses of nodes, networks, artefacts, and settings
    of k3s agents. C(docs/preflight.md) lists what is refused, and the variables by which a site describes itself."
  - Which roles a host gets is read from the playbook of O(system), so that nothing has to be said twice.
  - Values behind C(k3s_server_cluster_cidr), C(k3s_server_service_cidr) and C(k3s_server_version) are facts of the site
    about a k3s server that exists before the run. Without them the server's own default networks are assumed, and
    the version is not compared.
options:
  system:
    description:
      - Name of the playbook, below C(playbooks/), that the inventory is to be good for.
      - Without it a host counts for the roles whose required variables it has all.
    type: str
  hosts:
    description:
      - Hosts to judge. The others still matter where hosts are compared with each other.
      - Without it all hosts of the playbook of O(system), within the limit of the run.
    type: list
    elements: str
  optional:
    description:
      - Whether an inventory that has hosts of another system, and none of O(system), is not judged.
      - Otherwise the groups that O(system) needs must have hosts.
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
- name: Refuse a broken inventory before any host is touched
  hosts: spark
  gather_facts: false
  tasks:
    - name: Check the whole inventory
      baremetal.gpu.preflight:
        system: spark
      run_once: true
"""

RETURN = r"""
baremetal_gpu_findings:
  description: What is refused, as findings with status V(fail); empty when nothing is.
  returned: always
  type: list
  elements: dict
code:
  description: The code of the refusal as a whole, C(BG-INV-099).
  returned: failure
  type: str
remedy:
  description: What to do about the refusal as a whole.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Only the action plugin does anything."""
    module = AnsibleModule(
        argument_spec={
            "system": {"type": "str"},
            "hosts": {"type": "list", "elements": "str"},
            "optional": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="baremetal.gpu.preflight runs as an action on the controller, not as a module")


if __name__ == "__main__":
    main()
