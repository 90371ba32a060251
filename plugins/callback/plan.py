# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Turns ``plan.yml`` into a run that only predicts, gathers what would change and writes it as JSON and as a table."""

from __future__ import annotations

DOCUMENTATION = r"""
name: plan
type: aggregate
short_description: Says per host what a run would change
version_added: "0.2.0"
description:
  - Makes a run of C(plan.yml) one that only predicts, as C(--check --diff) do. The playbook's first task, M(baremetal.gpu.plan_only),
    looks whether that is so and otherwise stops before any host is contacted.
  - Gathers from the tasks' own predictions which packages, files, services, images, cluster objects and nodes would change on
    each host, what would be restarted and rebooted, and what is refused with which code.
  - Prints the plan at the end of a run of C(plan.yml) and, when a path is set, writes it as JSON. With a path it does both for
    every playbook that runs in check mode.
  - Nothing of a diff goes into the plan, because files may hold secrets.
  - A host that was not looked at to its end is never called unchanged.
  - Says beside it where the collection does not do what the specifications of the hosts' systems ask (C(data/deviations.yml)).
options:
  path:
    description:
      - Where to write the JSON document; nothing is written without it. Its folder is made when it is missing.
      - A document of an earlier run is removed when the run starts, so a run that is killed leaves none.
    type: path
    env:
      - name: BAREMETAL_GPU_PLAN_FILE
    ini:
      - section: plan
        key: path
requirements:
  - enabled in configuration (C(callbacks_enabled = baremetal.gpu.plan))
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

from typing import Any

from ansible import context
from ansible.playbook.handler import Handler
from ansible.utils.context_objects import CLIArgs

from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.callback_results import delegate_of
from ansible_collections.baremetal.gpu.plugins.plugin_utils.json_file import replace_with
from ansible_collections.baremetal.gpu.plugins.plugin_utils.plan import (
    Ending,
    PlanRecord,
    Task,
    deviations_of,
    table,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.run_callback import RunCallback

PLAYBOOK = "plan.yml"


class CallbackModule(RunCallback):
    """Feeds results to the pure record and writes what it says."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "baremetal.gpu.plan"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._record = PlanRecord()
        self._plays: list[Any] = []
        self._begun_plays: set[str] = set()
        self._active = False

    def v2_playbook_on_start(self, playbook: Any) -> None:
        super().v2_playbook_on_start(playbook)
        self._plays = playbook.get_plays()
        if self._playbook == PLAYBOOK:
            only_predict(self._plays)
        path = self._path()
        if path is not None and self._predicts():
            self._remove(path)
        self._active = self._predicts() and (self._playbook == PLAYBOOK or path is not None)
        if self._active:
            # Since ansible-core 2.21 results leave it out, and without it most changes can be told by their task's name only.
            set_variables(self._plays, ansible_inject_invocation=True)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._begun_plays.add(play._uuid)

    def v2_runner_on_ok(self, result: Any) -> None:
        if self._active:
            self._record.ok(result._host.get_name(), _task(result._task), result._result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        if self._active:
            self._record.skipped(result._host.get_name(), _task(result._task), result._result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._record.failed(result._host.get_name(), _task(result._task), result._result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        host = result._host.get_name()
        self._record.unreachable(host, delegate_of(result) or host, str(result._result.get("msg") or ""))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if not self._active:
            return
        document = self._record.document(
            playbook=self._playbook,
            made=self._started,
            elapsed_s=self._elapsed_s(),
            endings={name: self._ending(name, plays, stats) for name, plays in self._hosts().items()},
            deviations=self._deviations(),
        )
        path = self._path()
        if path is not None:
            self._guarded(path, "written", lambda: replace_with(path, document))
        self._display.banner("PLAN")
        for line in table(document):
            self._display.display(line, color="red" if "refused  BG-" in line else None)

    def _hosts(self) -> dict[str, list[str]]:
        """Every host that the run is about, with the plays that are about it."""
        found: dict[str, list[str]] = {}
        for play in self._plays:
            for host in play.get_variable_manager()._inventory.get_hosts(play.hosts):
                found.setdefault(host.get_name(), []).append(play._uuid)
        return found

    def _deviations(self) -> list[dict[str, Any]]:
        """What is not done as specified, of the specifications of every system that the run has a host of."""
        hosts, specifications = self._hosts(), set()
        groups = self._plays[0].get_variable_manager()._inventory.get_groups_dict() if self._plays else {}
        for system in data_files.load("data/systems.yml")["systems"].values():
            if any(host in hosts for group in system["inside"].values() for host in groups.get(group, ())):
                specifications.update(system["specifications"])
        return deviations_of(specifications, data_files.load("data/deviations.yml")["deviations"])

    def _ending(self, name: str, plays: list[str], stats: Any) -> Ending:
        counts = stats.summarize(name)
        return Ending(
            failed=counts["failures"] > 0,
            unreachable=counts["unreachable"] > 0,
            complete=self._begun_plays.issuperset(plays),
        )

    def _predicts(self) -> bool:
        return bool(context.CLIARGS.get("check"))


def only_predict(plays: list[Any]) -> None:
    """Do what the options ``--check --diff`` do, for a playbook whose name promises that nothing is changed.

    Ansible has no setting for it: the keyword ``check_mode`` of a play leaves the variable ``ansible_check_mode`` as it was, and roles ask
    that variable. So this replaces what Ansible keeps of its command line. Should a release of Ansible keep it elsewhere, the task
    ``baremetal.gpu.plan_only`` notices and stops the run before anything is done.
    """
    context.CLIARGS = CLIArgs({**context.CLIARGS, "check": True, "diff": True})
    set_variables(plays, ansible_check_mode=True, ansible_diff_mode=True)


def set_variables(plays: list[Any], **variables: bool) -> None:
    """Set variables of the kind that Ansible makes of its command line's options."""
    for play in plays:
        play.get_variable_manager()._options_vars.update(variables)


def _task(task: Any) -> Task:
    return Task(name=task.get_name().strip(), module=str(task.action), handler=isinstance(task, Handler))
