"""What runs of nccl-tests from public reports are judged as; skipped where the captures are not beside the checkout."""

from __future__ import annotations

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.reading import read
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import Scanner
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import data
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.judgement import Expectation, Run, judge
from ansible_collections.baremetal.gpu.tests.shared.test_reference_captures import SAMPLES

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="reference captures are not beside this checkout")

# Codes that are not ok, by capture; what is not listed here has none but a bandwidth for which no threshold is known.
NOT_OK = {
    "06_slow_node_003_pair_2x4": {"BG-NCCL-001", "BG-NCCL-002", "BG-NCCL-003", "BG-NCCL-016"},
    "07_coreweave_h100_mpijob_and_gb200": {"BG-NCCL-001", "BG-NCCL-002", "BG-NCCL-004", "BG-NCCL-007"},
    "09_fabric_manager_system_not_yet_initialized": {"BG-NCCL-001", "BG-NCCL-002", "BG-NCCL-003", "BG-NCCL-015"},
    "11_wrong_values_old_error_column": {"BG-NCCL-001", "BG-NCCL-002", "BG-NCCL-003", "BG-NCCL-011"},
    "13_gb10_two_sparks_before_mtu9000": {"BG-NCCL-001", "BG-NCCL-002"},
    "14_gb10_two_sparks_nccltests_2.20.0": {"BG-NCCL-001", "BG-NCCL-002", "BG-NCCL-003"},
    "16_rank_count_error_mpirun_abort": {"BG-NCCL-001", "BG-NCCL-002", "BG-NCCL-003", "BG-NCCL-012"},
    "17_mpirun_rejects_job_ppr": {"BG-NCCL-001", "BG-NCCL-017"},
    "18_bad_argument": {"BG-NCCL-001", "BG-NCCL-012"},
    "20_ib_completion_error4_vendor81_acs": {"BG-NCCL-001", "BG-NCCL-013"},
    "21_ibv_modify_qp_110_cross_rail": {"BG-NCCL-001", "BG-NCCL-016"},
    "23_nvls_multicast_bind_401": {"BG-NCCL-001", "BG-NCCL-015"},
    "24_shm_too_small": {"BG-NCCL-001", "BG-NCCL-019"},
}
TOPOLOGIES = {"01": "h100-sxm-8", "13": "gb10-pair", "14": "gb10-pair"}


def findings(name: str) -> list[Finding]:
    reading = read([(SAMPLES / f"nccl/{name}.log").read_bytes()], Scanner(data.raw_signatures()))
    topology = TOPOLOGIES.get(name[:2])
    expected = Expectation(thresholds=data.thresholds(topology) if topology else {})
    run = Run(tuple(reading.blocks), tuple(reading.matches), reading.transports, name)
    return judge(run, expected, data.signatures(), "run")


def captures() -> list[str]:
    return sorted(path.stem for path in (SAMPLES / "nccl").glob("*.log"))


@pytest.mark.parametrize("name", captures())
def test_a_capture_is_judged_as_it_is(name: str) -> None:
    not_ok = {finding.code for finding in findings(name) if finding.status in ("fail", "unknown", "warn")}
    assert not_ok == NOT_OK.get(name, {"BG-NCCL-002"} if name[:2] != "15" else set())


def test_the_healthy_server_with_eight_gpus_reaches_its_threshold() -> None:
    found = [item for item in findings("01_good_8xH100_single_node") if item.subject == "run all_reduce"]
    assert {item.code: item.status for item in found}["BG-NCCL-002"] == "ok"


def test_two_sparks_with_small_frames_are_too_slow() -> None:
    statuses = {item.code: item.status for item in findings("13_gb10_two_sparks_before_mtu9000")}
    assert statuses["BG-NCCL-002"] == "fail"
