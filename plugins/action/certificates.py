"""Reads with the module of the same name when certificates end, and judges that on the controller."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils.certificate_dates import RENEWALS, judge
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY

ARGUMENTS: dict[str, Any] = {
    "paths": {"type": "list", "elements": "str", "required": True},
    "renewed_by": {"type": "str", "choices": sorted(RENEWALS), "default": "k3s"},
    "requirements": {"type": "list", "elements": "str", "default": []},
    "simulated": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """The host reads, the controller judges."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result and the finding about this host."""
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        result.update(
            self._execute_module(
                module_name="baremetal.gpu.certificates",
                module_args={"paths": arguments["paths"]},
                task_vars=task_vars,
            )
        )
        if "readings" in result:
            subject = str(task_vars.get("inventory_hostname", "localhost"))
            finding = judge(
                subject,
                result["readings"],
                result["now"],
                arguments["requirements"],
                arguments["simulated"],
                RENEWALS[arguments["renewed_by"]],
            )
            result[RESULT_KEY] = [finding.as_dict()]
        return result
