#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When the certificates on a host end."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificates
short_description: Read when a host's certificates end and judge it
version_added: "0.2.0"
description:
  - Reads the X.509 certificates in PEM files with nothing but Python's standard library, and returns when each file's first
    certificate ends.
  - The controller makes one finding of it (BG-CERT-001). It is V(fail) when one has ended, V(unknown) when a file cannot be read
    or none was found, V(warn) when one should have been renewed by now, else V(ok).
  - The task itself does not fail on a bad finding. M(baremetal.gpu.verdict) does.
options:
  paths:
    description: Files on the host, with wildcards.
    type: list
    elements: str
    required: true
  renewed_by:
    description:
      - Who renews these certificates, which says when they should have been renewed and what to do.
      - V(k3s) renews what ends within 120 days whenever it starts, so less than 90 days are too few.
      - V(kubeadm) renews at an upgrade only, and a kubelet its own before less than 36 days are left, so less than 30 days are too few.
    type: str
    choices: [k3s, kubeadm]
    default: k3s
  requirements:
    description: Ids of the requirements that the finding proves.
    type: list
    elements: str
    default: []
  simulated:
    description: Whether a stand-in made the certificates. The finding is then marked.
    type: bool
    default: false
attributes:
  action:
    description: Judges on the controller.
    support: full
  platform:
    description: Target systems.
    platforms: posix
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.read_only
seealso:
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Read when the agent's certificates end
  baremetal.gpu.certificates:
    paths: [/var/lib/rancher/k3s/agent/*.crt]
  register: certificates
"""

RETURN = r"""
readings:
  description: Each file with the date when its first certificate ends, or why that is not known.
  returned: success
  type: list
  elements: dict
  sample:
    - path: /var/lib/rancher/k3s/agent/client-kubelet.crt
      not_after: "2027-01-01T00:00:00Z"
      problem: ""
now:
  description: The host's time when the files were read.
  returned: success
  type: str
baremetal_gpu_findings:
  description: The one finding.
  returned: success
  type: list
  elements: dict
"""

import datetime
import glob
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils.certificate_dates import earliest_end

ARGUMENTS: Dict[str, Any] = {"paths": {"type": "list", "elements": "str", "required": True}}

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_MAXIMUM_BYTES = 1 << 20


def main() -> None:
    """Return the readings; nothing is changed."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    paths = sorted({path for pattern in module.params["paths"] for path in glob.glob(pattern)})
    now = datetime.datetime.now(datetime.timezone.utc).strftime(_FORMAT)
    module.exit_json(changed=False, now=now, readings=[_reading(path) for path in paths])


def _reading(path: str) -> Dict[str, str]:
    try:
        with open(path, "rb") as file:
            end = earliest_end(file.read(_MAXIMUM_BYTES))
    except (OSError, ValueError) as error:
        return {"path": path, "not_after": "", "problem": str(getattr(error, "strerror", None) or error)}
    return {"path": path, "not_after": end.strftime(_FORMAT), "problem": ""}


if __name__ == "__main__":
    main()
