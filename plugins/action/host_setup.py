"""Reads a host's setup with the module of the same name and holds it against what roles declare."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY
from ansible_collections.baremetal.gpu.plugins.modules.host_setup import ARGUMENTS, FOR_THE_HOST
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.setup_judgement import judge


class ActionModule(ActionBase):
    """The host reads, the controller judges."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result and the findings about this host."""
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        asked = {name: _given(arguments[name]) for name in FOR_THE_HOST if arguments[name]}
        result.update(
            self._execute_module(module_name="baremetal.gpu.host_setup", module_args=asked, task_vars=task_vars)
        )
        if "readings" in result:
            subject = " ".join(
                filter(None, (str(task_vars.get("inventory_hostname", "localhost")), arguments["about"]))
            )
            registry = data_files.codes()
            findings = judge(result["readings"], arguments, subject, registry)
            result[RESULT_KEY] = [finding.as_dict() for finding in findings]
        return result


def _given(value: Any) -> Any:
    """Entries without what was not given, which the module would take for a value."""
    if not isinstance(value, list):
        return value
    return [{key: each for key, each in entry.items() if each is not None} for entry in value]
