"""Whether a node's pod network goes over the tailnet, and fits into it: what the kernel says of flannel's devices. Pure but for ``read``."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, UNKNOWN, Finding

CODE = "BG-K3S-024"
OVERLAY, BRIDGE = "flannel.1", "cni0"
"""flannel's VXLAN device, and the bridge that its CNI plugin makes with a node's first pod."""
SUBNET_FILE = "/run/flannel/subnet.env"
VXLAN_BYTES = 50
"""What VXLAN puts around a packet over IPv4: Ethernet 14, IPv4 20, UDP 8, VXLAN 8. flannel takes it off the MTU of its device."""

_TIMEOUT_S = 10.0


def read(run: Callable[[Sequence[str], float], Completed], text_of: Callable[[str], Optional[str]]) -> Dict[str, Any]:
    """``devices`` by name with ``mtu``, ``addresses`` and VXLAN's ``link``, ``local`` and ``port``, None where ip does not answer, and ``pod_mtu``."""
    try:
        done = run(["ip", "-json", "-details", "address", "show"], _TIMEOUT_S)
        devices = {str(entry["ifname"]): _device(entry) for entry in json.loads(done.output)}
    except (OSError, ValueError, KeyError, TypeError):
        return {"devices": None, "pod_mtu": None}
    return {"devices": devices, "pod_mtu": pod_mtu_in(text_of(SUBNET_FILE) or "")}


def _device(entry: Mapping[str, Any]) -> Dict[str, Any]:
    vxlan = (entry.get("linkinfo") or {}).get("info_data") or {}
    return {
        "mtu": int(entry["mtu"]),
        "addresses": [str(each.get("local")) for each in entry.get("addr_info") or ()],
        "link": str(vxlan.get("link") or ""),
        "local": str(vxlan.get("local") or ""),
        "port": vxlan.get("port"),
    }


def pod_mtu_in(text: str) -> Optional[int]:
    """The MTU of pods in flannel's file for the CNI plugin; None when it says none."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    mtu = values.get("FLANNEL_MTU", "").strip()
    return int(mtu) if mtu.isdigit() else None


def judge(
    subject: str, reading: Mapping[str, Any], interface: str, port: int, requirements: Tuple[str, ...]
) -> Finding:
    """The finding BG-K3S-024 about ``reading``; ``interface`` and ``port`` are those of the port table."""
    evidence = {"what": "pod network", "where": "ip -details address, " + SUBNET_FILE, "pod_mtu": reading["pod_mtu"]}
    devices = reading["devices"]
    if devices is None:
        return Finding(CODE, subject, UNKNOWN, "ip does not answer", "", evidence, requirements)
    evidence["devices"] = {name: devices.get(name) for name in (interface, OVERLAY, BRIDGE)}
    faults = _faults(devices, reading["pod_mtu"], interface, port)
    if faults:
        remedy = "restart the node's k3s once the host is in its tailnet: flannel takes device and MTU when it starts"
        return Finding(CODE, subject, FAIL, "; ".join(faults), remedy, evidence, requirements)
    reason = "over {0} with MTU {1} inside".format(interface, reading["pod_mtu"])
    return Finding(CODE, subject, OK, reason, "", evidence, requirements)


def _faults(devices: Mapping[str, Any], pod_mtu: Optional[int], interface: str, port: int) -> List[str]:
    tailnet, overlay, bridge = devices.get(interface), devices.get(OVERLAY), devices.get(BRIDGE)
    if tailnet is None or overlay is None:
        return ["there is no device {0}".format(interface if tailnet is None else OVERLAY)]
    most = tailnet["mtu"] - VXLAN_BYTES
    faults = []
    if overlay["link"] != interface:
        faults.append("{0} goes over {1}, not over {2}".format(OVERLAY, overlay["link"] or "no device", interface))
    if overlay["local"] not in tailnet["addresses"]:
        faults.append("{0} sends from {1}, which {2} does not have".format(OVERLAY, overlay["local"], interface))
    if overlay["port"] != port:
        faults.append("{0} uses port {1}, the port table has {2}".format(OVERLAY, overlay["port"], port))
    sizes = {OVERLAY: overlay["mtu"], "pods": pod_mtu, **({BRIDGE: bridge["mtu"]} if bridge else {})}
    for name, mtu in sizes.items():
        if mtu is None or mtu > most:
            faults.append("MTU of {0} is {1}, {2} leaves {3}".format(name, mtu or "not told", interface, most))
    return faults
