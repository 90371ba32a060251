"""Reads the secret with which a node logs in on the controller, and judges what the module of the same name found on the host."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale_verdict import judge

SECRETS = {"oauth_client_secret_file": "oauth_client_secret", "auth_key_file": "auth_key"}
"""Options that name a file of the controller, and the module's arguments that get what is in it; the first that is given counts."""


class ActionModule(ActionBase):
    """The secret is read here, so that it stands in no template, no task's arguments and no output."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; in check mode, where nothing was changed after it was read, with findings about the node."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        paths = {option: str(arguments.pop(option, None) or "") for option in SECRETS}
        if arguments.get("state", "present") == "present":
            option = next((option for option, path in paths.items() if path), None)
            if option is not None:
                secret, problem = read_secret(paths[option])
                arguments.update(
                    {SECRETS[option]: secret, "secret_problem": problem} if secret else {"secret_problem": problem}
                )
        result.update(
            self._execute_module(module_name="baremetal.gpu.tailscale_node", module_args=arguments, task_vars=task_vars)
        )
        if self._task.check_mode and "known" in result:
            subject = str((task_vars or {}).get("inventory_hostname", "localhost"))
            needs_device = not boolean(arguments.get("userspace", False))
            hostname = str(arguments.get("hostname") or "")
            found = judge(subject, result, needs_device, hostname, datetime.now(timezone.utc))
            result[RESULT_KEY] = [finding.as_dict() for finding in found]
        return result


def read_secret(path: str) -> tuple[str, str]:
    """What is in a file of the controller, or why nothing is; a node that is logged in needs none, so that is no error here."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        return "", f"the file {path} cannot be read ({type(error).__name__})"
    return text, "" if text else f"the file {path} is empty"
