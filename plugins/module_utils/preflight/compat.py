"""Versions that may not meet: what the site declares about a host, and what roles bring to it."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.compat.answer import Judge
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.nearest import differences, nearest
from ansible_collections.baremetal.gpu.plugins.module_utils.compat.question import parse_question
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.hardware import profile_of
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import did_you_mean

STACK = "site_gpu_stack"
ACCEPTED = "site_gpu_stack_accepted"
DECLARATION = "BG-COMPAT-004"

# Variables that say a part of the combination, of the role that brings it.
FROM_ROLES = {
    "nvidia_container_toolkit_version": ("nvidia_container_toolkit", "container_toolkit"),
    "nvidia_device_plugin_version": ("nvidia_device_plugin", "device_plugin"),
    "nvidia_device_plugin_nfd_version": ("nvidia_device_plugin", "node_feature_discovery"),
    "nvidia_device_plugin_sharing": ("nvidia_device_plugin", "sharing"),
    "k3s_agent_version": ("k3s_agent", "k3s"),
    "kubernetes_node_version": ("kubeadm_worker", "kubernetes"),
}

Told = Tuple[Refusal, ...]


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse combinations of versions that are known not to work, or that no row knows."""
    judge = inventory.rules.compatibility
    if judge is None:
        return
    for host in inventory.judged():
        stack, accepted = host.variables.get(STACK) or {}, host.variables.get(ACCEPTED) or {}
        unusable = [(name, value) for name, value in ((STACK, stack), (ACCEPTED, accepted)) if not _is_mapping(value)]
        for name, value in unusable:
            yield Refusal(DECLARATION, host.name, "{0} is {1!r}".format(name, value), "write it as a mapping", name)
        if not unusable:
            yield from _declaration(host, judge, stack, accepted)
            yield from _combination(host, inventory, judge, stack, accepted)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _declaration(host: Host, judge: Judge, stack: Mapping[str, Any], accepted: Mapping[str, Any]) -> Iterator[Refusal]:
    """What is wrong with the declaration itself."""
    for fault in parse_question(judge.table, stack)[1]:
        yield Refusal(DECLARATION, host.name, "{0}: {1}".format(STACK, fault.what), fault.hint, STACK)
    for variable, (role, name) in FROM_ROLES.items():
        if role in host.roles and name in stack and host.text(variable) not in ("", str(stack[name])):
            what = "{0}.{1} is {2} and {3} is {4}".format(STACK, name, stack[name], variable, host.text(variable))
            yield Refusal(DECLARATION, host.name, what, "say it once, in {0}".format(variable), STACK)
    for row, reason in accepted.items():
        if row not in judge.table.row_ids():
            what = "{0} accepts {1!r}, which is no row".format(ACCEPTED, row)
            yield Refusal(DECLARATION, host.name, what, did_you_mean(str(row), judge.table.row_ids()), ACCEPTED)
        elif not str(reason or "").strip():
            what = "{0} accepts {1} without a reason".format(ACCEPTED, row)
            yield Refusal(DECLARATION, host.name, what, "write why it works here", ACCEPTED)


def _combination(
    host: Host, inventory: Inventory, judge: Judge, stack: Mapping[str, Any], accepted: Mapping[str, Any]
) -> Iterator[Refusal]:
    combination, _faults = parse_question(judge.table, {**stack, **_from_roles(host, inventory)})
    rows = frozenset(map(str, accepted))
    against = judge.answer(combination, rows).against
    if not against:
        return
    found = nearest(judge, combination, rows)
    hint = "" if found is None else differences(judge, combination, found)
    for objection in against:
        yield Refusal(
            objection.code,
            host.name,
            "{0}: {1} (row {2})".format(objection.what, objection.because, objection.row),
            hint,
            STACK,
        )


def _from_roles(host: Host, inventory: Inventory) -> Dict[str, Any]:
    """What the host's roles and its hardware profile say. Unusable values have codes of their own."""
    said: Dict[str, Any] = {
        name: host.text(variable)
        for variable, (role, name) in FROM_ROLES.items()
        if role in host.roles and host.text(variable)
    }
    profile = profile_of(host, inventory)
    return {**said, "gpu": profile.name} if profile is not None else said
