"""Variables against the roles' argument specs: what is missing, cannot be evaluated, or is misspelt."""

from __future__ import annotations

import difflib
from typing import Iterator, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal

# Two names are near when they differ in about one letter in ten; nearer ones of a role are other options of it.
NEAR = 0.9


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse what is missing, broken, not among the choices, or misspelt on the hosts that this run is about."""
    for host in inventory.judged():
        for role in sorted(host.roles):
            yield from _missing(host, role, inventory)
            yield from _choices(host, role, inventory)
        yield from _broken(host)
        yield from _misspelt(host, inventory)


def _missing(host: Host, role: str, inventory: Inventory) -> Iterator[Refusal]:
    for name, option in inventory.options.get(role, {}).items():
        if option.get("required") and name not in host.broken and host.variables.get(name) in (None, ""):
            yield Refusal("BG-INV-012", host.name, "{0}, which role {1} needs, is not set".format(name, role))


def _choices(host: Host, role: str, inventory: Inventory) -> Iterator[Refusal]:
    for name, option in inventory.options.get(role, {}).items():
        choices = option.get("choices")
        if choices and name in host.variables and host.variables[name] not in choices:
            yield Refusal(
                "BG-INV-017",
                host.name,
                "{0} is {1!r}".format(name, host.variables[name]),
                "choose one of {0}".format(", ".join(str(choice) for choice in choices)),
            )


def _broken(host: Host) -> Iterator[Refusal]:
    for name, reason in sorted(host.broken.items()):
        # What is missing behind a checksum is most often the checksum in the mirror's list.
        code = "BG-INV-010" if name.endswith("_sha256") else "BG-INV-012"
        yield Refusal(code, host.name, "{0} cannot be evaluated ({1})".format(name, reason))


def _misspelt(host: Host, inventory: Inventory) -> Iterator[Refusal]:
    known = {name for options in inventory.options.values() for name in options}
    for name in sorted(host.names):
        if name in known or not _has_role_prefix(name, inventory.options):
            continue
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=NEAR)
        if near:
            hint = "did you mean {0}?".format(near[0])
            yield Refusal("BG-INV-016", host.name, "{0} is no variable of any role".format(name), hint)


def _has_role_prefix(name: str, options: Mapping[str, object]) -> bool:
    """Whether a name looks like a role's public variable, allowing for a slip in the role's own part."""
    if name.startswith(("_", "ansible_")):
        return False
    return any(difflib.SequenceMatcher(None, name[: len(role)], role).ratio() >= NEAR for role in options)
