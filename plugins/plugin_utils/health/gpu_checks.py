"""Checks of GPUs: what the driver says about each of them. Pure."""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    FAIL,
    FIX_CONFIGURATION,
    NO_ACTION,
    OK,
    REBOOT,
    RESET_GPU,
    RMA,
    SKIPPED,
    UNKNOWN,
    WARN,
    Finding,
    severity,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_fields import get
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.view import (
    DRIVER,
    NOT_SHOWN,
    GpuCheck,
    Judge,
    Problem,
    Seen,
    View,
    blame_gpu,
    name_of,
    the_finding,
    unknown,
)

IDLE_BYTES = 15 * 1024**2
"""Memory that an idle GPU may hold (gcm's and azurehpc-health-checks' figure)."""
LOADED_PERCENT = 90
"""Utilization from which on a GPU counts as loaded, so that its clock says something."""
AT_LIMIT = 0.95
"""Share of the power limit from which on a lower clock is the limit's effect and no fault."""

_RESET = (
    "drain the node and reset the GPU (nvidia-smi --gpu-reset -i <bus id>), or reboot it inside a maintenance window"
)
_REPLACE = "drain the node and have the board replaced"
_COOLING = "check fans, air flow and power supplies of the machine; compare with its neighbours"
_RECOVERY = {"Reset": RESET_GPU, "Reboot": REBOOT, "Drain P2P": RESET_GPU, "Drain and Reset": RESET_GPU}
_HARD_EVENTS = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")


