"""Faults of pods: some workload's pods are kept away from one node by the API server."""

from __future__ import annotations

import json
from typing import Any

from lab.faults.handler import Handler, Kept, Target, wait_until

APP = "app.kubernetes.io/name"
_READY_TIMEOUT_S = 180.0


class PodsRefused(Handler):
    """No pod with the label app.kubernetes.io/name=`app` is admitted to the node, and those that are there are deleted.

    An admission policy of its own does it, so nothing that a playbook manages is changed, and taking it back is exact.
    """

    survives_reboot = True

    @property
    def _name(self) -> str:
        return f"lab-fault-{self.fault}".replace("_", "-")

    def refusal(self, target: Target) -> str | None:
        app = self.settings["app"]
        return None if pods(target, app) else f"no pod of {app} is there now; `make lab` brings it"

    def apply(self, target: Target) -> Kept:
        documents = policy(f"{self._name}-{target.host.name}", self.settings["app"], target.host.name, self.fault)
        target.kubectl(
            "apply", "--filename=-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        )
        # A policy takes effect a moment after it is stored; a pod that is replaced before that would stay.
        wait_until("the policy takes effect", lambda: self._denied(target))
        delete_pods(target, self.settings["app"])
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        name = f"{self._name}-{target.host.name}"
        return bool(
            target.kubectl("get", "validatingadmissionpolicybinding", name, "--ignore-not-found").stdout.strip()
        )

    def undo(self, target: Target, kept: Kept) -> None:
        name = f"{self._name}-{target.host.name}"
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            target.kubectl("delete", kind, name, "--ignore-not-found")
        wait_until("the policy is gone", lambda: not self._denied(target))
        nudge(target, self.settings["app"])
        await_pods(target, self.settings["app"])

    def _denied(self, target: Target) -> bool:
        probe = json.dumps(probe_pod(self.settings["app"], target.host.name))
        answer = target.kubectl("create", "--dry-run=server", "--filename=-", text=probe, check=False)
        return answer.returncode != 0 and self.fault in answer.stderr


def policy(name: str, app: str, node: str, fault: str) -> list[dict[str, Any]]:
    """The admission policy that keeps a workload's pods from one node, and what puts it into force.

    A DaemonSet's pod names its node by a field of the node affinity, another one may name it directly.
    """
    terms = "object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    ours = f"has(object.metadata.labels) && '{APP}' in object.metadata.labels && object.metadata.labels['{APP}'] == '{app}'"
    by_affinity = (
        "has(object.spec.affinity) && has(object.spec.affinity.nodeAffinity) && "
        f"has({terms}) && {terms}.nodeSelectorTerms.exists(term, has(term.matchFields) && "
        f"term.matchFields.exists(match, match.key == 'metadata.name' && '{node}' in match.values))"
    )
    by_name = f"has(object.spec.nodeName) && object.spec.nodeName == '{node}'"
    group = "admissionregistration.k8s.io/v1"
    return [
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "resourceRules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                    ]
                },
                "matchConditions": [{"name": "pods-of-the-workload", "expression": ours}],
                "validations": [
                    {
                        "expression": f"!({by_affinity}) && !({by_name})",
                        "message": f"the lab's fault {fault} keeps {app} away from {node}",
                    }
                ],
            },
        },
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def probe_pod(app: str, node: str) -> dict[str, Any]:
    """A pod that the policy is about; it is only asked about, never made."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "lab-fault-probe-", "namespace": "default", "labels": {APP: app}},
        "spec": {"nodeName": node, "containers": [{"name": "probe", "image": "none"}]},
    }


def pods(target: Target, app: str) -> list[dict[str, Any]]:
    """The workload's pods on the host's node that are not being deleted."""
    query = (
        "get",
        "pods",
        "--all-namespaces",
        f"--selector={APP}={app}",
        f"--field-selector=spec.nodeName={target.host.name}",
    )
    items: list[dict[str, Any]] = json.loads(target.kubectl(*query, "--output=json").stdout)["items"]
    return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]


def delete_pods(target: Target, app: str) -> None:
    """Delete the workload's pods on the host's node and wait until they are gone."""
    for pod in pods(target, app):
        metadata = pod["metadata"]
        target.kubectl("delete", "pod", f"--namespace={metadata['namespace']}", metadata["name"], "--ignore-not-found")


def restart_pods(target: Target, app: str) -> None:
    """Delete the workload's pods on the host's node and wait for those that take their place."""
    delete_pods(target, app)
    await_pods(target, app)


def await_pods(target: Target, app: str) -> None:
    """Wait until the workload has a pod on the host's node and all of them are ready."""

    def ready() -> bool:
        found = [status for pod in pods(target, app) for status in pod["status"].get("containerStatuses", [])]
        return bool(found) and all(status["ready"] for status in found)

    wait_until(f"{app} is ready on {target.host.name}", ready, _READY_TIMEOUT_S)


def nudge(target: Target, app: str) -> None:
    """Let the workload's DaemonSet look again now: after refusals it waits ever longer. Its content is what it was."""
    listed = target.kubectl("get", "daemonsets", "--all-namespaces", f"--selector={APP}={app}", "--output=json").stdout
    for item in json.loads(listed)["items"]:
        name = (f"--namespace={item['metadata']['namespace']}", "daemonset", item["metadata"]["name"])
        target.kubectl("annotate", *name, "lab-fault=undone", "--overwrite")
        target.kubectl("annotate", *name, "lab-fault-")
