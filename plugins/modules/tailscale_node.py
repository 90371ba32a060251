#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host as a node of a tailnet: joined, and set as declared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tailscale_node
short_description: Join a host to a tailnet and keep its settings, from what the node says of itself
version_added: "0.3.0"
description:
  - Compares what C(tailscale status) and C(tailscale debug prefs) say with what is declared. A node that is not logged in joins, one whose key has
    expired logs in again, one that was stopped is started; settings that differ are set. What is not declared stays as it is.
  - Ends when the node is running and online at the login server, and has the declared tags and an address in O(tailnet_ranges).
  - The secret is read on the controller and needed only when the node has to log in. On the host it is in memory only - on no command
    line and in no file - and it is taken out of every message.
  - Refuses before anything changes a node of another login server (BG-TAILNET-004), a server that is none (BG-TAILNET-005), a clock that is
    wrong (BG-TAILNET-007), a host without C(/dev/net/tun) (BG-TAILNET-008) and a login without secret (BG-TAILNET-010).
  - A node that cannot join is left logged out, so that the daemon does not go on trying.
options:
  state:
    description: Whether the host is to be in the tailnet. With V(absent) it logs out, and needs a new key to come back.
    type: str
    choices: [present, absent]
    default: present
  login_server:
    description: Address of the login server, Tailscale's or a headscale's.
    type: str
    default: https://controlplane.tailscale.com
  auth_key_file:
    description: File on the controller with an auth key.
    type: path
  oauth_client_secret_file:
    description:
      - File on the controller with the secret of an OAuth client (C(tskey-client-...), which also names the client), which makes an auth key for
        this node. Needs O(tags). Comes before O(auth_key_file).
    type: path
  oauth_ephemeral:
    description: Whether a node that an OAuth client lets in is forgotten when it goes offline.
    type: bool
    default: false
  oauth_preauthorized:
    description: Whether a node that an OAuth client lets in needs no approval.
    type: bool
    default: true
  tags:
    description: Tags that the node must have, as C(tag:name). Further ones that the login server gives it are left alone.
    type: list
    elements: str
    default: []
  tag_source:
    description:
      - Who asks for the tags. With V(node) the node asks, and the tailnet's policy has to allow it; with V(auth_key) they come with the key,
        and are only looked for.
    type: str
    choices: [node, auth_key]
    default: node
  tailnet_ranges:
    description: Networks that the node's tailnet addresses must be in; empty for any.
    type: list
    elements: str
    default: [100.64.0.0/10, "fd7a:115c:a1e0::/48"]
  userspace:
    description: Whether tailscaled runs without a network device.
    type: bool
    default: false
  hostname:
    description: Name of the node; empty for the host's own.
    type: str
  accept_dns:
    description: Whether the tailnet's name servers are used.
    type: bool
  accept_routes:
    description: Whether routes that other nodes advertise are used.
    type: bool
  advertise_routes:
    description: Networks that this node routes to.
    type: list
    elements: str
  advertise_exit_node:
    description: Whether this node offers to be an exit node.
    type: bool
  exit_node:
    description: Node through which other traffic goes, by its tailnet address or its first name; empty for none.
    type: str
  exit_node_allow_lan_access:
    description: Whether the local network stays reachable with an exit node.
    type: bool
  shields_up:
    description: Whether connections from the tailnet are refused.
    type: bool
  ssh:
    description: Whether Tailscale's own SSH server answers on the tailnet address in place of the host's.
    type: bool
  snat_subnet_routes:
    description: Whether traffic to advertised routes comes from this node's address.
    type: bool
  netfilter_mode:
    description: Whether Tailscale writes firewall rules V(on), writes them without calling them V(nodivert), or writes none V(off).
    type: str
    choices: ["on", nodivert, "off"]
  auto_update:
    description: Whether Tailscale updates itself. A pinned package needs V(false), since a tailnet can switch it on for all nodes.
    type: bool
  max_clock_skew_s:
    description: How far the host's clock may be from the login server's when it logs in, in seconds.
    type: float
    default: 60
  addresses_folder:
    description:
      - Folder on the controller that keeps where each host is in its tailnet, for the lookup P(baremetal.gpu.tailnet_address#lookup).
        Without one nothing is kept.
      - What is new is kept only after a fresh connection by key over the tailnet address reached this very host (BG-TAILNET-017). With O(state=absent) it is
        forgotten.
    type: path
  timeout_s:
    description: How long until the node is running and online, in seconds. Reaching it is a failure.
    type: float
    default: 60
attributes:
  action:
    description: Reads the secret on the controller, and keeps the addresses there.
    support: full
  platform:
    description: Target systems.
    platforms: linux
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.full
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Join the tailnet of a headscale server
  baremetal.gpu.tailscale_node:
    login_server: https://headscale.example.com
    auth_key_file: ~/secrets/tailnet-key
    hostname: spark-02
    tags: [tag:gpu]
    tag_source: auth_key
    accept_dns: false
    auto_update: false

- name: Join Tailscale's own tailnet by an OAuth client
  baremetal.gpu.tailscale_node:
    oauth_client_secret_file: ~/secrets/tailscale-oauth
    tags: [tag:gpu]

- name: Log out
  baremetal.gpu.tailscale_node:
    state: absent
"""

RETURN = r"""
login:
  description: How the node came in, or in check mode would - V(join), V(reauthenticate), V(start), or nothing when it was in already.
  returned: success with O(state=present)
  type: str
  sample: join
settings:
  description: Names of the settings that differed.
  returned: success with O(state=present)
  type: list
  elements: str
  sample: [hostname]
backend_state:
  description: Tailscale's word for the node's state; empty when there is no Tailscale yet.
  returned: success
  type: str
  sample: Running
online:
  description: Whether the node is running and online at the login server.
  returned: success with O(state=present)
  type: bool
network_device:
  description: Whether the daemon has a network device, so that other programs of the host can use the tailnet.
  returned: success with O(state=present)
  type: bool
addresses:
  description: The node's addresses in the tailnet.
  returned: success with O(state=present)
  type: list
  elements: str
  sample: [100.64.0.2, "fd7a:115c:a1e0::2"]
dns_name:
  description: The node's name in the tailnet.
  returned: success with O(state=present)
  type: str
  sample: spark-02.tailnet.example
tags:
  description: The tags that the login server gives the node.
  returned: success with O(state=present)
  type: list
  elements: str
  sample: ["tag:gpu"]
key_expires:
  description: When the node's key ends and the node drops out, in UTC; empty for a key without end.
  returned: success with O(state=present)
  type: str
  sample: "2027-05-01T12:00:00Z"
known:
  description: False when check mode could not tell, because tailscaled does not run on a host that was logged in.
  returned: success with O(state=present)
  type: bool
"""

import time
from datetime import datetime, timezone
from typing import Any, Dict, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale import NEEDS_APPROVAL, NEEDS_LOGIN, Prefs, Status
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale_host import Node, no_device, not_connected
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale_login import (
    Secret,
    require_secret,
    require_server,
    secret_from,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale_plan import (
    BY_KEY,
    BY_NODE,
    JOIN,
    START,
    Desired,
    Plan,
    compare,
    desired_from,
    kept,
    require_addresses,
    require_tags,
    set_arguments,
    up_arguments,
)

ARGUMENTS: Dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "login_server": {"type": "str", "default": "https://controlplane.tailscale.com"},
    "auth_key": {"type": "str", "no_log": True},
    "oauth_client_secret": {"type": "str", "no_log": True},
    "secret_problem": {"type": "str", "default": "", "no_log": False},
    "oauth_ephemeral": {"type": "bool", "default": False},
    "oauth_preauthorized": {"type": "bool", "default": True},
    "tags": {"type": "list", "elements": "str", "default": []},
    "tag_source": {"type": "str", "choices": [BY_NODE, BY_KEY], "default": BY_NODE},
    "tailnet_ranges": {"type": "list", "elements": "str", "default": ["100.64.0.0/10", "fd7a:115c:a1e0::/48"]},
    "userspace": {"type": "bool", "default": False},
    "hostname": {"type": "str"},
    "accept_dns": {"type": "bool"},
    "accept_routes": {"type": "bool"},
    "advertise_routes": {"type": "list", "elements": "str"},
    "advertise_exit_node": {"type": "bool"},
    "exit_node": {"type": "str"},
    "exit_node_allow_lan_access": {"type": "bool"},
    "shields_up": {"type": "bool"},
    "ssh": {"type": "bool"},
    "snat_subnet_routes": {"type": "bool"},
    "netfilter_mode": {"type": "str", "choices": ["on", "nodivert", "off"]},
    "auto_update": {"type": "bool"},
    "max_clock_skew_s": {"type": "float", "default": 60},
    "timeout_s": {"type": "float", "default": 60},
}
"""Of the documented options, the action takes those about the controller; ``auth_key``, ``oauth_client_secret`` and
``secret_problem`` are what it makes of them."""

_TAGS_WITHIN_S = 5.0
"""How long the login server may take to tell a node that is online which tags it has."""


def main() -> None:
    """Bring the node to the wanted state."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        work = _present if module.params["state"] == "present" else _absent
        result = work(Node(), module.params, module.check_mode)
    except GpuError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


def _present(node: Node, params: Dict[str, Any], check_mode: bool) -> Dict[str, Any]:
    desired = desired_from(params)
    if not params["userspace"]:
        node.require_tun()
    if check_mode and not node.is_up:
        return _predicted_without_daemon(node, params, desired)
    status, prefs = node.observe("exit_node" in desired.settings)
    # In check mode an earlier task of this run may be what is going to change that.
    if not (params["userspace"] or status.tun or check_mode):
        raise no_device("tailscaled runs in userspace mode")
    plan = compare(status, prefs, desired, _now())
    secret = _secret(params, desired, plan)
    if check_mode:
        return _result(plan, status)
    if plan.changed:
        _apply(node, plan, (status, prefs), desired, secret, params["timeout_s"])
        return _result(plan, _settled_or_undone(node, plan, (status, prefs), desired, params["timeout_s"]))
    return _result(plan, _settled(node, desired, params["timeout_s"], status))


def _predicted_without_daemon(node: Node, params: Dict[str, Any], desired: Desired) -> Dict[str, Any]:
    """What is to be expected where earlier tasks would have installed or started the daemon, which cannot be asked now."""
    if node.has_state:
        return {**_result(Plan("", ()), None), "known": False}
    plan = compare(None, None, desired, _now())
    _secret(params, desired, plan)
    return _result(plan, None)


def _secret(params: Dict[str, Any], desired: Desired, plan: Plan) -> Optional[Secret]:
    """What the node logs in with, None when it need not. Raises ``GpuError`` when there is none, or no server to give it to."""
    if plan.login in ("", START):
        return None
    secret = secret_from(
        params["auth_key"],
        params["oauth_client_secret"],
        params["secret_problem"],
        params["oauth_ephemeral"],
        params["oauth_preauthorized"],
    )
    require_secret(secret, desired.tags, plan.login)
    require_server(desired.login_server, open_url, time.time, params["max_clock_skew_s"])
    return secret


def _apply(
    node: Node, plan: Plan, found: Tuple[Status, Prefs], desired: Desired, secret: Optional[Secret], timeout_s: float
) -> None:
    """Log in if need be, then set what is left; ``tailscale up`` does not know every setting, and puts some back to their defaults."""
    if not plan.needs_up:
        node.set(set_arguments(plan.changes))
        return
    before = found[1].values
    try:
        node.up(up_arguments(before, plan.changes, desired.login_server, found[0].peers), secret, timeout_s)
    except GpuError:
        if secret is not None:
            node.forget(stays_down=plan.login == JOIN)
        raise
    # For the other nodes, too: an exit node that was lost is to be found again among them.
    status, prefs = node.observe("exit_node" in desired.settings or bool(before["exit_node"]))
    if status.state in (NEEDS_LOGIN, NEEDS_APPROVAL):
        return
    rest = [
        *compare(status, prefs, desired, _now()).changes,
        *kept(before, prefs.values, desired, status.peers),
    ]
    arguments = set_arguments(rest)
    if arguments:
        node.set(arguments)


def _settled_or_undone(
    node: Node, plan: Plan, found: Tuple[Status, Prefs], desired: Desired, timeout_s: float
) -> Status:
    try:
        return _settled(node, desired, timeout_s, node.status())
    except GpuError:
        if not plan.login and any(change.name == "tags" for change in plan.changes):
            # With tags that it does not get the node would also be without those that it had.
            node.up(up_arguments(found[1].values, (), desired.login_server, found[0].peers), None, timeout_s)
            # They come with the next map of the network, a moment after the node is up again.
            had = set(found[0].tags)
            node.wait(lambda status: had <= set(status.tags), min(timeout_s, _TAGS_WITHIN_S))
        raise


def _settled(node: Node, desired: Desired, timeout_s: float, status: Status) -> Status:
    """The node's status, from ``status`` on, once it is connected with its tags. Raises ``GpuError`` for what it lacks at the deadline."""
    if not status.connected:
        status = node.wait(lambda found: found.connected or found.state == NEEDS_APPROVAL, timeout_s)
    if status.state == NEEDS_APPROVAL:
        raise GpuError(
            "BG-TAILNET-012",
            "this node waits for approval",
            "it is logged in, but no other node may reach it",
            "approve it on the login server, or use a key whose nodes need no approval, then run again",
        )
    if not status.connected:
        raise not_connected(status, timeout_s)
    if not set(desired.tags) <= set(status.tags):
        status = node.wait(lambda found: set(desired.tags) <= set(found.tags), min(timeout_s, _TAGS_WITHIN_S))
    require_tags(status, desired)
    require_addresses(status, desired)
    return status


def _absent(node: Node, _params: Dict[str, Any], check_mode: bool) -> Dict[str, Any]:
    if not (node.is_up or node.has_state):
        return {"changed": False, "backend_state": ""}
    status = node.status()
    is_in = status.has_node_key or status.state != NEEDS_LOGIN
    if is_in and not check_mode:
        node.logout()
    words = {True: "logged in", False: "logged out"}
    return {
        "changed": is_in,
        "backend_state": status.state,
        "diff": {"before": {"tailnet": words[is_in]}, "after": {"tailnet": words[False]}},
    }


def _result(plan: Plan, status: Optional[Status]) -> Dict[str, Any]:
    return {
        "changed": plan.changed,
        "login": plan.login,
        "settings": [change.name for change in plan.changes],
        "backend_state": status.state if status else "",
        "online": status is not None and status.connected,
        "network_device": status is not None and status.tun,
        "addresses": list(status.addresses) if status else [],
        "dns_name": status.dns_name if status else "",
        "tags": list(status.tags) if status else [],
        "key_expires": "{0:%Y-%m-%dT%H:%M:%SZ}".format(status.key_expires) if status and status.key_expires else "",
        "known": True,
        "diff": plan.diff(),
    }


def _now() -> datetime:
    return datetime.now(timezone.utc)


if __name__ == "__main__":
    main()
