"""kubeconfig files with one cluster, one user and one context, all named `default`, as k3s writes them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from . import files


def certificate_user(certificate: Path, key: Path) -> dict[str, str]:
    """A user who shows a client certificate, embedded in the file."""
    return {"client-certificate-data": _encoded(certificate), "client-key-data": _encoded(key)}


def token_user(token: str) -> dict[str, str]:
    """A user who shows a bearer token."""
    return {"token": token}


def document(server: str, ca: Path, user: dict[str, str]) -> dict[str, Any]:
    """The kubeconfig as data. `server` is the API's URL, `ca` the file that vouches for it."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": "default",
        "clusters": [{"name": "default", "cluster": {"server": server, "certificate-authority-data": _encoded(ca)}}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        "users": [{"name": "default", "user": user}],
    }


def write(path: Path, server: str, ca: Path, user: dict[str, str], mode: int = 0o600) -> None:
    """Write the kubeconfig as YAML."""
    import yaml

    files.write(path, yaml.safe_dump(document(server, ca, user), sort_keys=False), mode)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
