"""Reads a host with the module of the same name and holds the readings against what the inventory declares."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY
from ansible_collections.baremetal.gpu.plugins.module_utils.host_readings import ARGUMENTS, SENT
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile
from ansible_collections.baremetal.gpu.plugins.plugin_utils.host_expectations import HostExpectations, Platform
from ansible_collections.baremetal.gpu.plugins.plugin_utils.host_judgement import judge


class ActionModule(ActionBase):
    """The host reads, the controller judges: profiles and platforms are data of the controller."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result with the findings about this host."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            # An unknown profile is refused before the host is touched.
            expected = _expectations(arguments)
            result.update(
                self._execute_module(
                    module_name="baremetal.gpu.host_preflight",
                    module_args={name: arguments[name] for name in SENT},
                    task_vars=variables,
                )
            )
            if "readings" in result:
                subject = str(variables.get("inventory_hostname", "localhost"))
                registry = data_files.codes()
                findings = judge(result["readings"], expected, subject, registry)
                result[RESULT_KEY] = [finding.as_dict() for finding in findings]
        except GpuError as error:
            result.update(failed=True, **error.as_result())
        return result


def _expectations(arguments: dict[str, Any]) -> HostExpectations:
    platforms = data_files.load("data/platforms.yml")["platforms"]
    return HostExpectations(
        platforms=[Platform(entry["id"], tuple(entry["versions"])) for entry in platforms],
        profile=load_profile(arguments["profile"]) if arguments["profile"] else None,
        architecture=arguments["architecture"] or "",
        node_ip=arguments["node_ip"] or "",
        link_mbit=arguments["link_gbps"] * 1000,
        disk_free_bytes=arguments["disk_free_gb"] * 1000**3,
        ports=arguments["ports"],
        service=arguments["service"] or "",
        k3s_server=arguments["k3s_server"] or "",
    )
