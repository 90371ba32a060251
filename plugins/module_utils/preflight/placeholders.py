"""Values of an example inventory that were not filled in."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any, Iterator, Mapping, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.addresses import address_in
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory, Refusal

_MARK = re.compile(r"\b(?:FILL[-_ ]IN|CHANGE[-_ ]?ME)\b", re.IGNORECASE)
_NOUGHTS = re.compile(r"(?<![0-9a-zA-Z])0{40}(?:0{24})?(?![0-9a-zA-Z])")
# Reserved for documentation: names by RFC 2606 and 6761, addresses by RFC 5737, 3849 and 9637.
_NAME = re.compile(r"(?:^|[/@.])example\.(?:com|net|org)(?=$|[:/])|\.(?:example|invalid)(?=$|[:/])", re.IGNORECASE)
_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
)
_ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7})(?![\w.])")


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse marks to fill in, checksums of nothing but noughts, and names and addresses of documentation."""
    for host in inventory.judged():
        for variable in sorted(host.variables):
            for where, text in _texts(variable, host.variables[variable]):
                kind = kind_of(text)
                if kind:
                    shown = text if len(text) <= 100 else text[:97] + "..."
                    what = "{0} is {1!r}, {2}".format(where, shown, kind)
                    yield Refusal("BG-INV-049", host.name, what, variable=variable)


@lru_cache(maxsize=4096)
def kind_of(text: str) -> str:
    """What kind of placeholder a text holds; empty when it holds none."""
    if _MARK.search(text):
        return "a mark where the site's own value belongs"
    if _NOUGHTS.search(text):
        return "a checksum or fingerprint of nothing but noughts"
    if _NAME.search(text):
        return "a name that is reserved for documentation"
    for found in _ADDRESS.findall(text):
        address = address_in(found)
        if address is not None and any(address in network for network in _NETWORKS):
            return "an address that is reserved for documentation"
    return ""


def _texts(where: str, value: Any) -> Iterator[Tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts("{0}.{1}".format(where, key), item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _texts("{0}[{1}]".format(where, index), item)
