"""Output of nccl-tests in the formats of their versions, made up for the tests."""

from __future__ import annotations

HEADER = (
    "#                                                              out-of-place                       in-place\n"
    "#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong\n"
    "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)             (us)  (GB/s)  (GB/s)\n"
)
GIB = 1 << 30


def rank_line(rank: int, host: str, device: int, bdf: str | None = None) -> str:
    bdf = bdf or f"0000:{0x10 + device:02x}:00"
    return f"#  Rank {rank:2d} Group  0 Pid {4000 + rank} on {host} device {device:2d} [{bdf}] NVIDIA H100 80GB HBM3\n"


def row_line(size: int, busbw: float | str, wrong: int | str = 0, in_place: str = "") -> str:
    half = f"{100.0:8.2f} {200.0:7.2f} {busbw:>7} {wrong:>7}"
    return f"{size:12d} {size // 4:13d}     float     sum      -1 {half} {in_place or half}\n"


def run_text(
    *,
    collective: str = "all_reduce",
    version: str = "2.17.8",
    hosts: tuple[str, ...] = ("onyx-g1",),
    per_host: int = 8,
    rows: tuple[str, ...] = (row_line(GIB, 470.5), row_line(8 * GIB, 481.9)),
    end: str = "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 476.2\n#\n",
) -> str:
    """One block as versions from 2.16 on print it."""
    ranks = [(host, device) for host in hosts for device in range(per_host)]
    return (
        f"# nccl-tests version {version} nccl-headers=22902 nccl-library=22902\n"
        f"# Collective test starting: {collective}_perf\n"
        "# nThread 1 nGpus 1 minBytes 1073741824 maxBytes 8589934592 step: 2(factor) warmup iters: 5 iters: 20 "
        "agg iters: 1 validation: 1 graph: 0\n#\n# Using devices\n"
        + "".join(rank_line(rank, host, device) for rank, (host, device) in enumerate(ranks))
        + "#\n"
        + HEADER
        + "".join(rows)
        + end
    )
