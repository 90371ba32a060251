"""Kubeconfigs on the controller. Those of a k3s cluster must exist before the run; a kubeadm cluster's is written by it."""

from __future__ import annotations

from typing import Iterator, Set
from urllib.parse import urlsplit

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.addresses import is_on_host_only
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.secrets import OTHERS, exposed, why_unreadable

SUFFIX = "_kubeconfig"


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse kubeconfigs that are none, exposed, expired, without TLS verification, or that point to the controller itself."""
    for host in inventory.judged():
        if "k3s_agent" not in host.roles:
            continue
        seen: Set[str] = set()
        for role in sorted(host.roles):
            for name in sorted(inventory.rules.options.get(role, {})):
                path = host.text(name) if name.endswith(SUFFIX) else ""
                if path and path not in seen:
                    seen.add(path)
                    yield from _file(host, inventory, name, path)


def _file(host: Host, inventory: Inventory, variable: str, path: str) -> Iterator[Refusal]:
    where = "{0} ({1})".format(path, variable)
    facts = inventory.read(path)
    fault = why_unreadable(facts)
    if fault:
        yield Refusal("BG-INV-006", host.name, "{0} {1}".format(where, fault), variable=variable)
        return
    if facts.mode & OTHERS:
        yield exposed(host, where, facts, variable)
    content = inventory.kubeconfig(path)
    if content.fault:
        yield Refusal("BG-INV-006", host.name, "{0} {1}".format(where, content.fault), variable=variable)
        return
    if content.skips_tls_verification:
        yield Refusal("BG-INV-034", host.name, "{0} has insecure-skip-tls-verify".format(where), variable=variable)
    if content.expires is not None and content.expires <= inventory.now:
        what = "the client certificate of {0} ended on {1:%Y-%m-%d}".format(where, content.expires)
        yield Refusal("BG-INV-035", host.name, what, variable=variable)
    if is_on_host_only(urlsplit(content.server).hostname or ""):
        what = "{0} points to {1}, the machine that reads it".format(where, content.server)
        yield Refusal("BG-INV-036", host.name, what, variable=variable)
