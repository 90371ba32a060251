"""What the supervisor itself reads over HTTP: readiness, the server's CA, and the settings that an agent takes from its server."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from .console import FatalError

_TIMEOUT_S = 5.0
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def get(url: str, ca_pem: str = "", token: str = "") -> bytes:
    """Fetch a page, trusting only `ca_pem`. Raises OSError, which includes an HTTP status of 400 and above."""
    return _open(urllib.request.Request(url, headers=_credentials(token)), ca_pem)


def send(
    method: str, url: str, body: Any, ca_pem: str = "", token: str = "", content_type: str = "application/json"
) -> bytes:
    """Send a JSON document. Raises OSError as `get` does."""
    headers = {**_credentials(token), "Content-Type": content_type}
    return _open(urllib.request.Request(url, json.dumps(body).encode(), headers, method=method), ca_pem)


def _credentials(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _open(request: urllib.request.Request, ca_pem: str) -> bytes:
    context = ssl.create_default_context(cadata=ca_pem) if ca_pem else None
    # A proxy for the outside world must not stand between a node and its server.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(request, timeout=_TIMEOUT_S) as response:
        content: bytes = response.read()
    return content


def answers(url: str, ca_pem: str = "") -> bool:
    """Whether the page can be fetched."""
    try:
        get(url, ca_pem)
    except OSError:
        return False
    return True


def certificate_authority(server: str) -> str:
    """The CA that a server presents, in PEM and not yet trusted: the last certificate of its chain. Raises OSError without an answer.

    Python shows a chain that it does not trust only from 3.13 on, so `openssl` asks.
    """
    address = urlsplit(server)
    if address.scheme != "https" or not address.hostname:
        raise FatalError(f"invalid server url, failed to parse: {server}")
    host = f"[{address.hostname}]" if ":" in address.hostname else address.hostname
    command = ["openssl", "s_client", "-showcerts", "-connect", f"{host}:{address.port or 443}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{server}: no answer after {_TIMEOUT_S:.0f} s") from None
    chain = _PEM.findall(done.stdout)
    if not chain:
        raise ConnectionError(f"{server}: {done.stderr.strip() or 'no certificate'}")
    # The same bytes as the server's file, so that their hash is the one in the token.
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(chain[-1]))
