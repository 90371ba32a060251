"""The readiness checklist of the site (SPARK-01): every item is true, or waived with a reason."""

from __future__ import annotations

from typing import Any, Iterator, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import did_you_mean

VARIABLE = "site_readiness"


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse items that are neither true nor waived, and items that are not on the list."""
    if inventory.system is None or not inventory.system.readiness:
        return
    own = frozenset().union(*(inventory.groups.get(group, frozenset()) for group in inventory.system.required))
    for host in inventory.judged():
        # What is there before the run needs no readiness: only hosts that get something do.
        if host.name in own and host.roles - {"gpu_verify"}:
            yield from _host(host, inventory.rules.readiness)


def _host(host: Host, items: Mapping[str, str]) -> Iterator[Refusal]:
    declared = host.variables.get(VARIABLE)
    if declared is not None and not isinstance(declared, Mapping):
        what = "{0} is no mapping of items to true or {{waived: reason}}".format(VARIABLE)
        yield Refusal("BG-INV-050", host.name, what, variable=VARIABLE)
        return
    answers: Mapping[str, Any] = declared or {}
    for item, text in items.items():
        fault = _fault(answers.get(item))
        if fault:
            what = "{0}.{1} ({2}) {3}".format(VARIABLE, item, text, fault)
            hint = "set {0} to true when it is done, or to {{waived: why it is not needed}}".format(item)
            yield Refusal("BG-INV-050", host.name, what, hint, VARIABLE)
    for item in sorted(str(name) for name in answers if name not in items):
        what = "{0}.{1} is no item of the checklist".format(VARIABLE, item)
        yield Refusal("BG-INV-051", host.name, what, did_you_mean(item, items), VARIABLE)


def _fault(answer: Any) -> str:
    """Why an answer is none; empty when the item is done or waived."""
    if answer is True:
        return ""
    if isinstance(answer, Mapping):
        if set(answer) == {"waived"} and isinstance(answer["waived"], str) and answer["waived"].strip():
            return ""
        return "is waived without a reason"
    return "is not answered" if answer is None else "is {0!r}".format(answer)
