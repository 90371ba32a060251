"""Checks of what connects GPUs: NVLink, the fabric and its manager, PCI Express replays. Pure."""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    FAIL,
    FIX_CONFIGURATION,
    RESET_GPU,
    SKIPPED,
    UNKNOWN,
    WARN,
    Finding,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import get
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.data import Model
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.view import (
    COUNTERS,
    DRIVER,
    FABRIC_LOG,
    HOST,
    NVLINKS,
    TOPOLOGY,
    GpuCheck,
    Problem,
    Seen,
    View,
    blame_gpu,
    name_of,
    skipped,
    the_finding,
    unknown,
)

GRACE_S = 300
"""How long after boot the fabric may take (NVSentinel's grace for the fabric manager)."""
FLAPPING = 3
"""Restarts of the fabric manager that are too many (NVSentinel counts three in ten minutes)."""

_LINKS = "check the board's seat and the NVSwitches; reset the GPU, and restart the fabric manager with all GPUs reset"
_FABRIC = "start the fabric manager; when the state stays, reset all GPUs or reboot the host"


def run(view: View) -> list[Finding]:
    """All findings about links between GPUs."""
    found: list[Finding] = []
    if NVLINKS in view.parts:
        found += _nvlinks(view)
    if TOPOLOGY in view.parts and (view.gpus or DRIVER not in view.parts):
        found += _topology(view)
    if DRIVER in view.parts and view.gpus:
        found += _fabric_state(view)
        found += _fabric_health(view)
    if HOST in view.parts:
        found += _fabric_manager(view)
    if FABRIC_LOG in view.parts:
        found += _fabric_log(view)
    if COUNTERS in view.parts and view.gpus:
        found += _nvlink_errors(view)
        found += _replays(view)
        found += _held_down(view)
    return found


# ---- NVLink ----


def _nvlinks(view: View) -> list[Finding]:
    code, what, where = "BG-HEALTH-021", "NVLinks", "nvidia-smi nvlink -s"
    listed = view.readings["nvlinks"]
    models = [view.model_of(gpu) for gpu in view.gpus]
    if models and all(model is not None and "nvlink" in model.absent for model in models):
        first = models[0]
        return skipped(code, what, where, first.absent["nvlink"] if first is not None else "")
    if listed is None:
        if DRIVER in view.parts and not view.gpus:
            return []  # the driver does not answer, which is told once
        return unknown(code, what, where, view.why_missing("nvlinks")["reason"], _LINKS)
    seen = [_links_of(view, item) for item in listed]
    known = {item["uuid"] for item in listed}
    for gpu in view.gpus if not view.captured else ():
        model = view.model_of(gpu)
        if gpu["uuid"] not in known and model is not None and "nvlinks" in model.limits:
            seen.append(Seen(name_of(gpu), None, UNKNOWN, "nvidia-smi lists no NVLink of it"))
    if not seen:
        return skipped(code, what, where, "no GPU of this host has NVLinks that nvidia-smi lists")
    good = "all NVLinks are active at full speed"
    return the_finding(code, what, where, _expected_links(view, models), seen, good, _LINKS)


def _expected_links(view: View, models: list[Model | None]) -> Any:
    return sorted({model.limits["nvlinks"] for model in models if model is not None and "nvlinks" in model.limits})


