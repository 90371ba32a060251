"""Lets the module of the same name change sshd's settings and keys with the guard behind it."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, Finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils.guarded_action import GuardedAction

_LIST = {"type": "list", "elements": "str", "default": []}
_OF_THE_HOST = ("authorized_keys", "permit_root", "allow_groups", "settings", "verify")


class ActionModule(GuardedAction):
    """Which user connects, the controller knows."""

    MODULE = "baremetal.gpu.ssh_access"
    ARGUMENTS: ClassVar[Mapping[str, Any]] = {
        "operators": _LIST,
        "authorized_keys": {"type": "dict", "default": {}, "no_log": False},
        "permit_root": {"type": "str", "choices": ["prohibit-password", "no"], "default": "prohibit-password"},
        "allow_groups": _LIST,
        "settings": {"type": "dict", "default": {}},
    }

    def told(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """What is declared, for the connection's own user where no operators are named."""
        operators = arguments["operators"] or [self._option("remote_user") or getpass.getuser()]
        return {**{name: arguments[name] for name in _OF_THE_HOST}, "operators": operators}

    def judge(self, subject: str, seen: Mapping[str, Any], requirements: tuple[str, ...]) -> list[Finding]:
        """BG-ACCESS-002 and BG-ACCESS-003."""
        return [
            _finding(
                "BG-ACCESS-002",
                subject,
                list(seen["differences"]),
                "sshd takes keys only, as declared",
                "run the role ssh_access again; look what else stands in /etc/ssh when it does not stay",
                requirements,
            ),
            _finding(
                "BG-ACCESS-003",
                subject,
                list(seen["locked_out"]),
                "every operator may log in with a key",
                "give the operator's user a key and a group that may log in",
                requirements,
            ),
        ]


def _finding(
    code: str, subject: str, faults: list[str], good: str, remedy: str, requirements: tuple[str, ...]
) -> Finding:
    if faults:
        return Finding(code, subject, FAIL, "; ".join(faults), remedy, {"faults": faults}, requirements=requirements)
    return Finding(code, subject, OK, good, "", {"faults": []}, requirements=requirements)
