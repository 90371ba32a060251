"""Writes the sheet of a node on the controller from what tasks read of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils.controller_action import ControllerAction
from ansible_collections.baremetal.gpu.plugins.plugin_utils.json_file import replace_text
from ansible_collections.baremetal.gpu.plugins.plugin_utils.node_sheet import Sources, file_name, render

ARGUMENTS: dict[str, Any] = {
    "directory": {"type": "path", "required": True},
    "facts": {"type": "dict", "required": True},
    "readings": {"type": "dict", "required": True},
    "tailscale": {"type": "str", "default": ""},
    "node": {"type": "dict", "default": {}},
    "cluster": {"type": "str", "default": ""},
    "serials": {"type": "bool", "default": False},
}


class ActionModule(ControllerAction):
    """Runs on the controller only; what the host is was read by tasks before."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the sheet where it differs."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        name = str((task_vars or {}).get("inventory_hostname", "localhost"))
        try:
            path = Path(arguments["directory"]) / file_name(name)
            text = render(sources_from(name, arguments))
            before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            if text != before and not self._task.check_mode:
                replace_text(path, text)
        except GpuError as error:
            return {**result, "failed": True, "changed": False, **error.as_result()}
        except OSError as error:
            failure = GpuError(
                "BG-SHEET-102",
                f"{error.filename} cannot be written on the controller ({error.strerror})",
                "the sheet is as it was",
                "name a folder that this user may write to (node_sheet_directory)",
            )
            return {**result, "failed": True, "changed": False, **failure.as_result()}
        diff = {"before": before, "after": text, "before_header": str(path), "after_header": str(path)}
        return {**result, "changed": text != before, "path": str(path), "diff": diff}


def sources_from(name: str, arguments: dict[str, Any]) -> Sources:
    """What a task hands over; setup names its facts with a prefix."""
    facts = {key.removeprefix("ansible_"): value for key, value in arguments["facts"].items()}
    return Sources(
        name, facts, **{key: arguments[key] for key in ("readings", "tailscale", "node", "cluster", "serials")}
    )
