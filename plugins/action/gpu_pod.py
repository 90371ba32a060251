"""Runs one pod that requests a GPU, on the controller's connection to the cluster, and judges what it saw."""

from __future__ import annotations

from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils import proof_pod
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi
from ansible_collections.baremetal.gpu.plugins.plugin_utils.cluster_access import ARGUMENTS as CLUSTER_ARGUMENTS
from ansible_collections.baremetal.gpu.plugins.plugin_utils.cluster_access import open_cluster
from ansible_collections.baremetal.gpu.plugins.plugin_utils.controller_action import ControllerAction

ARGUMENTS: dict[str, Any] = {
    **CLUSTER_ARGUMENTS,
    "pod": {"type": "dict", "required": True},
    "node": {"type": "str", "required": True},
    "resource": {"type": "str", "default": "nvidia.com/gpu"},
    "requirements": {"type": "list", "elements": "str", "default": []},
    "simulated": {"type": "bool", "default": False},
    "wait_timeout_s": {"type": "float", "default": 120},
    "poll_interval_s": {"type": "float", "default": 0.5},
}


class ActionModule(ControllerAction):
    """Runs on the controller only; the host is not contacted."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """One finding. Nothing is changed: the pod is gone when this returns."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        subject = proof_pod.Subject(
            node=arguments["node"],
            resource=arguments["resource"],
            requirements=tuple(arguments["requirements"]),
            simulated=arguments["simulated"],
        )
        if self._task.check_mode:
            finding = proof_pod.not_run(subject, "check mode starts no pod")
        else:
            try:
                finding = proof_pod.judge(_ran(arguments), subject, arguments["wait_timeout_s"])
            except GpuError as error:
                return {**result, "failed": True, "changed": False, **error.as_result()}
        return {**result, "changed": False, RESULT_KEY: [finding.as_dict()]}


def _ran(arguments: dict[str, Any]) -> dict[str, Any]:
    """The pod after its run. Raises ``GpuError``."""
    api = KubeApi(open_cluster(arguments), timeout_s=arguments["request_timeout_s"])
    return proof_pod.run(api, arguments["pod"], arguments["wait_timeout_s"], arguments["poll_interval_s"])
