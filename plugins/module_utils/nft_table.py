"""Tables of nftables as ``nft --json`` lists them: parsed to what they mean, and compared. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Tuple

# What the kernel gives out anew at each load, and what counts while packets pass.
_VOLATILE = frozenset(("handle", "index", "packets", "bytes"))


@dataclass(frozen=True)
class Table:
    """Chains with their attributes and rules, sets and other objects; every element as canonical JSON."""

    chains: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    others: Tuple[str, ...] = ()


def parse(text: str) -> Table:
    """The one table of a listing. Raises ``ValueError`` for what is no listing."""
    document = json.loads(text)
    if not isinstance(document, dict) or not isinstance(document.get("nftables"), list):
        raise ValueError("no key nftables")
    chains: Dict[str, str] = {}
    rules: Dict[str, List[str]] = {}
    others: List[str] = []
    for element in document["nftables"]:
        if not isinstance(element, dict) or len(element) != 1:
            raise ValueError("not one kind of object: {0!r}".format(element))
        ((kind, value),) = element.items()
        if kind == "metainfo":
            continue
        if kind == "chain":
            chains[value["name"]] = _canonical(value)
        elif kind == "rule":
            rules.setdefault(value["chain"], []).append(_canonical(value["expr"]))
        else:
            others.append(_canonical(element))
    return Table(chains, {name: tuple(lines) for name, lines in rules.items()}, tuple(sorted(others)))


def differences(observed: Table, wanted: Table) -> Tuple[str, ...]:
    """What differs, as parts of a sentence; nothing when both mean the same. The order of rules counts."""
    found = []
    for name in sorted({*observed.chains, *wanted.chains}):
        if name not in observed.chains:
            found.append("chain {0} is missing".format(name))
        elif name not in wanted.chains:
            found.append("chain {0} is not declared".format(name))
        elif observed.chains[name] != wanted.chains[name]:
            found.append("chain {0} has another hook, priority or policy".format(name))
        elif observed.rules.get(name, ()) != wanted.rules.get(name, ()):
            found.append("chain {0} has other rules".format(name))
    if observed.others != wanted.others:
        found.append("the table, its sets or its other objects differ")
    return tuple(found)


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        plain = {key: _plain(item) for key, item in value.items() if key not in _VOLATILE}
        if isinstance(plain.get("set"), list):
            # The elements of a set have no order.
            plain["set"] = sorted(plain["set"], key=lambda item: json.dumps(item, sort_keys=True))
        return plain
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
