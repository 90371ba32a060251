"""Spares the request for a node that was read a moment ago and is as wanted; otherwise lets the module of the same name work."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.node_settings import (
    Node,
    is_settled,
    parse_labels,
    parse_taint,
)


class ActionModule(ActionBase):
    """Comparing takes no time; a request needs a process of its own with the whole API client."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result, or an unchanged one."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        observed = arguments.pop("observed", None)
        try:
            if observed:
                labels = parse_labels(arguments.get("labels") or [])
                taints = [parse_taint(text) for text in arguments.get("taints") or []]
                if is_settled(Node.from_dict(observed), labels, taints):
                    return {**result, "changed": False, "node": dict(observed)}
        except GpuError as error:
            return {**result, "failed": True, "changed": False, **error.as_result()}
        result.update(
            self._execute_module(module_name="baremetal.gpu.cluster_node", module_args=arguments, task_vars=task_vars)
        )
        return result
