"""Evaluates templates of many hosts, each distinct one once.

Hosts of a group share their templates, and most of these depend on nothing that differs between hosts. Rendering one costs
a third of a millisecond, so that a thousand hosts with thirty variables would take half a minute. A template's value is reused
where its text and everything that it refers to, however indirectly, is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.template import Templar
from jinja2 import Environment, TemplateError, nodes

try:
    from ansible.template import is_trusted_as_template
except ImportError:  # before ansible-core 2.19 every text is a template

    def is_trusted_as_template(value: Any) -> bool:
        return True


# Lookups whose result depends on their arguments alone. The others may look at any variable of the host.
_PURE_LOOKUPS = frozenset({"baremetal.gpu.version", "ansible.builtin.env", "env"})
_LOOKUPS = frozenset({"lookup", "query", "q"})
# Every variable of the host at once.
_EVERYTHING = frozenset({"vars", "varnames"})
_MARKS = ("{{", "{%", "{#")
_SCALARS = (str, bytes, int, float, bool, type(None))


class SharedValues:
    """The values of one run. ``templar`` is made only for hosts that need one."""

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}
        self._names: dict[str, frozenset[str] | None] = {}
        # Containers are told apart by their identity, which holds as long as they exist.
        self._kept: list[Any] = []

    def evaluate(self, raw: Any, variables: Mapping[str, Any], templar: Callable[[], Templar]) -> Any:
        """The value of a variable, in plain containers. Raises ``AnsibleError`` or ``KeyError`` where it has none."""
        if not any(True for _text in _templates(raw)) and not _is_opaque(raw):
            return plain(raw)
        key = self._key(raw, variables)
        if key is None:
            return plain(templar().template(raw))
        if key not in self._values:
            try:
                self._values[key] = plain(templar().template(raw))
            except (AnsibleError, KeyError) as error:
                self._values[key] = error
        value = self._values[key]
        if isinstance(value, Exception):
            raise value
        return value

    def _key(self, raw: Any, variables: Mapping[str, Any]) -> Any:
        """What a value depends on; None where that is not known."""
        parts, pending = [self._token(raw)], [raw]
        seen: set[str] = set()
        while pending:
            for text in _templates(pending.pop()):
                names = self._names_in(text)
                if names is None:
                    return None
                for name in sorted(names - seen):
                    seen.add(name)
                    if name in variables:
                        parts.append((name, self._token(variables[name])))
                        pending.append(variables[name])
                    else:
                        parts.append((name, None))
        return tuple(parts)

    def _token(self, value: Any) -> Any:
        if isinstance(value, str):
            return str, str(value), is_trusted_as_template(value)
        if isinstance(value, _SCALARS):
            return type(value), value
        self._kept.append(value)
        return id(value)

    def _names_in(self, text: str) -> frozenset[str] | None:
        if text not in self._names:
            self._names[text] = names_in(text)
        return self._names[text]


_ENVIRONMENT = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], autoescape=True)


def names_in(text: str) -> frozenset[str] | None:
    """Every name that a template mentions; None where its value may depend on more than these."""
    try:
        tree = _ENVIRONMENT.parse(str(text))
    except TemplateError:
        return None
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name in _LOOKUPS:
            first = call.args[0] if call.args else None
            if not isinstance(first, nodes.Const) or first.value not in _PURE_LOOKUPS:
                return None
    names = frozenset(node.name for node in tree.find_all(nodes.Name))
    return None if names & _EVERYTHING else names


def plain(value: Any) -> Any:
    """A copy in plain containers. Parts of a value may be evaluated only when they are reached, which is here."""
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    # What is encrypted is no text of Python's until it is asked for; dates are none at all.
    return value if isinstance(value, _SCALARS) else str(value)


def _templates(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if any(mark in value for mark in _MARKS):
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _templates(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _templates(item)


def _is_opaque(value: Any) -> bool:
    return not isinstance(value, (*_SCALARS, Mapping, list, tuple))
