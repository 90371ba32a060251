"""What a host shows of its hardware follows the state file: PCI, network adapters, driver, MIG capabilities, metrics."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lab.simulation.host import dcgm, dcgm_exporter, dcgmi, machine
from tests.unit.lab.simulated_host import SimulatedHost

GPU_5 = "sys/bus/pci/devices/0000:15:00.0"
MLX5_3 = "sys/class/infiniband/mlx5_3/ports/1"


def tree(host: SimulatedHost) -> machine.Tree:
    return machine.tree(host.values(), host.place.read_machine())


def test_a_server_shows_gpus_and_adapters(server: SimulatedHost) -> None:
    files = tree(server)
    assert files[f"{GPU_5}/device"] == "0x2330\n"
    assert files[f"{GPU_5}/current_link_speed"] == "32.0 GT/s PCIe\n"
    assert files[f"{GPU_5}/current_link_width"] == "16\n"
    assert files[f"{MLX5_3}/rate"] == "400 Gb/sec (4X NDR)\n"
    assert files[f"{MLX5_3}/counters/link_downed"] == "0\n"
    assert sum(path.endswith("/ports/1/state") for path in files) == 10


def test_a_spark_shows_four_functions_of_one_adapter_and_no_gpu_link(spark: SimulatedHost) -> None:
    files = tree(spark)
    states = {path.split("/")[3]: text for path, text in files.items() if path.endswith("/ports/1/state")}
    assert states == {
        "rocep1s0f0": "4: ACTIVE\n",
        "rocep1s0f1": "1: DOWN\n",
        "roceP2p1s0f0": "4: ACTIVE\n",
        "roceP2p1s0f1": "1: DOWN\n",
    }
    assert files["sys/bus/pci/devices/0002:01:00.0/current_link_width"] == "4\n"
    assert not any("000f:01:00.0" in path and "link" in path for path in files)


@pytest.mark.parametrize(
    ("fault", "path", "healthy", "broken"),
    [
        (["pcie_width", "--gpu", "5"], f"{GPU_5}/current_link_width", "16\n", "8\n"),
        (["pcie_speed", "--gpu", "5"], f"{GPU_5}/current_link_speed", "32.0 GT/s PCIe\n", "8.0 GT/s PCIe\n"),
        (["gpu_lost", "--gpu", "5"], f"{GPU_5}/current_link_speed", "32.0 GT/s PCIe\n", "Unknown\n"),
        (["hca_down", "--hca", "mlx5_3"], f"{MLX5_3}/state", "4: ACTIVE\n", "1: DOWN\n"),
        (["hca_errors", "--hca", "mlx5_3"], f"{MLX5_3}/counters/symbol_error", "0\n", "9000\n"),
        (["gpu_missing", "--gpu", "5"], f"{GPU_5}/vendor", "0x10de\n", None),
        (["gpu_unclaimed", "--gpu", "5"], f"{GPU_5}/driver", Path("../../drivers/nvidia"), None),
        (["driver_unloaded"], "proc/driver/nvidia/version", ..., None),
    ],
)
def test_a_fault_is_seen_in_the_file_that_a_check_reads(
    server: SimulatedHost, fault: list[str], path: str, healthy: Any, broken: Any
) -> None:
    assert healthy in (..., tree(server)[path])
    server.run("fault", *fault)
    assert tree(server).get(path) == broken


def test_a_lost_gpu_answers_with_ones(server: SimulatedHost) -> None:
    server.run("fault", "gpu_lost", "--gpu", "5")
    assert tree(server)[f"{GPU_5}/config"] == b"\xff" * 256


def test_the_kernel_module_differs_from_the_libraries_after_half_an_update(server: SimulatedHost) -> None:
    assert "  550.90.07  " in str(tree(server)["proc/driver/nvidia/version"])
    server.run("fault", "driver_mismatch")
    assert "  550.54.15  " in str(tree(server)["proc/driver/nvidia/version"])
    assert server.values()["driver_version"] == "550.90.07"


def test_error_counters_have_the_kernels_form() -> None:
    text = machine.aer_counters(machine.AER_CORRECTABLE, "COR", "BadTLP 12, RxErr 1")
    assert text.splitlines()[:2] == ["RxErr 1", "BadTLP 12"]
    assert text.endswith("TOTAL_ERR_COR 13\n")


def test_writing_again_touches_nothing_and_removes_what_is_gone(server: SimulatedHost, tmp_path: Path) -> None:
    root = tmp_path / "shown"
    machine.write_tree(root, tree(server))
    before = {path: path.lstat().st_mtime_ns for path in root.rglob("*") if not path.is_dir()}
    machine.write_tree(root, tree(server))
    assert {path: path.lstat().st_mtime_ns for path in root.rglob("*") if not path.is_dir()} == before
    server.run("fault", "gpu_missing", "--gpu", "5")
    machine.write_tree(root, tree(server))
    assert not (root / GPU_5).exists()
    assert {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or path.is_file()} == set(
        tree(server)
    )


def test_mig_instances_have_capabilities_and_numbers(server: SimulatedHost) -> None:
    with server.driver():
        server.smi("-i", "1", "-mig", "1")
        server.smi("mig", "-i", "1", "-cgi", "9", "-C")
    files = tree(server)
    minors = dict(line.split() for line in str(files["proc/driver/nvidia-caps/mig-minors"]).splitlines())
    access = files["proc/driver/nvidia/capabilities/gpu1/mig/gi1/ci0/access"]
    assert f"DeviceFileMinor: {minors['gpu1/gi1/ci0/access']}\n" in str(access)
    assert len(set(minors.values())) == len(minors)


# ---- DCGM ----


def series(host: SimulatedHost) -> dict[str, dict[str, str]]:
    """Value by GPU of each series."""
    found: dict[str, dict[str, str]] = {}
    for line in dcgm.metrics(host.values(), "host").splitlines():
        if not line.startswith("#"):
            name, _, rest = line.partition("{")
            found.setdefault(name, {})[rest.split('"')[1]] = rest.rpartition(" ")[2]
    return found


def test_gb10_has_the_series_that_were_measured_on_it_and_no_other(spark: SimulatedHost) -> None:
    names = (
        "GPU_UTIL GPU_TEMP POWER_USAGE TOTAL_ENERGY_CONSUMPTION SM_CLOCK XID_ERRORS PCIE_REPLAY_COUNTER MEM_COPY_UTIL "
        "MEMORY_TEMP ENC_UTIL DEC_UTIL NVLINK_BANDWIDTH_TOTAL VGPU_LICENSE_STATUS"
    )
    assert set(series(spark)) == {f"DCGM_FI_DEV_{name}" for name in names.split()}


def test_h100_has_framebuffer_and_error_series(server: SimulatedHost) -> None:
    found = series(server)
    assert found["DCGM_FI_DEV_FB_FREE"]["0"] == str(81559 - 454 - 1)
    assert found["DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"] == {str(gpu): "0" for gpu in range(8)}


@pytest.mark.parametrize(
    ("fault", "name", "value"),
    [
        ("xid_94", "XID_ERRORS", "94"),
        ("ecc_uncorrected", "ECC_DBE_VOL_TOTAL", "1"),
        ("row_remap_failed", "ROW_REMAP_FAILURE", "1"),
        ("row_remap_pending", "ROW_REMAP_PENDING", "1"),
        ("hot", "GPU_TEMP", "90"),
        ("pcie_width", "PCIE_REPLAY_COUNTER", "4312"),
        ("nvlink_down", "NVLINK_REPLAY_ERROR_COUNT_TOTAL", "12"),
    ],
)
def test_metrics_show_a_fault_on_its_gpu_only(server: SimulatedHost, fault: str, name: str, value: str) -> None:
    healthy = series(server)[f"DCGM_FI_DEV_{name}"]
    server.run("fault", fault, "--gpu", "6")
    assert series(server)[f"DCGM_FI_DEV_{name}"] == {**healthy, "6": value}


def test_a_lost_gpu_has_no_series(server: SimulatedHost) -> None:
    server.run("fault", "gpu_lost", "--gpu", "0")
    assert set(series(server)["DCGM_FI_DEV_GPU_TEMP"]) == {str(gpu) for gpu in range(1, 8)}


def test_the_exporter_serves_the_state_of_the_moment(server: SimulatedHost) -> None:
    with dcgm_exporter.server(server.place, ("127.0.0.1", 0)) as exporter:
        Thread(target=exporter.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{exporter.server_port}/metrics"
        first = urllib.request.urlopen(url).read().decode()
        server.run("fault", "hot", "--gpu", "0")
        second = urllib.request.urlopen(url).read().decode()
        exporter.shutdown()
    assert "# TYPE DCGM_FI_DEV_GPU_TEMP gauge\n" in first
    assert [text.count("} 90\n") for text in (first, second)] == [0, 1]


def diag(host: SimulatedHost, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = dcgmi.main(["diag", "-r", "1", "-j", *arguments], host.place)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, document


def results(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["DCGM Diagnostic"]["test_categories"][0]["tests"][0]["results"]
    return found


def test_the_diagnostic_passes_on_healthy_gpus(server: SimulatedHost, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = diag(server, capsys)
    assert (code, [result["status"] for result in results(document)]) == (0, ["Pass"] * 8)


@pytest.mark.parametrize(
    ("fault", "error", "category", "severity"),
    [
        ("persistence_off", 29, 8, 5),
        ("row_remap_pending", 85, 2, 6),
        ("row_remap_failed", 80, 2, 2),
        ("fabric_not_ready", 123, 2, 6),
        ("gpu_lost", 120, 2, 2),
    ],
)
def test_the_diagnostic_fails_for_the_broken_gpu(
    server: SimulatedHost, capsys: pytest.CaptureFixture[str], fault: str, error: int, category: int, severity: int
) -> None:
    server.run("fault", fault, "--gpu", "4")
    capsys.readouterr()
    code, document = diag(server, capsys)
    failed = {result["entity_id"]: result["warnings"] for result in results(document) if result["status"] == "Fail"}
    assert code == 226
    assert list(failed) == [4]
    assert [failed[4][0][key] for key in ("error_id", "error_category", "error_severity")] == [
        error,
        category,
        severity,
    ]


def test_the_older_form_of_the_diagnostic_says_the_same(
    server: SimulatedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    server.run("fault", "persistence_off", "--gpu", "4")
    capsys.readouterr()
    _, document = diag(server, capsys, "--dcgm-format", "3")
    tests = document["DCGM GPU Diagnostic"]["test_categories"][0]["tests"]
    assert tests[0]["results"][0]["gpu_ids"] == "4"
    assert [test["results"][0]["status"] for test in tests] == ["FAIL", "PASS", "PASS"]


def test_without_a_driver_the_diagnostic_does_not_run(
    server: SimulatedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    server.run("fault", "driver_unloaded")
    capsys.readouterr()
    code, document = diag(server, capsys)
    assert (code, "runtime_error" in document["DCGM Diagnostic"]) == (226, True)


@pytest.mark.parametrize("arguments", [["diag", "-r", "3", "-j"], ["diag", "-r", "1"]])
def test_what_the_diagnostic_does_not_simulate_is_refused(server: SimulatedHost, arguments: list[str]) -> None:
    assert dcgmi.main(arguments, server.place) == 1
