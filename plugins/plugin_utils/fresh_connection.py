"""Whether another way leads to the host that an action is about: a connection of its own, by key only, that shares nothing with the present one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import devnull
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

GUARD = "baremetal.gpu.access_guard"
"""The module that, called without anything to do, says which machine it runs on."""

# What a fresh connection is: nothing shared with the present one, and a key or nothing.
FRESH = (
    "-o ControlMaster=no -o ControlPath=none -o PreferredAuthentications=publickey "
    "-o PasswordAuthentication=no -o KbdInteractiveAuthentication=no"
)


class FreshConnectionAction(ActionBase):
    """An action that can run modules over another connection than its task's."""

    def problem_of(self, address: str, machine: str, timeout_s: int, task_vars: dict[str, Any]) -> str:
        """Why a fresh connection over ``address`` does not reach the machine of this identity; empty when it does.

        Raises ``GpuError`` (BG-ACCESS-109) where connections are not made by ssh.
        """
        try:
            with self._fresh(address, timeout_s):
                there = self._execute_module(module_name=GUARD, module_args={}, task_vars=task_vars)
        except AnsibleConnectionFailure as error:
            return line(error)
        if there.get("failed"):
            return str(there.get("msg", "no answer"))[:300]
        return "" if there.get("machine") == machine else "another host answers there"

    @contextmanager
    def _fresh(self, address: str, timeout_s: int) -> Iterator[None]:
        """Modules run over a connection of their own meanwhile. Raises ``GpuError`` (BG-ACCESS-109) where that cannot be ssh."""
        present: Any = self._connection
        if getattr(present, "_load_name", "").rpartition(".")[2] != "ssh":
            raise GpuError(
                "BG-ACCESS-109",
                "this host is not reached over ssh",
                "whether the operator can come back is shown by ssh alone",
                "run it with connection ssh",
            )
        fresh = self._shared_loader_obj.connection_loader.get("ansible.builtin.ssh", self._play_context, devnull)
        options = dict(present.get_options())
        options.update(
            host=address,
            ssh_args=fresh_arguments(options, address),
            control_path="none",
            timeout=timeout_s,
            reconnection_retries=0,
        )
        fresh.set_options(direct=options)
        fresh.set_become_plugin(present.become)
        fresh._shell = present._shell
        self._connection: Any = fresh
        try:
            yield
        finally:
            self._connection = present
            fresh.close()

    def _option(self, name: str) -> Any:
        try:
            return self._connection.get_option(name)
        except KeyError:
            return None


def fresh_arguments(options: Mapping[str, Any], address: str) -> str:
    """Arguments of ssh for a connection of its own, which must find the host's own key also under another address.

    Where the inventory says under which name ssh knows the host's key, that holds for every address.
    """
    present = str(options.get("host") or "")
    port = str(options.get("port") or 22)
    told = any("HostKeyAlias" in str(options.get(name) or "") for name in ("ssh_common_args", "ssh_extra_args"))
    if address == present or not present or told:
        return FRESH
    alias = present if port == "22" else f"[{present}]:{port}"
    return f"{FRESH} -o HostKeyAlias={shlex.quote(alias)}"


def line(error: object) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:300]
