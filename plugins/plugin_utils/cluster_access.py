"""How actions reach a cluster from the controller. By itself, because whoever imports it pays for the Kubernetes client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils import node_list

ARGUMENTS: dict[str, Any] = {
    "kubeconfig": {"type": "path", "required": True},
    "context": {"type": "str"},
    "request_timeout_s": {"type": "float", "default": 30},
}
"""Those of the documentation fragment ``baremetal.gpu.cluster``."""


def open_cluster(arguments: Mapping[str, Any]) -> Any:
    """The client's connection to the cluster that ``ARGUMENTS`` name. Raises ``GpuError`` BG-CAP-103 or BG-CAP-105."""
    node_list.require_client()
    return node_list.connect(arguments["kubeconfig"], arguments["context"])
