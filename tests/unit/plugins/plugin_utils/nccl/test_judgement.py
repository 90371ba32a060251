"""Judging a run of nccl-tests."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.reading import read
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import Scanner
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import data
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.judgement import CAUSES, Expectation, Run, judge
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import (
    GIB,
    rank_line,
    row_line,
    run_text,
)

H100 = Expectation(thresholds=data.thresholds("h100-sxm-8"), collectives=("all_reduce",), ranks=8, hosts=("onyx-g1",))
DEBUG = "onyx-g1:1:1 [0] NCCL INFO NVLS multicast support is available on dev 0 (NVLS_NCHANNELS 16)\n"


def findings(text: str, expected: Expectation = H100) -> list[Finding]:
    reading = read([text.encode()], Scanner(data.raw_signatures()))
    run = Run(tuple(reading.blocks), tuple(reading.matches), reading.transports, "all_reduce.log")
    return judge(run, expected, data.signatures(), "onyx-g1")


def statuses(text: str, expected: Expectation = H100) -> dict[str, str]:
    return {finding.code: finding.status for finding in findings(text, expected)}


HEALTHY = {"BG-NCCL-001": "ok", "BG-NCCL-002": "ok", "BG-NCCL-003": "ok", "BG-NCCL-004": "ok"}


def test_a_healthy_run_is_ok_in_every_respect() -> None:
    assert statuses(run_text()) == HEALTHY


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        pytest.param(run_text(rows=(row_line(8 * GIB, 395.0),)), {"BG-NCCL-002": "fail"}, id="slow"),
        pytest.param(
            run_text(rows=(row_line(GIB, 300.0), row_line(8 * GIB, 481.0))), {}, id="slow only at a smaller message"
        ),
        pytest.param(
            run_text(rows=(row_line(1 << 20, 90.0),)).replace("maxBytes 8589934592", "maxBytes 1048576"),
            {"BG-NCCL-002": "unknown"},
            id="messages too small",
        ),
        pytest.param(
            run_text(rows=(row_line(GIB, 470.5),)), {"BG-NCCL-001": "unknown"}, id="the largest message is missing"
        ),
        pytest.param(run_text(rows=(row_line(8 * GIB, "nan"),)), {"BG-NCCL-002": "unknown"}, id="no number"),
        pytest.param(run_text(rows=(row_line(8 * GIB, 480.0, wrong=3),)), {"BG-NCCL-003": "fail"}, id="wrong in a row"),
        pytest.param(
            run_text(rows=(row_line(8 * GIB, 480.0, wrong="N/A"),)), {"BG-NCCL-003": "unknown"}, id="not checked"
        ),
        pytest.param(
            run_text().replace("values : 0 OK", "values : 2 FAILED"),
            {"BG-NCCL-003": "fail", "BG-NCCL-011": "fail"},
            id="out of bounds",
        ),
        pytest.param(run_text(per_host=7), {"BG-NCCL-004": "fail", "BG-NCCL-002": "unknown"}, id="seven of eight"),
        pytest.param(run_text(hosts=("onyx-g2",)), {"BG-NCCL-004": "fail"}, id="another host"),
        pytest.param(
            run_text().replace(rank_line(3, "onyx-g1", 3), rank_line(3, "onyx-g1", 3, "0000:10:00")),
            {"BG-NCCL-004": "fail"},
            id="one GPU twice",
        ),
        pytest.param(
            run_text().replace(rank_line(3, "onyx-g1", 3), ""),
            {"BG-NCCL-004": "unknown"},
            id="a rank is missing from the table",
        ),
        pytest.param(run_text().replace("Rank  1", "Rank  0"), {"BG-NCCL-004": "fail"}, id="built without MPI"),
        pytest.param(
            run_text(end=""), {"BG-NCCL-001": "unknown", "BG-NCCL-003": "unknown"}, id="cut before the summary"
        ),
        pytest.param(run_text() + run_text(), {"BG-NCCL-007": "warn"}, id="run twice"),
        pytest.param(
            run_text(rows=("12345 1 float sum -1 1 2 3 0 1 2 xNCCL 0\n", row_line(8 * GIB, 480.0))),
            {"BG-NCCL-006": "warn"},
            id="a row cannot be read",
        ),
        pytest.param(
            run_text(rows=(), end="onyx-g1: Test CUDA failure common.cu:941 'system not yet initialized'\n"),
            {"BG-NCCL-001": "unknown", "BG-NCCL-002": "unknown", "BG-NCCL-003": "unknown", "BG-NCCL-015": "fail"},
            id="fabric manager is not there",
        ),
    ],
)
def test_a_fault_changes_just_its_own_findings(text: str, changed: dict[str, str]) -> None:
    assert statuses(text) == {**HEALTHY, **changed}


def test_nothing_at_all_is_unknown() -> None:
    assert statuses("", Expectation()) == {"BG-NCCL-001": "unknown"}


def test_a_collective_that_was_to_run_and_did_not_is_unknown() -> None:
    found = findings(run_text(), dataclasses.replace(H100, collectives=("all_reduce", "all_gather")))
    (missing,) = [finding for finding in found if finding.subject == "onyx-g1 all_gather"]
    assert (missing.code, missing.status) == ("BG-NCCL-001", "unknown")


def test_a_collective_without_a_threshold_is_unknown_not_ok() -> None:
    found = statuses(run_text(collective="alltoall"), dataclasses.replace(H100, collectives=()))
    assert found["BG-NCCL-002"] == "unknown"


def test_the_site_s_own_minimum_goes_before_the_topology_s() -> None:
    assert statuses(run_text(), dataclasses.replace(H100, minimum_busbw_gb_per_s=490.0))["BG-NCCL-002"] == "fail"


def test_the_worse_half_is_judged_when_asked_for() -> None:
    text = run_text(rows=(row_line(8 * GIB, 481.0, in_place="100.0 200.0 400.0 0"),))
    assert statuses(text)["BG-NCCL-002"] == "ok"
    assert statuses(text, dataclasses.replace(H100, strict=True))["BG-NCCL-002"] == "fail"


def test_one_gpu_has_no_bus_bandwidth() -> None:
    text = run_text(per_host=1, rows=(row_line(8 * GIB, "0.00"),))
    found = statuses(text, dataclasses.replace(H100, ranks=1))
    assert found["BG-NCCL-002"] == "skipped"


@pytest.mark.parametrize(
    ("text", "wanted", "status"),
    [
        (DEBUG + run_text(), "nvls", "ok"),
        (run_text(), "nvls", "unknown"),
        (
            DEBUG.replace("NVLS multicast support is available on dev 0", "Using network Socket") + run_text(),
            "ib",
            "fail",
        ),
    ],
)
def test_the_transport_is_believed_only_when_the_log_names_it(text: str, wanted: str, status: str) -> None:
    assert statuses(text, dataclasses.replace(H100, transport=wanted))["BG-NCCL-005"] == status


def test_the_first_cause_of_the_highest_level_is_named_with_the_others_as_evidence() -> None:
    text = run_text(
        rows=(),
        end=(
            "mpirun noticed that process rank 3 with PID 5 exited\n"
            "onyx-g1:1 NCCL WARN Call to ibv_modify_qp failed with 110 Connection timed out\n"
            "onyx-g1: Test NCCL failure common.cu:401 'remote process exited or there was a network error / '\n"
        ),
    )
    (cause,) = [finding for finding in findings(text) if finding.code in CAUSES.values()]
    assert (cause.code, cause.status) == ("BG-NCCL-016", "fail")
    assert cause.evidence["signature"] == "ib_qp_timeout_110"
    assert len(cause.evidence["further"]) == 4


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("onyx-g1: Test timeout (300s) common.cu:640", "BG-NCCL-011"),
        ("Invalid number of GPUs: 16 requested but only 8 were found.", "BG-NCCL-012"),
        ("NCCL WARN Call to ibv_reg_mr failed", "BG-NCCL-013"),
        ("Test CUDA failure common.cu:5 'uncorrectable ECC error encountered'", "BG-NCCL-014"),
        ("NCCL WARN Failed to bind NVLink SHARP (NVLS) Multicast memory of size 2", "BG-NCCL-015"),
        ("NCCL WARN Call to ibv_modify_qp failed with 110 Connection timed out", "BG-NCCL-016"),
        ("There are not enough slots available in the system", "BG-NCCL-017"),
        ("no kernel image is available for execution on the device", "BG-NCCL-018"),
        ("NCCL WARN Error: failed to extend /dev/shm/nccl-AbC to 96 bytes", "BG-NCCL-019"),
    ],
)
def test_the_class_of_the_cause_decides_the_code(line: str, code: str) -> None:
    assert statuses(run_text(rows=(), end=line + "\n"))[code] == "fail"


def test_what_a_later_attempt_made_good_is_a_warning() -> None:
    failed = run_text(rows=(), end="onyx-g1: Test timeout (300s) common.cu:640\n")
    assert statuses(failed)["BG-NCCL-011"] == "fail"
    again = statuses(failed + run_text())
    assert (again["BG-NCCL-011"], again["BG-NCCL-007"], again["BG-NCCL-001"]) == ("warn", "warn", "ok")


def test_an_unlisted_topology_is_refused_with_the_near_one() -> None:
    with pytest.raises(GpuError, match="h100-sxm-8") as caught:
        data.thresholds("h100-sxm8")
    assert caught.value.code == "BG-NCCL-101"


def test_every_class_of_signatures_has_a_code() -> None:
    assert {signature.kind for signature in data.signatures().values()} == set(CAUSES)


def test_wrong_data_of_an_earlier_attempt_is_not_made_good_by_a_later_one() -> None:
    wrong = run_text(rows=(row_line(8 * GIB, 480.0, wrong=3),))
    assert statuses(wrong + run_text())["BG-NCCL-003"] == "fail"


def test_of_attempts_that_came_to_their_end_the_slowest_is_judged() -> None:
    slow = run_text(rows=(row_line(8 * GIB, 395.0),))
    assert statuses(slow + run_text())["BG-NCCL-002"] == "fail"
    assert statuses(run_text() + slow)["BG-NCCL-002"] == "fail"


UNNAMED_RUN = run_text().replace("# Collective test starting: all_reduce_perf\n", "")


def test_an_all_reduce_of_an_old_version_is_known_by_its_figures() -> None:
    """Before 2.16 the log does not name the collective; more bus than algorithm bandwidth only an all_reduce has."""
    assert statuses(UNNAMED_RUN.replace(" 200.00", " 275.40")) == HEALTHY


@pytest.mark.parametrize(
    ("wanted", "algbw", "redop", "status"),
    [
        ("all_gather", 550.7, "none", "ok"),
        ("all_gather", 550.7, " sum", "unknown"),
        ("all_gather", 481.9, "none", "unknown"),
        ("reduce_scatter", 550.7, " sum", "ok"),
        ("broadcast", 481.9, "none", "ok"),
    ],
)
def test_the_one_collective_that_is_wanted_is_believed_when_the_figures_fit_it(
    wanted: str, algbw: float, redop: str, status: str
) -> None:
    text = UNNAMED_RUN.replace(" 200.00", f" {algbw}").replace("  sum", f" {redop}").replace("470.5", "481.9")
    found = findings(text, dataclasses.replace(H100, collectives=(wanted,), minimum_busbw_gb_per_s=400.0))
    assert {item.subject: item.status for item in found if item.code == "BG-NCCL-001"}[f"onyx-g1 {wanted}"] == status


def test_of_several_roots_the_slowest_is_judged() -> None:
    rows = tuple(
        row_line(8 * GIB, busbw).replace("    -1", f"     {root}") for root, busbw in enumerate((480, 390, 481))
    )
    assert statuses(run_text(rows=rows))["BG-NCCL-002"] == "fail"


def test_of_several_types_floats_are_judged() -> None:
    """A type that the switch cannot reduce is slower on healthy machines too."""
    rows = (row_line(8 * GIB, 300.0).replace("float", "uint8"), row_line(8 * GIB, 481.0))
    assert statuses(run_text(rows=rows))["BG-NCCL-002"] == "ok"


def test_half_a_process_s_gpus_in_the_table_are_too_few() -> None:
    text = run_text(per_host=4).replace("nGpus 1", "nGpus 8")
    assert statuses(text, dataclasses.replace(H100, ranks=None))["BG-NCCL-004"] == "fail"


def test_a_host_s_domain_does_not_matter() -> None:
    assert statuses(run_text(), dataclasses.replace(H100, hosts=("onyx-g1.example.com",)))["BG-NCCL-004"] == "ok"


def test_gpus_and_network_devices_of_all_ranks_are_evidence() -> None:
    using = "onyx-g1:1:1 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/RoCE [RO]; OOB eth0:10.0.0.1<0>\n"
    channel = "onyx-g1:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/IB/0\n"
    (found,) = [
        item
        for item in findings(run_text(rows=(using, channel, row_line(8 * GIB, 481.9))))
        if item.code == "BG-NCCL-004"
    ]
    assert found.evidence["gpus"]["onyx-g1"][:2] == ["0000:10:00", "0000:11:00"]
    assert found.evidence["hcas"] == {"onyx-g1": ["mlx5_0:1"]}


SOCKET = "onyx-g1:1:1 [0] NCCL INFO Using network Socket\n"


def test_a_host_without_a_network_of_its_own_is_healthy_alone_and_suspicious_with_another() -> None:
    assert statuses(run_text(rows=(SOCKET, row_line(8 * GIB, 481.9)))) == HEALTHY
    two = Expectation(minimum_busbw_gb_per_s=330.0, collectives=("all_reduce",))
    found = statuses(run_text(hosts=("onyx-g1", "onyx-g2"), rows=(SOCKET, row_line(8 * GIB, 481.9))), two)
    assert found["BG-NCCL-012"] == "warn"


def test_no_direct_path_between_gpu_and_adapter_is_normal_on_gb10() -> None:
    line = "spark-01:1:1 [0] NCCL INFO Connected all rings, use ring PXN 0 GDR 0\n"
    text = run_text(hosts=("spark-01", "spark-02"), per_host=1, rows=(line, row_line(8 * GIB, 23.4)))
    expected = Expectation(minimum_busbw_gb_per_s=21.8)
    assert statuses(text, expected)["BG-NCCL-013"] == "warn"
    assert "BG-NCCL-013" not in statuses(text.replace("NVIDIA H100 80GB HBM3", "NVIDIA GB10"), expected)


@pytest.mark.parametrize(
    ("before", "within", "behind", "status"),
    [(True, False, False, "warn"), (False, True, False, "warn"), (False, False, True, "fail")],
)
def test_a_fatal_line_is_a_failure_only_where_nothing_came_to_its_end_after_it(
    before: bool, within: bool, behind: bool, status: str
) -> None:
    line = "onyx-g1:1:1 [0] NCCL WARN NET/IB : mlx5_0:1 Got async fatal event: port error\n"
    text = line * before + run_text(rows=(line * within, row_line(8 * GIB, 481.9))) + line * behind
    assert statuses(text) == {**HEALTHY, "BG-NCCL-016": status}


def test_waiting_for_other_ranks_is_no_failure() -> None:
    line = "onyx-g1:1:1 [0] NCCL INFO Call to connect returned Connection refused, retrying\n"
    assert statuses(line + run_text()) == HEALTHY


@pytest.mark.requirement("ONYX-R021", part="link layer of the adapters that NCCL uses")
@pytest.mark.parametrize(
    ("said", "wanted", "status"),
    [
        ("NVLS multicast support is not available on dev 3", "nvls", "fail"),
        ("NET/IB : Using [0]mlx5_0:1/IB [RO]; OOB eth0:10.0.0.1<0>", "roce", "fail"),
        ("NET/IB : Using [0]mlx5_0:1/RoCE [RO]; OOB eth0:10.0.0.1<0>", "roce", "ok"),
        ("NET/IB : Using [0]mlx5_0:1/RoCE [RO]; OOB eth0:10.0.0.1<0>", "ib", "unknown"),
        ("Using network Socket", "nvls", "unknown"),
        ("Using network Socket", "ib", "fail"),
    ],
)
def test_a_transport_that_the_log_contradicts_is_a_failure(said: str, wanted: str, status: str) -> None:
    text = f"onyx-g1:1:1 [0] NCCL INFO {said}\n" + run_text()
    assert statuses(text, dataclasses.replace(H100, transport=wanted))["BG-NCCL-005"] == status


@pytest.mark.requirement("ONYX-R068", part="version of NCCL in a run")
@pytest.mark.parametrize(
    ("text", "wanted", "status"),
    [
        (run_text(), "2.29", "ok"),
        (run_text(), "2.29.2", "ok"),
        (run_text(), "2.2", "fail"),
        (run_text(), "2.18", "fail"),
        (run_text().replace(" nccl-library=22902", ""), "2.29", "unknown"),
        (
            run_text(rows=("NCCL version 2.18.5+cuda12.2\n", row_line(8 * GIB, 481.9))).replace(
                " nccl-library=22902", ""
            ),
            "2.18",
            "ok",
        ),
    ],
)
def test_the_declared_version_of_nccl_must_be_the_one_that_was_used(text: str, wanted: str, status: str) -> None:
    assert statuses(text, dataclasses.replace(H100, nccl_version=wanted))["BG-NCCL-008"] == status


@pytest.mark.parametrize(
    ("busbw", "said"),
    [(1.6, "wedged"), (2.1, "TCP"), (3.1, "NCCL_IB_HCA"), (12.0, "one half"), (19.9, "MTU 9000"), (8.0, "by pairs")],
)
def test_figures_that_have_a_usual_cause_name_it(busbw: float, said: str) -> None:
    text = run_text(hosts=("spark-01", "spark-02"), per_host=1, rows=(row_line(8 * GIB, busbw),))
    expected = Expectation(thresholds=data.thresholds("gb10-pair"))
    (found,) = [item for item in findings(text, expected) if item.code == "BG-NCCL-002"]
    assert found.status == "fail"
    assert said in f"{found.reason}; {found.remedy}"


def test_signs_lie_below_the_minimum_and_do_not_overlap() -> None:
    for topology in ("gb10-pair", "h100-sxm-8"):
        for threshold in data.thresholds(topology).values():
            edges = [edge for sign in threshold.signs for edge in (sign.low, sign.high)]
            assert edges == sorted(edges)
            assert edges[-1] <= threshold.minimum_busbw_gb_per_s
