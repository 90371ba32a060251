"""Files on the controller that hold secrets, and kubeconfigs. Their content never appears in a refusal."""

from __future__ import annotations

import re
from typing import Iterator

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import FileFacts, Host, Inventory, Refusal

TOKEN_FILE = "k3s_agent_token_file"
READ_BY_AGENTS = "k3s_agent_kubeconfig"
"""The k3s server exists before the run, so its kubeconfig must; the one of a kubeadm cluster is written by the run."""

# What k3s takes with a CA's hash: K10<SHA-256 of the CA>::<user>:<secret>, or a bootstrap token (`k3s token create`) as
# its last part. k3s compares the hash as text, in lower case. The short form would trust any server that answers.
FULL_TOKEN = re.compile(r"K10[0-9a-f]{64}::(?:[^:\s]+:\S+|[a-z0-9]{6}\.[a-z0-9]{16})")
OTHERS = 0o077


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse missing or exposed secret files, tokens in their short form, and kubeconfigs that are none."""
    for host in inventory.judged():
        if "k3s_agent" in host.roles:
            yield from _token(host, inventory)
            yield from _kubeconfig(host, inventory)


def _token(host: Host, inventory: Inventory) -> Iterator[Refusal]:
    path = host.text(TOKEN_FILE)
    if not path:
        return
    facts = inventory.read(path)
    fault = _unreadable(facts)
    if fault:
        yield Refusal("BG-INV-004", host.name, "{0} ({1}) {2}".format(path, TOKEN_FILE, fault))
        return
    if facts.mode & OTHERS:
        yield Refusal("BG-INV-005", host.name, "{0} ({1}) has mode {2:04o}".format(path, TOKEN_FILE, facts.mode))
    if not FULL_TOKEN.fullmatch((facts.text or "").strip()):
        what = "{0} ({1}) does not hold a token in its full form K10<hash of the CA>::<user>:<secret>".format(
            path, TOKEN_FILE
        )
        hint = (
            "copy the server's node-token file as it is; a token without the hash would trust any server that answers"
        )
        yield Refusal("BG-INV-004", host.name, what, hint)


def _kubeconfig(host: Host, inventory: Inventory) -> Iterator[Refusal]:
    path = host.text(READ_BY_AGENTS)
    if not path:
        return
    facts = inventory.read(path)
    fault = _unreadable(facts)
    if not fault and not ("clusters:" in (facts.text or "") and "server:" in (facts.text or "")):
        fault = "names no cluster"
    if fault:
        yield Refusal("BG-INV-006", host.name, "{0} ({1}) {2}".format(path, READ_BY_AGENTS, fault))
    elif facts.mode & OTHERS:
        yield Refusal("BG-INV-005", host.name, "{0} ({1}) has mode {2:04o}".format(path, READ_BY_AGENTS, facts.mode))


def _unreadable(facts: FileFacts) -> str:
    if not facts.exists:
        return "does not exist on the controller"
    if not facts.regular:
        return "is not a file"
    if facts.text is None:
        return "cannot be read"
    return "" if facts.text.strip() else "is empty"
