"""Stops a run that would do more than predict."""

from __future__ import annotations

from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils.controller_action import ControllerAction


class ActionModule(ControllerAction):
    """Runs on the controller only; no host is contacted."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Unchanged when tasks and roles both take this run for a prediction, else failed with BG-PLAN-001."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        # Modules see the first, the roles' conditions the second; only together do they keep a run from changing anything.
        if self._task.check_mode is True and (task_vars or {}).get("ansible_check_mode") is True:
            return {**result, "changed": False, "msg": "this run only predicts"}
        error = GpuError(
            "BG-PLAN-001",
            "this run would change hosts",
            "a plan must change nothing, and the callback that makes plan.yml only predict is not enabled in this configuration",
            "enable it (callbacks_enabled = baremetal.gpu.verdict, baremetal.gpu.plan), or add the options --check --diff",
        )
        return {**result, "failed": True, **error.as_result()}
