"""Compares the hosts of a play with each other: what must be a host's own may be on one of them only."""

from __future__ import annotations

from typing import Any

from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.controller_action import ControllerAction
from ansible_collections.baremetal.gpu.plugins.plugin_utils.host_judgement import twins

ARGUMENTS: dict[str, Any] = {"readings": {"type": "str", "required": True}}


class ActionModule(ControllerAction):
    """Runs on the controller only, once for all hosts of a play."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Findings by host, of the hosts that share something only."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        hosts = {}
        for name in variables.get("ansible_play_hosts", ()):
            registered = variables["hostvars"].raw_get(name).get(arguments["readings"]) or {}
            readings = registered.get("readings")
            if readings:
                hosts[str(name)] = (readings["host"], bool(readings["gpu"]["simulated"]))
        found = twins(hosts, data_files.codes())
        by_host = {name: [finding.as_dict() for finding in findings] for name, findings in found.items()}
        return {**result, "changed": False, "compared": len(hosts), "by_host": by_host}