def _links_of(view: View, item: Mapping[str, Any]) -> Seen:
    gpu = next((gpu for gpu in view.gpus if gpu["uuid"] == item["uuid"]), None)
    label = name_of(gpu) if gpu is not None else item["uuid"]
    blame = blame_gpu(gpu) if gpu is not None else {"kind": "gpu", "name": item["uuid"]}
    model = view.models.get(item["product_name"])
    speeds = item["speeds_gb_per_s"]
    inactive = sorted((int(link) for link, speed in speeds.items() if speed is None), key=int)
    if model is not None and "nvlink" in model.absent:
        return Seen(label, None, SKIPPED, model.absent["nvlink"])
    if item["refused"] is not None:
        status = SKIPPED if view.options.sharing == "mig" else UNKNOWN
        return Seen(label, None, status, f"the driver tells nothing about its links: {item['refused']}")
    if item["all_inactive"]:
        return Seen(label, "all inactive", FAIL, "all links are inactive", RESET_GPU, blame)
    value = {"active": len(speeds) - len(inactive), "inactive": inactive}
    if inactive:
        told = ", ".join(str(link) for link in inactive)
        return Seen(label, value, FAIL, f"inactive links: {told}", RESET_GPU, blame)
    if model is None or "nvlinks" not in model.limits:
        return Seen(label, value, UNKNOWN, f"there is no threshold for {item['product_name'] or 'its model'}")
    if len(speeds) != model.limits["nvlinks"]:
        return Seen(label, value, FAIL, f"{len(speeds)} links instead of {model.limits['nvlinks']}", RESET_GPU, blame)
    least = model.limits["nvlink_gb_per_s"]
    slow = [f"{link} ({speed:g} GB/s)" for link, speed in speeds.items() if 0 < speed < least]
    if slow:
        return Seen(label, value, FAIL, f"slow links: {', '.join(slow)}", RESET_GPU, blame)
    return Seen(label, value)


def _topology(view: View) -> list[Finding]:
    """Between GPUs of an NVSwitch machine every pair has as many NVLinks as a GPU has; anything else goes around."""
    code, what, where = "BG-HEALTH-072", "connections between GPUs", "nvidia-smi topo -m"
    pairs = view.readings["topology"]
    remedy = "compare with an equal machine; check the board that its pairs have in common, and the fabric manager"
    if pairs is None:
        return unknown(code, what, where, view.why_missing("topology")["reason"], remedy)
    if not pairs:
        return skipped(code, what, where, "there is one GPU")
    links = _declared_links(view)
    if links is None:
        return unknown(code, what, where, "no profile and no model says how they must be connected", remedy)
    wanted = f"NV{links}"
    host = {"kind": "host", "name": view.subject}
    seen = [
        Seen(pair, kind)
        if kind == wanted
        else Seen(pair, kind, FAIL, f"{kind} instead of {wanted}", RESET_GPU, {**host, "kind": "link", "name": pair})
        for pair, kind in sorted(pairs.items())
    ]
    return the_finding(code, what, where, wanted, seen, f"all pairs are connected by {links} NVLinks", remedy)


def _declared_links(view: View) -> int | None:
    """The model's number of NVLinks, by what the driver says or, in a capture without that, by the profile."""
    products = [gpu["product_name"] for gpu in view.gpus] or list(view.profile.product_names if view.profile else ())
    models = [view.models[product] for product in products if product in view.models]
    if not models or len(models) < len(products):
        return None
    found = {model.limits.get("nvlinks") for model in models}
    return int(found.pop() or 0) or None if len(found) == 1 else None


# ---- Fabric ----


