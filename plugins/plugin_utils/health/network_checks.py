"""Checks of RDMA adapters and their ports. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Mapping, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import (
    FAIL,
    FIX_CONFIGURATION,
    NO_ACTION,
    RMA,
    SKIPPED,
    UNKNOWN,
    WARN,
    Finding,
)
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import RdmaPorts
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.link_checks import deltas_of, over_window
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.view import (
    COUNTERS,
    NOT_SHOWN,
    RDMA,
    Seen,
    View,
    skipped,
    the_finding,
    unknown,
)

WHERE = "/sys/class/infiniband"

# Growth that NVSentinel's NIC monitor calls fatal, and what its rates warn of.
FATAL_COUNTERS = ("link_downed", "excessive_buffer_overrun_errors", "local_link_integrity_errors", "rnr_nak_retry_err")
WARN_COUNTERS = ("port_rcv_errors", "link_error_recovery")
SYMBOL_ERRORS_PER_HOUR = 120
SLOW_RESTARTS_PER_S = 10
# Widths of the InfiniBand specification's port counters (PortCounters): a counter that stands there cannot grow.
SATURATED = {"link_downed": 255, "excessive_buffer_overrun_errors": 15, "local_link_integrity_errors": 15}
FLAPS = 5
"""Lost carriers of one port that azurehpc-health-checks fails on (in 24 hours)."""

_CABLE = "check cable, optics and the switch's port; compare with the other ports of the host"


@dataclass(frozen=True)
class PortView:
    """A port with its adapter, named ``mlx5_0/1``."""

    name: str
    adapter: Mapping[str, Any]
    port: Mapping[str, Any]

    @property
    def up(self) -> bool:
        return self.port["state"] == "ACTIVE" and self.port["physical_state"] in ("LinkUp", None)

    @property
    def rate(self) -> float:
        return float(self.port["rate_gb_per_s"] or 0)

    @property
    def blame(self) -> dict[str, str]:
        named = {"kind": "port", "name": self.name}
        address = self.adapter["pci_address"]
        return {**named, "bus_id": str(address)} if address else named


def run(view: View) -> list[Finding]:
    """All findings about RDMA adapters; none when neither the profile nor the task says anything about them."""
    if RDMA not in view.parts or (view.host is None and not view.options.expect_rdma):
        return []
    code, what = "BG-HEALTH-035", "RDMA ports"
    adapters = view.readings["rdma_adapters"]
    if view.host is None:
        reason = "no profile says which ports there must be"
        return unknown(code, what, WHERE, reason, "declare the host's hardware profile")
    expected = replace(view.host.rdma, ports=view.options.rdma_ports or view.host.rdma.ports)
    required = expected.required if view.options.expect_rdma is None else view.options.expect_rdma
    if view.options.expect_rdma is False:
        return skipped(code, what, WHERE, "the inventory declares no RDMA network")
    if adapters is None:
        missing = view.why_missing("rdma_adapters")
        if not required and missing["kind"] == "absent":
            return skipped(code, what, WHERE, "no RDMA adapter, and none is declared")
        return unknown(code, what, WHERE, missing["reason"], "load the adapters' drivers (mlx5_ib)")
    ports = _ports(adapters)
    good = [item for item in ports if item.up and item.rate >= expected.rate_gb_per_s]
    if not required and not any(item.up for item in ports):
        return skipped(code, what, WHERE, "no port has a link, and none is declared")
    found = _enough(ports, good, expected)
    # The rest is about the ports of the compute network: those that are fast enough.
    found += _link_layers(good, expected)
    found += _firmware(adapters)
    found += _mtu(view, good, expected)
    found += _gids(view, good)
    found += _widths(view, good, expected)
    if COUNTERS in view.parts:
        found += _counters(view, good)
        found += _flaps(view, good)
    return found


def _ports(adapters: Sequence[Mapping[str, Any]]) -> list[PortView]:
    return [PortView(f"{item['name']}/{port['number']}", item, port) for item in adapters for port in item["ports"]]


def _enough(ports: list[PortView], good: list[PortView], expected: RdmaPorts) -> list[Finding]:
    """Enough ports with a link of the declared rate. Which ones are lacking: first those without link, then the fastest others."""
    code, what = "BG-HEALTH-035", "RDMA ports"
    wanted = f"{expected.ports} ports with a link of at least {expected.rate_gb_per_s:g} Gb/s"
    missing = expected.ports - len(good)
    others = sorted((item for item in ports if item not in good), key=lambda item: (item.up, -item.rate))
    seen = [Seen(item.name, _told(item)) for item in good]
    for index, item in enumerate(others):
        if index < missing:
            text = f"{_told(item)}, which is not a link of at least {expected.rate_gb_per_s:g} Gb/s"
            seen.append(Seen(item.name, _told(item), FAIL, text, FIX_CONFIGURATION, item.blame))
        else:
            seen.append(Seen(item.name, _told(item), SKIPPED, "not needed"))
    if missing > len(others):
        lacking = f"{len(ports)} ports instead of {expected.ports}"
        seen.append(Seen("adapters", len(ports), FAIL, lacking, FIX_CONFIGURATION))
    return the_finding(code, what, WHERE, wanted, seen, f"{len(good)} ports have a link as declared", _CABLE)


def _told(item: PortView) -> str:
    return f"{item.port['state']} {item.port['physical_state']} {item.rate:g} Gb/s"


def _link_layers(good: list[PortView], expected: RdmaPorts) -> list[Finding]:
    kinds = [item.port["link_layer"] for item in good]
    common = max(set(kinds), key=kinds.count, default=None)
    seen = []
    for item in good:
        layer = item.port["link_layer"]
        if layer is None:
            seen.append(Seen(item.name, None, UNKNOWN, "its link layer is not told"))
        elif layer not in expected.link_layers or layer != common:
            wanted = common if common in expected.link_layers else " or ".join(expected.link_layers)
            seen.append(Seen(item.name, layer, FAIL, f"{layer} instead of {wanted}", FIX_CONFIGURATION, item.blame))
        else:
            seen.append(Seen(item.name, layer))
    remedy = "set the port's type with the maker's tools (LINK_TYPE_P1) and power the host off and on"
    return the_finding(
        "BG-HEALTH-036",
        "link layer",
        WHERE,
        list(expected.link_layers),
        seen,
        "link layers as declared",
        remedy,
    )


def _firmware(adapters: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Adapters of one kind have one firmware."""
    boards: dict[str, list[Mapping[str, Any]]] = {}
    for item in adapters:
        kind = item["board_id"] or item["hca_type"]
        if item["firmware_version"] is not None and kind is not None:
            boards.setdefault(str(kind), []).append(item)
    seen = []
    for alike in boards.values():
        versions = [item["firmware_version"] for item in alike]
        common = max(versions, key=versions.count)
        for item in alike:
            version = item["firmware_version"]
            blame = {"kind": "adapter", "name": str(item["name"])}
            text = f"firmware {version} while its equals have {common}"
            bad = Seen(item["name"], version, WARN, text, FIX_CONFIGURATION, blame)
            seen.append(Seen(item["name"], version) if version == common else bad)
    remedy = "bring all adapters of the kind to one firmware"
    good = "adapters of a kind have one firmware"
    return the_finding("BG-HEALTH-037", "firmware of RDMA adapters", WHERE, None, seen, good, remedy)


