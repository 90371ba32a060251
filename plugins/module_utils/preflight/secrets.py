"""Files on the controller that hold secrets. Their content never appears in a refusal."""

from __future__ import annotations

import re
from typing import Iterator

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import FileFacts, Host, Inventory, Refusal

TOKEN_FILE = "k3s_agent_token_file"

# What k3s takes with a CA's hash: K10<SHA-256 of the CA>::<user>:<secret>, or a bootstrap token (`k3s token create`) as
# its last part. k3s compares the hash as text, in lower case. The short form would trust any server that answers.
FULL_TOKEN = re.compile(r"K10[0-9a-f]{64}::(?:[^:\s]+:\S+|[a-z0-9]{6}\.[a-z0-9]{16})")
OTHERS = 0o077


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse token files that are missing or exposed, and tokens in their short form."""
    for host in inventory.judged():
        path = host.text(TOKEN_FILE)
        if "k3s_agent" in host.roles and path:
            yield from _token(host, path, inventory.read(path))


def _token(host: Host, path: str, facts: FileFacts) -> Iterator[Refusal]:
    where = "{0} ({1})".format(path, TOKEN_FILE)
    fault = why_unreadable(facts)
    if fault:
        yield Refusal("BG-INV-004", host.name, "{0} {1}".format(where, fault), variable=TOKEN_FILE)
        return
    if facts.mode & OTHERS:
        yield exposed(host, where, facts, TOKEN_FILE)
    if not FULL_TOKEN.fullmatch((facts.text or "").strip()):
        what = "{0} does not hold a token in its full form K10<hash of the CA>::<user>:<secret>".format(where)
        hint = (
            "copy the server's node-token file as it is; a token without the hash would trust any server that answers"
        )
        yield Refusal("BG-INV-004", host.name, what, hint, TOKEN_FILE)


def exposed(host: Host, where: str, facts: FileFacts, variable: str) -> Refusal:
    """The refusal of a file that others can read."""
    return Refusal("BG-INV-005", host.name, "{0} has mode {1:04o}".format(where, facts.mode), variable=variable)


def why_unreadable(facts: FileFacts) -> str:
    """Why a file is of no use; empty when it holds something."""
    if not facts.exists:
        return "does not exist on the controller"
    if not facts.regular:
        return "is not a file"
    if facts.text is None:
        return "cannot be read"
    return "" if facts.text.strip() else "is empty"
