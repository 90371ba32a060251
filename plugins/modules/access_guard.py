#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guard of changes that could cut the operator's line, on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: access_guard
short_description: Confirm or take back a change of the access to a host, or read whether one waits
version_added: "0.3.0"
description:
  - M(baremetal.gpu.tailnet_firewall) and M(baremetal.gpu.ssh_access) make a change effective with a timer on the host behind it, and call
    this module over a fresh connection to confirm it. Call it by hand to see what waits, or to take a change back at once.
  - Confirming writes what lets the change survive a boot and disarms the timer. It fails when the host has taken the change back already
    (BG-ACCESS-122).
options:
  state:
    description: What to do with the change. V(read) only looks.
    type: str
    choices: [read, confirmed, rolled_back]
    default: read
  identifier:
    description: Which change. Without one V(rolled_back) takes back whichever waits.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
  platform:
    description: Target systems.
    platforms: linux
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
seealso:
  - module: baremetal.gpu.tailnet_firewall
  - module: baremetal.gpu.ssh_access
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Take back whatever waits
  baremetal.gpu.access_guard:
    state: rolled_back
"""

RETURN = r"""
machine:
  description: Tells this host in this boot from others.
  returned: success
  type: str
pending:
  description: The change that waits for its confirmation, with how long it has left in seconds; null when none does.
  returned: success
  type: dict
  sample: {identifier: 3f2a, name: the firewall, state: applied, left_s: 41.5}
rolled_back:
  description: Which change the host took back last, empty when the last one was confirmed.
  returned: success
  type: str
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded
from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard_host import Guard
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

ARGUMENTS: Dict[str, Any] = {
    "state": {"type": "str", "choices": ["read", "confirmed", "rolled_back"], "default": "read"},
    "identifier": {"type": "str", "default": ""},
}

ROOT = "/"


def main() -> None:
    """Look, confirm or take back."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    guard = Guard(bounded.run, ROOT)
    state, identifier = module.params["state"], module.params["identifier"]
    try:
        pending = guard.pending()
        changed = state != "read" and pending is not None and identifier in ("", pending.identifier)
        if state == "confirmed" and not module.check_mode:
            guard.confirm(identifier)
        elif changed and pending is not None and not module.check_mode:
            changed = guard.roll_back(pending.identifier)
    except GpuError as error:
        module.fail_json(**error.as_result())
    after = guard.pending()
    module.exit_json(
        changed=changed,
        machine=guard.machine(),
        pending=after.as_dict() if after else None,
        rolled_back=guard.last_rolled_back(),
    )


if __name__ == "__main__":
    main()
