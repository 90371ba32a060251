"""How a host's health is judged, beside the table of seeded faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.captures import recognise
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health import data
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.judgement import judge, unrecognised
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.log_checks import XID_CLASSES
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.view import Options
from ansible_collections.baremetal.gpu.tests.support.health_readings import Readings, gb10, grow, h100, miss, tell
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import h100_xml

XID = "NVRM: Xid (PCI:0000:13:00): {0}, pid=4242, name=python3, {1}"


def findings(readings: Readings, profile: str | None = "h100-sxm-8", **options: Any) -> dict[str, Finding]:
    lenient = options.pop("on_unknown", "fail")
    declared = load_profile(profile) if profile else None
    found = judge(readings, "host-1", declared, data.models(), data.xids(), Options(**options), on_unknown=lenient)
    assert len({item.code for item in found}) == len(found), "two findings with one code"
    return {item.code: item for item in found}


def captured(text: str, profile: str | None = "h100-sxm-8") -> dict[str, Finding]:
    declared = load_profile(profile) if profile else None
    (item,) = recognise(text)
    parts = frozenset(item.parts)
    found = judge(item.readings, "capture", declared, data.models(), data.xids(), parts=parts)
    return {item.code: item for item in found}


def test_a_finding_blames_the_gpu_by_uuid_and_address_and_says_what_to_do() -> None:
    readings = h100()
    readings["gpus"][3]["remapped_rows"]["failure"] = True
    found = findings(readings)["BG-HEALTH-016"]
    assert (found.status, found.action) == (FAIL, "rma")
    assert found.blame == (
        {"kind": "gpu", "name": "GPU-68100300-0000-4000-8000-000000000003", "bus_id": "0000:13:00.0"},
    )
    assert found.evidence["found"]["0000:13:00.0"] is True
    assert found.evidence["found"]["0000:12:00.0"] is False


def test_an_xid_blames_the_gpu_of_its_address() -> None:
    readings = h100()
    tell(readings, [XID.format(79, "GPU has fallen off the bus.")])
    found = findings(readings)["BG-HEALTH-047"]
    assert (found.action, found.blame[0]["name"]) == ("reboot", "GPU-68100300-0000-4000-8000-000000000003")


@pytest.mark.parametrize(
    ("to", "action"),
    [
        ("0x1 (GPU Reset Required)", "reset_gpu"),
        ("0x2 (Node Reboot Required)", "reboot"),
        ("0x3 (Drain P2P)", "reset_gpu"),
    ],
)
def test_xid_154_asks_for_what_the_driver_says(to: str, action: str) -> None:
    readings = h100()
    tell(readings, [XID.format(154, f"GPU recovery action changed from 0x0 (None) to {to}")])
    assert findings(readings)["BG-HEALTH-051"].action == action


def test_of_several_actions_the_most_drastic_counts() -> None:
    readings = h100()
    tell(readings, [XID.format(48, "DBE"), XID.format(168, "WPR")])
    assert findings(readings)["BG-HEALTH-048"].action == "reboot"


def test_an_xid_after_the_reset_still_stands() -> None:
    readings = h100()
    reset = "GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)"
    tell(readings, [XID.format(154, reset), XID.format(79, "GPU has fallen off the bus.")])
    assert findings(readings)["BG-HEALTH-047"].status == FAIL


def test_what_gb10_does_not_have_is_skipped_with_its_reason_and_never_ok() -> None:
    found = findings(gb10(), "gb10")
    for code in ("BG-HEALTH-007", "BG-HEALTH-011", "BG-HEALTH-015", "BG-HEALTH-021", "BG-HEALTH-023", "BG-HEALTH-043"):
        assert found[code].status == SKIPPED, code
        assert found[code].reason
    assert "LPDDR5X" in found["BG-HEALTH-011"].reason


def test_a_value_that_the_model_should_report_is_unknown_when_missing() -> None:
    readings = h100()
    miss(readings, "gpus[3].ecc_mode", "not_supported", "nvidia-smi prints N/A")
    found = findings(readings)["BG-HEALTH-007"]
    assert (found.status, found.reason) == (UNKNOWN, "0000:13:00.0: nvidia-smi prints N/A")
    assert found.blame == ()


def test_on_unknown_warn_makes_a_warning_that_says_so() -> None:
    readings = h100()
    miss(readings, "gpus[3].ecc_mode", "unreadable", "nvidia-smi prints ERR!")
    found = findings(readings, on_unknown="warn")["BG-HEALTH-007"]
    assert (found.status, found.reason) == (WARN, "unknown: 0000:13:00.0: nvidia-smi prints ERR!")


def test_an_older_driver_that_does_not_tell_a_value_is_no_unknown() -> None:
    readings = h100()
    for index in range(8):
        miss(readings, f"gpus[{index}].recovery_action", "absent", "nvidia-smi has no such field")
    assert findings(readings)["BG-HEALTH-002"].status == SKIPPED
    readings["driver"]["version"] = "575.57.08"
    assert findings(readings)["BG-HEALTH-002"].status == UNKNOWN


def test_without_a_profile_the_host_itself_is_not_judged() -> None:
    found = findings(h100(), None)
    assert found["BG-HEALTH-016"].status == OK
    assert {code for code in found if code.startswith("BG-GPU")} == set()
    assert not {"BG-HEALTH-025", "BG-HEALTH-035"} & set(found)


def test_ports_can_be_demanded_or_waived_by_the_task() -> None:
    readings = gb10()
    for adapter in readings["rdma_adapters"]:
        adapter["ports"][0]["state"] = "DOWN"
    assert findings(readings, "gb10")["BG-HEALTH-035"].status == SKIPPED
    assert findings(readings, "gb10", expect_rdma=True)["BG-HEALTH-035"].status == FAIL
    assert findings(h100(), expect_rdma=False)["BG-HEALTH-035"].status == SKIPPED


def test_a_host_with_fewer_ports_by_design_may_say_so() -> None:
    readings = h100()
    readings["rdma_adapters"] = readings["rdma_adapters"][:2]
    assert findings(readings)["BG-HEALTH-035"].status == FAIL
    assert findings(readings, rdma_ports=2)["BG-HEALTH-035"].status == OK


def test_the_slow_rail_is_blamed_and_not_the_storage_port() -> None:
    readings = h100()
    readings["rdma_adapters"][2]["ports"][0]["rate_gb_per_s"] = 200.0
    assert [item["name"] for item in findings(readings)["BG-HEALTH-035"].blame] == ["mlx5_2/1"]


def test_hosts_without_any_rdma_are_unknown_where_ports_are_required() -> None:
    readings = h100()
    miss(readings, "rdma_adapters", "absent", "/sys/class/infiniband: No such file or directory")
    assert findings(readings)["BG-HEALTH-035"].status == UNKNOWN


def test_a_counter_at_its_maximum_is_told() -> None:
    readings = h100()
    readings["rdma_adapters"][2]["ports"][0]["counters"]["link_downed"] = 255
    assert "stands at its maximum" in findings(readings)["BG-HEALTH-040"].reason


def test_a_port_counter_that_went_backwards_is_unknown() -> None:
    readings = h100()
    grow(readings, "port:mlx5_2/1|link_downed", None, "it went backwards, from 4 to 0")
    assert findings(readings)["BG-HEALTH-040"].status == UNKNOWN


def test_few_symbol_errors_in_a_short_window_make_no_rate() -> None:
    readings = h100()
    readings["counters"]["window_s"] = 1.0
    grow(readings, "port:mlx5_2/1|symbol_error", 3)
    assert findings(readings)["BG-HEALTH-040"].status == OK


def test_a_fabric_that_is_still_starting_is_a_warning() -> None:
    readings = h100()
    readings["host"]["uptime_s"] = 60.0
    readings["gpus"][3]["fabric"]["state"] = "In Progress"
    assert findings(readings)["BG-HEALTH-023"].status == WARN


def test_a_fabric_manager_in_a_container_is_unknown_and_not_missing() -> None:
    readings = h100()
    readings["host"]["fabric_manager"]["service"].update(installed=False, active=False)
    found = findings(readings)["BG-HEALTH-025"]
    assert found.status == UNKNOWN
    assert "container" in found.reason


def test_hot_memory_is_found_where_the_driver_tells_its_limit() -> None:
    readings = h100()
    assert "BG-HEALTH-033" not in findings(readings)
    readings["gpus"][3]["temperature"].update(memory_c=99, memory_max_c=95)
    assert findings(readings)["BG-HEALTH-033"].status == FAIL


def test_links_that_went_down_while_booting_are_no_flaps() -> None:
    readings = h100()
    tell(readings, ["mlx5_core 0000:32:00.0 ens13np0: Link down"] * 6, uptime_s=10)
    assert "BG-HEALTH-070" not in findings(readings)


def test_mig_on_a_model_without_mig_is_refused() -> None:
    with pytest.raises(GpuError) as caught:
        findings(gb10(), "gb10", sharing="mig")
    assert caught.value.code == "BG-HEALTH-104"


def test_simulated_hosts_stay_marked() -> None:
    readings = h100()
    readings["simulated"] = True
    assert {item.simulated for item in findings(readings).values()} == {True}


def test_readings_of_another_structure_are_refused() -> None:
    with pytest.raises(GpuError) as caught:
        findings({**h100(), "schema": 99})
    assert caught.value.code == "BG-GPU-103"


# ---- Captures ----


def test_a_capture_is_judged_by_what_it_shows() -> None:
    found = captured(h100_xml().replace("<remapped_row_pending>No", "<remapped_row_pending>Yes", 1))
    assert found["BG-HEALTH-015"].status == FAIL
    assert found["BG-GPU-001"].status == OK
    assert not {"BG-HEALTH-035", "BG-HEALTH-046", "BG-HEALTH-022", "BG-GPU-002"} & set(found)


def test_a_capture_of_some_gpus_is_no_host_with_fewer() -> None:
    text = h100_xml(1).replace("<attached_gpus>1<", "<attached_gpus>8<")
    found = captured(text)["BG-GPU-001"]
    assert (found.status, found.reason) == (UNKNOWN, "the capture shows 1 of 8 attached GPUs")


def test_a_capture_of_seven_gpus_is_a_host_that_lost_one() -> None:
    assert captured(h100_xml(7))["BG-GPU-001"].status == FAIL


def test_an_error_of_the_driver_in_a_capture_is_a_failure() -> None:
    found = captured("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.90\n")
    assert {code: item.status for code, item in found.items()} == {
        "BG-GPU-014": FAIL,
        "BG-GPU-001": UNKNOWN,
        "BG-GPU-003": UNKNOWN,
        "BG-GPU-005": UNKNOWN,
        "BG-GPU-006": UNKNOWN,
        "BG-GPU-008": UNKNOWN,
        "BG-GPU-009": FAIL,
        "BG-GPU-013": UNKNOWN,
        "BG-HEALTH-001": UNKNOWN,
    }


def test_a_capture_that_says_nothing_is_unknown() -> None:
    strict = unrecognised("/tmp/x", "nothing in it", "host-1 /tmp/x", "fail")
    assert (strict.code, strict.status) == ("BG-HEALTH-067", UNKNOWN)
    assert unrecognised("/tmp/x", "nothing in it", "host-1", "warn").status == WARN


# ---- Data ----


def test_every_class_of_xid_has_its_code(root: Path) -> None:
    kinds = {item.kind for item in data.xids().values()}
    assert kinds - {"info"} == set(XID_CLASSES)
    assert {code for code, _remedy in XID_CLASSES.values()} == {f"BG-HEALTH-{number:03d}" for number in range(47, 57)}


@pytest.mark.parametrize(
    ("action", "numbers"),
    [
        ("reboot", (79, 151, 168)),
        ("reset_gpu", (46, 48, 62, 64, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158)),
        ("restart_app", (13, 31, 43, 45, 94, 126)),
        ("fix_configuration", (54,)),
    ],
)
def test_the_policy_of_xids_is_that_of_public_fleets(action: str, numbers: tuple[int, ...]) -> None:
    assert {data.xids()[number].action for number in numbers} == {action}


def test_xid_63_is_a_warning_because_the_sources_disagree() -> None:
    assert data.xids()[63].severity == "warn"
    assert {data.xids()[number].severity for number in (92, 121)} == {"info"}


@pytest.mark.parametrize(("path", "reader"), [("data/thresholds.yml", data.models), ("data/xid.yml", data.xids)])
def test_data_that_is_not_usable_is_refused(path: str, reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "load", lambda _path: {"xids": [{}], "health": [{}]})
    with pytest.raises(GpuError) as caught:
        reader()
    assert caught.value.code == "BG-HEALTH-101"
    assert path in caught.value.what
