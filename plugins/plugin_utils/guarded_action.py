"""A change that could cut the operator's line, from the controller's side: the way back is proven, used, and only then confirmed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.baremetal.gpu.plugins.module_utils.access_guard import waits
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, RESULT_KEY, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils.fresh_connection import GUARD, FreshConnectionAction, line

COMMON: dict[str, Any] = {
    "way_back": {"type": "str", "default": ""},
    "rollback_after_s": {"type": "int", "default": 60},
    "connect_timeout_s": {"type": "int", "default": 10},
    "verify": {"type": "bool", "default": False},
    "requirements": {"type": "list", "elements": "str", "default": []},
}

_PAUSE_S = 1.0
# Part of the time until the host takes a change back that the controller tries to come back.
_PATIENCE = 0.6


class GuardedAction(FreshConnectionAction):
    """Lets ``MODULE`` compare; when something differs, lets it apply that with the guard behind it, and confirms over a fresh connection."""

    TRANSFERS_FILES = False
    MODULE: ClassVar[str] = ""
    ARGUMENTS: ClassVar[Mapping[str, Any]] = {}

    def told(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The module's arguments. Raises ``GpuError``."""
        raise NotImplementedError

    def judge(self, subject: str, seen: Mapping[str, Any], requirements: tuple[str, ...]) -> list[Finding]:
        """The findings about what the module saw."""
        raise NotImplementedError

    def refuse(self, seen: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
        """Raise ``GpuError`` for what must not be changed as things are."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; what failed on the way has its code."""
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec={**COMMON, **self.ARGUMENTS})
        try:
            told = self.told(arguments, task_vars)
            seen = self._execute_module(module_name=self.MODULE, module_args=told, task_vars=task_vars)
            if seen.get("failed"):
                return {**result, **seen}
            if arguments["verify"]:
                subject = str(task_vars.get("inventory_hostname", "localhost"))
                return {**result, **self._judged(subject, seen, tuple(arguments["requirements"]))}
            _refuse_pending(seen)
            if not seen["changed"] or self._task.check_mode:
                return {**result, **seen}
            self.refuse(seen, arguments)
            return {**result, **self._guarded(told, seen, arguments, task_vars)}
        except GpuError as error:
            return {**result, "failed": True, "changed": False, **error.as_result()}

    def _judged(self, subject: str, seen: Mapping[str, Any], requirements: tuple[str, ...]) -> dict[str, Any]:
        findings = [*self.judge(subject, seen, requirements), judge_guard(subject, seen)]
        return {**seen, "changed": False, "diff": [], RESULT_KEY: [finding.as_dict() for finding in findings]}

    def _guarded(
        self, told: Mapping[str, Any], seen: Mapping[str, Any], arguments: Mapping[str, Any], task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        address = arguments["way_back"] or str(self._option("host") or "")
        self._prove(address, seen["machine"], arguments, task_vars)
        identifier = secrets.token_hex(8)
        orders = {**told, "apply": True, "identifier": identifier, "rollback_after_s": arguments["rollback_after_s"]}
        began = time.monotonic()
        # The present connection may end with the change; whether the new way works is seen next.
        with suppress(AnsibleConnectionFailure):
            applied = self._execute_module(module_name=self.MODULE, module_args=orders, task_vars=task_vars)
            if applied.get("failed"):
                if not applied.get("code"):
                    # Whatever it was that ended the module may have come after the change.
                    self._take_back(identifier, task_vars)
                return dict(applied)
        self._confirm(address, identifier, began, arguments, task_vars)
        return {**seen, "changed": True, "pending": None, "seconds": round(time.monotonic() - began, 1)}

    def _prove(self, address: str, machine: str, arguments: Mapping[str, Any], task_vars: dict[str, Any]) -> None:
        """Raise ``GpuError`` (BG-ACCESS-103) unless a fresh connection over ``address`` reaches this very host."""
        problem = self.problem_of(address, machine, arguments["connect_timeout_s"], task_vars)
        if problem:
            raise _no_way_back(address, problem)

    def _confirm(
        self, address: str, identifier: str, began: float, arguments: Mapping[str, Any], task_vars: dict[str, Any]
    ) -> None:
        """Confirm over a fresh connection. Raises ``GpuError``: BG-ACCESS-120 when there is none, else what the host says."""
        order = {"state": "confirmed", "identifier": identifier}
        until = began + arguments["rollback_after_s"] * _PATIENCE
        while True:
            try:
                with self._fresh(address, arguments["connect_timeout_s"]):
                    said = self._execute_module(module_name=GUARD, module_args=order, task_vars=task_vars)
                if not said.get("failed"):
                    return
                if said.get("code"):
                    raise GpuError(str(said["code"]), _without_code(str(said.get("msg", ""))))
                # A login that runs nothing is none.
                what = line(said.get("msg"))
            except AnsibleConnectionFailure as error:
                what = line(error)
            if time.monotonic() + _PAUSE_S > until:
                raise _cut(address, what, self._take_back(identifier, task_vars))
            time.sleep(_PAUSE_S)

    def _take_back(self, identifier: str, task_vars: dict[str, Any]) -> bool:
        """Try to take the change back at once, over the connection that was there before. The host does it anyway."""
        order = {"state": "rolled_back", "identifier": identifier}
        try:
            done = self._execute_module(module_name=GUARD, module_args=order, task_vars=task_vars)
        except AnsibleError:
            return False
        return not done.get("failed")


def judge_guard(subject: str, seen: Mapping[str, Any]) -> Finding:
    """Whether a change waits for its confirmation, or the last one was taken back."""
    pending, rolled_back = seen.get("pending"), seen.get("rolled_back")
    evidence = {"pending": pending, "rolled_back": rolled_back}
    if pending:
        reason = f"a change ({pending['name']}) waits for its confirmation"
        return Finding("BG-ACCESS-004", subject, FAIL, reason, "wait, then verify again", evidence)
    if rolled_back:
        reason = f"the last change ({rolled_back}) was taken back by the host"
        return Finding(
            "BG-ACCESS-004", subject, WARN, reason, "find out why it was not confirmed, then run it again", evidence
        )
    return Finding("BG-ACCESS-004", subject, OK, "no change waits, none was taken back", "", evidence)


def _refuse_pending(seen: Mapping[str, Any]) -> None:
    """What is seen while a change waits may be gone in a minute."""
    pending = seen.get("pending")
    if pending:
        raise waits(pending["name"], pending["left_s"])


def _no_way_back(address: str, what: str) -> GpuError:
    return GpuError(
        "BG-ACCESS-103",
        f"a fresh connection over {address or 'no address'} does not reach this host by key: {what}",
        "after the change it would be the only way; nothing was changed",
        "correct the address (way_back), or the operator's key, then run again",
    )


def _cut(address: str, what: str, taken_back: bool) -> GpuError:
    return GpuError(
        "BG-ACCESS-120",
        f"after the change no fresh connection over {address} reached this host: {what}",
        "what was before is in effect again" if taken_back else "the host puts back what was before by itself",
        "correct what keeps the operator out, then run again",
    )


def _without_code(message: str) -> str:
    head, separator, rest = message.partition(": ")
    return rest if separator and head.startswith("BG-") else message
