"""Takes a node out of its cluster, lets the host's tasks change it, and lets it in again when it has proved itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.change_machine import Settings
from ansible_collections.baremetal.gpu.plugins.module_utils.drain import OPTIONS as DRAIN_OPTIONS
from ansible_collections.baremetal.gpu.plugins.module_utils.drain import from_options
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.node_list import Cluster
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import parse_quantity
from ansible_collections.baremetal.gpu.plugins.plugin_utils.change_journal import VARIABLE, directory_for
from ansible_collections.baremetal.gpu.plugins.plugin_utils.cluster_access import ARGUMENTS as CLUSTER_ARGUMENTS
from ansible_collections.baremetal.gpu.plugins.plugin_utils.cluster_access import open_cluster
from ansible_collections.baremetal.gpu.plugins.plugin_utils.controller_action import ControllerAction
from ansible_collections.baremetal.gpu.plugins.plugin_utils.node_changing import (
    HOST_STEPS,
    Answer,
    NodeChanging,
    Options,
    Progress,
    require,
)

ARGUMENTS: dict[str, Any] = {
    **CLUSTER_ARGUMENTS,
    "name": {"type": "str", "required": True},
    "title": {"type": "str", "required": True},
    "journal": {"type": "path"},
    "wanted": {"type": "bool", "default": True},
    "host_steps": {"type": "list", "elements": "str", "default": ["change"]},
    "budget": {"type": "int", "default": 1},
    "lock_s": {"type": "float", "default": 3600},
    "may_reboot": {"type": "bool", "default": False},
    "take_over": {"type": "bool", "default": False},
    "drain": {"type": "dict", "default": {}, "options": DRAIN_OPTIONS},
    "resources": {"type": "dict", "default": {}},
    "ready_timeout_s": {"type": "float", "default": 600},
    "api_timeout_s": {"type": "float", "default": 120},
    "answer": {
        "type": "dict",
        "options": {
            "step": {"type": "str", "choices": list(HOST_STEPS), "required": True},
            "failure": {"type": "str", "default": ""},
            "reboot": {"type": "bool", "default": False},
            "boot_id": {"type": "str", "default": ""},
        },
    },
}


class ActionModule(ControllerAction):
    """Runs on the controller only; what the host has to do is left to the tasks that follow."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Begin the change, or take an answer and go on."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            progress = self._work(arguments, task_vars or {})
        except GpuError as error:
            progress = Progress(error=error)
        return {**result, **progress.as_result()}

    def _work(self, arguments: dict[str, Any], variables: dict[str, Any]) -> Progress:
        chosen = {VARIABLE: arguments["journal"], "inventory_dir": variables.get("inventory_dir")}
        options = options_from(arguments, directory_for(chosen))
        # Before the cluster is asked for anything.
        require(options)
        cluster = Cluster(open_cluster(arguments), arguments["request_timeout_s"])
        changing = NodeChanging(cluster, options)
        answer = Answer(**arguments["answer"]) if arguments["answer"] else None
        if self._task.check_mode:
            return changing.predict(arguments["wanted"], answer)
        return changing.begin(arguments["wanted"]) if answer is None else changing.go_on(answer)


def options_from(arguments: dict[str, Any], journal: Path) -> Options:
    """The options of a task. Raises ``GpuError`` BG-CHANGE-101 for a resource that is no count."""
    limits, policies = from_options(arguments["drain"])
    try:
        resources = {str(name): parse_quantity(str(count)) for name, count in arguments["resources"].items()}
    except ValueError as error:
        raise GpuError(
            "BG-CHANGE-101",
            f"resources: {error}",
            "the node could never prove itself",
            "give counts, like nvidia.com/gpu: 8",
        ) from error
    return Options(
        name=arguments["name"],
        title=arguments["title"],
        journal=journal,
        settings=Settings(
            budget=arguments["budget"],
            lock_s=arguments["lock_s"],
            may_reboot=arguments["may_reboot"],
            take_over=arguments["take_over"],
        ),
        drain_limits=limits,
        policies=policies,
        ready_s=arguments["ready_timeout_s"],
        api_s=arguments["api_timeout_s"],
        resources=resources,
        host_steps=tuple(arguments["host_steps"]),
    )
