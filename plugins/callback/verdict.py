# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes the verdict of a playbook run as JSON and prints it as a table."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verdict
type: aggregate
short_description: Writes the verdict of a run per host, cluster and requirement
version_added: "0.1.0"
description:
  - Gathers the findings that modules and actions return under C(baremetal_gpu_findings), which tasks changed something,
    and how each host ended.
  - Prints a table at the end of the run. When a path is set, writes them as one JSON document, and beside it as JUnit XML for CI systems and
    as an HTML page for people, which is one file that needs no other.
  - C(status) says whether something failed, which is fine for a playbook that verifies nothing. C(proven), per host and for
    the run, says that the action M(baremetal.gpu.verdict) judged findings and passed.
  - In check mode C(status) is about tasks only and nothing is proven; C(refused) lists, per host, the codes of the findings
    that a real run would be failed by as things are now.
  - A host that does not answer has the finding C(BG-HOST-020), whichever task found out.
  - A cluster is a group of the inventory that C(data/systems.yml) names. It is proven only when every host of it took part and is proven.
  - A requirement is told as the worst of the findings that name it, and as V(unknown) at best where a host of the same cluster was not seen.
  - A file that cannot be written is told with C(BG-REPORT-001); the run goes on.
  - Cannot set the exit status of a run; the role C(gpu_verify) fails a host whose required findings are not ok.
options:
  path:
    description:
      - Where to write the JSON document; nothing is written without it. Its folder is made when it is missing.
      - JUnit XML and the page get the same name with the endings C(.xml) and C(.html) in place of C(.json), or after the whole name where it
        has another ending.
      - Documents of an earlier run are removed when the run starts, so a run that is killed leaves none.
    type: path
    env:
      - name: BAREMETAL_GPU_VERDICT_FILE
    ini:
      - section: verdict
        key: path
  formats:
    description: Which documents to write.
    type: list
    elements: str
    choices: [html, json, junit]
    default: [json, junit, html]
    env:
      - name: BAREMETAL_GPU_VERDICT_FORMATS
    ini:
      - section: verdict
        key: formats
requirements:
  - enabled in configuration (C(callbacks_enabled = baremetal.gpu.verdict))
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ansible import context

from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.callback_results import delegate_of
from ansible_collections.baremetal.gpu.plugins.plugin_utils.json_file import as_json, replace_text
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report import Counts, Record, table
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_junit import junit
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_page import page
from ansible_collections.baremetal.gpu.plugins.plugin_utils.run_callback import RunCallback, utc_now

MAKERS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "json": (".json", as_json),
    "junit": (".xml", junit),
    "html": (".html", page),
}
"""Per format: the ending of its file, and what makes its text out of the verdict document, which is all that it gets to see."""


class CallbackModule(RunCallback):
    """Feeds results to the pure record and writes what it says."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "baremetal.gpu.verdict"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._record = Record()
        self._play: Any = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        super().v2_playbook_on_start(playbook)
        for path in self._files().values():
            self._remove(path)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play

    def v2_runner_on_ok(self, result: Any) -> None:
        self._add(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._add(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        host = result._host.get_name()
        self._record.unreachable(host, delegate_of(result) or host, str(result._result.get("msg") or ""))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        names = sorted(stats.processed)
        counts = {name: _counts(stats.summarize(name)) for name in names}
        document = self._record.document(
            playbook=self._playbook,
            started=self._started,
            finished=utc_now(),
            elapsed_s=self._elapsed_s(),
            check_mode=bool(context.CLIARGS.get("check")),
            lab={name: self._is_lab(name) for name in names},
            counts=counts,
            clusters=self._clusters(),
        )
        self._display.banner("VERDICT")
        for line in table(document):
            self._display.display(line, color="red" if document["status"] == "fail" else None)
        for name, path in self._files().items():
            self._guarded(path, "written", partial(_write, path, name, document))

    def _add(self, result: Any) -> None:
        changed = bool(result._result.get("changed", False))
        self._record.add(result._host.get_name(), result._task.get_name().strip(), result._result, changed)

    def _is_lab(self, name: str) -> bool:
        """What the inventory's variable ``lab`` says for a host; not a lab when it says nothing usable."""
        if self._play is None:
            return False
        manager = self._play.get_variable_manager()
        host = manager._inventory.get_host(name)
        if host is None:
            return False
        return manager.get_vars(host=host, include_hostvars=False).get("lab", False) is True

    def _clusters(self) -> dict[str, list[str]]:
        """Every host of the inventory by the groups on which verdicts run."""
        if self._play is None:
            return {}
        inventory = self._play.get_variable_manager()._inventory
        systems = data_files.load("data/systems.yml")["systems"].values()
        groups = sorted({group for system in systems for group in system["inside"].values()})
        found = {name: inventory.groups[name].get_hosts() for name in groups if name in inventory.groups}
        return {name: [host.get_name() for host in hosts] for name, hosts in found.items()}

    def _files(self) -> dict[str, Path]:
        """Where each wanted document goes."""
        path = self._path()
        if path is None:
            return {}
        return {name: beside(path, MAKERS[name][0]) for name in self.get_option("formats")}


def _write(path: Path, name: str, document: Mapping[str, Any]) -> None:
    replace_text(path, MAKERS[name][1](document))


def beside(path: Path, ending: str) -> Path:
    """The name of the JSON document with another ending; the document itself keeps whatever name it was given."""
    if ending == ".json":
        return path
    return path.with_suffix(ending) if path.suffix == ".json" else path.with_name(path.name + ending)


def _counts(summary: dict[str, int]) -> Counts:
    return Counts(
        ok=summary["ok"],
        changed=summary["changed"],
        failed=summary["failures"],
        unreachable=summary["unreachable"],
        skipped=summary["skipped"],
    )
