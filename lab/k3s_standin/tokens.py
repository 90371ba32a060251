"""Join tokens: `K10<SHA-256 of the server's CA file>::<user>:<secret>`, or the bare secret, which cannot tell a false server."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .console import FatalError

_PREFIX = "K10"
_HASH_LENGTH = 64
"""Hexadecimal digits of a SHA-256."""


@dataclass(frozen=True)
class Token:
    """A join token; `ca_hash` is empty in the short form."""

    secret: str
    user: str = ""
    ca_hash: str = ""

    def __str__(self) -> str:
        return f"{_PREFIX}{self.ca_hash}::{self.user}:{self.secret}" if self.ca_hash else self.secret

    def check(self, ca_pem: str) -> None:
        """Hold the token's hash against the CA that a server presents. Raises FatalError, worded as k3s does, when they differ."""
        actual = ca_hash(ca_pem)
        if self.ca_hash and self.ca_hash != actual:
            raise FatalError(
                f"token CA hash does not match the Cluster CA certificate hash: {self.ca_hash} != {actual}"
            )


def parse(text: str) -> Token:
    """Read a token in either form. Raises FatalError for an empty one and for a full form with parts missing."""
    text = text.strip()
    if not text:
        raise FatalError("token must not be empty")
    if not text.startswith(_PREFIX):
        return Token(secret=text)
    digest, double_colon, credentials = text[len(_PREFIX) :].partition("::")
    user, colon, secret = credentials.partition(":")
    if not (double_colon and colon and secret):
        raise FatalError("invalid token format")
    if len(digest) != _HASH_LENGTH:
        raise FatalError("invalid token CA hash length")
    return Token(secret=secret, user=user, ca_hash=digest)


def ca_hash(ca_pem: str) -> str:
    """SHA-256 of the CA file's bytes, as `sha256sum` prints it."""
    return hashlib.sha256(ca_pem.encode()).hexdigest()
