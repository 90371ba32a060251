"""gpu_health on simulated hardware: what the stand-ins show is read as health, and faults by name are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import gpu_readings, health_readings, nvml
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health import data
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.judgement import judge
from lab.simulation.host import machine
from tests.unit.lab.simulated_host import SimulatedHost

# What the stand-ins do not show (lab/simulation/README.md), and here, where no systemd runs, the services; links of
# adapters lead to the root of the file system, which is not the simulated host's here.
NOT_SHOWN = {"BG-HEALTH-025", "BG-HEALTH-038", "BG-HEALTH-039", "BG-HEALTH-042", "BG-HEALTH-045"}


@pytest.fixture(autouse=True)
def no_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lab hosts have no nvidia-ml-py."""
    monkeypatch.setattr(gpu_readings, "_nvml_binding", lambda: None)


def bad(host: SimulatedHost, profile: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Statuses that are neither ok nor skipped, by code."""
    root = host.root
    machine.write_tree(root, machine.tree(host.values(), host.place.read_machine()))
    monkeypatch.setenv("SIMULATED_HARDWARE_STATE", str(host.state))
    records = ["Linux", *(line.partition(">")[2] for line in host.kernel_log.lines())]
    for name, text in {
        "proc/sys/kernel/random/boot_id": "b-1\n",
        "proc/uptime": "600.0 1.0\n",
        "dev/kmsg": "".join(f"4,{number},{number + 1},-;{line}\n" for number, line in enumerate(records)),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    options = {"timeout_s": 20, "since": None, "state_file": str(root / "state.json"), "window_s": 3600}
    options.update(minimum_window_s=0, dcgm_report=None, dcgm_level=None, dcgm_timeout_s=60)

    def find(name: str) -> str | None:
        path = Path(root / "usr/bin" / name)
        return str(path) if path.exists() else None

    readings = health_readings.collect(str(root), find, options, check_mode=False)
    found = judge(readings, "host", load_profile(profile), data.models(), data.xids())
    return {item.code: item.status for item in found if item.status not in ("ok", "skipped")}


def test_healthy_hosts_are_healthy_but_for_what_is_not_shown(
    spark: SimulatedHost, server: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host, profile in ((spark, "gb10"), (server, "h100-sxm-8")):
        found = bad(host, profile, monkeypatch)
        assert set(found) <= NOT_SHOWN
        assert set(found.values()) == {"unknown"}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("gpu_missing", "BG-GPU-001"),
        ("row_remap_failed", "BG-HEALTH-016"),
        ("nvlink_down", "BG-HEALTH-021"),
        ("fabric_not_ready", "BG-HEALTH-023"),
        ("hca_slow", "BG-HEALTH-035"),
        ("hca_width", "BG-HEALTH-071"),
        ("xid_119", "BG-HEALTH-049"),
    ],
)
def test_a_fault_by_name_is_found(
    server: SimulatedHost, monkeypatch: pytest.MonkeyPatch, fault: str, code: str
) -> None:
    assert server.run("fault", fault) == 0
    found = bad(server, "h100-sxm-8", monkeypatch)
    assert found[code] == "fail"


def test_errors_of_a_port_are_found_by_the_next_run(server: SimulatedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "BG-HEALTH-040" not in bad(server, "h100-sxm-8", monkeypatch)
    assert server.run("fault", "hca_errors") == 0
    assert bad(server, "h100-sxm-8", monkeypatch)["BG-HEALTH-040"] == "fail"


def test_nvml_s_binding_reads_the_stand_in(server: SimulatedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    binding = pytest.importorskip("pynvml")
    monkeypatch.setenv("SIMULATED_HARDWARE_STATE", str(server.state))
    monkeypatch.setattr(binding, "nvmlLib", server.nvml())
    answer, missing = nvml.read_bounded(binding, 20)
    assert missing is None
    assert answer is not None
    document, links = nvml.document(answer)
    assert (document.driver_version, len(document.gpus), len(links)) == ("550.90.07", 8, 8)
    assert document.gpus[0].memory_total_bytes == 81559 * 1024**2
    assert (document.gpus[0].fabric["state"], document.gpus[0].power["limit_w"]) == ("Completed", 700.0)
    assert set(links[document.gpus[0].uuid or ""].speeds_gb_per_s.values()) == {26.562}
