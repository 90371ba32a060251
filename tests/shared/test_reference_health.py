"""What captures from public sources are judged as; skipped where they are not beside the checkout. The table is in docs/gpu-health.md."""

from __future__ import annotations

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.health_readings import read_captures
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health import data
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.judgement import judge
from ansible_collections.baremetal.gpu.plugins.plugin_utils.health.view import Options
from ansible_collections.baremetal.gpu.tests.shared.test_reference_captures import SAMPLES

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="reference captures are not beside this checkout")

FOLDERS = ("health", "nvidia-smi", "dcgm", "mps", "k8s")
NOTHING = "nothing in it is an answer of a known program"
# Captures in which nothing is an answer about a host's health.
OTHERS = {
    "dcgm/gb10-series-measured.txt",
    "health/ib_write_bw_gb10_two_halves.txt",
    "health/xid_table.csv",
    "nvidia-smi/gb10-torch-device.json",
}
H, S = "h100-sxm-8", "gb10"
COUNT = {"BG-GPU-001": "fail"}
# Codes that are not ok or skipped, by capture. A file that is not listed here has none.
BAD: dict[str, dict[str, str]] = {
    "dcgm/h100-dcgm-digitalocean.prom": COUNT,
    "dcgm/h100-dcgm-operator.prom": COUNT,
    "health/SYNTHETIC_dcgmi_diag_v4_8xh100_r1_fail_remap_and_config.json": {
        "BG-HEALTH-064": "fail",
        "BG-HEALTH-065": "fail",
    },
    "health/SYNTHETIC_dcgmi_diag_v4_runtime_error.json": {"BG-HEALTH-066": "unknown"},
    "health/SYNTHETIC_nvidia_smi_qx_7of8.xml": COUNT,
    "health/SYNTHETIC_nvidia_smi_qx_8xh100_faulty.xml": {
        "BG-HEALTH-002": "fail",
        "BG-HEALTH-005": "fail",
        "BG-HEALTH-007": "fail",
        "BG-HEALTH-011": "fail",
        "BG-HEALTH-012": "fail",
        "BG-HEALTH-013": "warn",
        "BG-HEALTH-015": "fail",
        "BG-HEALTH-016": "fail",
        "BG-HEALTH-019": "fail",
        "BG-HEALTH-023": "fail",
        "BG-HEALTH-027": "fail",
        "BG-HEALTH-030": "fail",
        "BG-HEALTH-032": "fail",
    },
    "health/azure_nhc_1dev_6flap_syslog": {"BG-HEALTH-070": "fail"},
    "health/azure_nhc_bad_nvlink_status.txt": {"BG-HEALTH-021": "fail"},
    "health/dcgmi_diag_gb10_level1.json": {"BG-HEALTH-065": "fail"},
    "health/dcgmi_diag_gb10_level2-plugins-allowed.json": {"BG-HEALTH-065": "fail"},
    "health/kmsg_peermem.log": {"BG-HEALTH-061": "fail"},
    "health/nvidia_smi_nvlink_status_a100.txt": {"BG-HEALTH-021": "unknown"},
    # One GPU, passed through to a virtual machine, is not the declared server.
    "health/nvidia_smi_q_text_h100_idle_and_load_590.txt": COUNT,
    "health/nvidia_smi_query_gpu_csv_h100_590.txt": COUNT,
    "mps/nvidia-smi-under-mps-a100.txt": {
        "BG-HEALTH-001": "unknown",
        "BG-HEALTH-005": "unknown",
        "BG-HEALTH-009": "unknown",
    },
    "nvidia-smi/gb10-580.82.09-persistence-off.txt": {"BG-HEALTH-005": "fail"},
    "nvidia-smi/h100-q-x-fragment.xml": {**COUNT, "BG-GPU-006": "fail"},
    "nvidia-smi/h100-sxm-q-565.57.01-gpu0.txt": {"BG-GPU-001": "unknown"},
}


def names() -> list[str]:
    files = [path for folder in FOLDERS for path in (SAMPLES / folder).iterdir()]
    return sorted(path.relative_to(SAMPLES).as_posix() for path in files)


def profile_of(name: str) -> str | None:
    if "gb10" in name:
        return S
    return H if "h100" in name or "7of8" in name else None


def judged(name: str) -> tuple[str | None, list[dict[str, str]]]:
    """Why nothing was read, and the statuses by code of each answer in the file."""
    (file,) = read_captures([str(SAMPLES / name)])
    declared = profile_of(name)
    profile = load_profile(declared) if declared else None
    options = Options(sharing="mps" if name.startswith("mps/") else "none")
    found = [
        judge(item["readings"], "x", profile, data.models(), data.xids(), options, None, frozenset(item["parts"]))
        for item in file["captures"]
    ]
    return file["reason"], [{item.code: item.status for item in findings} for findings in found]


@pytest.mark.parametrize("name", names())
def test_a_capture_is_judged_as_it_is(name: str) -> None:
    reason, answers = judged(name)
    if name in OTHERS or name.startswith("k8s/") or (name.startswith("mps/") and "smi" not in name):
        assert (reason, answers) == (NOTHING, [])
        return
    assert reason is None
    for statuses in answers:
        assert {code: status for code, status in statuses.items() if status not in ("ok", "skipped")} == BAD.get(
            name, {}
        )
    # A single GPU has no pair to judge.
    alone = name == "nvidia-smi/gb10-topo-m.txt"
    assert alone or name in BAD or any(status == "ok" for statuses in answers for status in statuses.values())


def test_a_healthy_server_passes_every_check_that_its_answer_shows() -> None:
    (statuses,) = judged("health/SYNTHETIC_nvidia_smi_qx_8xh100_healthy.xml")[1]
    assert sum(status == "ok" for status in statuses.values()) >= 28


def test_two_answers_in_one_file_are_judged_each() -> None:
    assert len(judged("health/nvidia_smi_q_text_h100_idle_and_load_590.txt")[1]) == 2


def test_a_loaded_gpu_at_full_clock_is_healthy_and_an_idle_one_is_not_judged_by_its_clock() -> None:
    idle, loaded = judged("health/nvidia_smi_q_text_h100_idle_and_load_590.txt")[1]
    assert (idle["BG-HEALTH-031"], loaded["BG-HEALTH-031"]) == ("skipped", "ok")
    assert loaded["BG-HEALTH-021"] == "ok"


def test_the_list_of_xids_is_complete() -> None:
    listed = (SAMPLES / "health/xid_table.csv").read_text(encoding="utf-8").splitlines()[1:]
    numbers = {int(line.split(",")[0]) for line in listed if line[:1].isdigit()}
    assert numbers == set(data.xids())
