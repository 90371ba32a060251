"""How long a large log of NCCL takes to be judged, and how much memory.

`python -m tools.bench.nccl_log LOG RESULT` is one measured process: it judges the log as the module and its action do together,
and keeps what it found and its peak memory.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.settings import REPOSITORY
from tools.bench.measure import load, run
from tools.bench.parts import WORK, Repetitions, repeat

BYTES = 50_000_000
HOSTS = 16
GPUS = 8
REPETITIONS = 5
BUDGET_S = 60.0


def measure(_repetitions: Repetitions) -> dict[str, Any]:
    """Seconds and peak memory of each process, and the machine's load meanwhile. Raises RuntimeError when the verdict is wrong."""
    folder = WORK / "nccl"
    log, result = folder / "large.log", folder / "result.json"
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        file.writelines(lines(BYTES))
    measured: list[dict[str, float]] = []

    def once(number: int) -> None:
        command = [sys.executable, "-m", "tools.bench.nccl_log", str(log), str(result)]
        usage = run(command, folder / f"judge-{number + 1}.log", cwd=REPOSITORY, environment=dict(os.environ))
        found = json.loads(result.read_text(encoding="utf-8")) if usage.returncode == 0 else {}
        if found.get("statuses") != EXPECTED:
            raise RuntimeError(f"the log was judged as {found.get('statuses')}, exit status {usage.returncode}")
        measured.append(
            {
                "wall_s": round(usage.wall_s, 2),
                "cpu_s": round(usage.cpu_s, 2),
                "peak_mb": round(found["peak_bytes"] / 1e6, 1),
            }
        )

    with load() as busy:
        repeat(REPETITIONS, BUDGET_S, once)
    size = log.stat().st_size
    log.unlink()
    return {"bytes": size, "runs": measured, "load": asdict(busy)}


EXPECTED = {"BG-NCCL-001": "ok", "BG-NCCL-002": "ok", "BG-NCCL-003": "ok", "BG-NCCL-004": "ok", "BG-NCCL-005": "ok"}


def lines(size: int) -> Iterator[str]:
    """A run of 128 ranks with NCCL_DEBUG=INFO, at least `size` bytes: what ranks say of themselves, between the table and its rows."""
    draw = random.Random(1)  # repeatable on purpose
    hosts = [f"onyx-g{number}" for number in range(HOSTS)]
    yield "# Collective test starting: all_reduce_perf\n"
    yield (
        "# nThread 1 nGpus 1 minBytes 8589934592 maxBytes 8589934592 step: 2(factor) warmup iters: 5 iters: 20 "
        "agg iters: 1 validation: 1 graph: 0\n#\n# Using devices\n"
    )
    for rank in range(HOSTS * GPUS):
        host, device = hosts[rank // GPUS], rank % GPUS
        yield f"#  Rank {rank:2d} Group  0 Pid {4000 + rank} on {host} device {device:2d} [0000:{16 + device:x}:00] NVIDIA H100 80GB HBM3\n"
    written = 0
    while written < size:
        line = _said(draw, hosts)
        written += len(line)
        yield line
    yield "#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong\n"
    half = "  48400  177.48  352.19       0"
    yield f"  8589934592    2147483648     float     sum      -1{half}{half}\n"
    yield "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 352.19\n#\n"


def _said(draw: random.Random, hosts: list[str]) -> str:
    rank, peer, process = draw.randrange(HOSTS * GPUS), draw.randrange(HOSTS * GPUS), draw.randrange(10**6)
    device = rank % GPUS
    said = draw.choice(
        (
            f"Channel {draw.randrange(64):02d}/0 : {rank}[{device}] -> {peer}[{peer % GPUS}] [send] via NET/IB/{device}/GDRDMA",
            f"Channel {draw.randrange(64):02d}/0 : {rank}[{device}] -> {peer}[{peer % GPUS}] via P2P/CUMEM",
            f"Trees [0] {peer}/-1/-1->{rank}->-1 [1] {peer}/-1/-1->{rank}->-1",
            f"comm 0x{draw.getrandbits(48):x} rank {rank} nranks 128 cudaDev {device} busId {draw.getrandbits(20):x} - Init COMPLETE",
            f"AllReduce: opCount {draw.getrandbits(12):x} sendbuff 0x{draw.getrandbits(48):x} recvbuff 0x{draw.getrandbits(48):x} "
            f"count {draw.randrange(10**9)} datatype 7 op 0 root 0 comm 0x{draw.getrandbits(48):x} [nranks=128]",
        )
    )
    return f"{hosts[rank // GPUS]}:{process}:{process + 7} [{device}] NCCL INFO {said}\n"


def judged(log: Path) -> dict[str, Any]:
    """The statuses of all findings about the log, and this process's peak memory in bytes."""
    sys.path.insert(0, str(REPOSITORY / "collections"))
    from ansible_collections.baremetal.gpu.plugins.modules.nccl_health import read_log
    from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import data, outcomes
    from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.judgement import Expectation, judge

    # As it comes back from a host: plain data.
    reading = json.loads(json.dumps(read_log(str(log), [dict(entry) for entry in data.raw_signatures()])))
    expected = Expectation(data.thresholds("h100-sxm-8-x16"), ("all_reduce",), HOSTS * GPUS, transport="ib")
    found = judge(outcomes.run_of({"name": str(log), "reading": reading}), expected, data.signatures(), "onyx")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return {"statuses": {finding.code: finding.status for finding in found}, "peak_bytes": int(peak.split()[1]) * 1024}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(judged(Path(sys.argv[1]))), encoding="utf-8")
