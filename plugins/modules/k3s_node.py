#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""k3s as a service on a host: binary, images, configuration, token and unit."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_node
short_description: Install k3s as a service, change it, or remove it, from what is on the host
version_added: "0.2.0"
description:
  - Compares binary and image archives (by SHA-256), C(/etc/rancher/k3s/config.yaml), the token and the unit with what is
    wanted, and writes what differs. Never runs k3s's installer, and puts nothing on a command line.
  - Neither starts nor restarts anything. RV(restart_needed) says whether the running service is older than what is
    installed, also when an earlier run was cut short before its restart, or has no node in O(cluster), which it registers
    only when it starts. Image archives and what counts only when a node
    registers (C(node-label), C(node-taint)) need no restart.
  - Refuses, before anything is written, a token without the CA's hash (BG-K3S-001), settings that k3s does not know
    (BG-K3S-004), an agent's release outside the cluster's version skew (BG-K3S-005), a server's that the cluster cannot step to
    (BG-K3S-020), another release than the one that runs (BG-K3S-006) unless O(release_change), and a node name that another machine has (BG-K3S-007).
  - With O(over_tailnet) the node has the host's tailnet address, which Tailscale on the host is asked for, flannel has the tailnet's device, whose
    MTU less 50 it gives pods, and the unit starts after tailscaled and waits up to two minutes for the address. Refuses a host without tailnet address
    (BG-K3S-022), and nodes of O(cluster) outside of the tailnet (BG-K3S-023).
  - With O(state=absent) stops the service and removes what k3s made on the host, and nothing else. Volumes are unmounted
    first; what is mounted below its folders otherwise, user data in C(/var/lib/rancher/k3s/storage) and iptables rules stay.
  - With O(state=previous) puts back the binary that the last change of release replaced.
options:
  service:
    description: As what k3s runs.
    type: str
    choices: [agent, server]
    required: true
  state:
    description: Whether k3s is to be installed, removed, or its former binary put back.
    type: str
    choices: [present, absent, previous]
    default: present
  release:
    description: The release of k3s, for example V(vX.Y.Z+k3s1). What the binary says about itself must equal it.
    type: str
  release_change:
    description: Whether the release of a running service may change. The verb that upgrades sets it.
    type: bool
    default: false
  parts:
    description: Which parts to compare and write.
    type: list
    elements: str
    choices: [binary, images, configuration, token, unit]
    default: [binary, images, configuration, token, unit]
  binary_url:
    description: Where the host downloads the binary of its architecture. Required with O(state=present).
    type: str
  binary_sha256:
    description: SHA-256 of the binary. Required with O(state=present).
    type: str
  image_archives:
    description: Archives of images that k3s imports.
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description: Where the host downloads the archive; its last part is the file's name.
        type: str
        required: true
      sha256:
        description: SHA-256 of the archive.
        type: str
        required: true
  settings:
    description: Keys and values of C(config.yaml). Empty values are left out.
    type: dict
    default: {}
  known_settings:
    description: Keys that this release of k3s knows beyond the ones of the collection's table.
    type: list
    elements: str
    default: []
  token_file:
    description:
      - File on the controller with the token. An agent needs one, in its full form (C(K10...::...)).
      - Without one a server makes its own.
    type: path
  cluster:
    description: What M(baremetal.gpu.cluster_nodes) read. With it, version skew and the node's name are checked.
    type: dict
  node_name:
    description: Name of the node, to look it up in O(cluster).
    type: str
  over_tailnet:
    description: Whether the node is reached, and reaches others, over the host's tailnet. Sets C(node-ip) and C(flannel-iface).
    type: bool
    default: false
  download_timeout_s:
    description: How long a server may take to answer or to send the next part, in seconds.
    type: float
    default: 60
attributes:
  action:
    description: Reads the token and checks the settings on the controller.
    support: full
  platform:
    description: Target systems.
    platforms: linux
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.full
seealso:
  - module: baremetal.gpu.cluster_nodes
  - module: baremetal.gpu.cluster_node
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Install k3s as agent
  baremetal.gpu.k3s_node:
    service: agent
    release: "{{ k3s_release }}"
    binary_url: https://mirror.example/k3s-arm64
    binary_sha256: "{{ k3s_sha256 }}"
    token_file: ~/secrets/k3s-token
    settings:
      server: https://10.0.0.20:6443
      node-ip: "{{ ansible_host }}"
  register: k3s
  notify: Restart k3s-agent

- name: Remove k3s from the host
  baremetal.gpu.k3s_node:
    service: agent
    state: absent
"""

RETURN = r"""
restart_needed:
  description: Whether the service runs and is older than what is (or in check mode would be) installed, or its node is gone.
  returned: success
  type: bool
