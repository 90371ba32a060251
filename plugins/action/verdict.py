"""Holds a host's findings against the inventory's waivers and fails the host when a required one is not ok."""

from __future__ import annotations

from typing import Any, Iterable, Iterator

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    RESULT_KEY,
    Finding,
    Judgement,
    describe,
    judge,
    waivers_from,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.controller_action import ControllerAction

ARGUMENTS: dict[str, Any] = {
    "findings": {"type": "list", "elements": "raw", "required": True},
    "waivers": {"type": "list", "elements": "dict", "default": []},
    "lab": {"type": "bool", "default": False},
    "required": {"type": "list", "elements": "str"},
    "preconditions": {"type": "bool", "default": False},
}


class ActionModule(ControllerAction):
    """Runs on the controller only; the host is not contacted."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The findings with their waivers, and the verdict over them."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        required = arguments["required"]
        try:
            judgement = judge(
                (Finding.from_dict(item) for item in _flattened(arguments["findings"])),
                waivers_from(arguments["waivers"]),
                lab=arguments["lab"],
                required=None if required is None or required == ["all"] else required,
            )
        except GpuError as error:
            return {**result, "failed": True, "changed": False, **error.as_result()}
        outcome = _result(judgement, arguments["lab"], check_mode=self._task.check_mode)
        if arguments["preconditions"]:
            # Nothing in the run would repair them, and they prove nothing about what it is for.
            outcome["failed"] = not outcome.pop("passed")
        return {**result, **outcome}


def _flattened(items: Iterable[Any]) -> Iterator[Any]:
    """Findings out of lists of findings, to any depth; ``None`` (a check that did not run) is left out."""
    for item in items:
        if isinstance(item, (list, tuple)):
            yield from _flattened(item)
        elif item is not None:
            yield item


def _result(judgement: Judgement, lab: bool, check_mode: bool) -> dict[str, Any]:
    """The action's result. In check mode nothing was applied yet, so the verdict is told but fails nothing."""
    result: dict[str, Any] = {
        "changed": False,
        "failed": not judgement.passed and not check_mode,
        "passed": judgement.passed,
        "refused": sorted({finding.code for finding in judgement.refused}),
        "simulated": judgement.simulated,
        "waived": [describe(finding) for finding in judgement.findings if finding.waived],
        "unused_waivers": [waiver.code for waiver in judgement.unused_waivers],
        RESULT_KEY: [finding.as_dict() for finding in judgement.findings],
    }
    if judgement.passed:
        result["msg"] = f"{len(judgement.findings)} findings, none refused"
        return result
    lines = [f"BG-VERDICT-001: {len(judgement.refused)} of {len(judgement.findings)} findings are refused"]
    lines += [f"  {describe(finding)}" for finding in judgement.refused]
    if not lab and any(finding.simulated for finding in judgement.refused):
        lines.append("  (simulated hardware proves nothing outside the lab: lab is false here)")
    result.update(msg="\n".join(lines), code="BG-VERDICT-001", remedy="follow each finding's remedy")
    return result