def _must_equal(action: str, status: str = FAIL) -> Judge:
    def judge(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
        return None if value == limit else Problem(status, f"{value} instead of {limit}", action)

    return judge


def _at_most(action: str, status: str = FAIL) -> Judge:
    def judge(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
        return None if value <= limit else Problem(status, f"{value}, at most {limit} is healthy", action)

    return judge


def _must_be_false(text: str, action: str, status: str = FAIL) -> Judge:
    def judge(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
        return Problem(status, text, action) if value else None

    return judge


def _recovery(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
    return None if value == "None" else Problem(FAIL, f"the driver advises: {value}", _RECOVERY.get(value, RESET_GPU))


def _power_limit(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
    """The board's own default counts too: a limit below it was set by somebody."""
    wanted = max(limit, get(gpu, "power.default_limit_w") or 0)
    return None if value >= wanted else Problem(FAIL, f"{value:g} W instead of {wanted:g} W", FIX_CONFIGURATION)


def _width(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
    return None if value >= limit else Problem(FAIL, f"x{value} instead of x{limit}", FIX_CONFIGURATION)


def _generation(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
    """An idle GPU outside of P0 may lower its link; in P0 or at work it must not."""
    if value >= limit:
        return None
    if get(gpu, "clock_events.idle") is not False and gpu["performance_state"] not in ("P0", None):
        return Problem(SKIPPED, f"generation {value}: an idle GPU lowers its link", NO_ACTION)
    return Problem(FAIL, f"generation {value} instead of {limit}", FIX_CONFIGURATION)


def _margin(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
    return None if value > limit else Problem(FAIL, f"{value} C are left to its limit", FIX_CONFIGURATION)


def _memory_temperature(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
    highest = get(gpu, "temperature.memory_max_c")
    if highest is None or value <= highest:
        return None
    return Problem(FAIL, f"memory has {value} C, at most {highest} C are meant", FIX_CONFIGURATION)


def _remapped(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
    return None if value <= limit else Problem(WARN, f"{value} rows were remapped, more than {limit}", RMA)


def _spare_banks(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
    used = {name: get(gpu, f"remapped_rows.histogram.{name}") or 0 for name in ("low", "none")}
    if used["none"]:
        return Problem(FAIL, f"{used['none']} banks have no spare row left", RMA)
    if used["low"]:
        return Problem(WARN, f"{used['low']} banks have few spare rows left", RMA)
    return (
        None if value + (get(gpu, "remapped_rows.histogram.high") or 0) > 0 else Problem(WARN, "no bank is full", RMA)
    )


GPU_CHECKS: tuple[GpuCheck, ...] = (
    GpuCheck(
        "BG-HEALTH-002",
        "the driver's advice for recovery",
        "recovery_action",
        _recovery,
        "do what the driver advises, after draining the node",
        "the driver advises nothing",
        since=565,
        optional=True,
    ),
    GpuCheck(
        "BG-HEALTH-003",
        "the driver's request for a reset",
        "reset_required",
        _must_be_false("the driver asks for a reset", RESET_GPU),
        _RESET,
        "the driver asks for no reset",
        until=580,
        optional=True,
    ),
    GpuCheck(
        "BG-HEALTH-005",
        "persistence mode",
        "persistence_mode",
        _must_equal(FIX_CONFIGURATION),
        "enable and start nvidia-persistenced",
        "persistence mode is on",
        limit="persistence_mode",
    ),
    GpuCheck(
        "BG-HEALTH-007",
        "ECC mode",
        "ecc_mode",
        _must_equal(FIX_CONFIGURATION),
        "switch ECC on (nvidia-smi -e 1) and reset the GPU inside a maintenance window",
        "ECC is on",
        group="ecc",
        limit="ecc_mode",
    ),
    GpuCheck(
        "BG-HEALTH-009",
        "power limit",
        "power.limit_w",
        _power_limit,
        "set the default limit again (nvidia-smi -pl) and find out who lowered it",
        "the power limit is the default",
        group="power_limit",
        limit="power_limit_w",
    ),
    GpuCheck(
        "BG-HEALTH-012",
        "threshold of SRAM errors",
        "ecc.sram_threshold_exceeded",
        _must_be_false("more errors of SRAM than the maker allows", RMA),
        _REPLACE,
        "the maker's threshold is not exceeded",
        group="ecc",
        since=550,
        optional=True,
    ),
    GpuCheck(
        "BG-HEALTH-015",
        "row remapping that waits",
        "remapped_rows.pending",
        _must_be_false("a row waits for a reset to be remapped", RESET_GPU),
        _RESET,
        "no row waits to be remapped",
        group="remapped_rows",
    ),
    GpuCheck(
        "BG-HEALTH-016",
        "row remapping that failed",
        "remapped_rows.failure",
        _must_be_false("a row could not be remapped", RMA),
        _REPLACE,
        "no remapping failed",
        group="remapped_rows",
    ),
    GpuCheck(
        "BG-HEALTH-019",
        "memory that cannot be repaired",
        "ecc.unrepairable_memory",
        _must_be_false("memory cannot be repaired", RMA),
        _REPLACE,
        "no memory is beyond repair",
        group="ecc",
        since=580,
        optional=True,
    ),
    GpuCheck(
        "BG-HEALTH-020",
        "page retirement that waits",
        "retired_pages.pending",
        _must_be_false("a page waits for a reboot to be retired", REBOOT),
        "reboot the host inside a maintenance window",
        "no page waits to be retired",
        group="retired_pages",
        optional=True,
    ),
    GpuCheck(
        "BG-HEALTH-027",
        "lanes of the PCI Express link",
        "pcie.width_current",
        _width,
        "reseat the board or its riser; compare with the other GPUs of the host",
        "the link has all its lanes",
        group="pcie_link",
        limit="pcie_width",
    ),
    GpuCheck(
        "BG-HEALTH-028",
        "generation of the PCI Express link",
        "pcie.generation_current",
        _generation,
        "look for PCIe errors in the kernel log; reseat the board or its riser",
        "the link has its full speed",
        group="pcie_link",
        limit="pcie_generation",
    ),
    GpuCheck(
        "BG-HEALTH-032",
        "margin to the temperature limit",
        "temperature.margin_c",
        _margin,
        _COOLING,
        "the GPU is below its temperature limit",
        group="temperature_margin",
        limit="temperature_margin_c",
    ),
)


def run(view: View) -> list[Finding]:
    """All findings about GPUs; one, that nothing is known, when the driver does not answer."""
    if DRIVER not in view.parts:
        return []
    if not view.gpus:
        reason = view.why_missing("gpus")["reason"] if view.readings["gpus"] is None else "the driver sees no GPU"
        remedy = "repair the driver first: its answer is what health is judged by"
        return unknown("BG-HEALTH-001", "health of the GPUs", "the driver", reason, remedy)
    found = _models(view)
    for check in GPU_CHECKS:
        found += check.run(view)
    for own in _OWN:
        found += own(view)
    return found


def _models(view: View) -> list[Finding]:
    seen = []
    for gpu in view.gpus:
        product = gpu["product_name"]
        if product in view.models:
            seen.append(Seen(name_of(gpu), product))
        elif product is None and view.captured:
            seen.append(Seen(name_of(gpu), None, NOT_SHOWN))
        else:
            told = f"there are no thresholds for {product}" if product else "its model is not known"
            seen.append(Seen(name_of(gpu), product, UNKNOWN, told))
    remedy = "add the model with its sources to data/thresholds.yml"
    good = "the model's thresholds are known"
    return the_finding("BG-HEALTH-001", "model of the GPUs", "the driver", sorted(view.models), seen, good, remedy)


def _firmware(view: View) -> list[Finding]:
    driver = view.readings["driver"]["version"]
    if driver is None:
        return []
    check = GpuCheck(
        "BG-HEALTH-004",
        "firmware of the GPU's system processor",
        "gsp_firmware_version",
        lambda value, gpu, limit: (
            None if value == driver else Problem(FAIL, f"firmware {value} with driver {driver}", REBOOT)
        ),
        "reboot the host inside a maintenance window: the driver loads its own firmware",
        "the firmware is the driver's",
        optional=True,
    )
    return check.run(view)


def _compute_mode(view: View) -> list[Finding]:
    """MPS needs one process at a time, its server; everything else needs the mode in which any process may open the GPU."""
    wanted = "Exclusive_Process" if view.options.sharing == "mps" else "Default"
    check = GpuCheck(
        "BG-HEALTH-006",
        f"compute mode with sharing {view.options.sharing}",
        "compute_mode",
        lambda value, gpu, limit: (
            None if value == wanted else Problem(FAIL, f"{value} instead of {wanted}", FIX_CONFIGURATION)
        ),
        f"set the compute mode to {wanted} (nvidia-smi -c), or declare how the GPUs are shared",
        f"the compute mode is {wanted}",
    )
    return check.run(view)


def _mig_devices(view: View) -> list[Finding]:
    code, what = "BG-HEALTH-008", "MIG devices"
    remedy = "apply the declared MIG layout again inside a maintenance window"
    declared = view.options.mig_devices
    devices = [(gpu, device) for gpu in view.gpus for device in gpu["mig_devices"]]
    if view.options.sharing != "mig":
        if view.captured and not devices:
            return []
        seen = [
            Seen(
                name_of(gpu), len(gpu["mig_devices"]), FAIL, "it has MIG devices, none are declared", FIX_CONFIGURATION
            )
            if gpu["mig_devices"]
            else Seen(name_of(gpu), 0)
            for gpu in view.gpus
        ]
        return the_finding(code, what, "the driver", 0, seen, "there are no MIG devices, as declared", remedy)
    if declared is None:
        seen = [
            Seen(name_of(gpu), len(gpu["mig_devices"]))
            if gpu["mig_devices"]
            else Seen(name_of(gpu), 0, FAIL, "it has no MIG device", FIX_CONFIGURATION, blame_gpu(gpu))
            for gpu in view.gpus
        ]
        return the_finding(code, what, "the driver", "at least one", seen, "every GPU has MIG devices", remedy)
    if any(device["profile"] is None for _gpu, device in devices):
        return unknown(code, what, "nvidia-smi -L", "the profiles of the MIG devices are not told", remedy)
    counts: dict[str, int] = dict.fromkeys(declared, 0)
    for _gpu, device in devices:
        counts[device["profile"]] = counts.get(device["profile"], 0) + 1
    seen = [
        Seen(profile, count)
        if count == declared.get(profile, 0)
        else Seen(profile, count, FAIL, f"{count} instead of {declared.get(profile, 0)}", FIX_CONFIGURATION)
        for profile, count in sorted(counts.items())
    ]
    return the_finding(code, what, "nvidia-smi -L", dict(declared), seen, "MIG devices as declared", remedy)


def _equal_versions(view: View) -> list[Finding]:
    """Boards of one host with different firmware: one was replaced, or missed an update."""
    values = {name_of(gpu): (gpu["vbios_version"], gpu["inforom_version"]) for gpu in view.gpus}
    known = {value for pair in values.values() for value in pair} - {None}
    if not known or len(view.gpus) < 2:
        return []
    common = max(values.values(), key=list(values.values()).count)
    seen = [
        Seen(label, list(pair))
        if pair == common
        else Seen(label, list(pair), WARN, f"{_told(pair)} while the others have {_told(common)}", FIX_CONFIGURATION)
        for label, pair in values.items()
    ]
    remedy = "bring all boards to one version with the maker's tools"
    good = "all boards have the same VBIOS and InfoROM"
    return the_finding("BG-HEALTH-010", "VBIOS and InfoROM", "the driver", list(common), seen, good, remedy)


def _told(pair: tuple[Any, Any]) -> str:
    return " and ".join(str(value) for value in pair if value is not None) or "none"


def _ecc_seen(
    view: View, index: int, gpu: Mapping[str, Any], scope: str, names: tuple[str, ...]
) -> tuple[Any, Seen | None]:
    """The sum of counters that are there, or what to say of a GPU that has none of them."""
    model = view.model_of(gpu)
    if model is not None and "ecc" in model.absent:
        return None, Seen(name_of(gpu), None, SKIPPED, model.absent["ecc"])
    values = [value for name in names if (value := get(gpu, f"ecc.{scope}.{name}")) is not None]
    if values:
        return sum(values), None
    missing = view.why_missing(f"gpus[{index}].ecc.{scope}.{names[0]}")
    if missing["kind"] == "absent" and view.captured:
        return None, Seen(name_of(gpu), None, NOT_SHOWN)
    if missing["kind"] == "not_supported" and model is None:
        return None, Seen(name_of(gpu), None, SKIPPED, f"the GPU does not report it ({missing['reason']})")
    return None, Seen(name_of(gpu), None, UNKNOWN, missing["reason"])


_DRAM = ("dram_uncorrectable",)
_SRAM = ("sram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded")


def _uncorrectable(view: View) -> list[Finding]:
    """Errors since the last reset. Total and parts overlap, so the greater one counts."""
    seen = []
    for index, gpu in enumerate(view.gpus):
        total = get(gpu, "ecc.volatile.uncorrectable_total")
        parts, missing = _ecc_seen(view, index, gpu, "volatile", (*_DRAM, *_SRAM))
        known = [value for value in (total, parts) if value is not None]
        if not known and missing is not None:
            seen.append(missing)
        elif max(known) > 0:
            text = f"{max(known)} uncorrectable errors since its last reset"
            seen.append(Seen(name_of(gpu), max(known), FAIL, text, RESET_GPU, blame_gpu(gpu)))
        else:
            seen.append(Seen(name_of(gpu), 0))
    what, good = "uncorrectable memory errors since the last reset", "no uncorrectable error since the last reset"
    return the_finding("BG-HEALTH-011", what, "the driver", 0, seen, good, _RESET)


def _sram_lifetime(view: View) -> list[Finding]:
    seen = []
    for index, gpu in enumerate(view.gpus):
        value, missing = _ecc_seen(view, index, gpu, "aggregate", _SRAM)
        if missing is not None:
            seen.append(missing)
        elif value:
            text = f"{value} uncorrectable errors of SRAM in its life"
            seen.append(Seen(name_of(gpu), value, WARN, text, RMA, blame_gpu(gpu)))
        else:
            seen.append(Seen(name_of(gpu), 0))
    remedy = "watch the board; more of them exceed the maker's threshold, and then it is replaced"
    what, good = "uncorrectable errors of SRAM over the board's life", "no uncorrectable error of SRAM"
    return the_finding("BG-HEALTH-013", what, "the driver", 0, seen, good, remedy)


def _correctable(view: View) -> list[Finding]:
    seen = []
    for index, gpu in enumerate(view.gpus):
        model = view.model_of(gpu)
        told: dict[str, Any] = {}
        problems: list[str] = []
        for place in ("sram", "dram"):
            value, missing = _ecc_seen(view, index, gpu, "volatile", (f"{place}_correctable",))
            if missing is not None:
                seen.append(Seen(f"{missing.label} {place}", None, missing.status, missing.text))
                continue
            limit = model.limits.get(f"{place}_correctable") if model is not None else None
            told[place] = value
            if limit is None and value:
                seen.append(Seen(f"{name_of(gpu)} {place}", value, UNKNOWN, "there is no threshold for this model"))
            elif limit is not None and value >= limit:
                problems.append(f"{value} corrected errors of {place.upper()}, {limit} are too many")
        if problems:
            seen.append(Seen(name_of(gpu), told, FAIL, "; ".join(problems), RMA, blame_gpu(gpu)))
        elif told:
            seen.append(Seen(name_of(gpu), told))
    remedy = "watch the board; when uncorrectable errors follow, have it replaced"
    good = "few corrected errors"
    return the_finding("BG-HEALTH-014", "corrected memory errors", "the driver", None, seen, good, remedy)


def _remapping(view: View) -> list[Finding]:
    """How many rows are remapped, and whether banks have spare rows left: two values, one finding."""
    rows = GpuCheck(
        "BG-HEALTH-017",
        "remapped rows",
        "remapped_rows.uncorrectable",
        _remapped,
        "have the board replaced when more rows follow",
        "few rows are remapped, and every bank has spare rows",
        group="remapped_rows",
        limit="remapped_uncorrectable",
    ).run(view)
    banks = GpuCheck(
        "BG-HEALTH-017",
        "banks with spare rows",
        "remapped_rows.histogram.max",
        _spare_banks,
        _REPLACE,
        "few rows are remapped, and every bank has spare rows",
        group="remapped_rows",
        limit="remap_banks",
    ).run(view)
    return [max((*rows, *banks), key=lambda item: severity(item.status))] if rows or banks else []


def _repairs(view: View) -> list[Finding]:
    found: list[Finding] = []
    for name, what in (("channel_repair_pending", "a memory channel"), ("tpc_repair_pending", "a processing cluster")):
        found += GpuCheck(
            "BG-HEALTH-018",
            "repairs that wait",
            f"ecc.{name}",
            _must_be_false(f"{what} waits for a reset to be repaired", RESET_GPU),
            _RESET,
            "no repair waits for a reset",
            group="ecc",
            since=580,
            optional=True,
        ).run(view)
    bad = [item for item in found if item.status not in (OK, SKIPPED)]
    return (bad or found)[:1]


def _clock_events(view: View) -> list[Finding]:
    seen = []
    for index, gpu in enumerate(view.gpus):
        values = {name: get(gpu, f"clock_events.{name}") for name in _HARD_EVENTS}
        active = [name for name, value in values.items() if value]
        missing = view.why_missing(f"gpus[{index}].clock_events.hw_slowdown")
        if active:
            text = "its clock is held down: " + ", ".join(active)
            seen.append(Seen(name_of(gpu), values, FAIL, text, FIX_CONFIGURATION, blame_gpu(gpu)))
        elif any(value is not None for value in values.values()):
            seen.append(Seen(name_of(gpu), values))
        elif missing["kind"] == "absent" and view.captured:
            seen.append(Seen(name_of(gpu), None, NOT_SHOWN))
        else:
            seen.append(Seen(name_of(gpu), None, UNKNOWN, missing["reason"]))
    good = "nothing but idleness and the power limit holds clocks down"
    return the_finding("BG-HEALTH-030", "reasons for lower clocks", "the driver", None, seen, good, _COOLING)


def _busy_clock(view: View) -> list[Finding]:
    check = GpuCheck(
        "BG-HEALTH-031",
        "clock under load",
        "clocks.sm_mhz",
        _busy,
        _COOLING,
        "clocks are high under load",
        limit="busy_clock_ratio",
    )
    return check.run(view)


def _busy(value: Any, gpu: Mapping[str, Any], limit: Any) -> Problem | None:
    highest = get(gpu, "clocks.sm_max_mhz")
    load, draw, most = gpu["utilization_percent"], get(gpu, "power.draw_w"), get(gpu, "power.limit_w")
    at_limit = draw is not None and most is not None and draw >= AT_LIMIT * most
    if highest is None or load is None or load < LOADED_PERCENT:
        return Problem(SKIPPED, "the GPU is not loaded", NO_ACTION)
    if at_limit:
        return Problem(SKIPPED, "the power limit sets the clock", NO_ACTION)
    if value >= limit * highest:
        return None
    text = f"{value} MHz under load, at least {limit * highest:.0f} of {highest} MHz are healthy"
    return Problem(WARN, text, FIX_CONFIGURATION)


def _memory_heat(view: View) -> list[Finding]:
    """Only where the driver tells the highest temperature that is meant; newer ones tell neither that nor the margin."""
    if not any(get(gpu, "temperature.memory_max_c") is not None for gpu in view.gpus):
        return []
    check = GpuCheck(
        "BG-HEALTH-033",
        "temperature of memory",
        "temperature.memory_c",
        _memory_temperature,
        _COOLING,
        "memory is below its limit",
        group="memory_temperature",
        optional=True,
    )
    return check.run(view)


def _idle(view: View) -> list[Finding]:
    if not view.options.expect_idle:
        return []
    seen = []
    for gpu in view.gpus:
        busy = [process["name"] or str(process["pid"]) for process in gpu["processes"] if "C" in process["kinds"]]
        used = gpu["memory_used_bytes"] or 0
        if busy or used > IDLE_BYTES:
            told = ", ".join(busy) or f"{used} bytes of its memory are in use"
            seen.append(Seen(name_of(gpu), told, FAIL, f"it is in use: {told}", NO_ACTION, blame_gpu(gpu)))
        else:
            seen.append(Seen(name_of(gpu), "idle"))
    remedy = "drain the node, or stop what runs on the GPU, before it is tested"
    return the_finding("BG-HEALTH-034", "use of the GPUs", "the driver", "idle", seen, "the GPUs are idle", remedy)


_OWN = (
    _firmware,
    _compute_mode,
    _mig_devices,
    _equal_versions,
    _uncorrectable,
    _sram_lifetime,
    _correctable,
    _remapping,
    _repairs,
    _clock_events,
    _busy_clock,
    _memory_heat,
    _idle,
)
