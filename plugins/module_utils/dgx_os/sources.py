"""Sources of apt in both forms, and what is wrong with them together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Tuple

_LINE = re.compile(r"^\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<rest>\S.*)$")
_DISABLED = ("no", "false", "without", "off", "disable", "0")


@dataclass(frozen=True)
class Source:
    """One address of packages with one suite. ``signed_by`` is the key's file as written; empty without one."""

    file: str
    uri: str
    suite: str
    signed_by: str


@dataclass(frozen=True)
class Conflict:
    """One address whose sources name different keys; apt then reads no source at all."""

    uri: str
    suite: str
    signed_by: Tuple[str, ...]
    files: Tuple[str, ...]


def parse_sources(file: str, text: str) -> Tuple[Source, ...]:
    """The enabled binary sources of a file; its name tells the form."""
    found = _deb822(file, text) if file.endswith(".sources") else _one_line(file, text)
    return tuple(found)


def conflicts(sources: Tuple[Source, ...]) -> List[Conflict]:
    """Addresses for which different keys are named, in the order in which they appear."""
    groups: Dict[Tuple[str, str], List[Source]] = {}
    for source in sources:
        groups.setdefault((source.uri, source.suite), []).append(source)
    return [
        Conflict(uri, suite, tuple(sorted({each.signed_by for each in group})), tuple(each.file for each in group))
        for (uri, suite), group in groups.items()
        if len({each.signed_by for each in group}) > 1
    ]


def rewritten(uri: str, addresses: Mapping[str, str]) -> str:
    """The address with parts replaced that lead nowhere any more; the same where none does."""
    for dead, alive in addresses.items():
        uri = uri.replace(dead, alive)
    return uri


def _one_line(file: str, text: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = _LINE.match(line.partition("#")[0])
        if match is None:
            continue
        parts = match.group("rest").split()
        options = dict(option.partition("=")[::2] for option in (match.group("options") or "").split())
        if len(parts) >= 2:
            yield Source(file, parts[0].rstrip("/"), parts[1], options.get("signed-by", ""))


def _deb822(file: str, text: str) -> Iterator[Source]:
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields = _fields(paragraph)
        enabled = fields.get("enabled", "yes").lower() not in _DISABLED
        if not enabled or "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(file, uri.rstrip("/"), suite, _key(fields.get("signed-by", "")))


def _fields(paragraph: str) -> Dict[str, str]:
    fields: Dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            if name:
                fields[name] += "\n" + line.strip()
            continue
        head, colon, value = line.partition(":")
        if colon:
            name = head.strip().lower()
            fields[name] = value.strip()
    return fields


def _key(signed_by: str) -> str:
    """The key's file, or that the key itself stands there: which one does not matter for what differs."""
    return "a key in the source itself" if "BEGIN PGP" in signed_by else signed_by