def _mtu(view: View, good: list[PortView], expected: RdmaPorts) -> list[Finding]:
    seen = []
    for item in good:
        devices = item.adapter["netdevs"]
        if item.port["link_layer"] != "Ethernet":
            seen.append(Seen(item.name, None, SKIPPED, "InfiniBand has no MTU of its network interface to judge"))
        elif not devices or any(device["mtu"] is None for device in devices):
            status = NOT_SHOWN if view.captured else UNKNOWN
            seen.append(Seen(item.name, None, status, "its network interface is not visible"))
        else:
            least = min(device["mtu"] for device in devices)
            text = f"MTU {least} instead of {expected.mtu}"
            bad = Seen(item.name, least, FAIL, text, FIX_CONFIGURATION, item.blame)
            seen.append(Seen(item.name, least) if least >= expected.mtu else bad)
    remedy = f"set the MTU to {expected.mtu} on every half of every port, and on the switch"
    return the_finding("BG-HEALTH-038", "MTU", WHERE, expected.mtu, seen, "the MTU is large enough", remedy)


def _gids(view: View, good: list[PortView]) -> list[Finding]:
    seen = []
    for item in good:
        gids = item.port["gids"]
        if item.port["link_layer"] != "Ethernet":
            seen.append(Seen(item.name, None, SKIPPED, "InfiniBand needs no RoCE GID"))
        elif gids is None:
            status = NOT_SHOWN if view.captured else UNKNOWN
            seen.append(Seen(item.name, None, status, "its GID table is not visible"))
        elif any(gid["ipv4"] and gid["type"] == "RoCE v2" for gid in gids):
            seen.append(Seen(item.name, "RoCE v2 over IPv4"))
        else:
            text = "it has no GID for RoCE v2 over IPv4"
            seen.append(Seen(item.name, [gid["type"] for gid in gids], FAIL, text, FIX_CONFIGURATION, item.blame))
    remedy = "give the port's network interface an IPv4 address"
    good_text = "every port has a GID for RoCE v2 over IPv4"
    return the_finding("BG-HEALTH-039", "GIDs", WHERE, "RoCE v2 over IPv4", seen, good_text, remedy)


