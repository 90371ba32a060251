"""Hosts with simulated hardware, for the tests of the lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.simulation import hardware
from tests.unit.lab.simulated_host import SimulatedHost

# Some functions the stand-in knows and one it does not.
HEADER = "".join(
    f"nvmlReturn_t DECLDIR {name}(void);\n"
    for name in ("nvmlInit_v2", "nvmlDeviceGetName", "nvmlDeviceGetNvLinkState", "nvmlDeviceGetBridgeChipInfo")
)


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled stand-ins."""
    folder = tmp_path_factory.mktemp("simulation")
    header = folder / "nvml.h"
    header.write_text(HEADER, encoding="ascii")
    hardware.build(folder / "out", header)
    return folder / "out"


@pytest.fixture
def spark(tmp_path: Path, stand_ins: Path) -> SimulatedHost:
    return SimulatedHost(tmp_path / "spark", "gb10", stand_ins)


@pytest.fixture
def server(tmp_path: Path, stand_ins: Path) -> SimulatedHost:
    return SimulatedHost(tmp_path / "server", "h100x8", stand_ins)