service_state:
  description: The service's state in systemd before anything was written.
  returned: success
  type: str
  sample: active
start_needed:
  description: Whether the service does not run, or would not at the next boot, or must be started anew.
  returned: success with O(state=present)
  type: bool
parts:
  description: Which parts differed.
  returned: success with O(state=present)
  type: list
  elements: str
  sample: [configuration]
removed:
  description: What was removed, or in check mode would be.
  returned: success with O(state=absent)
  type: list
  elements: str
left:
  description: What stays on the host, and why.
  returned: success with O(state=absent)
  type: list
  elements: str
"""

import os
from contextlib import nullcontext
from typing import Any, Dict, List, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded, k3s_removal, k3s_tailnet
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_host import Host, UnitState
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_service import (
    BINARY,
    CONFIGURATION,
    PARTS,
    PREVIOUS_BINARY,
    SERVICES,
    Plan,
    Service,
    Tailnet,
    compare,
    difference,
    node_ip_in,
    unwanted_files,
    wanted_downloads,
    wanted_files,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale_host import Node

ARGUMENTS: Dict[str, Any] = {
    "service": {"type": "str", "choices": ["agent", "server"], "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "previous"], "default": "present"},
    "release": {"type": "str"},
    "release_change": {"type": "bool", "default": False},
    "parts": {"type": "list", "elements": "str", "choices": list(PARTS), "default": list(PARTS)},
    "binary_url": {"type": "str"},
    "binary_sha256": {"type": "str"},
    "image_archives": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"url": {"type": "str", "required": True}, "sha256": {"type": "str", "required": True}},
    },
    "settings": {"type": "dict", "default": {}},
    "token": {"type": "str", "no_log": True},
    "other_machine": {"type": "str", "default": ""},
    "node_absent": {"type": "bool", "default": False},
    "tailnet_interface": {"type": "str", "default": ""},
    "download_timeout_s": {"type": "float", "default": 60},
}
"""Of the documented options, the action takes those about the controller; ``token``, ``other_machine``,
``node_absent`` and ``tailnet_interface`` are what it makes of them."""

ROOT = "/"
WAIT_FOR_OTHERS_S = 120.0
"""As long as what a killed run left at work may take to download a binary."""


def main() -> None:
    """Bring the host to the wanted state."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "present", ["release", "binary_url", "binary_sha256"])],
        supports_check_mode=True,
    )
    host = Host(bounded.run, _mover(module), _open, ROOT)
    states = {"present": _present, "absent": _absent, "previous": _previous}
    try:
        # Check mode only reads, and leaves not even a lock.
        with nullcontext() if module.check_mode else host.turn(WAIT_FOR_OTHERS_S):
            result = states[module.params["state"]](module, host, SERVICES[module.params["service"]])
    except GpuError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


def _present(module: AnsibleModule, host: Host, service: Service) -> Dict[str, Any]:
    params = module.params
    tailnet = _tailnet(host, params, module.check_mode)
    wanted: List[Any] = [
        *wanted_downloads(params["binary_url"], params["binary_sha256"], params["image_archives"]),
        *wanted_files(service, params["settings"], params["token"], tailnet),
        *unwanted_files(service, tailnet),
    ]
    wanted = [item for item in wanted if item.part in params["parts"]]
    found = host.find(wanted)
    plan = compare(wanted, found)
    state = host.unit_state(service)
    _refuse_other_machine(host, params["other_machine"])
    _refuse_other_release(host, plan, state, params)
    if not module.check_mode:
        _apply(host, service, plan, state, params)
    outdated = plan.concerns_what_runs or host.is_stale(service, state)
    restart_needed = state.running and (outdated or params["node_absent"])
    return {
        "changed": bool(plan.changes or restart_needed),
        "restart_needed": restart_needed,
        "start_needed": restart_needed or not (state.running and state.enabled),
        "service_state": state.active,
        "parts": [part for part in PARTS if any(change.part == part for change in plan.changes)],
        "diff": difference(plan, found),
    }


def _tailnet(host: Host, params: Dict[str, Any], check_mode: bool) -> Optional[Tailnet]:
    """The tailnet that is to carry the node; None for none. Raises ``GpuError`` when the host is in none, but not in check mode:
    an earlier task of the predicted run joins it."""
    interface = params["tailnet_interface"]
    if not interface or not {"configuration", "unit"} & set(params["parts"]):
        return None
    node = Node()
    if not check_mode:
        return k3s_tailnet.tailnet_of(node.status(), interface)
    status = node.status() if node.is_up else None
    return k3s_tailnet.predicted(status, interface, node_ip_in(host.read(CONFIGURATION) or ""))


