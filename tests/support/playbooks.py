"""Playbook runs by ansible-runner, as what their tasks did on each host: what tests compare."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner

from ansible_collections.baremetal.gpu.plugins.plugin_utils.plan import Ending, PlanRecord, Task

ROOT = Path(__file__).resolve().parents[2]
_STATUSES = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_skipped": "skipped",
    "runner_on_unreachable": "unreachable",
}


@dataclass(frozen=True)
class Result:
    """What one task did on one host. ``task`` is its name with its role, as Ansible prints it."""

    host: str
    task: str
    module: str
    handler: bool
    status: str
    result: Mapping[str, Any]

    @property
    def changed(self) -> bool:
        return bool(self.result.get("changed")) and self.status == "ok"


@dataclass(frozen=True)
class PlaybookRun:
    """One finished run. ``verdict`` and ``plan`` are what the callbacks wrote, empty where they wrote nothing."""

    returncode: int
    seconds: float
    results: tuple[Result, ...]
    output: str
    verdict: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)

    def changed(self) -> set[tuple[str, str]]:
        """Every (host, task) that changed something, or in check mode would; handlers too.

        From the verdict, which also counts tasks whose results are kept secret.
        """
        return {(name, task) for name, host in self.verdict["hosts"].items() for task in host["changed_tasks"]}

    def handlers(self) -> set[tuple[str, str]]:
        """Every (host, handler) that changed something, or in check mode would."""
        return {(result.host, result.task) for result in self.results if result.changed and result.handler}

    def failures(self) -> list[str]:
        """Failed and unreachable results, one line each."""
        return [
            f"{result.host} {result.task}: {' '.join(str(result.result.get('msg', ''))[:600].split())}"
            for result in self.results
            if result.status in ("failed", "unreachable")
        ]

    def happened(self) -> dict[str, set[tuple[str, str, str]]]:
        """Per host the (kind, action, name) of every change, read by the same readers as a plan."""
        record = PlanRecord()
        for result in self.results:
            if result.status == "ok":
                record.ok(result.host, Task(result.task, result.module, result.handler), result.result)
        names = {result.host for result in self.results}
        document = record.document(
            playbook="run", made="", elapsed_s=0, endings={name: Ending(complete=True) for name in names}
        )
        return changes(document)


def changes(plan: Mapping[str, Any]) -> dict[str, set[tuple[str, str, str]]]:
    """Per host the (kind, action, name) of every change of a plan."""
    return {
        name: {(change["kind"], change["action"], change["name"]) for change in host["changes"] + host["reboots"]}
        for name, host in plan["hosts"].items()
    }


def good(run: PlaybookRun) -> PlaybookRun:
    """The run itself, once it is known to have ended well. Raises AssertionError with what failed, else with the end of its output."""
    assert run.returncode == 0, "\n".join(run.failures()) or run.output[-3000:]
    return run


def run(
    playbook: Path | str,
    inventories: Sequence[Path | str],
    *options: str,
    environment: Mapping[str, str] | None = None,
    root: Path = ROOT,
) -> PlaybookRun:
    """Run a playbook with ansible-runner and return what its tasks did. Nothing of the run is left on the disk.

    ``options`` go to ``ansible-playbook`` as they are, for example ``--check``.
    """
    scratch = Path(tempfile.mkdtemp(prefix="baremetal-gpu-run-"))
    results: list[Result] = []
    verdict, plan = scratch / "verdict.json", scratch / "plan.json"

    def keep(event: Mapping[str, Any]) -> bool:
        results.extend(_results(event))
        # Runner need not keep it as a file.
        return False

    began = time.monotonic()
    try:
        done = ansible_runner.run(
            private_data_dir=str(scratch),
            project_dir=str(root),
            playbook=str(playbook),
            # A list of its own, because runner joins nothing: every inventory is one option.
            cmdline=shlex.join([*(f"--inventory={inventory}" for inventory in inventories), *options]),
            envvars={
                "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                # Since ansible-core 2.21 results leave it out.
                "ANSIBLE_INJECT_INVOCATION": "1",
                "BAREMETAL_GPU_VERDICT_FILE": str(verdict),
                "BAREMETAL_GPU_PLAN_FILE": str(plan),
                **(environment or {}),
            },
            event_handler=keep,
            settings={"suppress_env_files": True},
            quiet=True,
        )
        return PlaybookRun(
            returncode=int(done.rc),
            seconds=time.monotonic() - began,
            results=tuple(results),
            output=done.stdout.read(),
            verdict=_load(verdict),
            plan=_load(plan),
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return loaded


def _results(event: Mapping[str, Any]) -> Iterator[Result]:
    data = event.get("event_data") or {}
    status = _STATUSES.get(str(event.get("event")))
    if status is None or data.get("ignore_errors"):
        return
    role = data.get("resolved_role") or data.get("role")
    yield Result(
        host=str(data["host"]),
        task=f"{role} : {data['task']}" if role else str(data["task"]),
        module=str(data.get("resolved_action") or data.get("task_action", "")),
        handler="/handlers/" in str(data.get("task_path", "")),
        status=status,
        result=data.get("res") or {},
    )
