"""All checks, in the order in which their refusals are told."""

from __future__ import annotations

from typing import List, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight import (
    artefacts,
    control_plane,
    hardware,
    names,
    networks,
    secrets,
    sharing,
    skew,
    variables,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Check, Inventory, Refusal

CHECKS: Sequence[Check] = (
    variables.check,
    hardware.check,
    sharing.check,
    secrets.check,
    control_plane.check,
    names.check,
    networks.check,
    artefacts.check,
    skew.check,
)


def refusals(inventory: Inventory) -> List[Refusal]:
    """Everything that is wrong with an inventory, each thing once."""
    return list(dict.fromkeys(refusal for check in CHECKS for refusal in check(inventory)))
