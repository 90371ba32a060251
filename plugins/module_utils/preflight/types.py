"""Types, choices and ranges of variables. Roles' argument specs are checked late, and they convert what they check but not what is used."""

from __future__ import annotations

from typing import Any, Iterator, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.near import did_you_mean

# Judged with the kind of sharing (BG-INV-002).
ELSEWHERE = frozenset({"nvidia_device_plugin_replicas"})
BOOLEANS = frozenset({"yes", "no", "true", "false", "on", "off", "1", "0", "y", "n", "t", "f"})


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse values of a wrong type, that are none of the choices, or outside their range."""
    for host in inventory.judged():
        for role in sorted(host.roles):
            for name, option in inventory.rules.options.get(role, {}).items():
                value = host.variables.get(name)
                if name not in ELSEWHERE and value not in (None, ""):
                    yield from _value(host, inventory, name, value, option)


def _value(host: Host, inventory: Inventory, name: str, value: Any, option: Mapping[str, Any]) -> Iterator[Refusal]:
    wanted = str(option.get("type", "str"))
    if not _is(value, wanted):
        what = "{0} is {1} ({2}), and must be of type {3}".format(name, _shown(value), type(value).__name__, wanted)
        yield Refusal("BG-INV-020", host.name, what, "write it as {0}".format(_NAMES[wanted]), name)
        return
    choices = option.get("choices")
    if choices and value not in choices:
        hint = "choose one of {0}".format(", ".join(str(choice) for choice in choices))
        yield Refusal("BG-INV-017", host.name, "{0} is {1!r}".format(name, value), hint, name)
    bounds = inventory.rules.ranges.get(name)
    if bounds and not bounds.minimum <= int(value) <= bounds.maximum:
        what = "{0} is {1} {2}, outside {3} to {4}".format(name, value, bounds.unit, bounds.minimum, bounds.maximum)
        hint = "choose a value from {0} to {1}".format(bounds.minimum, bounds.maximum)
        yield Refusal("BG-INV-021", host.name, what, hint, name)
    elements = str(option.get("elements") or "")
    for index, item in enumerate(value if wanted == "list" and elements else ()):
        yield from _item(host, "{0}[{1}]".format(name, index), name, item, elements, option.get("options") or {})


def _item(
    host: Host, where: str, variable: str, item: Any, wanted: str, options: Mapping[str, Any]
) -> Iterator[Refusal]:
    if not _is(item, wanted):
        what = "{0} is {1} ({2}), and must be of type {3}".format(where, _shown(item), type(item).__name__, wanted)
        yield Refusal("BG-INV-020", host.name, what, "write it as {0}".format(_NAMES[wanted]), variable)
        return
    if wanted != "dict" or not options:
        return
    for name in sorted(str(key) for key in item if key not in options):
        what = "{0} has the key {1}, which means nothing there".format(where, name)
        yield Refusal("BG-INV-020", host.name, what, did_you_mean(name, options), variable)
    for name, option in options.items():
        # A checksum that is missing has a code of its own.
        if option.get("required") and not name.endswith("sha256") and item.get(name) in (None, ""):
            what = "{0} has no {1}".format(where, name)
            yield Refusal("BG-INV-020", host.name, what, "add {0}".format(name), variable)


_NAMES = {
    "str": "text",
    "path": "a path",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list: one line with a dash for each item",
    "dict": "a mapping: one line with key and value for each item",
}


def _is(value: Any, wanted: str) -> bool:
    """Whether a value is of an argument spec's type. Numbers and truth values may be text: templates make them so."""
    if wanted == "list":
        return isinstance(value, (list, tuple))
    if wanted == "dict":
        return isinstance(value, Mapping)
    if isinstance(value, (list, tuple, Mapping)):
        return wanted not in _NAMES
    if wanted == "int":
        return not isinstance(value, (bool, float)) and _parses(int, value)
    if wanted == "float":
        return not isinstance(value, bool) and _parses(float, value)
    if wanted == "bool":
        return isinstance(value, bool) or str(value).lower() in BOOLEANS
    return True


def _parses(kind: type, value: Any) -> bool:
    try:
        kind(value)
    except (TypeError, ValueError):
        return False
    return True


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
