#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The pod network of a node over its tailnet."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tailnet_pod_network
short_description: Judge whether a node's pod network goes over its tailnet and fits into it
version_added: "0.3.0"
description:
  - Reads flannel's VXLAN device, the bridge of pods, the tailnet's device and C(/run/flannel/subnet.env), and makes one finding of it (BG-K3S-024).
  - flannel takes the MTU of the device that it is given, less 50 for VXLAN, and gives it to pods; of Tailscale's 1280 that leaves 1230. Nothing
    else sets it, so it is judged and not written. A larger one loses large packets only, which looks like anything but an MTU.
  - The task itself does not fail on a bad finding. M(baremetal.gpu.verdict) does.
options:
  requirements:
    description: Ids of the requirements that the finding proves.
    type: list
    elements: str
    default: []
attributes:
  action:
    description: Judges on the controller.
    support: full
  platform:
    description: Target systems.
    platforms: linux
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.read_only
seealso:
  - module: baremetal.gpu.k3s_node
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Look whether pods' packets fit into the tailnet
  baremetal.gpu.tailnet_pod_network:
  register: pod_network
"""

RETURN = r"""
reading:
  description: The devices by name, null where ip does not answer, and the MTU that pods get.
  returned: success
  type: dict
  sample:
    devices:
      flannel.1: {mtu: 1230, addresses: [10.42.1.0], link: tailscale0, local: 100.64.0.2, port: 8472}
    pod_mtu: 1230
baremetal_gpu_findings:
  description: The one finding.
  returned: success
  type: list
  elements: dict
"""

from typing import Optional

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded, tailnet_pod_network


def main() -> None:
    """Return the reading; nothing is changed."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, reading=tailnet_pod_network.read(bounded.run, _text_of))


def _text_of(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


if __name__ == "__main__":
    main()