def _widths(view: View, good: list[PortView], expected: RdmaPorts) -> list[Finding]:
    seen = []
    for item in {port.adapter["name"]: port for port in good}.values():
        width = item.adapter["pcie_width_current"]
        blame = {"kind": "adapter", "name": str(item.adapter["name"]), "bus_id": str(item.adapter["pci_address"])}
        if width is None:
            status = NOT_SHOWN if view.captured else UNKNOWN
            seen.append(Seen(item.adapter["name"], None, status, "its PCI Express link is not visible"))
        elif width < expected.pcie_width:
            text = f"x{width} instead of x{expected.pcie_width}"
            seen.append(Seen(item.adapter["name"], width, FAIL, text, FIX_CONFIGURATION, blame))
        else:
            seen.append(Seen(item.adapter["name"], width))
    remedy = "reseat the adapter or its riser"
    good_text = "adapters have all their lanes"
    return the_finding("BG-HEALTH-042", "lanes of RDMA adapters", WHERE, expected.pcie_width, seen, good_text, remedy)


# ---- Counters over a window ----


def _counters(view: View, good: list[PortView]) -> list[Finding]:
    seen = [_port_counters(view, item) for item in good]
    good_text = "no error counter of a port grew"
    return the_finding("BG-HEALTH-040", "error counters of RDMA ports", WHERE, 0, seen, good_text, _CABLE)


def _port_counters(view: View, item: PortView) -> Seen:
    found = deltas_of(view, f"port:{item.name}")
    if not found:
        return Seen(item.name, None, UNKNOWN, "its counters are not known")
    window_s = float((view.readings["counters"] or {}).get("window_s") or 0)
    told: dict[str, list[str]] = {FAIL: [], UNKNOWN: [], WARN: []}
    for name, delta in found.items():
        graded = _grade(name, delta, window_s, item.port["counters"].get(name))
        if graded is not None:
            told[graded[0]].append(graded[1])
    value = {name: item.port["counters"].get(name) for name in FATAL_COUNTERS if name in item.port["counters"]}
    if told[FAIL]:
        return Seen(item.name, value, FAIL, over_window(view, ", ".join(told[FAIL])), FIX_CONFIGURATION, item.blame)
    if told[UNKNOWN]:
        return Seen(item.name, value, UNKNOWN, "; ".join(told[UNKNOWN][:3]))
    if told[WARN]:
        return Seen(item.name, value, WARN, over_window(view, ", ".join(told[WARN])), NO_ACTION, item.blame)
    return Seen(item.name, value)


def _grade(name: str, delta: Mapping[str, Any], window_s: float, standing: int | None) -> tuple[str, str] | None:
    """Status and words for one counter's difference; nothing for one that is healthy or says nothing about health.

    Rates are taken over at least an hour (per hour) or a second (per second), so that a short window makes no rate of one event.
    """
    value = delta["value"]
    text = f"{name} +{value}"
    if name not in (*FATAL_COUNTERS, *WARN_COUNTERS, "symbol_error", "roce_slow_restart"):
        return None
    if value is None:
        return UNKNOWN, f"{name}: {delta['reason']}"
    if name == "symbol_error":
        return (FAIL, text) if value / max(window_s / 3600, 1.0) > SYMBOL_ERRORS_PER_HOUR else None
    if name == "roce_slow_restart":
        return (WARN, text) if value / max(window_s, 1.0) > SLOW_RESTARTS_PER_S else None
    if value:
        return (FAIL if name in FATAL_COUNTERS else WARN), text
    if standing is not None and SATURATED.get(name) == standing:
        return WARN, f"{name} stands at its maximum and cannot grow"
    return None


def _flaps(view: View, good: list[PortView]) -> list[Finding]:
    seen = []
    for item in good:
        for device in item.adapter["netdevs"]:
            delta = deltas_of(view, f"netdev:{device['name']}").get("carrier_down_count")
            label = str(device["name"])
            if delta is None:
                seen.append(Seen(label, None, NOT_SHOWN))
            elif delta["value"] is None:
                seen.append(Seen(label, None, UNKNOWN, str(delta["reason"])))
            elif delta["value"]:
                status = FAIL if delta["value"] >= FLAPS else WARN
                text = over_window(view, f"it lost its carrier {delta['value']} times")
                seen.append(Seen(label, delta["value"], status, text, RMA if status == FAIL else NO_ACTION, item.blame))
            else:
                seen.append(Seen(label, 0))
    return the_finding("BG-HEALTH-041", "lost carriers", "/sys/class/net", 0, seen, "no port lost its carrier", _CABLE)
