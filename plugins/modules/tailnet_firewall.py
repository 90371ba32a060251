#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host that is reached through its tailnet only."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tailnet_firewall
short_description: Close a host to everything but its tailnet, without locking the operator out
version_added: "0.3.0"
description:
  - Renders rules from C(data/ports.yml) and the options, and holds them against the table C(inet baremetal_gpu) that the kernel lists. What the
    rules would be there is asked of the host's own nft in a network namespace of its own. No other table is read or touched.
  - The tailnet's interface, O(links) and pods are let in as a whole; O(nodes) to the cluster's ports, O(sources) to what each of them names, and
    everybody to Tailscale's port, DHCP answers, and the ICMP that a network needs. IPv4 and IPv6 alike.
  - The same holds for published ports of containers, which never come to the input chain because they are translated before.
  - Where ufw or firewalld is active, it gets these rules instead - missing ones are added, undeclared ones that open something are removed - and the
    table holds only what guards published ports of containers.
  - Before rules change, a fresh connection over O(way_back) must reach this host (BG-ACCESS-103) and the tailnet must be up (BG-ACCESS-104). Then a timer
    is armed on the host, the rules are loaded, and only after another fresh connection over O(way_back) they are written for the next boot.
    Otherwise the host puts back what was (BG-ACCESS-120), also when the controller is gone or the host restarts.
  - A host that is as declared is left alone; no timer is armed.
options:
  interface:
    description: The tailnet's interface. Without one that of the port table.
    type: str
  tailscale_port:
    description: UDP port of tailscaled, where it is not that of the port table.
    type: int
  links:
    description: Interfaces of links between machines (RDMA, CX-7), which are open as a whole.
    type: list
    elements: str
    default: []
  nodes:
    description: Addresses of the cluster's nodes outside of the tailnet. They reach the ports that the table opens to nodes.
    type: list
    elements: str
    default: []
  sources:
    description: Who else may reach the host.
    type: list
    elements: dict
    default: []
    suboptions:
      source:
        description: Network or address.
        type: str
        required: true
      ports:
        description: What it may reach, as V(22/tcp) or V(8000-8010/udp). Without any, everything.
        type: list
        elements: str
        default: []
  pod_networks:
    description: Networks of pods and services. Without any those of the port table.
    type: list
    elements: str
    default: []
  pod_interfaces:
    description: Interfaces behind which pods are. Without any those of the port table.
    type: list
    elements: str
    default: []
  container_interfaces:
    description: Bridges of container engines. Without any those of the port table.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.full
  - baremetal.gpu.guarded
seealso:
  - module: baremetal.gpu.ssh_access
  - module: baremetal.gpu.access_guard
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Close the host to everything but its tailnet
  baremetal.gpu.tailnet_firewall:
    way_back: "{{ tailnet_address }}"
    sources:
      - source: 10.20.0.5
        ports: [22/tcp]
"""

RETURN = r"""
backend:
  description: Who guards the host's input.
  returned: success
  type: str
  sample: nftables
differences:
  description: What differs from what is declared.
  returned: success
  type: list
  elements: str
seconds:
  description: How long the change waited for its confirmation.
  returned: when something was changed
  type: float
"""

import os
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard_host import Guard
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.firewall_host import Firewall, addresses_of, declared_from

ARGUMENTS: Dict[str, Any] = {
    "declared": {"type": "dict", "default": {}},
    "apply": {"type": "bool", "default": False},
    "identifier": {"type": "str", "default": ""},
    "rollback_after_s": {"type": "int", "default": 60},
}
"""Of the documented options, the action takes those about the policy, and hands over ``declared``; ``apply`` and ``identifier`` are its own."""

ROOT = "/"


def main() -> None:
    """Compare, and with ``apply`` make effective what differs, with the guard behind it."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    guard = Guard(bounded.run, ROOT)
    firewall = Firewall(guard)
    declared = declared_from(params["declared"])
    try:
        backend = firewall.backend()
        scratch = os.path.join(module.tmpdir, "wanted.nft")
        observation = firewall.observe(declared, scratch, backend)
        if params["apply"] and not module.check_mode:
            if not observation.nft:
                raise GpuError("BG-ACCESS-106", "nft is not on this host", "nothing was changed", "install nftables")
            change = firewall.change(observation, declared)
            guard.arm_and_apply(change, params["identifier"], params["rollback_after_s"])
    except GpuError as error:
        module.fail_json(**error.as_result())
    pending = guard.pending()
    module.exit_json(
        changed=bool(observation.differences),
        backend=backend,
        differences=list(observation.differences),
        addresses=addresses_of(declared.interface, guard.command),
        machine=guard.machine(),
        pending=pending.as_dict() if pending else None,
        rolled_back=guard.last_rolled_back(),
        diff=[
            # What is not in the table: another firewall's rules, and files for the next boot.
            {"prepared": "".join("{0}\n".format(text) for text in observation.differences)},
            {"before": observation.before, "after": observation.after},
        ],
    )


if __name__ == "__main__":
    main()
