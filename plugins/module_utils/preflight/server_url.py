"""The address of the k3s server that agents join."""

from __future__ import annotations

from typing import Iterator, Optional, Tuple
from urllib.parse import urlsplit

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.addresses import addresses_in, is_on_host_only
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal

SERVER = "k3s_agent_server"
EXAMPLE = "write it as https://<address of the server>:6443"


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse addresses that are none, without TLS or port, of the agent itself, or of another agent."""
    agents = {name: host for host in inventory.hosts if "k3s_agent" in host.roles for name in _names(host)}
    for host in inventory.judged():
        text = host.text(SERVER)
        if "k3s_agent" not in host.roles or not text:
            continue
        fault = fault_of(text)
        if fault:
            yield Refusal("BG-INV-026", host.name, "{0} is {1!r}: {2}".format(SERVER, text, fault), EXAMPLE, SERVER)
            continue
        target, _port = host_and_port(text) or ("", 0)
        if target in agents:
            what = "{0} is {1!r}, which is the agent {2}".format(SERVER, text, agents[target].name)
            yield Refusal("BG-INV-027", host.name, what, variable=SERVER)


def fault_of(text: str) -> str:
    """Why a text is no usable address of a server; empty when it is one."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme != "https":
        return "it does not begin with https://"
    if not parts.hostname or any(character.isspace() for character in text):
        return "it names no host"
    if parts.username or parts.password:
        return "it holds credentials"
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return "it has a path"
    if not port:
        return "it has no port"
    if is_on_host_only(parts.hostname):
        return "{0} is the agent itself".format(parts.hostname)
    return ""


def host_and_port(text: str) -> Optional[Tuple[str, int]]:
    """Host and port of a server's address; None when it has none."""
    try:
        parts = urlsplit(text)
        return (parts.hostname, parts.port or 443) if parts.hostname else None
    except ValueError:
        return None


def _names(host: Host) -> Iterator[str]:
    yield host.name.lower()
    if host.text("k3s_agent_node_name"):
        yield host.text("k3s_agent_node_name").lower()
    for address in addresses_in(host.text("k3s_agent_node_ip")):
        yield str(address)
