"""Reads the output of nccl-tests, or runs them, with the module of the same name or on a cluster, and judges on the controller."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils import node_list
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.idle import QUERIES, UNREADABLE, Obstacle, obstacle
from ansible_collections.baremetal.gpu.plugins.modules.nccl_health import ARGUMENTS, REQUIRED_IF
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import (
    data,
    kube_runs,
    outcomes,
    runs,
    verification,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.judgement import Expectation, judge
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_pictures import pairs_of

_FOR_THE_HOST = ("logs", "reports")
_SENT = ("id", "regex", "needles")


class ActionModule(ActionBase):
    """The host reads or runs, the controller judges: thresholds and signatures are data of the controller."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result and the findings about files, runs, or what was isolated."""
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS, required_if=REQUIRED_IF)
        try:
            if arguments["mode"] == "judge":
                result.update(self._judge(arguments, task_vars))
            else:
                result.update(self._verify(arguments, task_vars))
        except _HostError as error:
            result.update(error.result)
        except GpuError as error:
            result.update(failed=True, **error.as_result())
        # What was sent is data of the collection, not of the run.
        result.pop("invocation", None)
        return result

    def _judge(self, arguments: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        # An unknown topology is refused before the host is touched.
        expected = _expectation(arguments)
        result = self._on_host({name: arguments[name] for name in _FOR_THE_HOST}, task_vars)
        signatures, paths = data.signatures(), [reading["path"] for reading in result["readings"]]
        subjects = outcomes.subjects_of(paths, _subject(arguments, task_vars))
        result[RESULT_KEY] = _plain(
            [
                finding
                for reading, subject in zip(result["readings"], subjects, strict=True)
                for finding in judge(
                    outcomes.run_of({"name": reading["path"], "reading": reading}), expected, signatures, subject
                )
            ]
        )
        return result

    def _verify(self, arguments: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        own = str(task_vars.get("inventory_hostname", "localhost"))
        play = [str(name) for name in task_vars.get("ansible_play_hosts") or [own]]
        isolating = arguments["mode"] == "isolate"
        if isolating and own != play[0]:
            return {"changed": False, "skipped": True, "skip_reason": f"{play[0]} isolates for all hosts of the play"}
        nodes = arguments["hosts"] or (play if isolating else [own])
        check = bool(self._task.check_mode)
        thresholds = data.thresholds(arguments["topology"]) if arguments["topology"] else {}
        # Two tasks at a time must not share names.
        wanted = verification.request(arguments, nodes, thresholds, "check" if check else uuid.uuid4().hex[:8])
        executor = self._executor(arguments, own, task_vars)
        verification.look(executor, wanted)
        if check:
            return _planned(wanted, executor, isolating)
        deciding = outcomes.Judge(data.signatures(), arguments["simulated"])
        deadline = verification.Deadline(arguments["task_timeout_s"], arguments["job_timeout_s"])
        subject = _subject(arguments, task_vars)
        if not isolating:
            findings, ended = verification.run(wanted, executor, deciding, subject, deadline)
            return {"changed": False, "outcomes": ended, RESULT_KEY: _plain(findings)}
        conclusion = verification.isolate(wanted, executor, deciding, deadline)
        return {
            "changed": False,
            "measurements": pairs_of(conclusion.evidence),
            RESULT_KEY: _plain(deciding.conclusion(conclusion, arguments["subject"] or "all pairs of nodes")),
        }

    def _executor(self, arguments: Mapping[str, Any], own: str, task_vars: dict[str, Any]) -> verification.Executor:
        if arguments["launcher"] == "mpirun":
            return _Hosts(self, arguments, own, task_vars)
        return _Kubernetes(arguments)

    def _on_host(self, arguments: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """The module's result on the task's host. Raises ``_HostError`` when it failed there."""
        result: dict[str, Any] = self._execute_module(
            module_name="baremetal.gpu.nccl_health",
            module_args={**arguments, "signatures": _signatures()},
            task_vars=task_vars,
        )
        if result.get("failed"):
            raise _HostError(result)
        return result


class _HostError(Exception):
    """The module failed on its host; its result says how."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(str(result.get("msg")))
        self.result = result


class _Hosts:
    """Runs on hosts: the task's host is the launcher, its module looks and runs."""

    def __init__(self, action: ActionModule, arguments: Mapping[str, Any], own: str, task_vars: dict[str, Any]) -> None:
        self._action, self._own, self._task_vars = action, own, task_vars
        self._mpirun = arguments["mpirun"]
        self._addresses = {str(name): str(address) for name, address in arguments["addresses"].items()}

    def obstacles(self, nodes: Sequence[str], wanted: int) -> list[Obstacle]:
        probes = [
            {
                "name": f"{kind} {node}",
                "command": runs.probe_command(node, self._own, self._mpirun, self._addresses, query),
            }
            for node in nodes
            for kind, query in QUERIES.items()
        ]
        answers = {item["name"]: item for item in self._action._on_host({"probes": probes}, self._task_vars)["answers"]}
        found = []
        for node in nodes:
            said = [answers[f"{kind} {node}"] for kind in QUERIES]
            silent = [item["message"] for item in said if item["output"] is None]
            seen = obstacle(node, said[0]["output"], said[1]["output"], wanted)
            if seen is not None:
                found.append(Obstacle(UNREADABLE, node, f"{seen.what} ({silent[0]})") if silent else seen)
        return found

    def execute(self, planned: Sequence[runs.Run]) -> list[dict[str, Any]]:
        sent = [
            {
                "name": run.name,
                "command": self._command(run),
                "environment": dict(run.environment),
                "timeout_s": run.test.limits.job_s,
            }
            for run in planned
        ]
        ended: list[dict[str, Any]] = self._action._on_host({"runs": sent}, self._task_vars)["outcomes"]
        return ended

    def shown(self, run: runs.Run) -> dict[str, Any]:
        return {
            "name": run.name,
            "nodes": list(run.nodes),
            "command": self._command(run),
            "environment": dict(run.environment),
        }

    def _command(self, run: runs.Run) -> list[str]:
        if run.nodes == (self._own,):
            return runs.direct_command(run)
        return runs.mpirun_command(run, self._mpirun, self._addresses)


class _Kubernetes:
    """Runs as jobs on a cluster, over the controller's own connection."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        node_list.require_client()
        self._pods = runs.PodSettings(
            namespace=arguments["namespace"],
            image=runs.check_image(arguments["image"]),
            resource=arguments["resource"],
            resources={str(name): str(count) for name, count in arguments["resources"].items()},
            runtime_class=arguments["runtime_class"],
            priority_class=arguments["priority_class"],
            shared_memory=arguments["shared_memory"],
        )
        api = KubeApi(
            node_list.connect(arguments["kubeconfig"], arguments["context"]), timeout_s=arguments["request_timeout_s"]
        )
        settings = kube_runs.Settings(arguments["poll_interval_s"], arguments["resource"])
        self._cluster = kube_runs.Cluster(api, settings, _signatures())

    def obstacles(self, nodes: Sequence[str], wanted: int) -> list[Obstacle]:
        return self._cluster.obstacles(nodes, wanted)

    def execute(self, planned: Sequence[runs.Run]) -> list[dict[str, Any]]:
        limit_s = kube_runs.wait_s(planned[0].test.limits.job_s)
        return self._cluster.run_all([runs.manifest(run, self._pods) for run in planned], limit_s)

    def shown(self, run: runs.Run) -> dict[str, Any]:
        return {"name": run.name, "nodes": list(run.nodes), "manifest": runs.manifest(run, self._pods)}


def _planned(wanted: verification.Request, executor: verification.Executor, isolating: bool) -> dict[str, Any]:
    """What check mode returns: the rounds with their runs, and a finding that nothing was run."""
    if isolating:
        rounds = verification.plan_of_rounds(wanted, executor)
    else:
        planned = verification.planned_runs(wanted)
        rounds = [{"round": number, "runs": [executor.shown(run)]} for number, run in enumerate(planned, 1)]
    skipped = outcomes.Judge({}).skipped(", ".join(wanted.nodes), "check mode runs nothing")
    return {"changed": False, "plan": rounds, RESULT_KEY: _plain(skipped)}


def _signatures() -> list[dict[str, Any]]:
    return [{key: entry[key] for key in _SENT} for entry in data.raw_signatures()]


def _subject(arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> str:
    return str(arguments["subject"] or task_vars.get("inventory_hostname", "localhost"))


def _plain(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [finding.as_dict() for finding in findings]


def _expectation(arguments: Mapping[str, Any]) -> Expectation:
    return Expectation(
        thresholds=data.thresholds(arguments["topology"]) if arguments["topology"] else {},
        collectives=tuple(arguments["collectives"]),
        ranks=arguments["ranks"],
        hosts=tuple(arguments["hosts"]),
        transport=arguments["transport"],
        nccl_version=arguments["nccl_version"],
        strict=arguments["strict"],
        minimum_busbw_gb_per_s=arguments["minimum_busbw_gb_per_s"],
    )
