"""Writes one line of JSON per task and host: what `make bench` counts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: task_events
type: notification
short_description: One line of JSON per finished task and host
description:
  - Writes to the file that the environment variable E(BAREMETAL_GPU_TASK_EVENTS) names.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Every end of a task on a host is one event, also a skipped one: the controller has paid for it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "task_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._path = Path(os.environ["BAREMETAL_GPU_TASK_EVENTS"])
        self._path.write_text("", encoding="utf-8")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write(result, "changed" if result._result.get("changed") else "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write(result, "failed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._write(result, "skipped")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write(result, "unreachable")

    def _write(self, result: Any, status: str) -> None:
        task = result._task
        event = {
            "host": result._host.get_name(),
            "role": task._role.get_name() if task._role else None,
            "task": task.get_name(),
            "action": task.action,
            "status": status,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
