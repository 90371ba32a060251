"""Applies manifests to a cluster over the controller's own connection: one call, however many objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils import server_side_apply
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi
from ansible_collections.baremetal.gpu.plugins.plugin_utils.cluster_access import ARGUMENTS as CLUSTER_ARGUMENTS
from ansible_collections.baremetal.gpu.plugins.plugin_utils.cluster_access import open_cluster
from ansible_collections.baremetal.gpu.plugins.plugin_utils.controller_action import ControllerAction
from ansible_collections.baremetal.gpu.plugins.plugin_utils.data_files import LOADER

ARGUMENTS: dict[str, Any] = {
    **CLUSTER_ARGUMENTS,
    "manifests": {"type": "list", "elements": "str", "required": True},
    "field_manager": {"type": "str", "required": True},
    "force": {"type": "bool", "default": False},
}


class ActionModule(ControllerAction):
    """Runs on the controller only; the host is not contacted."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What became of each object."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            objects = parsed(arguments["manifests"])
            if self._task.check_mode and not Path(arguments["kubeconfig"]).is_file():
                # The cluster itself is only predicted.
                applied = [server_side_apply.predicted(each) for each in objects]
            else:
                applied = self._applied(objects, arguments)
        except GpuError as error:
            return {**result, "failed": True, "changed": False, **error.as_result()}
        changed = [each for each in applied if each.outcome != server_side_apply.UNCHANGED]
        result.update(changed=bool(changed), objects=[each.as_dict() for each in applied])
        if self._task.diff:
            result["diff"] = [_diff(each) for each in changed]
        return result

    def _applied(self, objects: list[dict[str, Any]], arguments: dict[str, Any]) -> list[server_side_apply.Applied]:
        cluster = server_side_apply.Cluster(
            KubeApi(open_cluster(arguments), arguments["request_timeout_s"]),
            arguments["field_manager"],
            force=arguments["force"],
            predict=bool(self._task.check_mode),
        )
        return cluster.apply(objects)


def parsed(manifests: list[str]) -> list[dict[str, Any]]:
    """The objects of YAML texts, in their order. Raises ``GpuError`` BG-APPLY-104 for what is no object."""
    try:
        # As bytes: libyaml reads no subclass of str, which is what Ansible's values are.
        texts = [text.encode("utf-8") for text in manifests]
        found = [each for text in texts for each in yaml.load_all(text, Loader=LOADER) if each is not None]
    except yaml.YAMLError as error:
        raise _no_object(str(error)) from error
    for each in found:
        named = isinstance(each, dict) and isinstance(each.get("metadata"), dict) and each["metadata"].get("name")
        if not (named and each.get("apiVersion") and each.get("kind")):
            raise _no_object(f"apiVersion, kind and metadata.name are needed, found {str(each)[:100]}")
    return found


def _no_object(what: str) -> GpuError:
    return GpuError(
        "BG-APPLY-104",
        f"a manifest is no Kubernetes object ({what})",
        "nothing was applied",
        "correct the manifest or the variables that it is made from",
    )


def _diff(applied: server_side_apply.Applied) -> dict[str, str]:
    def text(value: Any) -> str:
        return yaml.safe_dump(value, sort_keys=True) if value else ""

    header = "/".join(filter(None, (applied.kind, applied.namespace, applied.name)))
    return {
        "before_header": header,
        "after_header": header,
        "before": text(applied.before),
        "after": text(applied.after),
    }
