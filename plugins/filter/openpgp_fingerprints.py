# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fingerprints of ASCII-armored OpenPGP keys, computed on the controller without gpg."""

from __future__ import annotations

DOCUMENTATION = r"""
name: openpgp_fingerprints
short_description: Fingerprints of ASCII-armored OpenPGP keys
version_added: "0.1.0"
description:
  - Returns the fingerprint of every primary key in an ASCII-armored public key block, so that a repository's signing key
    can be compared with the declared one before any host trusts it.
  - Signatures within the block are not verified. Who has the declared fingerprint has the key.
options:
  _input:
    description: The text of the key block.
    type: str
    required: true
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the fingerprints of a key
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.url', 'http://mirror.example/keys/repository.asc', split_lines=false) | baremetal.gpu.openpgp_fingerprints }}"
"""

RETURN = r"""
_value:
  description: Fingerprints in upper-case hexadecimal digits, in the order of the keys.
  type: list
  elements: str
"""

import base64
import binascii
import hashlib
from typing import Any, Callable, Iterator

from ansible.errors import AnsibleFilterError

_BEGIN = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END = "-----END PGP PUBLIC KEY BLOCK-----"

_PUBLIC_KEY = 6
"""Packet type of a primary public key (RFC 9580, section 5)."""


def fingerprints(text: str) -> list[str]:
    """Fingerprints of the primary keys in an armored block. Raises ValueError when there is no readable key."""
    found = [_fingerprint(body) for kind, body in _packets(_dearmor(text)) if kind == _PUBLIC_KEY]
    if not found:
        raise ValueError("no public key in it")
    return found


def _dearmor(text: str) -> bytes:
    """The binary packets of an armored block: base64 between headers and checksum (RFC 9580, section 6)."""
    lines = [line.strip() for line in text.splitlines()]
    try:
        begin, end = lines.index(_BEGIN), lines.index(_END)
    except ValueError as error:
        raise ValueError("not an ASCII-armored public key block") from error
    body = lines[begin + 1 : end]
    # Headers such as "Version: ..." end with an empty line; "=XXXX" is the checksum.
    data = [line for line in body[body.index("") + 1 if "" in body else 0 :] if line and not line.startswith("=")]
    try:
        return base64.b64decode("".join(data), validate=True)
    except binascii.Error as error:
        raise ValueError(f"broken base64: {error}") from error


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each packet; both header formats, without the partial lengths that keys never have."""
    position = 0
    while position < len(data):
        tag = data[position]
        if not tag & 0x80:
            raise ValueError("not an OpenPGP packet")
        if tag & 0x40:
            kind, (size, start) = tag & 0x3F, _new_length(data, position + 1)
        else:
            width = 1 << (tag & 0x03)
            if width == 8:
                raise ValueError("a packet of indeterminate length")
            kind, start = (tag >> 2) & 0x0F, position + 1 + width
            size = int.from_bytes(data[position + 1 : start], "big")
        if start + size > len(data):
            raise ValueError("a packet is cut off")
        yield kind, data[start : start + size]
        position = start + size


def _new_length(data: bytes, position: int) -> tuple[int, int]:
    """Size of a packet with a new-format header, and where its body starts."""
    octets = data[position : position + 5]
    if not octets:
        raise ValueError("a packet is cut off")
    if octets[0] < 192:
        return octets[0], position + 1
    if octets[0] < 224 and len(octets) > 1:
        return ((octets[0] - 192) << 8) + octets[1] + 192, position + 2
    if octets[0] == 255:
        return int.from_bytes(octets[1:5], "big"), position + 5
    raise ValueError("a packet of unknown length")


def _fingerprint(body: bytes) -> str:
    """Fingerprint of a key packet's body: version 4 is SHA-1, version 6 SHA-256 (RFC 9580, section 5.5.4)."""
    if body[:1] == b"\x04":
        return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False).hexdigest().upper()
    if body[:1] == b"\x06":
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise ValueError(f"a key of version {body[0] if body else 'nothing'}")


def openpgp_fingerprints(text: Any) -> list[str]:
    """The filter: `fingerprints`, with errors as Ansible's templates expect them."""
    try:
        return fingerprints(str(text))
    except ValueError as error:
        raise AnsibleFilterError(f"openpgp_fingerprints: {error}") from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {"openpgp_fingerprints": openpgp_fingerprints}
