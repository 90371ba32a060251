"""Holds what a cluster has against manifests: objects that differ, and workloads that are not rolled out. Pure.

What a workload's status means is what ``kubectl rollout status`` reads in it (Kubernetes' documentation of DaemonSets, Deployments and
StatefulSets): counts hold for the generation that the controller has observed, and not for a later one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    FAIL,
    FIX_CONFIGURATION,
    NO_ACTION,
    OK,
    RESTART_APP,
    UNKNOWN,
    WARN,
    Finding,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.server_side_apply import CREATED, UNCHANGED, Applied

WORKLOADS = frozenset({"DaemonSet", "Deployment", "StatefulSet"})
# Why containers wait that never start by waiting (the kubelet's own words). One that ends or whose image cannot be fetched is tried again,
# and on a system that was just made that helps: an operand ends until another one answers.
HOPELESS = frozenset({"CreateContainerConfigError", "ErrImageNeverPull", "InvalidImageName"})
_DIFFERENCES_TOLD = 5
_VALUE_CHARACTERS = 60


@dataclass(frozen=True)
class Rollout:
    """A workload as its controller counts: pods that must be there, that are of the present template, and that are ready.

    ``total`` counts those of earlier templates, too: a Deployment keeps them, ready, while its new ones do not get ready.
    """

    kind: str
    namespace: str
    name: str
    wanted: int
    updated: int
    ready: int
    total: int
    observed: bool
    selector: Mapping[str, str]

    @property
    def done(self) -> bool:
        return self.observed and min(self.updated, self.ready) >= self.wanted and self.total <= self.updated

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Waiting:
    """A pod that is not ready. ``hopeless`` names why it will not get ready by waiting; ``node_ready`` is false where its node is not."""

    name: str
    node: str
    why: str
    hopeless: bool
    node_ready: bool


def rollout(live: Mapping[str, Any]) -> Rollout:
    """Read a workload's status. What its controller has not counted yet is 0, and what it has not looked at is not observed."""
    metadata, spec, status = (live.get(part) or {} for part in ("metadata", "spec", "status"))
    kind = str(live.get("kind"))
    if kind == "DaemonSet":
        wanted = _count(status, "desiredNumberScheduled")
        updated, ready = _count(status, "updatedNumberScheduled"), _count(status, "numberReady")
        total = updated
    else:
        wanted = 1 if spec.get("replicas") is None else int(spec["replicas"])
        updated, ready = _count(status, "updatedReplicas"), _count(status, "readyReplicas")
        total = _count(status, "replicas")
    return Rollout(
        kind=kind,
        namespace=str(metadata.get("namespace") or "default"),
        name=str(metadata.get("name")),
        wanted=wanted,
        updated=updated,
        ready=ready,
        total=total,
        observed=_count(status, "observedGeneration") >= _count(metadata, "generation"),
        selector=(spec.get("selector") or {}).get("matchLabels") or {},
    )


def _count(holder: Mapping[str, Any], name: str) -> int:
    value = holder.get(name)
    return value if isinstance(value, int) else 0


def waiting(pod: Mapping[str, Any], nodes_ready: Mapping[str, bool]) -> Waiting | None:
    """Why a pod is not ready; ``None`` for one that is. A node that is not known counts as Ready, so that it excuses nothing."""
    status = pod.get("status") or {}
    conditions = {entry.get("type"): entry for entry in status.get("conditions") or []}
    if (conditions.get("Ready") or {}).get("status") == "True":
        return None
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    states = [(each.get("state") or {}).get("waiting") or {} for each in containers]
    reasons = [str(state["reason"]) for state in states if state.get("reason")]
    hopeless = [reason for reason in reasons if reason in HOPELESS]
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False":
        reasons = [f"{scheduled.get('reason')}: {scheduled.get('message')}"]
    node = str((pod.get("spec") or {}).get("nodeName") or "")
    why = next(iter([*hopeless, *reasons]), str(status.get("phase") or "no phase"))
    name = str((pod.get("metadata") or {}).get("name"))
    return Waiting(name, node, why, bool(hopeless), nodes_ready.get(node, True))


def settled(rollouts: Sequence[Rollout], pods: Mapping[str, Sequence[Waiting]], needed: Sequence[str]) -> bool:
    """Whether waiting on changes nothing: all is done, or whatever is not is hopeless or waits for a node."""
    open_ones = unfinished(rollouts, needed)
    return all(
        pods.get(str(each)) and all(pod.hopeless or not pod.node_ready for pod in pods[str(each)]) for each in open_ones
    )


