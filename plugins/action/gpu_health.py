"""Reads a host's health with the module of the same name and judges it by profile, thresholds and the policy of Xids."""

from __future__ import annotations

from typing import Any, Mapping

from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY, Finding
from ansible_collections.baremetal.gpu.plugins.modules.gpu_health import ARGUMENTS, FOR_THE_HOST
from ansible_collections.baremetal.gpu.plugins.plugin_utils.gpu_host_view import Expectations
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import HardwareProfile, load_profile
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health import data
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.judgement import judge, unrecognised
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.view import ALL_PARTS, Options


class ActionModule(ActionBase):
    """The host reads, the controller judges: profiles, thresholds and the policy of Xids are data of the controller."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result and the findings about the host, or about each capture."""
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec=ARGUMENTS, mutually_exclusive=[("dcgm_report", "dcgm_level")]
        )
        try:
            # An unknown profile is refused before the host is touched.
            profile = load_profile(arguments["profile"]) if arguments["profile"] else None
            result.update(
                self._execute_module(
                    module_name="baremetal.gpu.gpu_health",
                    module_args={name: arguments[name] for name in FOR_THE_HOST if arguments[name] is not None},
                    task_vars=task_vars,
                )
            )
            subject = str(task_vars.get("inventory_hostname", "localhost"))
            findings = _findings(result, arguments, profile, subject)
            if findings is not None:
                result[RESULT_KEY] = [finding.as_dict() for finding in findings]
        except GpuError as error:
            result.update(failed=True, **error.as_result())
        return result


def _findings(
    result: Mapping[str, Any], arguments: Mapping[str, Any], profile: HardwareProfile | None, subject: str
) -> list[Finding] | None:
    options = Options(
        sharing=arguments["sharing"],
        expect_rdma=arguments["expect_rdma"],
        rdma_ports=arguments["rdma_ports"],
        expect_idle=arguments["expect_idle"],
        mig_devices=arguments["mig_devices"],
    )
    expected = Expectations(cdi=arguments["expect_cdi"], mps=arguments["expect_mps"])
    models, xids, lenient = data.models(), data.xids(), arguments["on_unknown"]
    if result.get("readings") is not None:
        readings = result["readings"]
        return judge(readings, subject, profile, models, xids, options, expected, ALL_PARTS, lenient)
    if "captures" not in result:
        return None  # the module failed
    found: list[Finding] = []
    for file in result["captures"]:
        if file["reason"] is not None:
            found.append(unrecognised(file["path"], file["reason"], f"{subject} {file['path']}", lenient))
        for number, item in enumerate(file["captures"], start=1):
            name = f"{subject} {file['path']}" + (f" ({number})" if len(file["captures"]) > 1 else "")
            parts = frozenset(item["parts"])
            found += judge(item["readings"], name, profile, models, xids, options, expected, parts, lenient)
    return found