def _refuse_other_machine(host: Host, registered: str) -> None:
    """Refuse to take over the node of another machine. An id that is not known on either side says nothing."""
    own = host.machine_id()
    if registered and own and registered != own:
        raise GpuError(
            "BG-K3S-007",
            "the cluster has a node of this name on another machine (machine id {0}, this host has {1})".format(
                registered, own
            ),
            "the two would take turns at one node object, or the server refuses this host's node password",
            "give this host another node name; if it replaces that machine, delete the old node first",
        )


def _refuse_other_release(host: Host, plan: Plan, state: UnitState, params: Dict[str, Any]) -> None:
    """Nothing changes the release of what runs by surprise. A damaged binary of the same release is replaced."""
    if not (state.running and plan.changes_content_of("binary")) or params["release_change"]:
        return
    present = host.release_of(host.path(BINARY))
    if present != params["release"]:
        raise GpuError(
            "BG-K3S-006",
            "k3s {0} runs here, declared is {1}".format(present or "of an unknown release", params["release"]),
            "this run would change the release of a running {0}".format(params["service"]),
            "declare the release that runs, or change it with the playbook for it (k3s_upgrade.yml)",
        )


def _apply(host: Host, service: Service, plan: Plan, state: UnitState, params: Dict[str, Any]) -> None:
    if params["release_change"]:
        # What an earlier change of release left is no way back from this one.
        host.discard(PREVIOUS_BINARY)
    drafts = _fetch(host, plan, params)
    if plan.concerns_what_runs:
        host.mark_stale(service)
    for item, draft in drafts:
        if item.part == "binary" and params["release_change"] and host.exists(BINARY):
            host.keep(BINARY, PREVIOUS_BINARY)
        host.place(draft, item.path)
    for file in plan.files:
        host.write(file.path, file.text, file.mode)
    for removal in plan.removals:
        host.discard(removal.path)
    for download in plan.downloads:
        host.set_mode(download.path, download.mode)
    if plan.changes_content_of("unit"):
        host.systemctl("daemon-reload")


def _fetch(host: Host, plan: Plan, params: Dict[str, Any]) -> List[Tuple[Any, str]]:
    """What is to be downloaded, each beside its place and checked; nothing of it is left when one is not as declared."""
    drafts: List[Tuple[Any, str]] = []
    try:
        for item in _changed_downloads(plan):
            drafts.append((item, host.fetch(item, params["download_timeout_s"])))
            if item.part == "binary":
                _require_release(host, drafts[-1][1], params["release"])
    except GpuError:
        for _item, draft in drafts:
            os.unlink(draft)
        raise
    return drafts


def _changed_downloads(plan: Plan) -> List[Any]:
    """Those whose content differs; of the others only the mode does."""
    paths = {change.path for change in plan.changes if change.content}
    return [item for item in plan.downloads if item.path in paths]


def _require_release(host: Host, draft: str, release: str) -> None:
    said = host.release_of(draft)
    if said != release:
        raise GpuError(
            "BG-K3S-008",
            "the downloaded binary says that it is k3s {0}, declared is {1}".format(said or "(nothing)", release),
            "another release, another architecture or another program would run",
            "correct the release or the address and checksum of the binary",
        )


def _previous(module: AnsibleModule, host: Host, service: Service) -> Dict[str, Any]:
    state = host.unit_state(service)
    present = host.exists(PREVIOUS_BINARY)
    if present and not module.check_mode:
        host.mark_stale(service)
        os.replace(host.path(PREVIOUS_BINARY), host.path(BINARY))
    return {"changed": present, "restart_needed": present and state.running, "service_state": state.active}


def _absent(module: AnsibleModule, host: Host, service: Service) -> Dict[str, Any]:
    state = host.unit_state(service)
    leftovers = k3s_removal.observe(host, service)
    if leftovers.anything and not module.check_mode:
        k3s_removal.remove(host, service, leftovers)
    return {
        "changed": leftovers.anything,
        "restart_needed": False,
        "service_state": state.active,
        "removed": leftovers.names(),
        "left": list(leftovers.left),
        "diff": {"before": "".join(name + "\n" for name in leftovers.names()), "after": ""},
    }


def _mover(module: AnsibleModule) -> Any:
    def move(draft: str, target: str) -> None:
        os.replace(draft, target)
        if module.selinux_enabled():
            module.set_context_if_different(target, module.selinux_default_context(target), False)

    return move


def _open(url: str, timeout_s: float) -> Any:
    response: Optional[Any] = open_url(url, timeout=timeout_s, http_agent="ansible-baremetal-gpu")
    return response


if __name__ == "__main__":
    main()
