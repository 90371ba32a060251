"""Variables against the roles' argument specs: what is missing, cannot be evaluated, or is misspelt."""

from __future__ import annotations

import difflib
import re
from functools import cache
from typing import Iterator, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import (
    SITE_VARIABLES,
    Host,
    Inventory,
    Refusal,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import nearest

# Two names are near when they differ in about one letter in ten; nearer ones of a role are other options of it.
NEAR = 0.9
# By custom, variables with this prefix stand in encrypted files.
_VAULTED = re.compile(r"\bvault_\w+")
# How Ansible's own message says that a value is encrypted with a secret that this run does not have.
UNDECRYPTED = re.compile(r"decrypt(?:ion|ed|ing)?\b", re.IGNORECASE)


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse what is missing, cannot be evaluated, or is misspelt on the hosts that this run is about."""
    known = tuple(sorted({name for options in inventory.rules.options.values() for name in options} | SITE_VARIABLES))
    prefixes = (*tuple(sorted(inventory.rules.options)), "gpu_sharing", "k3s_server", "site")
    for host in inventory.judged():
        for role in sorted(host.roles):
            yield from _missing(host, role, inventory)
        yield from _broken(host)
        for name in sorted(host.names.difference(known)):
            near = _meant(name, known, prefixes)
            if near:
                hint = "did you mean {0}?".format(near)
                yield Refusal("BG-INV-016", host.name, "{0} is no variable of any role".format(name), hint, name)


def _missing(host: Host, role: str, inventory: Inventory) -> Iterator[Refusal]:
    for name, option in inventory.rules.options.get(role, {}).items():
        if option.get("required") and name not in host.broken and host.variables.get(name) in (None, ""):
            what = "{0}, which role {1} needs, is not set".format(name, role)
            yield Refusal("BG-INV-012", host.name, what, variable=name)


def _broken(host: Host) -> Iterator[Refusal]:
    for name, reason in sorted(host.broken.items()):
        what = "{0} cannot be evaluated ({1})".format(name, reason)
        if UNDECRYPTED.search(reason):
            yield Refusal("BG-INV-019", host.name, what, variable=name)
            continue
        # What is missing behind a checksum is most often the checksum in the mirror's list.
        code = "BG-INV-010" if name.endswith("_sha256") else "BG-INV-012"
        secret = _VAULTED.search(reason)
        hint = "define {0} in a file that ansible-vault create makes".format(secret.group(0)) if secret else ""
        yield Refusal(code, host.name, what, hint or "define what the value refers to", name)


@cache
def _meant(name: str, known: Tuple[str, ...], prefixes: Tuple[str, ...]) -> str:
    """The public variable that an unknown name was meant to be; empty when it looks like none."""
    if name.startswith(("_", "ansible_")) or not any(
        difflib.SequenceMatcher(None, name[: len(prefix)], prefix).ratio() >= NEAR for prefix in prefixes
    ):
        return ""
    return nearest(name, known, NEAR)
