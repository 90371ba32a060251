"""Checks of how a host's GPUs are set up: driver versions, CDI specifications, MPS control daemons. Pure."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils.gpu_host_view import SMI, HostView, a_finding


def versions_agree(host: HostView) -> list[Finding]:
    """Kernel module and library must be one version.

    Where the kernel's files cannot be read, the driver's own answer stands for them: NVML refuses to work
    with a module of another version, and the version it gives is the module's.
    """
    driver = host.readings["driver"]
    kernel, library = driver["kernel_version"] or driver["version"], driver["library_version"]
    remedy = "reboot the host inside a maintenance window, or unload and load the nvidia modules"
    where = "kernel" if driver["kernel_version"] else SMI
    evidence = {"what": "driver versions", "where": where, "kernel": kernel, "library": library}
    if "driver/library version mismatch" in (host.readings["nvidia_smi"]["message"] or "").lower():
        reason = "nvidia-smi says that kernel module and library have different versions"
        return [a_finding("BG-GPU-009", FAIL, reason, evidence, remedy)]
    if kernel is None or library is None:
        path = "driver.kernel_version" if kernel is None else "driver.library_version"
        return [a_finding("BG-GPU-009", UNKNOWN, host.why_missing(path)["reason"], evidence, remedy)]
    if kernel == library:
        return [a_finding("BG-GPU-009", OK, f"kernel module and library are {kernel}", evidence, "")]
    return [a_finding("BG-GPU-009", FAIL, f"kernel module {kernel}, library {library}", evidence, remedy)]


def cdi(host: HostView) -> list[Finding]:
    remedy = "run the role nvidia_container_toolkit: it generates the specification anew"
    evidence: dict[str, Any] = {"what": "CDI specifications", "where": "/etc/cdi, /var/run/cdi"}
    specifications = [item for item in host.readings["cdi_specifications"] if item["kind"].startswith("nvidia.com/")]
    unreadable = [
        missing["reason"] for path, missing in host.readings["missing"].items() if path.startswith("cdi_specifications")
    ]
    evidence["found"] = {item["path"]: item["driver_versions"] for item in specifications}
    if not specifications:
        if not host.expected.cdi:
            return []
        status = UNKNOWN if unreadable else FAIL
        reason = "; ".join(unreadable) or "no CDI specification for nvidia.com/gpu"
        return [a_finding("BG-GPU-011", status, reason, evidence, remedy)]
    driver = host.readings["driver"]
    version = driver["version"] or driver["kernel_version"] or driver["library_version"]
    present = [a_finding("BG-GPU-011", OK, "a CDI specification is there", evidence, "")] if host.expected.cdi else []
    return [*present, _cdi_version(specifications, version, evidence, remedy)]


def _cdi_version(
    specifications: Sequence[Mapping[str, Any]], version: str | None, evidence: Mapping[str, Any], remedy: str
) -> Finding:
    if version is None:
        return a_finding("BG-GPU-010", UNKNOWN, "the driver's version is not known", evidence, remedy)
    stale = [
        f"{item['path']} mounts libraries of {', '.join(item['driver_versions'])}"
        for item in specifications
        if item["driver_versions"] and item["driver_versions"] != [version]
    ]
    if stale:
        return a_finding("BG-GPU-010", FAIL, f"the driver is {version}, but {'; '.join(stale)}", evidence, remedy)
    if not any(item["driver_versions"] for item in specifications):
        reason = "no library in the CDI specifications carries a driver version"
        return a_finding("BG-GPU-010", UNKNOWN, reason, evidence, remedy)
    return a_finding("BG-GPU-010", OK, f"the CDI specifications are of driver {version}", evidence, "")


def mps(host: HostView) -> list[Finding]:
    daemons = host.readings["mps_daemons"]
    remedy = "restart the MPS control daemon (its pod) and then the device plugin"
    evidence = {"what": "MPS control daemons", "where": "/run/nvidia/mps, /tmp/nvidia-mps", "found": daemons}
    responding = [daemon for daemon in daemons if daemon["responding"]]
    dead = [daemon["pipe_directory"] for daemon in daemons if daemon["responding"] is False]
    unclear = [daemon["pipe_directory"] for daemon in daemons if daemon["responding"] is None]
    if host.expected.mps is None and not daemons:
        return []
    if host.expected.mps is False:
        if responding:
            reason = f"an MPS control daemon answers at {responding[0]['pipe_directory']}, none is declared"
            return [a_finding("BG-GPU-012", FAIL, reason, evidence, "stop it, or declare sharing by MPS")]
        return [a_finding("BG-GPU-012", OK, "no MPS control daemon, as declared", evidence, "")]
    if responding:
        return [a_finding("BG-GPU-012", OK, "the MPS control daemon answers", evidence, "")]
    if unclear and not dead:
        reason = f"it is not known whether the daemon at {unclear[0]} answers"
        return [a_finding("BG-GPU-012", UNKNOWN, reason, evidence, remedy)]
    status = FAIL if host.expected.mps else WARN
    reason = f"the MPS control daemon at {dead[0]} died" if dead else "there is no MPS control daemon"
    return [a_finding("BG-GPU-012", status, reason, evidence, remedy)]
