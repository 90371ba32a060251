"""Secrets that stand in the inventory in plain text."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory, Refusal

# What cannot be anything but a secret, wherever it stands.
_SHAPES = (
    (re.compile(r"\bK10[0-9a-f]{64}::"), "a k3s token"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "a private key"),
    (re.compile(r"\btskey-[a-z]+-\w"), "a Tailscale key"),
    (re.compile(r"\bclient-key-data:"), "a kubeconfig with its key"),
)
# Names of which the value is a secret. Names of files, paths and addresses that lead to one end otherwise.
_NAME = re.compile(
    r"(?:^|[._-])(?:pass|passwd|password|passphrase|secret|token|auth[_-]?key|api[_-]?key|private[_-]?key)$"
)
_ELSEWHERE = re.compile(r"^(?:~?/|\.{1,2}/|[a-z]+://)|\{[{%]")


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse secrets in plain text on the hosts that this run is about."""
    for host in inventory.judged():
        for variable, kind in sorted(host.exposed.items()):
            what = "{0} holds {1} in plain text".format(variable, kind)
            yield Refusal("BG-INV-037", host.name, what, variable=variable.split(".")[0].split("[")[0])


def secrets_in(name: str, value: Any) -> Iterator[Tuple[str, str, str]]:
    """``(where, kind, text)`` of every secret in an unevaluated variable. What is encrypted is no text and is left out."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from secrets_in("{0}.{1}".format(name, key), item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from secrets_in("{0}[{1}]".format(name, index), item)
    elif isinstance(value, str) and value.strip():
        kind = next((kind for shape, kind in _SHAPES if shape.search(value)), "")
        if not kind and _NAME.search(name.lower()) and not _ELSEWHERE.search(value):
            kind = "what its name says"
        if kind:
            yield name, kind, value