def unfinished(rollouts: Sequence[Rollout], needed: Sequence[str]) -> list[Rollout]:
    """Workloads that are not rolled out, and needed ones that no node takes."""
    return [each for each in rollouts if not each.done or (each.wanted == 0 and each.name in needed)]


def judge_objects(applied: Sequence[Applied], code: str, subject: str, known: Mapping[str, Any]) -> Finding:
    """Whether every object is as declared."""
    evidence: dict[str, Any] = {"what": known["text"], "where": "dry run of the API server", "objects": len(applied)}
    differing = [each for each in applied if each.outcome != UNCHANGED]
    if not differing:
        return _finding(code, subject, OK, f"{len(applied)} objects are as declared", known, evidence)
    evidence["differing"] = {_named(each): _told(each) for each in differing}
    reason = "; ".join(f"{_named(each)}: {', '.join(_told(each))}" for each in differing)
    return _finding(code, subject, FAIL, reason, known, evidence, FIX_CONFIGURATION)


def judge_rollouts(
    rollouts: Sequence[Rollout],
    pods: Mapping[str, Sequence[Waiting]],
    needed: Sequence[str],
    code: str,
    subject: str,
    known: Mapping[str, Any],
) -> Finding:
    """Whether every workload is rolled out. ``pods`` are those that are not ready, by the workload."""
    evidence: dict[str, Any] = {
        "what": known["text"],
        "where": "Kubernetes API",
        "ready": {str(each): f"{each.ready} of {each.wanted}" for each in rollouts},
    }
    open_ones = unfinished(rollouts, needed)
    absent = [name for name in needed if name not in {each.name for each in rollouts}]
    if not open_ones and not absent:
        return _finding(code, subject, OK, f"{len(rollouts)} workloads are rolled out", known, evidence)
    evidence["waiting"] = {
        str(each): [f"{pod.name} on {pod.node or 'no node'}: {pod.why}" for pod in pods.get(str(each), ())]
        for each in open_ones
    }
    reason = "; ".join(
        [*(f"{name} is not there" for name in absent), *(_why(each, pods.get(str(each), ())) for each in open_ones)]
    )
    excused = not absent and all(_is_excused(each, pods.get(str(each), ())) for each in open_ones)
    return _finding(
        code, subject, WARN if excused else FAIL, reason, known, evidence, NO_ACTION if excused else RESTART_APP
    )


def unknown(code: str, subject: str, reason: str, known: Mapping[str, Any]) -> Finding:
    """What could not be asked."""
    return _finding(code, subject, UNKNOWN, reason, known, {"what": known["text"], "where": "Kubernetes API"})


def _is_excused(each: Rollout, pods: Sequence[Waiting]) -> bool:
    """Every pod that is missing is there, on a node that is not Ready: that is the node's finding."""
    away = [pod for pod in pods if not pod.node_ready]
    return each.observed and bool(away) and len(away) == len(pods) and each.ready + len(away) >= each.wanted > 0


def _why(each: Rollout, pods: Sequence[Waiting]) -> str:
    if each.wanted == 0:
        return f"{each} is meant for no node"
    if not each.observed:
        return f"{each} was changed, and its controller has not looked at it"
    told = f"{each}: {each.ready} of {each.wanted} pods ready, {each.updated} of the present template"
    where = [f"{pod.name} on {pod.node or 'no node'}: {pod.why}" for pod in pods[:_DIFFERENCES_TOLD]]
    return f"{told} ({'; '.join(where)})" if where else told


def _named(each: Applied) -> str:
    return f"{each.kind} {'/'.join(filter(None, (each.namespace, each.name)))}"


def _told(each: Applied) -> list[str]:
    """What is otherwise, in a few words."""
    if each.outcome == CREATED:
        return ["is not there"]
    found = list(differences(each.before, each.after))
    more = len(found) - _DIFFERENCES_TOLD
    return [*found[:_DIFFERENCES_TOLD], *([f"and {more} more"] if more > 0 else [])] or ["differs"]


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Fields whose values differ, by their path: what is there, and what is declared."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}[{index}]")
    elif before != after:
        yield f"{path} is {_short(before)}, declared is {_short(after)}"


def _short(value: Any) -> str:
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]}…"


def _finding(
    code: str,
    subject: str,
    status: str,
    reason: str,
    known: Mapping[str, Any],
    evidence: Mapping[str, Any],
    action: str = NO_ACTION,
) -> Finding:
    return Finding(
        code=code,
        subject=subject,
        status=status,
        reason=reason,
        remedy="" if status == OK else str(known["remedy"]),
        evidence=evidence,
        requirements=tuple(known["requirements"]),
        action=action,
    )
