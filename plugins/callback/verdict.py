"""Writes the verdict of a playbook run as JSON and prints it as a table."""

from __future__ import annotations

import contextlib
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

from ansible_collections.baremetal.gpu.plugins.plugin_utils.report import Counts, Record, table

DOCUMENTATION = r"""
name: verdict
type: aggregate
short_description: Writes a machine-readable verdict per host
version_added: "0.1.0"
description:
  - Gathers the findings that modules and actions return under C(baremetal_gpu_findings), which tasks changed something,
    and how each host ended.
  - Writes them as one JSON document when a path is set, and prints a table at the end of the run.
  - C(status) says whether something failed, which is fine for a playbook that verifies nothing. C(proven), per host and for
    the run, says that the action M(baremetal.gpu.verdict) judged findings and passed.
  - In check mode C(status) is about tasks only and nothing is proven; C(refused) lists, per host, the codes of the findings
    that a real run would be failed by as things are now.
  - Cannot set the exit status of a run; the role C(gpu_verify) fails a host whose required findings are not ok.
options:
  path:
    description:
      - Where to write the JSON document; nothing is written without it. Its folder is made when it is missing.
      - A document of an earlier run is removed when the run starts, so a run that is killed leaves none.
    type: path
    env:
      - name: BAREMETAL_GPU_VERDICT_FILE
    ini:
      - section: verdict
        key: path
requirements:
  - enabled in configuration (C(callbacks_enabled = baremetal.gpu.verdict))
author:
  - baremetal.gpu contributors
"""


class CallbackModule(CallbackBase):
    """Feeds results to the pure record and writes what it says."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "baremetal.gpu.verdict"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._record = Record()
        self._playbook = "unnamed"
        self._started = _now()
        # Wall clocks jump; durations are measured on the monotonic one.
        self._begun = time.monotonic()
        self._play: Any = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbook = Path(playbook._file_name).name
        path = self._path()
        if path is not None:
            path.unlink(missing_ok=True)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play

    def v2_runner_on_ok(self, result: Any) -> None:
        self._add(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._add(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        names = sorted(stats.processed)
        counts = {name: _counts(stats.summarize(name)) for name in names}
        document = self._record.document(
            playbook=self._playbook,
            started=self._started,
            finished=_now(),
            elapsed_s=time.monotonic() - self._begun,
            check_mode=bool(context.CLIARGS.get("check")),
            lab={name: self._is_lab(name) for name in names},
            counts=counts,
        )
        path = self._path()
        if path is not None:
            _write(path, document)
        self._display.banner("VERDICT")
        for line in table(document):
            self._display.display(line, color="red" if document["status"] == "fail" else None)

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

    def _path(self) -> Path | None:
        path = self.get_option("path")
        return Path(path) if path else None


def _counts(summary: dict[str, int]) -> Counts:
    return Counts(
        ok=summary["ok"],
        changed=summary["changed"],
        failed=summary["failures"],
        unreachable=summary["unreachable"],
        skipped=summary["skipped"],
    )


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(path: Path, document: dict[str, Any]) -> None:
    """Replace the file as a whole: a reader sees the old document or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
        scratch.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            scratch.unlink()