def _fabric_state(view: View) -> list[Finding]:
    uptime = get(view.readings, "host.uptime_s")
    starting = uptime is not None and uptime < GRACE_S

    def judge(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
        status = get(gpu, "fabric.status")
        if value == "Completed" and status in ("Success", None):
            return None
        told = f"{value} ({status})" if status is not None else str(value)
        return Problem(WARN if starting else FAIL, f"the fabric is {told}", FIX_CONFIGURATION)

    check = GpuCheck(
        "BG-HEALTH-023",
        "state of the NVLink fabric",
        "fabric.state",
        judge,
        _FABRIC,
        "every GPU is a member of the fabric",
        group="fabric",
        since=535,
    )
    return check.run(view)


def _fabric_health(view: View) -> list[Finding]:
    """What later platforms tell beside the state; H100 says N/A to all of it."""
    bad = {
        "health_summary": lambda value: value not in ("Healthy",),
        "health_bandwidth": lambda value: value not in ("Full", "Healthy"),
        "route_unhealthy": lambda value: value in ("True", "Yes"),
        "incorrect_configuration": lambda value: value not in ("None", "No", "False"),
    }
    seen = []
    for gpu in view.gpus:
        values = {name: value for name in bad if (value := get(gpu, f"fabric.{name}")) is not None}
        wrong = [f"{name} is {value}" for name, value in values.items() if bad[name](value)]
        if wrong:
            seen.append(Seen(name_of(gpu), values, FAIL, "; ".join(wrong), RESET_GPU, blame_gpu(gpu)))
        elif values:
            seen.append(Seen(name_of(gpu), values))
        elif not view.captured:
            seen.append(Seen(name_of(gpu), None, SKIPPED, "this platform does not report the fabric's health"))
    return the_finding(
        "BG-HEALTH-024", "health of the NVLink fabric", "the driver", None, seen, "the fabric is healthy", _LINKS
    )


def _fabric_manager(view: View) -> list[Finding]:
    if view.host is None or not view.host.fabric_manager:
        return []
    code, what, where = "BG-HEALTH-025", "fabric manager", "nvidia-fabricmanager.service"
    service = get(view.readings, "host.fabric_manager.service")
    version, driver = get(view.readings, "host.fabric_manager.version"), view.readings["driver"]["version"]
    remedy = "install the fabric manager of the driver's version and start it; then reset all GPUs or reboot"
    if service is None:
        return unknown(code, what, where, view.why_missing("host.fabric_manager.service")["reason"], remedy)
    value = {"state": service["state"], "version": version, "restarts": service["restarts"]}
    host = {"kind": "host", "name": view.subject}
    uptime = get(view.readings, "host.uptime_s")
    completed = bool(view.gpus) and all(get(gpu, "fabric.state") == "Completed" for gpu in view.gpus)
    if not service["installed"]:
        # The operator runs it in a container; that the fabric came up says that there was one, not that it lives.
        if completed:
            reason = "there is no such unit on the host, though the fabric is completed: it may run in a container"
            return unknown(code, what, where, reason, "look at the fabric manager where it runs")
        seen = Seen(view.subject, value, FAIL, "it is not installed", FIX_CONFIGURATION, host)
    elif not service["active"]:
        status = WARN if uptime is not None and uptime < GRACE_S else FAIL
        seen = Seen(view.subject, value, status, f"it is {service['state']}", FIX_CONFIGURATION, host)
    elif version is not None and driver is not None and version != driver:
        seen = Seen(view.subject, value, FAIL, f"version {version} with driver {driver}", FIX_CONFIGURATION, host)
    elif version is None or driver is None:
        missing = "host.fabric_manager.version" if version is None else "driver.version"
        seen = Seen(view.subject, value, UNKNOWN, view.why_missing(missing)["reason"])
    elif (service["restarts"] or 0) >= FLAPPING:
        text = f"it was restarted {service['restarts']} times"
        seen = Seen(view.subject, value, WARN, text, FIX_CONFIGURATION, host)
    else:
        seen = Seen(view.subject, value)
    return the_finding(code, what, where, driver, [seen], "it runs and is of the driver's version", remedy)


def _fabric_log(view: View) -> list[Finding]:
    errors = get(view.readings, "host.fabric_manager.log_errors")
    if errors is None:
        return []  # no log: the service tells whether there should be one
    code, what, where = "BG-HEALTH-026", "log of the fabric manager", "/var/log/fabricmanager.log"
    if not errors:
        return the_finding(code, what, where, None, [Seen(view.subject, [])], "it tells no error", "")
    host = {"kind": "host", "name": view.subject}
    seen = Seen(view.subject, errors, WARN, f"it tells: {errors[-1]}", FIX_CONFIGURATION, host)
    return the_finding(code, what, where, None, [seen], "", _FABRIC)


# ---- Counters over a window ----


def deltas_of(view: View, device: str) -> dict[str, Mapping[str, Any]]:
    """Differences of one device's counters by name: ``value``, or ``None`` and the ``reason`` why it is not known."""
    prefix, counters = device + "|", view.readings["counters"] or {}
    found: dict[str, Mapping[str, Any]] = {}
    for name, value in counters.get("deltas", {}).items():
        if name.startswith(prefix):
            found[name[len(prefix) :]] = {"value": value, "reason": None}
    for name, reason in counters.get("unknown", {}).items():
        if name.startswith(prefix):
            found[name[len(prefix) :]] = {"value": None, "reason": reason}
    return found


def over_window(view: View, text: str) -> str:
    return f"{text} in {(view.readings['counters'] or {}).get('window_s') or 0:g} s"


def _gpu_deltas(view: View, gpu: Mapping[str, Any], prefix: str) -> dict[str, Mapping[str, Any]]:
    found = deltas_of(view, f"gpu:{gpu['uuid'] or gpu['bus_id']}")
    return {name: delta for name, delta in found.items() if name.startswith(prefix)}


def _grown(
    view: View, gpu: Mapping[str, Any], prefix: str, what: str, absent: str | None, none: tuple[str, str]
) -> Seen:
    """What counters of a GPU did during the window. ``none`` is status and reason when it has no such counter."""
    label = name_of(gpu)
    if absent is not None:
        return Seen(label, None, SKIPPED, absent)
    found = _gpu_deltas(view, gpu, prefix)
    if not found:
        return Seen(label, None, *none)
    lost = [f"{name}: {delta['reason']}" for name, delta in found.items() if delta["value"] is None]
    grown = {name: delta["value"] for name, delta in found.items() if delta["value"]}
    if grown:
        told = ", ".join(f"{name} +{value}" for name, value in grown.items())
        return Seen(label, grown, WARN, over_window(view, f"{what} grew: {told}"), FIX_CONFIGURATION, blame_gpu(gpu))
    if lost:
        return Seen(label, None, UNKNOWN, "; ".join(lost[:3]))
    return Seen(label, 0)


def _nvlink_errors(view: View) -> list[Finding]:
    seen = []
    for gpu in view.gpus:
        model = view.model_of(gpu)
        absent = model.absent.get("nvlink") if model is not None else None
        reason = view.why_missing("nvlinks.errors")["reason"]
        linked = model is not None and "nvlinks" in model.limits and view.options.sharing != "mig"
        none = (UNKNOWN, reason) if linked else (SKIPPED, "the driver lists no NVLink of it")
        seen.append(_grown(view, gpu, "nvlink.", "error counters of its links", absent, none))
    good = "no error counter of a link grew"
    return the_finding("BG-HEALTH-022", "errors of NVLinks", "nvidia-smi nvlink -e", 0, seen, good, _LINKS)


def _replays(view: View) -> list[Finding]:
    seen = []
    for index, gpu in enumerate(view.gpus):
        missing = view.why_missing(f"gpus[{index}].pcie.replays")
        unsupported = missing["kind"] == "not_supported"
        none = (SKIPPED if unsupported else UNKNOWN, missing["reason"])
        seen.append(_grown(view, gpu, "pcie.replays", "the replay counter of its link", None, none))
    remedy = "reseat the board or its riser; look for PCIe errors in the kernel log"
    good = "no packet was sent again"
    return the_finding("BG-HEALTH-029", "replays of the PCI Express link", "the driver", 0, seen, good, remedy)


def _held_down(view: View) -> list[Finding]:
    """For how long the hardware held clocks down during the window: the moment of reading may have missed it."""
    found = []
    for gpu in view.gpus:
        seen = _grown(view, gpu, "clock_events_us.", "time with clocks held down (us)", None, (SKIPPED, "not counted"))
        if seen.status == WARN:
            found.append(seen)
    remedy = "check fans, air flow and power supplies of the machine"
    return the_finding("BG-HEALTH-068", "time with clocks held down", "the driver", 0, found, "", remedy)
