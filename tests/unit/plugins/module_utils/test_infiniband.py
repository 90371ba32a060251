"""RDMA adapters from sysfs and from dumps of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from ansible_collections.baremetal.gpu.plugins.module_utils.infiniband import (
    parse,
    parse_dump,
    parse_ibstat,
    read_adapters,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.missing import MissingLog
from ansible_collections.baremetal.gpu.tests.unit.plugins.mangling import mangled
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import write

DUMP = """# any comment
mlx5_10/fw_ver=28.41.1000
mlx5_2/fw_ver=28.41.1000
mlx5_2/hca_type=MT4129
mlx5_2/ports/1/state=4: ACTIVE
mlx5_2/ports/1/phys_state=5: LinkUp
mlx5_2/ports/1/rate=400 Gb/sec (4X NDR)
mlx5_2/ports/1/link_layer=Ethernet
mlx5_2/ports/1/counters/symbol_error=7
mlx5_2/ports/1/hw_counters/rnr_nak_retry_err=2
mlx5_2/ports/1/gids/0=fe80:0000:0000:0000:0000:0000:0000:0001
mlx5_2/ports/1/gids/1=0000:0000:0000:0000:0000:ffff:0a00:0001
mlx5_2/ports/1/gids/2=0000:0000:0000:0000:0000:0000:0000:0000
mlx5_2/ports/1/gid_attrs/types/1=RoCE v2
"""


def test_a_dump_gives_adapters_in_their_order() -> None:
    second, tenth = parse(parse_dump(DUMP))
    assert (second.name, tenth.name) == ("mlx5_2", "mlx5_10")
    port = second.ports[0]
    assert (port.state, port.physical_state, port.rate_gb_per_s, port.link_layer) == (
        "ACTIVE",
        "LinkUp",
        400.0,
        "Ethernet",
    )
    assert port.counters == {"rnr_nak_retry_err": 2, "symbol_error": 7}
    assert port.gids is not None
    assert [(gid.index, gid.type, gid.ipv4) for gid in port.gids] == [(0, None, False), (1, "RoCE v2", True)]


IBSTAT = """CA 'mlx5_0'
\tCA type: MT4129
\tNumber of ports: 1
\tFirmware version: 28.39.1002
\tPort 1:
\t\tState: Active
\t\tPhysical state: LinkUp
\t\tRate: 400
\t\tLink layer: InfiniBand
CA 'mlx5_1'
\tPort 1:
\t\tState: Down
\t\tPhysical state: Disabled
\t\tRate: 40
\t\tLink layer: InfiniBand
"""
IBSTATUS = """Infiniband device 'mlx5_0' port 1 status:
\tdefault gid:\t fe80:0000:0000:0000:0000:0000:0000:0001
\tstate:\t\t 4: ACTIVE
\tphys state:\t 5: LinkUp
\trate:\t\t 400 Gb/sec (4X NDR)
\tlink_layer:\t Ethernet
"""


def test_ibstat_and_ibstatus_are_read_alike() -> None:
    first, second = parse(parse_ibstat(IBSTAT))
    assert (first.hca_type, first.firmware_version) == ("MT4129", "28.39.1002")
    assert (first.ports[0].state, first.ports[0].physical_state, first.ports[0].rate_gb_per_s) == (
        "ACTIVE",
        "LinkUp",
        400,
    )
    assert (second.ports[0].state, second.ports[0].rate_gb_per_s) == ("DOWN", 40)
    (only,) = parse(parse_ibstat(IBSTATUS))
    assert (only.ports[0].state, only.ports[0].rate_gb_per_s, only.ports[0].link_layer) == ("ACTIVE", 400, "Ethernet")


@given(mangled(IBSTAT), mangled(IBSTATUS))
@settings(max_examples=40)
def test_a_mangled_listing_raises_nothing(first: str, second: str) -> None:
    for text in (first, second):
        parse(parse_ibstat(text))


@pytest.mark.parametrize("value", ["N/A", "", "ERR!", "-1", "many"])
def test_a_value_that_makes_no_sense_is_missing(value: str) -> None:
    dump = DUMP.replace("400 Gb/sec (4X NDR)", value).replace("symbol_error=7", f"symbol_error={value}")
    port = parse(parse_dump(dump))[0].ports[0]
    assert port.rate_gb_per_s is None
    assert "symbol_error" not in port.counters


def test_a_host_s_adapter_is_read_with_its_link_and_interface(tmp_path: Path) -> None:
    device = tmp_path / "sys/devices/pci/0000:30:00.0"
    for name, text in {
        "current_link_width": "8",
        "max_link_width": "16",
        "current_link_speed": "32.0 GT/s PCIe",
        "net/ens11np0/mtu": "1500",
        "net/ens11np0/operstate": "up",
        "net/ens11np0/carrier_down_count": "3",
    }.items():
        write(device / name, text + "\n")
    adapter = tmp_path / "sys/class/infiniband/mlx5_0"
    write(adapter / "ports/1/rate", "200 Gb/sec (4X HDR)\n")
    (adapter / "device").symlink_to(device)
    log = MissingLog()
    found = read_adapters(str(tmp_path), log)
    assert found is not None
    assert (found[0].pci_address, found[0].pcie_width_current, found[0].pcie_width_max) == ("0000:30:00.0", 8, 16)
    assert found[0].pcie_gt_per_s_current == 32.0
    assert [(item.name, item.mtu, item.carrier_down_count) for item in found[0].netdevs] == [("ens11np0", 1500, 3)]
    assert log.entries["rdma_adapters[0].ports[1].gids"].kind == "absent"


def test_a_kernel_without_rdma_lists_nothing_and_says_so(tmp_path: Path) -> None:
    log = MissingLog()
    assert read_adapters(str(tmp_path), log) is None
    assert log.entries["rdma_adapters"].kind == "absent"


@given(mangled(DUMP))
@settings(max_examples=60)
def test_a_mangled_dump_raises_nothing(text: str) -> None:
    for adapter in parse(parse_dump(text)):
        assert all(value >= 0 for port in adapter.ports for value in port.counters.values())
