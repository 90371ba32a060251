#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether what roles install on a host still is as declared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_setup
short_description: Judge whether packages, files, services, programs and images of a host are as declared
version_added: "0.2.0"
description:
  - Reads in one call what a role's entry point C(verify) asks for. Changes nothing, never fails because something is absent, and never hangs.
  - The controller makes one finding of each code. It is V(fail) when something is otherwise, V(unknown) when it cannot be read, else V(ok).
    Text, remedy and requirements of a code stand in C(data/codes.yml).
  - Of a file only what was asked for leaves the host.
  - The task itself does not fail on a bad finding. M(baremetal.gpu.verdict) does.
options:
  timeout_s:
    description: How long dpkg-query, rpm or systemctl may take, in seconds.
    type: float
    default: 30
  about:
    description: What the findings are about where a host has several of the kind, for example the name of a repository.
    type: str
    default: ""
  packages:
    description: Packages that must be installed.
    type: list
    elements: dict
    default: []
    suboptions:
      code:
        description: Code of the finding.
        type: str
        required: true
      names:
        description: Names of the packages.
        type: list
        elements: str
        required: true
      version:
        description: Their version, without epoch and release.
        type: str
        required: true
  files:
    description: Files that must be as declared.
    type: list
    elements: dict
    default: []
    suboptions:
      code:
        description: Code of the finding.
        type: str
        required: true
      path:
        description: The file.
        type: path
        required: true
      package_manager:
        description: The file is looked at only where this is the distribution's package manager.
        type: str
        choices: [apt, dnf]
      absent:
        description: Whether the file must not be there.
        type: bool
        default: false
      content:
        description: What the file must say. Indentation, empty lines and lines that begin with C(#) do not matter.
        type: str
      settings:
        description: Values of lines C(key=value) or C(key:value), the first of each key.
        type: dict
        default: {}
      refused:
        description: Values that such lines must not have.
        type: dict
        default: {}
      fingerprint:
        description: Fingerprint of the only OpenPGP key that the file may hold, in any case and with or without spaces.
        type: str
  services:
    description: Units that must be active and start at boot.
    type: list
    elements: dict
    default: []
    suboptions:
      code:
        description: Code of the finding.
        type: str
        required: true
      name:
        description: Name of the unit.
        type: str
        required: true
      reads:
        description: Files that the service reads only when it starts. It must have started after they were written.
        type: list
        elements: path
        default: []
  programs:
    description: Programs that must be there.
    type: list
    elements: dict
    default: []
    suboptions:
      code:
        description: Code of the finding.
        type: str
        required: true
      paths:
        description: Their paths, or names.
        type: list
        elements: str
        required: true
  images:
    description: Archives whose images containerd must hold.
    type: list
    elements: dict
    default: []
    suboptions:
      code:
        description: Code of the finding.
        type: str
        required: true
      archives:
        description: Where the archives lie on the host.
        type: list
        elements: path
        required: true
      ctr:
        description: Program and first arguments of containerd's client.
        type: list
        elements: str
        default: [ctr]
      namespace:
        description: containerd's namespace with the images.
        type: str
        default: k8s.io
      address:
        description: containerd's socket.
        type: path
        default: /run/containerd/containerd.sock
  nodes:
    description: Nodes of a cluster that must be this host.
    type: list
    elements: dict
    default: []
    suboptions:
      code:
        description: Code of the finding.
        type: str
        required: true
      name:
        description: Name of the node.
        type: str
        required: true
      labels:
        description: Labels that it must have.
        type: dict
        default: {}
  releases:
    description: What the API server of O(cluster) must be.
    type: list
    elements: dict
    default: []
    suboptions:
      code:
        description: Code of the finding.
        type: str
        required: true
      release:
        description: Its release, for example V(vX.Y.Z).
        type: str
        required: true
  cluster:
    description: Result of M(baremetal.gpu.cluster_nodes) for O(nodes) and O(releases), also of one that failed.
    type: dict
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.on_host
  - baremetal.gpu.attributes.read_only
seealso:
  - module: baremetal.gpu.cluster_objects
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Judge containerd
  baremetal.gpu.host_setup:
    files:
      - code: BG-CTRD-002
        path: /etc/containerd/config.toml
        content: "{{ lookup('ansible.builtin.template', 'config.toml.j2') }}"
    services:
      - code: BG-CTRD-003
        name: containerd.service
        reads: [/etc/containerd/config.toml]
  register: containerd
"""

RETURN = r"""
readings:
  description: What was read, in the order of the options.
  returned: success
  type: dict
  sample:
    schema: 1
    package_manager: dnf
    packages: {containerd.io: {state: installed, version: "1.7"}}
    why_no_packages: ""
    files:
      - {path: /etc/containerd/config.toml, exists: true, problem: "", differs: {same: true, lacking: [], further: [], count: 0}, settings: {}, key: ""}
    services: {containerd.service: {installed: true, active: true, state: active (running), enabled: enabled, started: 1796119200.5}}
    why_no_services: ""
    modified: {/etc/containerd/config.toml: 1796119190.1}
    programs: {}
    images: []
    machine_id: null
baremetal_gpu_findings:
  description: One finding of each code.
  returned: success
  type: list
  elements: dict
"""

import time
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded
from ansible_collections.baremetal.gpu.plugins.module_utils.setup_readings import collect

_CODE: Dict[str, Any] = {"type": "str", "required": True}


def _several(**options: Any) -> Dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": {"code": _CODE, **options}}


WANTED: Dict[str, Any] = {
    "packages": _several(
        names={"type": "list", "elements": "str", "required": True}, version={"type": "str", "required": True}
    ),
    "files": _several(
        path={"type": "path", "required": True},
        package_manager={"type": "str", "choices": ["apt", "dnf"]},
        absent={"type": "bool", "default": False},
        content={"type": "str"},
        settings={"type": "dict", "default": {}},
        refused={"type": "dict", "default": {}},
        fingerprint={"type": "str"},
    ),
    "services": _several(
        name={"type": "str", "required": True}, reads={"type": "list", "elements": "path", "default": []}
    ),
    "programs": _several(paths={"type": "list", "elements": "str", "required": True}),
    "images": _several(
        archives={"type": "list", "elements": "path", "required": True},
        address={"type": "path", "default": "/run/containerd/containerd.sock"},
        namespace={"type": "str", "default": "k8s.io"},
        ctr={"type": "list", "elements": "str", "default": ["ctr"]},
    ),
    "nodes": _several(name={"type": "str", "required": True}, labels={"type": "dict", "default": {}}),
}
FOR_THE_HOST: Dict[str, Any] = {**WANTED, "timeout_s": {"type": "float", "default": 30}}
ARGUMENTS: Dict[str, Any] = {
    **FOR_THE_HOST,
    "about": {"type": "str", "default": ""},
    "releases": _several(release={"type": "str", "required": True}),
    "cluster": {"type": "dict"},
}


def main() -> None:
    """Return the readings; nothing is changed."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)

    def find(name: str) -> Any:
        return module.get_bin_path(name, opt_dirs=["/usr/local/bin"])

    wanted = {name: module.params[name] for name in WANTED}
    clocks = (time.time(), time.clock_gettime(time.CLOCK_MONOTONIC))
    module.exit_json(
        changed=False, readings=collect("/", wanted, find, bounded.run, module.params["timeout_s"], clocks)
    )


if __name__ == "__main__":
    main()
