"""All checks, in the order in which their refusals are told."""

from __future__ import annotations

from typing import List, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight import (
    addresses,
    agent_settings,
    artefacts,
    compat,
    control_plane,
    gpu_sharing,
    groups,
    hardware,
    kubeconfigs,
    labels,
    names,
    networks,
    placeholders,
    plaintext,
    readiness,
    secrets,
    server_url,
    sharing,
    skew,
    tailnet,
    types,
    variables,
    waivers,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Check, Inventory, Refusal

CHECKS: Sequence[Check] = (
    groups.check,
    readiness.check,
    placeholders.check,
    variables.check,
    types.check,
    hardware.check,
    sharing.check,
    gpu_sharing.check,
    secrets.check,
    plaintext.check,
    kubeconfigs.check,
    control_plane.check,
    server_url.check,
    names.check,
    addresses.check,
    networks.check,
    tailnet.check,
    artefacts.check,
    skew.check,
    compat.check,
    labels.check,
    agent_settings.check,
    waivers.check,
)
PLACEHOLDER = "BG-INV-049"


def refusals(inventory: Inventory) -> List[Refusal]:
    """Everything that is wrong with an inventory, each thing once.

    What is still a placeholder is told as that only: whatever else is wrong with it ends when it is filled in.
    """
    found = list(dict.fromkeys(refusal for check in CHECKS for refusal in check(inventory)))
    unfilled = {(refusal.subject, refusal.variable) for refusal in found if refusal.code == PLACEHOLDER}
    return [
        refusal
        for refusal in found
        if refusal.code == PLACEHOLDER or (refusal.subject, refusal.variable) not in unfilled
    ]
