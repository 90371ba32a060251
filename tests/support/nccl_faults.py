"""Seeded faults of NCCL runs, and healthy variants: each is output of nccl-tests, or a cluster that an isolation measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.idle import obstacle
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.reading import read
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import Scanner
from ansible_collections.baremetal.gpu.plugins.modules import nccl_health
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import data, runs, verification
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.judgement import Expectation, Run, judge
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.outcomes import Judge
from ansible_collections.baremetal.gpu.tests.support.seeded_faults import SeededFault
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.fake_executor import (
    FakeExecutor,
    outcome,
    output,
)
from ansible_collections.baremetal.gpu.tests.unit.plugins.plugin_utils.nccl.support import GIB, row_line, run_text

Findings = list[dict[str, Any]]
Slow = Callable[[runs.Run, int], bool]

AREA = "nccl"
NODES = tuple(f"onyx-g{number}" for number in range(8))
LEAVES = {node: f"leaf{index // 4}" for index, node in enumerate(NODES)}
SERVER = Expectation(thresholds=data.thresholds("h100-sxm-8"), collectives=("all_reduce",), ranks=8, hosts=("onyx-g1",))
PAIR = Expectation(thresholds=data.thresholds("h100-sxm-8-pair"), collectives=("all_reduce",), ranks=16)
SPARKS = Expectation(thresholds=data.thresholds("gb10-pair"), collectives=("all_gather",), ranks=2)
INFO = "onyx-g1:4000:4100 [0] NCCL INFO {}\n"
GPUS = "".join(f"GPU-{number}, Default, Disabled\n" for number in range(8))

# What two healthy Sparks say of themselves; some of it sounds bad.
TALK = (
    "NET/Plugin: Could not find: libnccl-net.so. Using internal net plugin.",
    "NET/IB : Using [0]rocep1s0f0:1/RoCE [1]roceP2p1s0f0:1/RoCE [RO]; OOB enp1s0f0np0:169.254.1.1<0>",
    "Using network IB",
    "GPU Direct RDMA Disabled for HCA 0 'rocep1s0f0'",
    "NVLS multicast support is not available on dev 0 (NVLS_NCHANNELS 0)",
    "16 coll channels, 16 collnet channels, 0 nvls channels, 16 p2p channels, 2 p2p channels per peer",
    "misc/socket.cc: socketPollConnect: connect to 10.0.0.1<5> returned Connection refused, retrying (1/34) after sleep for 100 msec",
    "Channel 00/0 : 0[0] -> 1[0] [send] via NET/IB/0",
    "Connected all rings, use ring PXN 0 GDR 0",
)

# What ends a run before its first row, by the name of the fault: the line, the code and the signature that it has.
ENDS: Mapping[str, tuple[str, str, str]] = {
    "hang ended by the tests' own limit": ("onyx-g1: Test timeout (300s) common.cu:640", "BG-NCCL-011", "test_timeout"),
    "fewer GPUs than ranks": (
        "Invalid number of GPUs: 16 requested but only 8 were found.",
        "BG-NCCL-012",
        "cuda_invalid_ordinal",
    ),
    "no RDMA although it is demanded": (
        "onyx-g1:1:1 [0] NCCL WARN Error: network IB not found.",
        "BG-NCCL-012",
        "net_requested_not_found",
    ),
    "stale GID index": (
        "NCCL WARN Call to ibv_modify_qp failed with 22 Invalid argument errno 22",
        "BG-NCCL-012",
        "ib_qp_invalid",
    ),
    "one GPU for two ranks": (
        "NCCL WARN Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000",
        "BG-NCCL-012",
        "duplicate_gpu",
    ),
    "PCIe access control on": (
        "NCCL WARN NET/IB : Got completion from peer 10.0.0.2<5> with error 4, opcode 0, len 0, vendor err 81",
        "BG-NCCL-013",
        "ib_local_protection_4",
    ),
    "locked memory limited": ("NCCL WARN Call to ibv_reg_mr failed", "BG-NCCL-013", "ib_create_qp_or_reg_mr"),
    "uncorrectable memory error": (
        "onyx-g1: Test CUDA failure common.cu:5 'uncorrectable ECC error encountered'",
        "BG-NCCL-014",
        "cuda_ecc",
    ),
    "GPU off the bus": ("NVRM: GPU at 0000:1b:00 has fallen off the bus.", "BG-NCCL-014", "cuda_lost"),
    "fabric manager stopped": (
        "onyx-g1: Test CUDA failure common.cu:941 'system not yet initialized'",
        "BG-NCCL-015",
        "cuda_system_not_ready_802",
    ),
    "NVLS cannot be bound": (
        "NCCL WARN Failed to bind NVLink SHARP (NVLS) Multicast memory of size 2097152",
        "BG-NCCL-015",
        "nvls_multicast_bind",
    ),
    "packets lost": (
        "NCCL WARN NET/IB : Got completion from peer 10.0.0.2<5> with error 12, opcode 0, len 0, vendor err 129",
        "BG-NCCL-016",
        "ib_retry_exceeded_12",
    ),
    "rail without a path to the peer": (
        "NCCL WARN Call to ibv_modify_qp failed with 110 Connection timed out, on dev mlx5_1:1",
        "BG-NCCL-016",
        "ib_qp_timeout_110",
    ),
    "port down while running": (
        "NCCL WARN NET/IB : mlx5_0:1 Got async fatal event: port error",
        "BG-NCCL-016",
        "ib_async_port_event",
    ),
    "too few slots": (
        "There are not enough slots available in the system to satisfy the 16",
        "BG-NCCL-017",
        "mpi_slots",
    ),
    "ssh refused": ("admin@onyx-g2: Permission denied (publickey).", "BG-NCCL-017", "ssh_auth"),
    "time limit of the scheduler": (
        "slurmstepd: error: *** STEP 5.0 ON onyx-g1 CANCELLED AT 2026-01-29T18:02:19 DUE TO TIME LIMIT ***",
        "BG-NCCL-017",
        "slurm_time_limit",
    ),
    "crash": (
        "[onyx-g1:4711:0:4711] Caught signal 11 (Segmentation fault: address not mapped)",
        "BG-NCCL-018",
        "crash_signal",
    ),
    "two versions of NCCL": (
        "NCCL WARN Mismatched NCCL version detected : rank 3",
        "BG-NCCL-018",
        "nccl_version_mismatch",
    ),
    "library missing": (
        "all_reduce_perf: error while loading shared libraries: libnccl.so.2: cannot open shared object file: No such file",
        "BG-NCCL-018",
        "shared_library_missing",
    ),
    "built for other GPUs": (
        "Test CUDA failure common.cu:5 'no kernel image is available for execution on the device'",
        "BG-NCCL-018",
        "cuda_no_kernel_image",
    ),
    "shared memory too small": (
        "NCCL WARN Error: failed to extend /dev/shm/nccl-AbC to 9637892 bytes, error: No space left on device",
        "BG-NCCL-019",
        "shm_too_small",
    ),
    "memory of the pod too small": ("rank 3 exited on signal 9 (Killed)", "BG-NCCL-019", "oom_killed"),
}


def judged(text: str, expected: Expectation = SERVER) -> Findings:
    """The findings about a log."""
    reading = read([text.encode()], Scanner(data.raw_signatures()))
    run = Run(tuple(reading.blocks), tuple(reading.matches), reading.transports, "run.log")
    return [finding.as_dict() for finding in judge(run, expected, data.signatures(), "onyx-g1")]


def isolated(slow: Slow, nodes: tuple[str, ...] = NODES, **given: Any) -> Findings:
    """The findings of an isolation; `slow` says of a run and its number whether it is. A rail gives 45 GB/s, a pair 350."""
    number = 0

    def log(run: runs.Run) -> str:
        nonlocal number
        number += 1
        usual = 45.0 if "CUDA_VISIBLE_DEVICES" in run.environment else 350.0
        return output(run, usual * (0.6 if slow(run, number) else 1.0))

    deciding = Judge(data.signatures())
    wanted = request("isolate", nodes, **given)
    conclusion = verification.isolate(wanted, FakeExecutor(log), deciding, verification.Deadline(10**6, 1))
    return [finding.as_dict() for finding in deciding.conclusion(conclusion, "onyx")]


def request(mode: str, nodes: tuple[str, ...], **given: Any) -> verification.Request:
    defaults = {name: option.get("default") for name, option in nccl_health.ARGUMENTS.items()}
    arguments = {**defaults, "mode": mode, "run": True, "gpus_per_node": 8, "topology": "h100-sxm-8-pair", **given}
    return verification.request(arguments, nodes, data.thresholds(arguments["topology"]), "0a")


def ended(how: str) -> Findings:
    """The findings about a run that ended like that and printed nothing."""
    wanted = request("run", NODES[:2])
    (run,) = verification.planned_runs(wanted)
    return [
        finding.as_dict()
        for finding in Judge(data.signatures()).findings(outcome(run, "", how), wanted.expectation(run), "onyx")
    ]


def refused(attempt: Callable[[], object]) -> Findings:
    """The refusal as one finding: a task that fails is as bad."""
    try:
        attempt()
    except GpuError as error:
        return [{"code": error.code, "subject": "onyx", "status": "fail", "reason": str(error), "evidence": {}}]
    return []


def looked(gpus: str | None, applications: str | None) -> Findings:
    """The refusal of a host by what nvidia-smi says there."""
    found = obstacle("onyx-g1", gpus, applications, 8)
    executor = FakeExecutor(obstacles=[found] if found else [])
    return refused(partial(verification.look, executor, request("run", NODES[:1])))


def whole(*rows: str, **given: Any) -> str:
    return run_text(rows=rows or (row_line(GIB, 470.5), row_line(8 * GIB, 481.9)), **given)


def pair(busbw: float) -> str:
    return whole(row_line(8 * GIB, busbw), hosts=("onyx-g1", "onyx-g2"))


def sparks(busbw: float) -> str:
    text = whole(row_line(4 * GIB, busbw), hosts=("spark-01", "spark-02"), per_host=1, collective="all_gather")
    return text.replace("maxBytes 8589934592", "maxBytes 4294967296").replace("NVIDIA H100 80GB HBM3", "NVIDIA GB10")


def with_transport(said: str, transport: str) -> Findings:
    return judged(
        INFO.format(said) + pair(350.0), Expectation(PAIR.thresholds, ("all_reduce",), 16, transport=transport)
    )


def has(*bad: str) -> Slow:
    return lambda run, _number: not set(bad).isdisjoint(run.nodes)


def faults() -> Iterator[SeededFault]:
    """One per defect. Where several have a code, their signatures or reasons differ."""
    fault = partial(SeededFault, area=AREA)
    for name, (line, code, _signature) in ENDS.items():
        yield fault(name, expected=code, findings=partial(judged, run_text(rows=(), end=line + "\n")))
    # What only numbers tell.
    yield fault("slow server", expected="BG-NCCL-002", findings=partial(judged, whole(row_line(8 * GIB, 370.0))))
    yield fault("slow pair", expected="BG-NCCL-002", findings=partial(judged, pair(210.0), PAIR))
    yield fault(
        "half of the link of two Sparks", expected="BG-NCCL-002", findings=partial(judged, sparks(12.0), SPARKS)
    )
    yield fault(
        "wrong values", expected="BG-NCCL-003", findings=partial(judged, whole(row_line(8 * GIB, 481.0, wrong=3)))
    )
    yield fault(
        "checking off", expected="BG-NCCL-003", findings=partial(judged, whole(row_line(8 * GIB, 481.0, wrong="N/A")))
    )
    yield fault("rank count mismatch", expected="BG-NCCL-004", findings=partial(judged, whole(per_host=7)))
    yield fault("ranks on another host", expected="BG-NCCL-004", findings=partial(judged, whole(hosts=("onyx-g2",))))
    yield fault(
        "built without MPI", expected="BG-NCCL-004", findings=partial(judged, whole().replace("Rank  1", "Rank  0"))
    )
    yield fault(
        "TCP instead of RDMA", expected="BG-NCCL-005", findings=partial(with_transport, "Using network Socket", "ib")
    )
    yield fault(
        "no NVLS",
        expected="BG-NCCL-005",
        findings=partial(with_transport, "NVLS multicast support is not available on dev 3", "nvls"),
    )
    yield fault(
        "another version of NCCL",
        expected="BG-NCCL-008",
        findings=partial(judged, whole(), Expectation(SERVER.thresholds, ("all_reduce",), 8, nccl_version="2.18")),
    )
    # What is a warning.
    yield fault(
        "launcher that retried", expected="BG-NCCL-007", findings=partial(judged, run_text(rows=(), end="") + whole())
    )
    yield fault(
        "debug lines inside a row",
        expected="BG-NCCL-006",
        findings=partial(
            judged, whole(row_line(GIB, "47" + INFO.format("x").rstrip() + "0.5"), row_line(8 * GIB, 481.9))
        ),
    )
    yield fault(
        "disturbance that does not come back",
        expected="BG-NCCL-036",
        findings=partial(isolated, lambda _run, number: number == 1),
    )
    # What is not there.
    yield fault("truncated log", expected="BG-NCCL-001", findings=partial(judged, whole(end="")))
    yield fault("empty log", expected="BG-NCCL-001", findings=partial(judged, ""))
    yield fault("collective not run", expected="BG-NCCL-001", findings=partial(judged, whole(collective="all_gather")))
    yield fault(
        "unreadable log",
        expected="BG-NCCL-102",
        findings=partial(refused, partial(nccl_health.read_log, "/nowhere/run.log", [])),
    )
    yield fault("run over its limit", expected="BG-NCCL-020", findings=partial(ended, "deadline"))
    yield fault("run that cannot start", expected="BG-NCCL-020", findings=partial(ended, "not-started"))
    # What a run may not touch.
    yield fault(
        "GPUs under MPS",
        expected="BG-NCCL-109",
        findings=partial(looked, GPUS.replace("Default", "Exclusive_Process"), ""),
    )
    yield fault("GPUs in use", expected="BG-NCCL-110", findings=partial(looked, GPUS, "GPU-0, 4711, python\n"))
    yield fault("nvidia-smi hangs", expected="BG-NCCL-111", findings=partial(looked, None, None))
    # What pairs tell.
    yield fault("slow node", expected="BG-NCCL-031", findings=partial(isolated, has("onyx-g3")))
    yield fault(
        "one slow rail", expected="BG-NCCL-032", findings=partial(isolated, _one_rail, rails=["mlx5_0", "mlx5_3"])
    )
    yield fault("slow link between two nodes", expected="BG-NCCL-033", findings=partial(isolated, _one_link))
    yield fault(
        "slow links between leaves", expected="BG-NCCL-034", findings=partial(isolated, _across, classes=LEAVES)
    )
    yield fault("all pairs slow", expected="BG-NCCL-035", findings=partial(isolated, has(*NODES)))
    yield fault("slow pair of two nodes", expected="BG-NCCL-037", findings=partial(isolated, has("onyx-g1"), NODES[:2]))


def _one_rail(run: runs.Run, _number: int) -> bool:
    return "onyx-g3" in run.nodes and run.environment.get("CUDA_VISIBLE_DEVICES") in (None, "1")


def _one_link(run: runs.Run, _number: int) -> bool:
    return set(run.nodes) == {"onyx-g2", "onyx-g3"}


def _across(run: runs.Run, _number: int) -> bool:
    return len({LEAVES[node] for node in run.nodes}) == 2


def healthy() -> Iterator[SeededFault]:
    """What looks odd and is well: none of its findings is bad."""
    variant = partial(SeededFault, area=AREA, expected="")
    yield variant("healthy server", findings=partial(judged, whole()))
    yield variant("healthy pair", findings=partial(judged, pair(350.0), PAIR))
    yield variant("healthy pair of Sparks", findings=partial(judged, sparks(23.4), SPARKS))
    talk = "".join(INFO.format(said).replace("onyx-g1", "spark-01") for said in TALK)
    yield variant(
        "healthy pair of Sparks that says everything",
        findings=partial(
            judged, sparks(23.4).replace("#       size", f"{talk}#       size"), replace(SPARKS, transport="roce")
        ),
    )
    yield variant(
        "slow at small messages", findings=partial(judged, whole(row_line(1 << 20, 12.0), row_line(8 * GIB, 481.9)))
    )
    yield variant(
        "average refused by the tests themselves", findings=partial(judged, whole().replace(": 476.2", ": 176.2"))
    )
    yield variant(
        "in-place half not checked",
        findings=partial(judged, whole(row_line(8 * GIB, 481.9, in_place="100 200 481.9 N/A"))),
    )
    yield variant(
        "one GPU without a bus",
        findings=partial(judged, whole(row_line(8 * GIB, "0.00"), per_host=1), Expectation(SERVER.thresholds, ranks=1)),
    )
    yield variant(
        "no network in a single server", findings=partial(judged, INFO.format("Using network Socket") + whole())
    )
    yield variant(
        "ranks that waited for each other",
        findings=partial(judged, INFO.format("Call to connect returned Connection refused, retrying") + whole()),
    )
    yield variant("NVLS in use", findings=partial(_nvls))
    yield variant("all pairs healthy", findings=partial(isolated, has()))
    yield variant("idle GPUs", findings=partial(looked, GPUS, ""))


def _nvls() -> Findings:
    expected = Expectation(SERVER.thresholds, ("all_reduce",), 8, transport="nvls")
    return judged(INFO.format("NVLS multicast support is available on dev 0 (NVLS_NCHANNELS 16)") + whole(), expected)
