"""Reads a host's GPUs with the module of the same name and holds the readings against a hardware profile."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY
from ansible_collections.baremetal.gpu.plugins.plugin_utils.gpu_host_view import Expectations
from ansible_collections.baremetal.gpu.plugins.plugin_utils.gpu_judgement import judge
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile

ARGUMENTS: dict[str, Any] = {
    "profile": {"type": "str"},
    "expect_cdi": {"type": "bool"},
    "expect_mps": {"type": "bool"},
    "timeout_s": {"type": "float", "default": 30},
}


class ActionModule(ActionBase):
    """The host reads, the controller judges: profiles are data of the controller."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result and, with a profile, the findings about this host."""
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        name = arguments["profile"]
        try:
            # An unknown profile is refused before the host is touched.
            profile = load_profile(name) if name else None
            result.update(
                self._execute_module(
                    module_name="baremetal.gpu.gpu_info",
                    module_args={"timeout_s": arguments["timeout_s"]},
                    task_vars=task_vars,
                )
            )
            if profile is not None and "readings" in result:
                expected = Expectations(cdi=arguments["expect_cdi"], mps=arguments["expect_mps"])
                subject = str(task_vars.get("inventory_hostname", "localhost"))
                findings = judge(result["readings"], profile, subject, expected)
                result["profile"] = profile.name
                result[RESULT_KEY] = [finding.as_dict() for finding in findings]
        except GpuError as error:
            result.update(failed=True, **error.as_result())
        return result
