"""k3s nodes over the tailnet: what has to be declared with it, and what must not."""

from __future__ import annotations

from typing import Iterator, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal

GROUP = "tailnet"
"""Hosts that the collection's playbooks make nodes of a tailnet."""
ROLES = ("k3s_agent", "k3s_server")
REPOSITORY = ("tailnet_repository_url", "tailnet_repository_key_url", "tailnet_repository_key_fingerprint")
"""Variables of the playbooks that join hosts: where Tailscale comes from."""
_TRUE = (True, "true", "True", "yes", "on", 1, "1")


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse nodes without any address, nodes over a tailnet that their host does not join, and what contradicts the tailnet's address."""
    for host in inventory.judged():
        for name in REPOSITORY if "tailscale" in host.roles else ():
            if name not in host.names:
                what = "{0}, which the host needs to join its tailnet, is not set".format(name)
                yield Refusal("BG-INV-012", host.name, what, "set it for group {0}".format(GROUP), name)
        for role in ROLES:
            if role in host.roles:
                yield from _node(host, role, host.name in inventory.groups.get(GROUP, frozenset()))


def _node(host: Host, role: str, is_member: bool) -> Iterator[Refusal]:
    switch, address = role + "_over_tailnet", role + "_node_ip"
    if host.variables.get(switch) not in _TRUE:
        if not host.text(address) and address not in host.broken:
            what = "{0}, which role {1} needs, is not set".format(address, role)
            yield Refusal("BG-INV-012", host.name, what, "set it, or set {0}".format(switch), address)
        return
    if not is_member:
        what = "{0} is set, and the host is not in group {1}".format(switch, GROUP)
        hint = (
            "add it to group {0}; where something else joins it to a tailnet, give its address in {1} instead".format(
                GROUP, address
            )
        )
        yield Refusal("BG-INV-054", host.name, what, hint, switch)
    for variable, why in _contradictions(host, role):
        what = "{0} is set with {1}: {2}".format(variable, switch, why)
        yield Refusal("BG-INV-055", host.name, what, variable=variable)


def _contradictions(host: Host, role: str) -> Iterator[Tuple[str, str]]:
    for name, why in (
        (role + "_node_ip", "the node has the address that Tailscale has on the host"),
        (role + "_flannel_iface", "the pod network takes the tailnet's device"),
    ):
        if host.text(name) or name in host.broken:
            yield name, why
    for name, why in (
        ("tailscale_userspace", "k3s needs the tailnet's network device"),
        ("tailscale_shields_up", "other nodes reach neither kubelet nor pods"),
    ):
        if host.variables.get(name) in _TRUE:
            yield name, why
