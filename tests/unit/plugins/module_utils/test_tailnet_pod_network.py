"""flannel's devices over a tailnet: device, address, port and MTU."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed
from ansible_collections.baremetal.gpu.plugins.module_utils.tailnet_pod_network import judge, pod_mtu_in, read

SUBNET = "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_MTU=1230\nFLANNEL_IPMASQ=true\n"
# The form of `ip -json -details address show`.
LISTED: list[dict[str, Any]] = [
    {"ifname": "eth0", "mtu": 1500, "addr_info": [{"local": "10.0.0.21"}]},
    {"ifname": "tailscale0", "mtu": 1280, "addr_info": [{"local": "100.64.0.2"}, {"local": "fd7a:115c:a1e0::2"}]},
    {
        "ifname": "flannel.1",
        "mtu": 1230,
        "addr_info": [{"local": "10.42.1.0"}],
        "linkinfo": {
            "info_kind": "vxlan",
            "info_data": {"id": 1, "link": "tailscale0", "local": "100.64.0.2", "port": 8472},
        },
    },
    {"ifname": "cni0", "mtu": 1230, "addr_info": [], "linkinfo": {"info_kind": "bridge", "info_data": {"port": 1}}},
]


def reading(listed: Any = LISTED, subnet: str | None = SUBNET) -> dict[str, Any]:
    text = listed if isinstance(listed, str) else json.dumps(listed)
    return read(
        lambda *_arguments: Completed(return_code=0, output=text, errors="", elapsed_s=0.0), lambda _path: subnet
    )


def judged(found: dict[str, Any]) -> tuple[str, str]:
    finding = judge("spark-01", found, "tailscale0", 8472, ("SPARK-12",))
    assert (finding.code, finding.subject, finding.requirements) == ("BG-K3S-024", "spark-01", ("SPARK-12",))
    return finding.status, finding.reason


def changed(name: str, **values: Any) -> list[dict[str, Any]]:
    found = json.loads(json.dumps(LISTED))
    (entry,) = [entry for entry in found if entry["ifname"] == name]
    for key, value in values.items():
        if key == "mtu":
            entry["mtu"] = value
        else:
            entry["linkinfo"]["info_data"][key] = value
    return list(found)


def test_a_pod_network_over_the_tailnet_is_well() -> None:
    assert judged(reading()) == ("ok", "over tailscale0 with MTU 1230 inside")


def test_a_node_without_pods_has_no_bridge_yet() -> None:
    assert judged(reading([entry for entry in LISTED if entry["ifname"] != "cni0"]))[0] == "ok"


@pytest.mark.parametrize(
    ("listed", "subnet", "said"),
    [
        (changed("flannel.1", link="eth0"), SUBNET, "goes over eth0"),
        (changed("flannel.1", local="100.64.0.9"), SUBNET, "sends from 100.64.0.9"),
        (changed("flannel.1", port=4789), SUBNET, "uses port 4789"),
        (changed("flannel.1", mtu=1450), SUBNET, "MTU of flannel.1 is 1450, tailscale0 leaves 1230"),
        (changed("cni0", mtu=1450), SUBNET, "MTU of cni0 is 1450"),
        (LISTED, SUBNET.replace("1230", "1450"), "MTU of pods is 1450"),
        (LISTED, None, "MTU of pods is not told"),
        (LISTED[:2], SUBNET, "no device flannel.1"),
        ([LISTED[0], *LISTED[2:]], SUBNET, "no device tailscale0"),
    ],
)
def test_a_pod_network_elsewhere_or_too_large_fails(listed: Any, subnet: str | None, said: str) -> None:
    status, reason = judged(reading(listed, subnet))
    assert status == "fail"
    assert said in reason


@pytest.mark.parametrize("listed", ["", "[1]", "[{}]"])
def test_what_ip_does_not_tell_is_unknown(listed: str) -> None:
    assert judged(reading(listed)) == ("unknown", "ip does not answer")


@pytest.mark.parametrize(("text", "mtu"), [("", None), ("FLANNEL_MTU=\n", None), (SUBNET, 1230)])
def test_the_mtu_of_pods_is_read(text: str, mtu: int | None) -> None:
    assert pod_mtu_in(text) == mtu
