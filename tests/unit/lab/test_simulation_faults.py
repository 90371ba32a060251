"""Hardware faults by name: what they set, what they write into the kernel log, and that taking them back is exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.simulation import faults as catalogue
from lab.simulation.profile import ProfileError
from tests.unit.lab.simulated_host import SimulatedHost

ASKED_FOR = (
    "gpu_lost gpu_missing ecc_corrected ecc_uncorrected row_remap_pending row_remap_failed xid_79 xid_48 xid_63 xid_94 "
    "xid_119 hot throttle_thermal throttle_power pcie_width pcie_speed nvlink_down driver_mismatch fabric_not_ready "
    "persistence_off mig_on hca_down"
)


def without_sequence(host: SimulatedHost) -> dict[str, str]:
    """All values but the number of Xids, which only grows."""
    return {key: value for key, value in host.values().items() if not key.endswith(".xid_sequence")}


def all_faults(host: SimulatedHost, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert host.run("faults", "--json") == 0
    listed: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return listed


def test_every_fault_that_the_lab_needs_exists(server: SimulatedHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(ASKED_FOR.split()) <= {fault["name"] for fault in all_faults(server, capsys)}


@pytest.mark.parametrize("profile", ["spark", "server"])
def test_every_fault_is_seen_and_taken_back_exactly(
    profile: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    host = request.getfixturevalue(profile)
    before = without_sequence(host)
    for fault in all_faults(host, capsys):
        assert host.run("fault", fault["name"]) == 0, fault["name"]
        changed = host.values() != before
        assert changed, fault["name"]
        assert host.run("undo", fault["name"]) == 0
        assert without_sequence(host) == before, fault["name"]


def test_a_fault_names_its_device_in_the_listing(server: SimulatedHost, capsys: pytest.CaptureFixture[str]) -> None:
    server.run("fault", "hot", "--gpu", "3")
    capsys.readouterr()
    active = {fault["name"]: fault["active"] for fault in all_faults(server, capsys) if fault["active"]}
    assert active == {"hot": ["gpu 3"]}


def test_an_xid_has_its_line_in_the_kernel_log_and_its_event(server: SimulatedHost) -> None:
    server.run("fault", "xid_79", "--gpu", "2")
    assert server.kernel_log.lines() == [
        "<4>NVRM: Xid (PCI:0000:12:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
    ]
    assert [server.values()[f"gpu.2.xid_{name}"] for name in ("code", "sequence")] == ["79", "1"]


def test_a_fault_that_happens_again_is_another_event_and_still_one_fault(server: SimulatedHost) -> None:
    before = without_sequence(server)
    for _ in range(2):
        server.run("fault", "ecc_uncorrected")
    assert server.values()["gpu.0.xid_sequence"] == "2"
    server.run("undo", "ecc_uncorrected")
    assert without_sequence(server) == before


def test_undoing_is_no_new_event(server: SimulatedHost) -> None:
    server.run("fault", "gpu_lost")
    server.run("undo", "gpu_lost")
    assert server.values()["gpu.0.xid_sequence"] == "1"
    assert "gpu.0.xid_code" not in server.values()


NAMES = ["hot", "throttle_thermal", "throttle_power", "persistence_off", "xid_13"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["0", "5"])), max_size=6), data=st.data())
def test_faults_that_overlap_are_taken_back_in_any_order(
    server: SimulatedHost, steps: list[tuple[str, str]], data: st.DataObject
) -> None:
    backwards = data.draw(st.permutations(sorted(set(steps))))  # first: a draw may end the example
    before = without_sequence(server)
    for name, gpu in steps:
        assert server.run("fault", name, "--gpu", gpu) == 0
    for name, gpu in backwards:
        assert server.run("undo", name, "--gpu", gpu) == 0
    assert without_sequence(server) == before
    server.kernel_log.lines()  # or the pipe of all examples together runs full


def test_what_is_set_by_hand_wins_over_a_fault_and_stays(server: SimulatedHost) -> None:
    server.run("fault", "hot", "--gpu", "1")
    server.set("gpu.1.temperature_gpu_c=55")
    server.run("undo", "hot")
    assert server.values()["gpu.1.temperature_gpu_c"] == "55"
    assert "gpu.1.temperature_margin_c" not in server.values()


def test_a_fault_does_not_make_a_device_report_what_it_cannot(spark: SimulatedHost) -> None:
    spark.run("fault", "hot")
    assert spark.values()["gpu.0.temperature_gpu_c"] == "96"
    assert "gpu.0.temperature_margin_c" not in spark.values()


def test_reset_takes_everything_back(server: SimulatedHost) -> None:
    before = without_sequence(server)
    for name in ("gpu_lost", "driver_mismatch", "hca_down"):
        server.run("fault", name)
    server.set("gpu.*.temperature_gpu_c=91")
    assert server.run("reset") == 0
    assert without_sequence(server) == before
    assert server.run("undo", "gpu_lost") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fault", "hott"], "no fault is called 'hott'; did you mean hot? there are compute_prohibited,"),
        (["undo", "nothing"], "no fault is called 'nothing'; there are compute_prohibited,"),
        (["fault", "ecc_uncorrected"], "ecc_uncorrected does not exist on gb10; there are"),
        (["fault", "hot", "--gpu", "1"], "there is no GPU 1; there are 1, from 0"),
        (["fault", "hca_down", "--hca", "mlx5_0"], "there is no network adapter mlx5_0; there are rocep1s0f0,"),
        (["fault", "driver_mismatch", "--gpu", "0"], "this fault is aimed at the host, not at a GPU"),
        (["set", "gpu.0.temperature_f=1"], "no stand-in reads 'gpu.0.temperature_f'"),
        (["set", "gpu_counts=1"], "no stand-in reads 'gpu_counts'"),
        (["set", "complete=no"], "KEY=VALUE is expected"),
        (["set", "gpu.0.name"], "KEY=VALUE is expected"),
        (["kernel-log", "two\nlines"], "a kernel log line must be one line"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    spark: SimulatedHost, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = spark.state.read_bytes()
    assert spark.run(*arguments) == 1
    assert message in capsys.readouterr().err
    assert spark.state.read_bytes() == before


def test_a_link_that_does_not_exist_is_refused(server: SimulatedHost) -> None:
    assert server.run("fault", "nvlink_down", "--link", "18") == 1
    assert server.run("fault", "nvlink_down", "--link", "17") == 0


def test_a_fault_whose_line_cannot_be_logged_is_not_made(server: SimulatedHost) -> None:
    server.place.kernel_log.unlink()
    before = server.state.read_bytes()
    assert server.run("fault", "gpu_lost") == 1
    assert server.state.read_bytes() == before


def test_the_state_file_keeps_its_inode_and_ends_with_its_mark(server: SimulatedHost) -> None:
    inode = server.state.stat().st_ino
    server.set("gpu.0.temperature_gpu_c=91", "gpu.*.power_draw_w=20.00")
    lines = server.state.read_text(encoding="utf-8").splitlines()
    assert server.state.stat().st_ino == inode
    assert lines[-1] == "complete=yes"
    assert sum(line.startswith("gpu.*.power_draw_w=") for line in lines) == 1
    assert lines[0].startswith("# SIMULATED")


def test_hardware_is_simulated_on_lab_hosts_only(
    tmp_path: Path, server: SimulatedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    server.place.marker.unlink()
    assert server.run() == 1
    assert "not a lab host" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown: colour"),
        ({"target": "fan"}, "a title and a target of gpu, hca, host are expected"),
        ({"set": {}}, "it changes nothing"),
        ({"set": {"temperature_f": 9}}, "no gpu has a value 'temperature_f'"),
        ({"set": {"temperature_gpu_c": {"gb10": 9}}}, "temperature_gpu_c: one value for each of gb10, h100x8"),
        ({"profiles": ["b300"]}, "no such profile: b300"),
        ({"kernel": ["{moon}"]}, "unknown word moon in '{moon}'"),
        ({"target": "hca", "xid": 79, "set": {"state": "1: DOWN"}}, "only a GPU has Xids"),
    ],
)
def test_a_wrong_entry_of_the_catalogue_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    fault = {"title": "Hot", "target": "gpu", "set": {"temperature_gpu_c": 99}, **change}
    path = tmp_path / "faults.yml"
    path.write_text(yaml.safe_dump({"schema": 1, "faults": {"hot": fault}, "xids": {}}), encoding="utf-8")
    with pytest.raises(ProfileError) as refused:
        catalogue.load(path)
    assert str(refused.value).startswith(f"faults.yml: hot: {message}")
