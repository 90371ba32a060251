"""Checks of the host beside its GPUs: memory, governors, GPUDirect, and a diagnostic of DCGM. Pure."""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    FAIL,
    FIX_CONFIGURATION,
    REBOOT,
    RESET_GPU,
    RMA,
    WARN,
    Finding,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.view import (
    DCGM,
    HOST,
    Seen,
    View,
    blame_gpu,
    skipped,
    the_finding,
    unknown,
)

# DCGM's numbers (dcgm_errors.h of DCGM 3.3 and 4): severities and categories of which one says "configuration".
CONFIG_SEVERITY, ISOLATE_SEVERITY = 5, 2
CONFIG_CATEGORY = 8
# What DCGM's errors ask for; others are judged by their severity.
_BY_ERROR = {14: RESET_GPU, 46: FIX_CONFIGURATION, 80: RMA, 81: RESET_GPU, 85: RESET_GPU, 101: RESET_GPU}
_BY_ERROR.update({108: FIX_CONFIGURATION, 112: FIX_CONFIGURATION, 120: REBOOT, 123: FIX_CONFIGURATION})
# Tests of DCGM 3, which gives no numbers, that look at how a host is set up.
_CONFIG_TESTS = {
    "denylist",
    "nvml library",
    "cuda main library",
    "cuda toolkit library",
    "permissions and os-related blocks",
    "persistence mode",
    "environmental variables",
    "graphics processes",
}


def run(view: View) -> list[Finding]:
    """All findings about the host, and about DCGM's diagnostic where there is one."""
    found: list[Finding] = []
    if HOST in view.parts and view.host is not None:
        found += _gpudirect(view)
        found += _governor(view)
        found += _memory(view)
    if DCGM in view.parts and view.readings["dcgm"] is not None:
        found += _diagnostic(view, view.readings["dcgm"])
    return found


def _host(view: View) -> Mapping[str, Any]:
    return view.readings["host"] or {}


def _blame(view: View) -> dict[str, str]:
    return {"kind": "host", "name": view.subject}


def _gpudirect(view: View) -> list[Finding]:
    code, what, where = "BG-HEALTH-043", "GPUDirect RDMA", "/proc/modules"
    if view.host is None or not view.host.gpudirect:
        return skipped(code, what, where, "this model does not support it")
    modules, open_module = _host(view).get("modules"), _host(view).get("open_kernel_module")
    remedy = "load nvidia_peermem, or install the driver's open kernel modules"
    if modules is None and not open_module:
        return unknown(code, what, where, view.why_missing("host.modules")["reason"], remedy)
    value = {"nvidia_peermem": "nvidia_peermem" in (modules or ()), "open_kernel_module": open_module}
    if value["nvidia_peermem"] or open_module:
        good = "adapters can read GPU memory"
        return the_finding(code, what, where, None, [Seen(view.subject, value)], good, "")
    text = "neither nvidia_peermem nor the open kernel modules are loaded"
    return the_finding(
        code, what, where, None, [Seen(view.subject, value, FAIL, text, FIX_CONFIGURATION, _blame(view))], "", remedy
    )


def _governor(view: View) -> list[Finding]:
    if view.host is None or not view.host.governor:
        return []
    code, what, where = "BG-HEALTH-044", "frequency governor", "/sys/devices/system/cpu"
    governors = _host(view).get("governors")
    if governors is None:
        # Machines whose firmware decides show none; there is nothing to set on them.
        return skipped(code, what, where, view.why_missing("host.governors")["reason"])
    wanted = view.host.governor
    text = ", ".join(f"{count} processors have {name}" for name, count in governors.items() if name != wanted)
    bad = Seen(view.subject, governors, WARN, text, FIX_CONFIGURATION, _blame(view))
    seen = Seen(view.subject, governors) if set(governors) == {wanted} else bad
    good = f"all processors have the governor {wanted}"
    return the_finding(code, what, where, wanted, [seen], good, f"set the governor {wanted} (cpupower, tuned)")


def _memory(view: View) -> list[Finding]:
    code, what, where = "BG-HEALTH-045", "errors of the host's memory", "/sys/devices/system/edac/mc"
    if view.host is None or not view.host.memory_errors:
        return skipped(code, what, where, "this model does not count them")
    errors = _host(view).get("memory_errors")
    remedy = "find the memory module in the machine's event log and have it replaced"
    if errors is None:
        return unknown(code, what, where, view.why_missing("host.memory_errors")["reason"], "load the EDAC driver")
    text = f"{errors['uncorrected']} uncorrected errors since boot"
    bad = Seen(view.subject, dict(errors), FAIL, text, RMA, _blame(view))
    seen = bad if errors["uncorrected"] else Seen(view.subject, dict(errors))
    return the_finding(code, what, where, 0, [seen], "no uncorrected error since boot", remedy)


