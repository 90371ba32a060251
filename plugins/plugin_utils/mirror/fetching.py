"""Downloads over HTTP: whole small files, and files that are checked while they come."""

from __future__ import annotations

import hashlib
import http
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

TIMEOUT_S = 60
CHUNK_BYTES = 1 << 20
# An index of packages of the CUDA repositories has some tens of MB unpacked; one of this size is a mistake.
MAXIMUM_INDEX_BYTES = 256 << 20
NOTHING_KEPT = "what was downloaded is not kept, and a file that was there before stays"


def not_fetched(url: str, why: object) -> GpuError:
    return GpuError("BG-MIRROR-001", f"{url} is not fetched: {why}", NOTHING_KEPT, "try again when its server answers")


class NotAuthorizedError(GpuError):
    """BG-MIRROR-001: a server asks for a token. ``challenge`` says which."""

    def __init__(self, url: str, challenge: str) -> None:
        self.challenge = challenge
        super().__init__(
            "BG-MIRROR-001",
            f"{url} is not fetched: its server asks for an account",
            NOTHING_KEPT,
            "fetch it by other means",
        )


@contextmanager
def opened(url: str, method: str = "GET", accept: str = "", token: str = "") -> Iterator[Any]:
    """A response. Raises ``GpuError`` BG-MIRROR-001 for every kind of failure, also while it is read.

    Raises ``NotAuthorizedError`` where a token is asked for and none was given. A redirection does not take the token along.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise not_fetched(url, "only http and https are")
    try:
        request = urllib.request.Request(url, method=method, headers={"Accept": accept} if accept else {})
        if token:
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            yield response
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.UNAUTHORIZED and not token:
            raise NotAuthorizedError(url, error.headers.get("WWW-Authenticate", "")) from error
        raise not_fetched(url, error) from error
    except (OSError, http.client.HTTPException) as error:
        raise not_fetched(url, error) from error


def small(url: str, maximum: int = MAXIMUM_INDEX_BYTES, accept: str = "", token: str = "") -> bytes:
    """A whole file in memory."""
    with opened(url, accept=accept, token=token) as response:
        data: bytes = response.read(maximum + 1)
    if len(data) > maximum:
        raise not_fetched(url, f"it has more than {maximum} bytes")
    return data


def digest(stream: IO[bytes], into: IO[bytes] | None = None) -> tuple[str, int]:
    """SHA-256 and size of a stream, which is copied where ``into`` is given."""
    found, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK_BYTES):
        found.update(chunk)
        size += len(chunk)
        if into is not None:
            into.write(chunk)
    return found.hexdigest(), size


def digest_of_file(path: Path) -> tuple[str, int] | None:
    """SHA-256 and size of a file; None where there is none."""
    try:
        with path.open("rb") as file:
            return digest(file)
    except FileNotFoundError:
        return None


def download(url: str, path: Path, sha256: str | None, size: int | None, token: str = "") -> tuple[str, int]:
    """Download a file, check it, and only then put it in place. Returns its SHA-256 and size.

    Raises ``GpuError`` BG-MIRROR-001 (not fetched, or cut short) or BG-MIRROR-002 (another file than expected).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with opened(url, token=token) as response, part.open("wb") as file:
            announced = response.headers.get("Content-Length")
            found = digest(response, file)
            file.flush()
            os.fsync(file.fileno())
        if announced is not None and announced.isdigit() and int(announced) != found[1]:
            raise not_fetched(url, f"it was cut short after {found[1]} of {announced} bytes")
        if (sha256 is not None and sha256 != found[0]) or (size is not None and size != found[1]):
            expected = f"SHA-256 {sha256}" if sha256 is not None and sha256 != found[0] else f"{size} bytes"
            raise GpuError(
                "BG-MIRROR-002",
                f"{url} has {found[1]} bytes and SHA-256 {found[0]}, and {expected} is expected",
                NOTHING_KEPT,
                "find out which of the two is right; never take the new checksum because it is there",
            )
        part.replace(path)
        return found
    finally:
        part.unlink(missing_ok=True)
