"""Reads a cluster's release and nodes over the controller's own connection: no interpreter is started for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils import node_list
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.node_settings import parse_node
from ansible_collections.baremetal.gpu.plugins.plugin_utils.cluster_access import ARGUMENTS as CLUSTER_ARGUMENTS
from ansible_collections.baremetal.gpu.plugins.plugin_utils.cluster_access import open_cluster
from ansible_collections.baremetal.gpu.plugins.plugin_utils.controller_action import ControllerAction


class ActionModule(ControllerAction):
    """Runs on the controller only; the host is not contacted."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the cluster says; nothing is changed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=CLUSTER_ARGUMENTS)
        try:
            return {**result, "changed": False, **read(arguments)}
        except GpuError as error:
            return {**result, "failed": True, "changed": False, **error.as_result()}


def read(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Release, authority and nodes of the cluster behind a kubeconfig. Raises ``GpuError``."""
    client, timeout_s = open_cluster(arguments), arguments["request_timeout_s"]
    nodes = node_list.list_nodes(client, timeout_s, parse_node)
    return {
        "server_version": node_list.server_version(client, timeout_s),
        "ca_sha256": node_list.authority_sha256(client),
        "nodes": {node.name: node.as_dict() for node in nodes},
    }
