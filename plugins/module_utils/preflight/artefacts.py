"""Everything that hosts or the controller download is known by its SHA-256."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal

SHA256 = re.compile(r"[0-9a-f]{64}")
URL = "_url"
CHECKSUM = "_sha256"


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse URLs without a usable checksum: variables ``x_url`` beside ``x_sha256``, and lists of ``{url, sha256}``."""
    for host in inventory.judged():
        for role in sorted(host.roles):
            options = inventory.options.get(role, {})
            for name, option in options.items():
                if name.endswith(URL) and name[: -len(URL)] + CHECKSUM in options:
                    yield from _pair(host, name)
                elif {"url", "sha256"} <= set(option.get("options") or {}):
                    yield from _list(host, name)


def _pair(host: Host, name: str) -> Iterator[Refusal]:
    checksum = name[: -len(URL)] + CHECKSUM
    if host.text(name) and checksum not in host.broken:
        yield from _judged(host, host.text(name), checksum, host.text(checksum))


def _list(host: Host, name: str) -> Iterator[Refusal]:
    entries: Any = host.variables.get(name)
    for index, entry in enumerate(entries if isinstance(entries, (list, tuple)) else ()):
        if isinstance(entry, Mapping):
            where = "{0}[{1}].sha256".format(name, index)
            yield from _judged(host, str(entry.get("url") or ""), where, str(entry.get("sha256") or ""))


def _judged(host: Host, url: str, where: str, checksum: str) -> Iterator[Refusal]:
    if not checksum:
        yield Refusal("BG-INV-010", host.name, "{0} has no checksum: {1} is not set".format(url, where))
    elif not SHA256.fullmatch(checksum.lower()):
        what = "{0} has no usable checksum: {1} is {2!r}, not 64 hexadecimal digits".format(url, where, checksum)
        yield Refusal("BG-INV-010", host.name, what)
