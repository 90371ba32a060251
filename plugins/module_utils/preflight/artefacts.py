"""Everything that hosts or the controller download: known by its SHA-256, at an address that says what it is."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping, NamedTuple, Optional
from urllib.parse import urlsplit

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.hardware import profile_of
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Host, Inventory, Refusal

SHA256 = re.compile(r"[0-9a-f]{64}")
URL = "_url"
CHECKSUM = "_sha256"
MIRROR = "site_mirror_url"
ARCHITECTURE = "host_preflight_architecture"
FINGERPRINT = re.compile(r"[0-9A-F]{40}")

# Parts of an address under which what is served changes.
_MOVING = re.compile(r"(?:^|[/._-])(?:latest|nightly)(?=$|[/._-])|/v1-release/channels?(?:/|$)")
# Names that publishers give to a build for one architecture. k3s itself names the one for amd64 without it.
_BUILDS = {
    "arm64": re.compile(r"(?:^|[/._-])(?:arm64|aarch64)(?=$|[/._-])"),
    "amd64": re.compile(r"(?:^|[/._-])(?:amd64|x86_64|x86-64)(?=$|[/._-])"),
}


class Artefact(NamedTuple):
    """One thing to download. ``checksum`` is None where none belongs to it: the signature of a repository says what it is."""

    variable: str
    where: str
    url: str
    checksum: Optional[str]


def check(inventory: Inventory) -> Iterator[Refusal]:
    """Refuse artefacts without a usable checksum, at an unusable or moving address, or for another architecture."""
    for host in inventory.judged():
        for artefact in artefacts_of(host, inventory):
            yield from _checksum(host, artefact)
            yield from _address(host, artefact)
            yield from _build(host, inventory, artefact)
        yield from _images(host, inventory)
        yield from _fingerprints(host, inventory)


def artefacts_of(host: Host, inventory: Inventory) -> Iterator[Artefact]:
    """Variables ``x_url``, with ``x_sha256`` where a role has it, and lists of ``{url, sha256}``."""
    for role in sorted(host.roles):
        options = inventory.rules.options.get(role, {})
        for name, option in options.items():
            if name.endswith(URL) and host.text(name):
                checksum = name[: -len(URL)] + CHECKSUM
                known = checksum in options and checksum not in host.broken
                yield Artefact(name, checksum, host.text(name), host.text(checksum) if known else None)
            elif {"url", "sha256"} <= set(option.get("options") or {}):
                for index, entry in enumerate(host.items(name)):
                    if isinstance(entry, Mapping):
                        where = "{0}[{1}].sha256".format(name, index)
                        yield Artefact(name, where, _text(entry.get("url")), _text(entry.get("sha256")))


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _checksum(host: Host, artefact: Artefact) -> Iterator[Refusal]:
    if artefact.checksum is None:
        return
    variable = artefact.where.partition("[")[0]
    if not artefact.checksum:
        what = "{0} has no checksum: {1} is not set".format(artefact.url, artefact.where)
        yield Refusal("BG-INV-010", host.name, what, variable=variable)
    elif not SHA256.fullmatch(artefact.checksum.lower()):
        what = "{0} has no usable checksum: {1} is {2!r}, not 64 hexadecimal digits".format(
            artefact.url, artefact.where, artefact.checksum
        )
        yield Refusal("BG-INV-010", host.name, what, variable=variable)


def _address(host: Host, artefact: Artefact) -> Iterator[Refusal]:
    url, mirror = artefact.url, host.text(MIRROR).rstrip("/")
    fault = _fault(url)
    if fault:
        yield Refusal(
            "BG-INV-038",
            host.name,
            "{0} is {1!r}: {2}".format(artefact.variable, url, fault[0]),
            fault[1],
            artefact.variable,
        )
        return
    if url.startswith("http://") and not (mirror and url.startswith(mirror + "/")):
        what = "{0} is {1}, read without TLS from outside the declared mirror".format(artefact.variable, url)
        yield Refusal("BG-INV-039", host.name, what, variable=artefact.variable)
    # What a repository serves always changes; its signature says whose it is.
    moving = _MOVING.search(urlsplit(url).path) if artefact.checksum is not None else None
    if moving:
        what = "{0} is {1}: what is served under {2!r} changes".format(
            artefact.variable, url, moving.group(0).strip("/._-")
        )
        yield Refusal("BG-INV-040", host.name, what, variable=artefact.variable)


def _fault(url: str) -> Optional[tuple[str, str]]:
    """What is wrong with the form of an address, and what to do; None when nothing is."""
    example = "write an address such as https://mirror.site/k3s/k3s-arm64"
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError as error:
        return str(error), example
    if parts.scheme not in ("http", "https", "file") or not (usable or parts.scheme == "file"):
        return "it is no address", example
    if any(character.isspace() for character in url):
        return "it holds a space", "spell a space as %20"
    if parts.username or parts.password:
        return "it holds credentials", "use a mirror that needs none; addresses are printed and logged"
    if "+" in parts.path:
        return "servers may read its plus sign as a space", "spell the plus sign of a version as %2B"
    return None


def _build(host: Host, inventory: Inventory, artefact: Artefact) -> Iterator[Refusal]:
    wanted = architecture_of(host, inventory)
    found = build_of(artefact.url)
    if wanted and found and found != wanted:
        what = "{0} is {1}, a build for {2}, and the host is {3}".format(artefact.variable, artefact.url, found, wanted)
        yield Refusal("BG-INV-041", host.name, what, variable=artefact.variable)


def architecture_of(host: Host, inventory: Inventory) -> str:
    """What the inventory says about a host's architecture: itself, or by the hardware profile; empty when nothing."""
    profile = profile_of(host, inventory)
    return host.text(ARCHITECTURE) or (profile.architecture if profile else "")


def build_of(url: str) -> str:
    """The architecture in an address; empty when none is named. A file called just ``k3s`` is the build for amd64."""
    name = urlsplit(url).path
    for architecture, pattern in _BUILDS.items():
        if pattern.search(name):
            return architecture
    return "amd64" if name.rsplit("/", 1)[-1] == "k3s" else ""


def _images(host: Host, inventory: Inventory) -> Iterator[Refusal]:
    for role in sorted(host.roles):
        for name in inventory.rules.options.get(role, {}):
            text = host.text(name) if name.endswith("_image") else ""
            if text.endswith(":latest"):
                what = "{0} is {1}: what is served under that tag changes".format(name, text)
                yield Refusal("BG-INV-040", host.name, what, "name a version or a digest", name)


def _fingerprints(host: Host, inventory: Inventory) -> Iterator[Refusal]:
    for role in sorted(host.roles):
        for name in inventory.rules.options.get(role, {}):
            text = host.text(name) if name.endswith("_fingerprint") else ""
            if text and not FINGERPRINT.fullmatch(text.replace(" ", "").upper()):
                what = "{0} is {1!r}, not 40 hexadecimal digits".format(name, text)
                yield Refusal("BG-INV-042", host.name, what, variable=name)
