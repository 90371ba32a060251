"""Node passwords: who registered a node's name first keeps it. They keep a second host from taking over a node.

k3s's server does this on its own port. Here the agent does it with the join token, in a namespace of its own, because there is no such
port; the effect is the same: another password for a known name is refused, and deleting the node deletes its password.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from . import api, files
from .console import FatalError

FILE = Path("/etc/rancher/node/password")
NAMESPACE = "k3s-standin-nodes"

_NOT_FOUND = 404


def own(file: Path = FILE) -> str:
    """This host's password, made when there is none."""
    if not file.exists():
        files.write(file, f"{secrets.token_hex(16)}\n", 0o600)
    return file.read_text(encoding="utf-8").strip()


def claim(server: str, ca_pem: str, token: str, node: str, password: str) -> None:
    """Register the password for a node's name, or hold it against the one that is registered. Raises FatalError, worded as k3s does."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    try:
        stored = json.loads(api.get(_url(server, _name(node)), ca_pem, token))
    except HTTPError as error:
        if error.code != _NOT_FOUND:
            raise
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": _name(node)}, "stringData": {"hash": digest}}
        api.send("POST", _url(server), body, ca_pem, token)
        return
    if base64.b64decode(stored["data"]["hash"]).decode() != digest:
        raise FatalError(
            "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server "
            "node-passwd entry, try enabling a unique node name with the --with-node-id flag"
        )


def tie_to_node(server: str, ca_pem: str, token: str, node: str, uid: str) -> None:
    """Let the registered password go when the node is deleted."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}
    patch = {"metadata": {"ownerReferences": [owner]}}
    api.send("PATCH", _url(server, _name(node)), patch, ca_pem, token, "application/merge-patch+json")


def objects(group: dict[str, str]) -> list[dict[str, Any]]:
    """What lets a group register passwords."""
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": {"name": "node-passwords", "namespace": NAMESPACE},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch"]}],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "node-passwords", "namespace": NAMESPACE},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "node-passwords"},
            "subjects": [group],
        },
    ]


def _name(node: str) -> str:
    return f"{node}.node-password.k3s"


def _url(server: str, name: str = "") -> str:
    return f"{server}/api/v1/namespaces/{NAMESPACE}/secrets{f'/{name}' if name else ''}"
