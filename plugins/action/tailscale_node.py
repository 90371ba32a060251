"""Reads the secret with which a node logs in on the controller, judges what the module of the same name found on the host, and keeps
where the host is in its tailnet."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import RESULT_KEY
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale_verdict import judge
from ansible_collections.baremetal.gpu.plugins.plugin_utils import tailnet_record
from ansible_collections.baremetal.gpu.plugins.plugin_utils.fresh_connection import GUARD, FreshConnectionAction

SECRETS = {"oauth_client_secret_file": "oauth_client_secret", "auth_key_file": "auth_key"}
"""Options that name a file of the controller, and the module's arguments that get what is in it; the first that is given counts."""

CONNECT_TIMEOUT_S = 10
PATH_WITHIN_S = 45.0
"""How long two nodes that are new to each other may take to find a path."""
_PAUSE_S = 1.0


class ActionModule(FreshConnectionAction):
    """The secret is read here, so that it stands in no template, no task's arguments and no output."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; in check mode, where nothing was changed after it was read, with findings about the node."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        folder = str(arguments.pop("addresses_folder", None) or "")
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
        if folder and not result.get("failed"):
            try:
                self._keep(Path(folder).expanduser(), arguments.get("state", "present"), result, task_vars or {})
            except GpuError as error:
                result.update(failed=True, **error.as_result())
        return result

    def _keep(self, folder: Path, state: str, result: dict[str, Any], task_vars: dict[str, Any]) -> None:
        """Let what the controller remembers of the host be what was found. Raises ``GpuError`` BG-TAILNET-017, -018."""
        host = str(task_vars.get("inventory_hostname", "localhost"))
        before = tailnet_record.read(folder, host)
        if state == "present":
            # In check mode a host may be one that an earlier task would join: then nothing is known yet, and the join is a change.
            after = tailnet_record.record_of(result.get("addresses") or [], str(result.get("dns_name") or "")) or before
        else:
            after = None
        if after == before:
            return
        if not self._task.check_mode:
            if after is None:
                tailnet_record.forget(folder, host)
            else:
                self._prove(after.address, task_vars)
                tailnet_record.write(folder, host, after)
        shown = {
            "before_header": str(tailnet_record.path_of(folder, host)),
            "after_header": str(tailnet_record.path_of(folder, host)),
            "before": before.text() if before else "",
            "after": after.text() if after else "",
        }
        result.update(changed=True, diff=[*filter(None, [result.get("diff")]), shown])

    def _prove(self, address: str, task_vars: dict[str, Any]) -> None:
        """Raises ``GpuError`` BG-TAILNET-017 unless the controller reaches this very host at its tailnet address."""
        own = self._execute_module(module_name=GUARD, module_args={}, task_vars=task_vars)
        deadline = time.monotonic() + PATH_WITHIN_S
        while True:
            try:
                problem = self.problem_of(address, str(own.get("machine")), CONNECT_TIMEOUT_S, task_vars)
            except GpuError as error:
                raise _not_reached(address, error.what) from error
            if not problem:
                return
            if time.monotonic() + _PAUSE_S > deadline:
                raise _not_reached(address, problem)
            time.sleep(_PAUSE_S)


def _not_reached(address: str, what: str) -> GpuError:
    return GpuError(
        "BG-TAILNET-017",
        f"the host is in its tailnet, and this controller does not reach it by key at {address}: {what}",
        "it is reached at its former address as before; nothing was kept",
        "let the controller into the tailnet, and the policy let it reach port 22; without tailscale_addresses_folder no way is changed",
    )


def read_secret(path: str) -> tuple[str, str]:
    """What is in a file of the controller, or why nothing is; a node that is logged in needs none, so that is no error here."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        return "", f"the file {path} cannot be read ({type(error).__name__})"
    return text, "" if text else f"the file {path} is empty"
