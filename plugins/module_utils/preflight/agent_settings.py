"""Settings that a k3s agent passes on: further configuration keys and arguments of the kubelet."""

from __future__ import annotations

import re
from typing import Iterator, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal, Rules
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import did_you_mean

EXTRA = "k3s_agent_extra_config"
# Keys of another release than the one of the table, for which the operator vouches.
FURTHER = "k3s_agent_known_settings"
ARGUMENTS = "k3s_agent_kubelet_args"
# k3s puts the dashes before the name itself; a value may be missing for a switch.
_ARGUMENT = re.compile(r"[a-z][a-z0-9-]*(=.*)?", re.DOTALL)


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse keys that an agent does not know or that the role sets itself, and arguments that would undo the role's."""
    for host in inventory.judged():
        if "k3s_agent" in host.roles:
            yield from _extra(host, inventory.rules)
            yield from _arguments(host, inventory.rules)


def _extra(host: Host, rules: Rules) -> Iterator[Refusal]:
    extra = host.variables.get(EXTRA)
    known = rules.agent_keys.union(str(key) for key in host.items(FURTHER))
    for raw in sorted(extra, key=str) if isinstance(extra, Mapping) else ():
        # `key+` adds to a list that another file has.
        key = str(raw)
        name = key[:-1] if key.endswith("+") else key
        if name in rules.agent_keys_of_role:
            what = "{0} has the key {1}, which the role sets itself".format(EXTRA, key)
            yield Refusal("BG-INV-047", host.name, what, "set {0}".format(rules.agent_keys_of_role[name]), EXTRA)
        elif name not in known:
            what = "{0} has the key {1}, and a k3s agent ends on a key it does not know".format(EXTRA, key)
            yield Refusal("BG-INV-046", host.name, what, did_you_mean(name, known), EXTRA)


def _arguments(host: Host, rules: Rules) -> Iterator[Refusal]:
    for item in host.items(ARGUMENTS):
        text = str(item)
        if not _ARGUMENT.fullmatch(text):
            what = "{0} holds {1!r}".format(ARGUMENTS, item)
            yield Refusal("BG-INV-048", host.name, what, "write it as name=value, without dashes before it", ARGUMENTS)
            continue
        name = text.partition("=")[0]
        if name in rules.kubelet_arguments:
            what = "{0} holds {1}: {2}".format(ARGUMENTS, name, rules.kubelet_arguments[name])
            yield Refusal("BG-INV-048", host.name, what, variable=ARGUMENTS)
