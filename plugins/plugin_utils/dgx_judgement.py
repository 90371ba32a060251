"""Holds what was read of a DGX OS host against ``data/dgx_os.yml``. Pure; what was not read is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os.packages import (
    HALF,
    INSTALLED,
    Package,
    Policy,
    foreign_candidates,
    matching,
    modules_for,
    not_held,
    removable,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os.recognition import Recognition
from ansible_collections.baremetal.gpu.plugins.module_utils.dgx_os.sources import Source, conflicts, rewritten
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils.host_expectations import found

Registry = Mapping[str, Mapping[str, Any]]

CODES = ("BG-DGX-001", "BG-DGX-002", "BG-DGX-003", "BG-DGX-004", "BG-DGX-005", "BG-DGX-006")
HOLDS, AUTOMATIC, TORN, KERNEL, SOURCES, UPDATING = CODES
NOT_READ = "it was not read"
RUNNING = ("active", "activating", "reloading", "deactivating")


@dataclass(frozen=True)
class DgxReadings:
    """What was read of a host; None where it was not.

    ``automatic`` are packages marked as automatic, ``kernel`` is the release of the kernel that will boot, ``files`` says of
    files whether they are there, ``units`` are states of systemd units.
    """

    packages: tuple[Package, ...] | None = None
    automatic: tuple[str, ...] | None = None
    policies: Mapping[str, Policy] | None = None
    sources: tuple[Source, ...] | None = None
    kernel: str | None = None
    files: Mapping[str, bool] | None = None
    units: Mapping[str, str] | None = None


def judge(
    recognition: Recognition, readings: DgxReadings, rules: Mapping[str, Any], subject: str, registry: Registry
) -> tuple[Finding, ...]:
    """Every finding about one host. On a host without DGX OS all are skipped."""
    if not recognition.is_dgx_os:
        reason = f"no DGX OS ({recognition.by})"
        findings = [
            found(code, SKIPPED, reason, {"what": "operating system", "where": recognition.by}) for code in CODES
        ]
    else:
        findings = [finding for check in _CHECKS for finding in check(readings, rules)]
    return tuple(
        replace(each, subject=subject, requirements=tuple(registry[each.code]["requirements"])) for each in findings
    )


def _holds(readings: DgxReadings, rules: Mapping[str, Any]) -> Iterator[Finding]:
    evidence: dict[str, Any] = {"what": "packages that are not held", "where": "dpkg"}
    if readings.packages is None:
        yield found(HOLDS, UNKNOWN, NOT_READ, evidence)
        return
    loose = not_held(readings.packages, rules["hold"]["patterns"])
    yield _listed(HOLDS, loose, "an upgrade may move {0}", "apt-mark hold {0}", "kernel and driver are held", evidence)


def _automatic(readings: DgxReadings, rules: Mapping[str, Any]) -> Iterator[Finding]:
    evidence: dict[str, Any] = {"what": "packages marked as automatic", "where": "apt-mark showauto"}
    if readings.packages is None or readings.automatic is None:
        yield found(AUTOMATIC, UNKNOWN, NOT_READ, evidence)
        return
    loose = removable(readings.packages, readings.automatic, rules["keep"]["patterns"])
    good = "nothing of the stack is marked as automatic"
    yield _listed(AUTOMATIC, loose, "apt autoremove may remove {0}", "apt-mark manual {0}", good, evidence)


def _torn(readings: DgxReadings, rules: Mapping[str, Any]) -> Iterator[Finding]:
    evidence: dict[str, Any] = {"what": "where the driver's next version comes from", "where": "apt-cache policy"}
    if readings.policies is None or readings.packages is None:
        yield found(TORN, UNKNOWN, NOT_READ, evidence)
        return
    foreign = foreign_candidates(readings.policies, rules["driver"]["hosts"])
    held = {package.name for package in readings.packages if package.held}
    names = matching(foreign, rules["driver"]["patterns"])
    evidence["found"] = {name: foreign[name] for name in names}
    if not names:
        yield found(TORN, OK, "an upgrade takes the driver from NVIDIA only", evidence)
        return
    told = ", ".join(f"{name} {foreign[name]}" for name in names)
    remedy = f"apt-mark hold {' '.join(names)}; update DGX OS by its own update"
    if held.issuperset(names):
        yield found(TORN, WARN, f"{told} would come from another server than NVIDIA's, and is held", evidence, remedy)
    else:
        yield found(TORN, FAIL, f"the next upgrade takes {told} from another server than NVIDIA's", evidence, remedy)


def _kernel(readings: DgxReadings, rules: Mapping[str, Any]) -> Iterator[Finding]:
    evidence: dict[str, Any] = {
        "what": "modules for the kernel that will boot",
        "where": "dpkg",
        "kernel": readings.kernel,
    }
    if readings.packages is None or readings.kernel is None:
        yield found(KERNEL, UNKNOWN, NOT_READ, evidence)
        return
    evidence["found"] = modules_for(readings.packages, readings.kernel, rules["driver"]["modules"])
    if evidence["found"]:
        yield found(KERNEL, OK, f"{evidence['found'][0]} is installed", evidence)
        return
    wanted = rules["driver"]["modules"][0] + readings.kernel
    remedy = f"install {wanted} before any reboot, or boot another kernel"
    yield found(KERNEL, FAIL, f"kernel {readings.kernel} has no signed modules of the driver", evidence, remedy)


def _sources(readings: DgxReadings, rules: Mapping[str, Any]) -> Iterator[Finding]:
    evidence: dict[str, Any] = {"what": "sources of packages", "where": "/etc/apt"}
    if readings.sources is None or readings.packages is None or readings.files is None:
        yield found(SOURCES, UNKNOWN, NOT_READ, evidence)
        return
    faults = [
        (
            f"{conflict.uri} is signed by {' and by '.join(each or 'no key of its own' for each in conflict.signed_by)}",
            f"remove one of {', '.join(sorted(set(conflict.files)))}; never install cuda-keyring on DGX OS",
        )
        for conflict in conflicts(readings.sources)
    ]
    for uri in dict.fromkeys(source.uri for source in readings.sources):
        alive = rewritten(uri + "/", rules["dead_addresses"]).rstrip("/")
        if alive != uri:
            faults.append((f"{uri} leads nowhere", f"write {alive}"))
    keyring = rules["keyring"]
    uses = any(source.signed_by == keyring["file"] for source in readings.sources)
    complete = any(each.name == keyring["package"] and each.state == INSTALLED for each in readings.packages)
    if uses and not (complete and readings.files.get(keyring["file"], False)):
        faults.append((f"{keyring['file']} or its package is gone", f"install {keyring['package']} again"))
    if not faults:
        yield found(SOURCES, OK, f"{len(readings.sources)} sources agree", evidence)
    for reason, remedy in faults:
        yield found(SOURCES, FAIL, reason, evidence, remedy)


def _updating(readings: DgxReadings, rules: Mapping[str, Any]) -> Iterator[Finding]:
    evidence: dict[str, Any] = {"what": "updates under way", "where": "systemd and dpkg"}
    if readings.units is None or readings.packages is None:
        yield found(UPDATING, UNKNOWN, NOT_READ, evidence)
        return
    running = [unit for unit in rules["update_units"] if readings.units.get(unit) in RUNNING]
    half = sorted(package.name for package in readings.packages if package.state == HALF)
    evidence["found"] = [*running, *half]
    if running:
        yield found(UPDATING, FAIL, f"{', '.join(running)} is upgrading the host", evidence, "wait until it has ended")
    elif half:
        yield found(UPDATING, FAIL, f"half installed: {', '.join(half)}", evidence, "dpkg --configure --pending")
    else:
        yield found(UPDATING, OK, "no update is under way", evidence)


def _listed(code: str, names: list[str], bad: str, remedy: str, good: str, evidence: dict[str, Any]) -> Finding:
    """A finding about packages of which there should be none."""
    evidence["found"] = names
    if not names:
        return found(code, OK, good, evidence)
    return found(code, FAIL, bad.format(", ".join(names)), evidence, remedy.format(" ".join(names)))


_CHECKS = (_holds, _automatic, _torn, _kernel, _sources, _updating)
