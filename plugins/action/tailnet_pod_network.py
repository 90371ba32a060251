"""Reads flannel's devices with the module of the same name, and holds them against the port table."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY
from ansible_collections.baremetal.gpu.plugins.module_utils.tailnet_pod_network import judge
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files

ARGUMENTS: dict[str, Any] = {"requirements": {"type": "list", "elements": "str", "default": []}}


class ActionModule(ActionBase):
    """The host reads, the controller judges."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result and the finding about this host."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        read = self._execute_module(
            module_name="baremetal.gpu.tailnet_pod_network", module_args={}, task_vars=variables
        )
        result.update(read)
        if "reading" in read:
            table = data_files.load("data/ports.yml")
            finding = judge(
                str(variables.get("inventory_hostname", "localhost")),
                read["reading"],
                table["interfaces"]["tailnet"]["names"][0],
                table["ports"]["flannel_vxlan"]["port"],
                tuple(arguments["requirements"]),
            )
            result[RESULT_KEY] = [finding.as_dict()]
        return result
