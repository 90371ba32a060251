"""Waivers of findings that cannot be seen."""

from __future__ import annotations

import re
from typing import Iterator, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory, Refusal
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import did_you_mean

SUFFIX = "_waivers"
_CODE = re.compile(r"BG-[A-Z][A-Z0-9]*-\d{3}")


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse waivers of codes that do not exist, or that are no findings: only what a check could not see can be waived."""
    codes = inventory.rules.codes
    findings = [code for code, kind in codes.items() if kind == "finding"]
    for host in inventory.judged():
        for variable in sorted(name for name in host.variables if name.endswith(SUFFIX)):
            for item in host.items(variable):
                code = str(item.get("code") or "") if isinstance(item, Mapping) else str(item)
                if codes.get(code) == "finding":
                    continue
                kind = "a {0}, which cannot be waived".format(codes[code]) if code in codes else "no code"
                what = "{0} waives {1!r}, {2}".format(variable, code, kind)
                hint = "" if code in codes or not _CODE.fullmatch(code) else did_you_mean(code, findings, 0.8)
                yield Refusal("BG-INV-052", host.name, what, hint if hint.startswith("did") else "", variable)