# ---- DCGM ----


_DIAGNOSTIC, _DCGMI = "diagnostic of DCGM", "dcgmi diag -j"


def _diagnostic(view: View, report: Mapping[str, Any]) -> list[Finding]:
    why = report["error"] or (f"DCGM did not test: {report['runtime_error']}" if report.get("runtime_error") else None)
    if why is not None:
        return _not_tested(why)
    results = report["results"]
    passed = sum(result["status"] == "pass" for result in results)
    failed = [_failed(view, result) for result in results if result["status"] in ("fail", "warn")]
    undecided = [
        f"{result['test']} {_gpus(result)}: {result['status']}"
        for result in results
        if result["status"] not in ("pass", "fail", "warn")
    ]
    hardware = [seen for seen in failed if seen.action != FIX_CONFIGURATION]
    configuration = [seen for seen in failed if seen.action == FIX_CONFIGURATION]
    found: list[Finding] = []
    if hardware:
        told = "drain the node and follow DCGM's text"
        found += the_finding("BG-HEALTH-064", _DIAGNOSTIC, _DCGMI, "pass", hardware, "", told)
    if configuration:
        told = "correct the configuration; no hardware is at fault"
        found += the_finding("BG-HEALTH-065", _DIAGNOSTIC, _DCGMI, "pass", configuration, "", told)
    return found + _outcome(report, passed, bool(failed), bool(hardware), undecided)


def _outcome(
    report: Mapping[str, Any], passed: int, failed: bool, hardware: bool, undecided: list[str]
) -> list[Finding]:
    """What the tests that did not fail say: a skipped test did not pass, and a run that ended badly proves nothing."""
    if not passed and not failed:
        return _not_tested(f"no test passed: {'; '.join(undecided[:5])}" if undecided else "no test was run")
    if not failed and report.get("return_code") not in (None, 0):
        return _not_tested(f"dcgmi ended with {report['return_code']} though no test failed")
    if hardware or not passed:
        return []
    seen = [Seen("tests", {"passed": passed, "not run": undecided})]
    return the_finding("BG-HEALTH-064", _DIAGNOSTIC, _DCGMI, "pass", seen, f"{passed} tests passed", "")


def _not_tested(reason: str) -> list[Finding]:
    remedy = "run it again on an idle node with DCGM's plugins installed (the dcgm container image has them)"
    return unknown("BG-HEALTH-066", _DIAGNOSTIC, _DCGMI, reason, remedy)


def _gpus(result: Mapping[str, Any]) -> str:
    return "GPU " + ",".join(result["gpus"]) if result["gpus"] else ""


def _failed(view: View, result: Mapping[str, Any]) -> Seen:
    label = f"{result['test']} {_gpus(result)}".strip()
    warnings = result["warnings"]
    text = "; ".join(item["text"] for item in warnings) or f"status {result['status']}"
    actions = [_action(item) for item in warnings]
    if not warnings or all(item["error_id"] is None for item in warnings):
        # DCGM 3 has no numbers: the test's name tells.
        configuration = str(result["test"]).lower() in _CONFIG_TESTS or "persistence mode" in text.lower()
        actions = [FIX_CONFIGURATION if configuration else RESET_GPU]
    hard = [action for action in actions if action != FIX_CONFIGURATION]
    action = hard[0] if hard else FIX_CONFIGURATION
    status = WARN if result["status"] == "warn" else FAIL
    return Seen(label, result["status"], status, text[:500], action, _blamed(view, result["gpus"]))


def _action(warning: Mapping[str, Any]) -> str:
    if warning["severity"] == CONFIG_SEVERITY or warning["category"] == CONFIG_CATEGORY:
        return FIX_CONFIGURATION
    known = _BY_ERROR.get(warning["error_id"] or -1)
    if known is not None:
        # Of what is no configuration by DCGM's own account, a link or a fabric is repaired by a reset.
        return RESET_GPU if known == FIX_CONFIGURATION else known
    return RMA if warning["severity"] == ISOLATE_SEVERITY else RESET_GPU


def _blamed(view: View, gpus: list[str]) -> dict[str, str]:
    """DCGM numbers GPUs as the driver does."""
    if len(gpus) != 1:
        return {"kind": "host", "name": view.subject}
    number = int(gpus[0]) if gpus[0].isdigit() else -1
    known = [gpu for gpu in view.gpus if gpu["index"] == number]
    return blame_gpu(known[0]) if known else {"kind": "gpu", "name": f"GPU {gpus[0]}"}
