"""Reads a kubeconfig on the controller: where its current context points to, and how it proves who it is."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timezone
from typing import Any, Mapping

import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Kubeconfig


def parse(text: str) -> Kubeconfig:
    """What a kubeconfig says. Never raises: what is wrong with it is its ``fault``."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        # The parser's own message would quote the file, which holds keys.
        return Kubeconfig(fault="is not YAML")
    if not isinstance(data, Mapping):
        return Kubeconfig(fault="holds no mapping")
    context = _named(data, "contexts", data.get("current-context"), "context")
    cluster = _named(data, "clusters", context.get("cluster"), "cluster")
    user = _named(data, "users", context.get("user"), "user")
    server = cluster.get("server")
    if not server:
        return Kubeconfig(fault="names no server")
    expires, fault = _expiry(user.get("client-certificate-data"))
    return Kubeconfig(
        fault=fault,
        server=str(server),
        skips_tls_verification=cluster.get("insecure-skip-tls-verify") is True,
        expires=expires,
    )


def _named(data: Mapping[str, Any], section: str, name: Any, key: str) -> Mapping[str, Any]:
    """The entry of that name; the only one where no name is given. Empty when there is none."""
    entries = data.get(section)
    found = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    if name:
        found = [entry for entry in found if entry.get("name") == name]
    value = found[0].get(key) if len(found) == 1 else None
    return value if isinstance(value, Mapping) else {}


def _expiry(encoded: Any) -> tuple[datetime | None, str]:
    """When a client certificate ends, and why it cannot be read. Tokens and certificates in files of their own have none here."""
    if not encoded:
        return None, ""
    # ansible-core brings it, except where ansible-test imports plugins to see what they need.
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(str(encoded), validate=True))
    except (ValueError, binascii.Error):
        return None, "has a client certificate that cannot be read"
    # cryptography before 42 has only the naive attribute, which is in UTC as well.
    expires = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after
    return expires.replace(tzinfo=timezone.utc), ""
