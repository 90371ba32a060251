"""Holds a cluster's objects against manifests over the controller's own connection, and waits until their workloads are settled."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.error import URLError

from ansible.module_utils.urls import open_url

from ansible_collections.baremetal.gpu.plugins.action.manifests import parsed
from ansible_collections.baremetal.gpu.plugins.module_utils import node_list, server_side_apply
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi
from ansible_collections.baremetal.gpu.plugins.module_utils.node_settings import parse_node
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files, object_judgement
from ansible_collections.baremetal.gpu.plugins.plugin_utils.cluster_access import ARGUMENTS as CLUSTER_ARGUMENTS
from ansible_collections.baremetal.gpu.plugins.plugin_utils.cluster_access import open_cluster
from ansible_collections.baremetal.gpu.plugins.plugin_utils.controller_action import ControllerAction

_TEXT: dict[str, Any] = {"type": "str", "required": True}
ARGUMENTS: dict[str, Any] = {
    **CLUSTER_ARGUMENTS,
    "subject": _TEXT,
    "manifests": {"type": "list", "elements": "str", "default": []},
    "sources": {"type": "list", "elements": "dict", "default": [], "options": {"url": _TEXT, "sha256": _TEXT}},
    "field_manager": _TEXT,
    "codes": {"type": "dict", "required": True, "options": {"declared": _TEXT, "running": _TEXT}},
    "needed": {"type": "list", "elements": "str", "default": []},
    "wait_timeout_s": {"type": "float", "default": 180},
}
_POLL_S = 2.0


class ActionModule(ControllerAction):
    """Runs on the controller only; the host is not contacted."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The two findings."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        registry = data_files.codes()
        codes, subject = arguments["codes"], arguments["subject"]
        try:
            objects = parsed([*arguments["manifests"], *(_fetched(source) for source in arguments["sources"])])
            cluster = _Cluster(arguments)
            applied = cluster.compared(objects)
            # In check mode what is only predicted will not settle.
            limit_s = 0.0 if self._task.check_mode else arguments["wait_timeout_s"]
            rollouts, pods = cluster.settled(objects, arguments["needed"], limit_s)
        except GpuError as error:
            findings = [
                object_judgement.unknown(code, subject, error.message, registry[code]) for code in codes.values()
            ]
        else:
            declared, running = codes["declared"], codes["running"]
            result["objects"] = [each.as_dict() for each in applied]
            findings = [
                object_judgement.judge_objects(applied, declared, subject, registry[declared]),
                object_judgement.judge_rollouts(
                    rollouts, pods, arguments["needed"], running, subject, registry[running]
                ),
            ]
        return {**result, "changed": False, RESULT_KEY: [finding.as_dict() for finding in findings]}


class _Cluster:
    """What is asked of the cluster. Methods raise ``GpuError``."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._client = open_cluster(arguments)
        self._timeout_s: float = arguments["request_timeout_s"]
        self._cluster = node_list.Cluster(self._client, self._timeout_s)
        self._field_manager: str = arguments["field_manager"]

    def compared(self, objects: Sequence[Mapping[str, Any]]) -> list[server_side_apply.Applied]:
        """What an apply of the objects would do."""
        api = KubeApi(self._client, self._timeout_s)
        return server_side_apply.Cluster(api, self._field_manager, force=True, predict=True).apply(objects)

    def settled(
        self, objects: Sequence[Mapping[str, Any]], needed: Sequence[str], limit_s: float
    ) -> tuple[list[object_judgement.Rollout], dict[str, list[object_judgement.Waiting]]]:
        """The workloads that are there, and of those that are not rolled out the pods that are not ready, once waiting does not help."""
        deadline = time.monotonic() + limit_s
        while True:
            rollouts = [each for each in map(self._rollout, _workloads(objects)) if each is not None]
            open_ones = object_judgement.unfinished(rollouts, needed)
            ready = {node.name: node.ready for node in self._nodes()} if open_ones else {}
            pods = {str(each): self._waiting(each, ready) for each in open_ones}
            if object_judgement.settled(rollouts, pods, needed) or time.monotonic() >= deadline:
                return rollouts, pods
            time.sleep(_POLL_S)

    def _rollout(self, wanted: Mapping[str, Any]) -> object_judgement.Rollout | None:
        metadata = wanted["metadata"]
        place = f"/apis/{wanted['apiVersion']}/namespaces/{metadata.get('namespace') or 'default'}"
        path = f"{place}/{str(wanted['kind']).lower()}s/{metadata['name']}"
        answer = self._cluster.answer("GET", path, absent=404)
        return None if answer.status == 404 else object_judgement.rollout({"kind": wanted["kind"], **answer.body})

    def _nodes(self) -> list[Any]:
        return node_list.list_nodes(self._client, self._timeout_s, parse_node)

    def _waiting(
        self, each: object_judgement.Rollout, nodes_ready: Mapping[str, bool]
    ) -> list[object_judgement.Waiting]:
        found: list[object_judgement.Waiting] = []

        def take(pod: dict[str, Any]) -> None:
            seen = object_judgement.waiting(pod, nodes_ready)
            if seen is not None:
                found.append(seen)

        selector = ",".join(f"{key}={value}" for key, value in each.selector.items())
        path = f"/api/v1/namespaces/{each.namespace}/pods"
        self._cluster.objects(path, take, found.clear, {"labelSelector": selector})
        return found


def _workloads(objects: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for each in objects if each["kind"] in object_judgement.WORKLOADS]


def _fetched(source: Mapping[str, str]) -> str:
    """A manifest that has the declared checksum. Raises ``GpuError`` BG-APPLY-105."""
    try:
        content = open_url(source["url"], timeout=30).read()
    except (OSError, URLError, ValueError) as error:
        raise _not_compared(f"{source['url']} cannot be read ({error})") from error
    found = hashlib.sha256(content).hexdigest()
    if found != source["sha256"]:
        raise _not_compared(f"{source['url']} has the SHA-256 {found}, declared is {source['sha256']}")
    return str(content.decode("utf-8", "replace"))


def _not_compared(what: str) -> GpuError:
    return GpuError(
        "BG-APPLY-105",
        what,
        "the cluster's objects cannot be compared with it",
        "start the mirror again, or correct the declaration",
    )
