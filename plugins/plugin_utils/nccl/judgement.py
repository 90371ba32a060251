"""Judges what a run of nccl-tests printed: complete, correct, over the right transport, between the right GPUs, fast enough.

Bandwidth is judged at the largest message, never by the average of a sweep. An exit status of 0 is no evidence and is not
asked for. What the log does not show is unknown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN, WARN, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.log import Block, Half, Row
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import Match
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl.data import Signature, Threshold

COMPLETE = "BG-NCCL-001"
BANDWIDTH = "BG-NCCL-002"
CORRECT = "BG-NCCL-003"
RANKS = "BG-NCCL-004"
TRANSPORT = "BG-NCCL-005"
UNREADABLE = "BG-NCCL-006"
ATTEMPTS = "BG-NCCL-007"
VERSION = "BG-NCCL-008"
CAUSES = {
    "result": "BG-NCCL-011",
    "config": "BG-NCCL-012",
    "host": "BG-NCCL-013",
    "gpu": "BG-NCCL-014",
    "nvlink": "BG-NCCL-015",
    "fabric": "BG-NCCL-016",
    "launcher": "BG-NCCL-017",
    "image": "BG-NCCL-018",
    "k8s": "BG-NCCL-019",
}

UNNAMED = "an unnamed collective"
SMALLEST_SHARE = 0.99
"""A message may be this much smaller than asked for: sizes are rounded down to whole elements of all ranks."""

_WITHOUT_OPERATION = frozenset(["all_gather", "alltoall", "broadcast", "gather", "scatter"])
_WITH_OPERATION = frozenset(["all_reduce", "reduce_scatter", "reduce"])
_LEVELS = {"fatal": 3, "slow": 2, "follow": 1}
REQUIREMENTS = ("ONYX-R017", "ONYX-R021", "ONYX-R068")


@dataclass(frozen=True)
class Run:
    """One log: its blocks in order, the signatures in it, the transports it names, and where it was read."""

    blocks: tuple[Block, ...]
    matches: tuple[Match, ...] = ()
    transports: Mapping[str, int] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class Expectation:
    """What the run was to show. Empty means that nothing is declared, and then that check says so or is left out.

    ``nccl_version`` is a release or the beginning of one. ``host_count`` is for launchers whose names of hosts are not those of the
    inventory. ``collectives`` names what must be there (``all_reduce``, not ``all_reduce_perf``); ``strict`` takes the worse half of a
    row; ``minimum_busbw_gb_per_s`` is the site's own figure and goes before the topology's.
    """

    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    collectives: tuple[str, ...] = ()
    ranks: int | None = None
    hosts: tuple[str, ...] = ()
    host_count: int | None = None
    transport: str | None = None
    nccl_version: str | None = None
    strict: bool = False
    minimum_busbw_gb_per_s: float | None = None


def judge(run: Run, expected: Expectation, signatures: Mapping[str, Signature], subject: str) -> list[Finding]:
    """All findings about one run."""
    make = _Maker(subject, run.where)
    groups = _by_collective(run.blocks, [_plain(name) for name in expected.collectives])
    findings = [
        finding
        for name, blocks in groups.items()
        if run.blocks
        for finding in _of_collective(make.about(name), name, blocks, expected, run.transports)
    ]
    if not run.blocks:
        findings.append(make(COMPLETE, UNKNOWN, "there is no output of nccl-tests in it", "look at what stopped it"))
    findings += _transport(make, run, expected)
    findings += _diagnosis(make, run, groups, signatures)
    return findings


@dataclass(frozen=True)
class _Maker:
    subject: str
    where: str

    def about(self, name: str) -> _Maker:
        """The same for one collective: a verdict keeps one finding per code and subject."""
        return self if self.subject.endswith(f" {name}") else _Maker(f"{self.subject} {name}", self.where)

    def __call__(self, code: str, status: str, reason: str, remedy: str = "", /, **evidence: Any) -> Finding:
        return Finding(
            code=code,
            subject=self.subject,
            status=status,
            reason=reason,
            remedy=remedy,
            evidence={"where": self.where, **evidence},
            requirements=REQUIREMENTS,
        )


def _by_collective(blocks: Sequence[Block], wanted: Sequence[str]) -> dict[str, list[Block]]:
    """Blocks by collective in order, and what is wanted and not there with none."""
    groups: dict[str, list[Block]] = {name: [] for name in wanted}
    for block in blocks:
        groups.setdefault(collective_of(block, wanted), []).append(block)
    return groups


def collective_of(block: Block, wanted: Sequence[str]) -> str:
    """The collective that a block is about.

    Versions before 2.16 do not name it. Then its figures tell: only an all_reduce has more bus than algorithm bandwidth, and
    a single collective that is wanted is believed when the two bandwidths and the operation fit it.
    """
    if block.collective:
        return _plain(block.collective)
    row = _representative(block)
    ratio = max((value for value in map(_ratio, row.halves if row else ()) if value is not None), default=None)
    if ratio is not None and row is not None:
        if ratio > 1.05:
            return "all_reduce"
        if len(wanted) == 1 and _fits(wanted[0], ratio, row.redop, _count(block)):
            return wanted[0]
    return UNNAMED


def _plain(name: str) -> str:
    return name.removesuffix("_mpi").removesuffix("_perf")


def _ratio(half: Half) -> float | None:
    """Bus bandwidth by algorithm bandwidth, which depends on the collective and the number of ranks alone."""
    if not half.busbw_gb_per_s or not half.algbw_gb_per_s:
        return None
    return half.busbw_gb_per_s / half.algbw_gb_per_s


def _fits(name: str, ratio: float, redop: str | None, ranks: int | None) -> bool:
    """Whether a row may be one of that collective (factors of ``doc/PERFORMANCE.md`` of nccl-tests)."""
    if redop is not None and name in _WITHOUT_OPERATION and redop != "none":
        return False
    if redop == "none" and name in _WITH_OPERATION:
        return False
    return any(abs(ratio - _factor(name, n)) < 0.02 for n in ([ranks] if ranks else range(2, 65)))


def _factor(name: str, ranks: int) -> float:
    """Bus bandwidth by algorithm bandwidth of a collective over so many ranks."""
    if name in ("broadcast", "reduce", "sendrecv"):
        return 1.0
    return (2 if name == "all_reduce" else 1) * (ranks - 1) / ranks


def _of_collective(
    make: _Maker, name: str, blocks: Sequence[Block], expected: Expectation, transports: Mapping[str, int]
) -> Iterator[Finding]:
    if not blocks:
        yield make(COMPLETE, UNKNOWN, f"{name} was to be run and is not in it", "run it, or correct the declaration")
        return
    last = blocks[-1]
    # Every run that came to its end is evidence; one that did not is past when a later one did.
    judged = [block for block in blocks if block.complete] if last.complete else [last]
    yield _complete(make, name, last)
    if len(blocks) > 1:
        yield make(
            ATTEMPTS,
            WARN,
            f"{name} is in it {len(blocks)} times; the worst that came to its end is judged, the last where that did not",
            "run each collective once, without a launcher that retries",
            attempts=len(blocks),
            lines=[block.first_line for block in blocks],
        )
    dropped = sum(block.dropped_rows for block in judged)
    if dropped:
        yield make(UNREADABLE, WARN, f"{dropped} rows of {name} cannot be read", "run with NCCL_DEBUG=WARN")
    yield _correct(make, name, blocks, judged)
    yield _worst(_bandwidth(make, name, block, expected, transports) for block in judged)
    yield from _all_ranks(make, name, judged, expected)
    if expected.nccl_version is not None:
        yield _worst(_version(make, name, block, expected.nccl_version) for block in judged)


def _version(make: _Maker, name: str, block: Block, wanted: str) -> Finding:
    """``wanted`` is a release or the beginning of one: 2.18 is every patch of it."""
    code = block.nccl_library
    if code is None:
        remedy = "run with NCCL_DEBUG=VERSION or higher"
        return make(VERSION, UNKNOWN, f"{name} does not name the version of NCCL", remedy)
    found = f"{code // 10000}.{code // 100 % 100}.{code % 100}"
    if f"{found}.".startswith(f"{wanted}."):
        return make(VERSION, OK, f"{name} used NCCL {found}", nccl_version=found)
    remedy = "use one image or one set of packages on all nodes, and look at LD_LIBRARY_PATH"
    return make(VERSION, FAIL, f"{name} used NCCL {found}, declared is {wanted}", remedy, nccl_version=found)


_ORDER = (FAIL, UNKNOWN, WARN, OK, SKIPPED)


def _worst(findings: Iterable[Finding]) -> Finding:
    return min(findings, key=lambda finding: _ORDER.index(finding.status))


def _all_ranks(make: _Maker, name: str, judged: Sequence[Block], expected: Expectation) -> Iterator[Finding]:
    found = [finding for block in judged for finding in _ranks(make, name, block, expected)]
    if found:
        yield _worst(found)


def _complete(make: _Maker, name: str, block: Block) -> Finding:
    if block.complete:
        return make(COMPLETE, OK, f"{name} came to its end", rows=len(block.rows), version=block.version)
    lacking = ", ".join(block.missing)
    return make(COMPLETE, UNKNOWN, f"{name} did not come to its end: it lacks {lacking}", "look at what stopped it")


def _is_wrong(block: Block) -> bool:
    return block.out_of_bounds_ok is False or any(row.wrong for row in block.rows)


def _correct(make: _Maker, name: str, blocks: Sequence[Block], judged: Sequence[Block]) -> Finding:
    for block in blocks:
        # Wrong data is never past: a later run that is right does not explain it.
        if _is_wrong(block):
            remedy = "take the nodes out; run each alone, then with NCCL_NVLS_ENABLE=0, to find the broken path"
            counted = block.out_of_bounds or sum(row.wrong for row in block.rows)
            return make(CORRECT, FAIL, f"{name} returned wrong data ({counted} values)", remedy, wrong=counted)
    for block in judged:
        if not block.rows:
            return make(CORRECT, UNKNOWN, f"{name} has no row", "look at what stopped it")
        if not any(half.wrong is not None or half.error is not None for row in block.rows for half in row.halves):
            return make(CORRECT, UNKNOWN, f"{name} did not check its data", "run with -c 1")
        if block.out_of_bounds_ok is None:
            return make(CORRECT, UNKNOWN, f"{name} has no line about out of bounds values", "look at what stopped it")
    return make(CORRECT, OK, f"{name} returned right data")


def _representative(block: Block) -> Row | None:
    """The row that is judged: the largest message of floats and sums where there are such, else of the type that comes first.

    Other types and operations cannot all use what makes the usual one fast. Of several rows of that size (roots, cycles)
    it is the slowest, because every one of them was measured.
    """
    kinds = [(row.type, row.redop) for row in block.rows]
    usual = [kind for kind in kinds if kind[0] == "float" and kind[1] in ("sum", "none", None)]
    if not kinds:
        return None
    kind = (usual or kinds)[0]
    rows = [row for row in block.rows if (row.type, row.redop) == kind]
    size = max(row.size_bytes for row in rows)
    return min(
        (row for row in rows if row.size_bytes == size),
        key=lambda row: -1.0 if row.busbw_gb_per_s is None else row.busbw_gb_per_s,
    )


def _bandwidth(make: _Maker, name: str, block: Block, expected: Expectation, transports: Mapping[str, int]) -> Finding:
    row = _representative(block)
    rows = [[item.size_bytes, _judged(item, expected.strict)] for item in block.rows]
    if row is None:
        return make(BANDWIDTH, UNKNOWN, f"{name} has no row", "look at what stopped it")
    value, ranks = _judged(row, expected.strict), _count(block) or expected.ranks
    if ranks == 1:
        return make(BANDWIDTH, SKIPPED, f"{name} over one GPU has no bus bandwidth", rows=rows)
    if value is None:
        return make(BANDWIDTH, UNKNOWN, f"{name} gives no bandwidth at its largest message", "run it again", rows=rows)
    threshold = expected.thresholds.get(name)
    minimum, at_least = _minimum(threshold, expected)
    what = f"{name} reaches {value:g} GB/s at {row.size_bytes} bytes"
    figures: dict[str, Any] = {
        "busbw_gb_per_s": value,
        "size_bytes": row.size_bytes,
        "minimum_gb_per_s": minimum,
        "type": row.type,
        "rows": rows,
        "transports": sorted(transports),
    }
    if minimum is None:
        return make(BANDWIDTH, UNKNOWN, f"{what}; no threshold is known for it", "declare one", **figures)
    if threshold is not None and expected.minimum_busbw_gb_per_s is None and ranks not in (None, threshold.ranks):
        reason = f"{what} over {ranks} ranks; the threshold of {threshold.topology} is for {threshold.ranks}"
        return make(BANDWIDTH, UNKNOWN, reason, "run it over the declared topology", **figures)
    if row.size_bytes < at_least * SMALLEST_SHARE:
        reason = f"{what}; the threshold holds from {at_least} bytes on"
        return make(BANDWIDTH, UNKNOWN, reason, f"run up to at least {at_least} bytes", **figures)
    if value < minimum:
        sign = threshold.sign_of(value) if threshold else None
        if sign is not None:
            return make(BANDWIDTH, FAIL, f"{what}, less than {minimum:g}; {sign.cause}", sign.remedy, **figures)
        remedy = "isolate the slow node, rail or link by pairs"
        return make(BANDWIDTH, FAIL, f"{what}, less than {minimum:g}", remedy, **figures)
    return make(BANDWIDTH, OK, f"{what}, at least {minimum:g}", **figures)


def _count(block: Block) -> int | None:
    """How many ranks the table has, when it is whole: ranks 0 to n-1."""
    numbers = {item.rank for item in block.ranks}
    return len(numbers) if numbers and numbers == set(range(len(block.ranks))) else None


def _minimum(threshold: Threshold | None, expected: Expectation) -> tuple[float | None, int]:
    if expected.minimum_busbw_gb_per_s is not None:
        return expected.minimum_busbw_gb_per_s, threshold.at_least_bytes if threshold else 0
    return (threshold.minimum_busbw_gb_per_s, threshold.at_least_bytes) if threshold else (None, 0)


def _judged(row: Row, strict: bool) -> float | None:
    """The better half of a row, as the field's tools take it, or the worse one."""
    if not strict:
        return row.busbw_gb_per_s
    known = [half.busbw_gb_per_s for half in row.halves]
    return None if None in known else min(value for value in known if value is not None)


def _ranks(make: _Maker, name: str, block: Block, expected: Expectation) -> Iterator[Finding]:
    if not block.ranks:
        if expected.ranks is not None or expected.hosts:
            yield make(RANKS, UNKNOWN, f"{name} has no table of its ranks", "keep the whole log of rank 0")
        return
    problems = [f"rank {rank} comes {times} times" for rank, times in _repeated(item.rank for item in block.ranks)]
    if problems:
        problems.append("the program was started as so many jobs of one rank: it was built without MPI")
    elif _count(block) is None:
        # Where lines of the table are lost, others than those that are left may have run too.
        highest = max(item.rank for item in block.ranks) + 1
        reason = f"{name}: its table has {len(block.ranks)} of at least {highest} ranks"
        yield make(RANKS, UNKNOWN, reason, "keep the whole log of rank 0", **_table(block))
        return
    per_process = block.options.get("nThread", 1) * block.options.get("nGpus", 1)
    if len(block.ranks) % max(1, per_process):
        problems.append(f"its table has {len(block.ranks)} ranks, and each process has {per_process}")
    problems += [
        f"{host} gives GPU {bdf} to {times} ranks"
        for (host, bdf), times in _repeated((item.host, item.bdf) for item in block.ranks)
    ]
    if expected.ranks is not None and len(block.ranks) != expected.ranks:
        problems.append(f"it has {len(block.ranks)} ranks, declared are {expected.ranks}")
    hosts, wanted = ({_short(name) for name in names} for names in (_hosts([block]), expected.hosts))
    if wanted and hosts != wanted:
        absent, foreign = sorted(wanted - hosts), sorted(hosts - wanted)
        problems += [f"no rank ran on {', '.join(absent)}"] if absent else []
        problems += [f"ranks ran on {', '.join(foreign)}, which is not declared"] if foreign else []
    if expected.host_count is not None and len(hosts) != expected.host_count:
        problems.append(f"its ranks ran on {len(hosts)} hosts, declared are {expected.host_count}")
    if problems:
        remedy = "correct slots and host file; the result is not about the declared GPUs"
        yield make(RANKS, FAIL, f"{name}: {'; '.join(problems)}", remedy, **_table(block))
    else:
        yield make(RANKS, OK, f"{name} ran on {len(block.ranks)} GPUs of {len(hosts)} hosts", **_table(block))


def _table(block: Block) -> dict[str, Any]:
    """Who took part, by host in the order of ranks: GPUs by PCI address, network devices where NCCL named them."""
    gpus: dict[str, list[str]] = {}
    hcas: dict[str, list[str]] = {}
    for item in block.ranks:
        gpus.setdefault(item.host, []).append(item.bdf)
        known = hcas.setdefault(item.host, [])
        known += [name for name in item.hcas if name not in known]
    return {"hosts": sorted(gpus), "gpus": gpus, "hcas": {host: names for host, names in hcas.items() if names}}


def _hosts(blocks: Iterable[Block]) -> set[str]:
    return {item.host for block in blocks for item in block.ranks}


def _short(host: str) -> str:
    """nccl-tests print a host's name up to its first dot."""
    return host.partition(".")[0]


def _is_on_one_host(run: Run) -> bool:
    """Whether all ranks of all blocks ran on one host, so that no network was needed."""
    return all(block.ranks for block in run.blocks) and len(_hosts(run.blocks)) == 1


def _repeated(items: Any) -> list[tuple[Any, int]]:
    return [(item, times) for item, times in Counter(items).items() if times > 1]


def _transport(make: _Maker, run: Run, expected: Expectation) -> Iterator[Finding]:
    wanted = expected.transport
    if wanted is None:
        return
    seen = sorted(name for name, count in run.transports.items() if count)
    other = _contradiction(run, wanted, seen)
    if other is not None:
        yield make(TRANSPORT, FAIL, f"{other[0]}, declared is {wanted}", other[1], seen=seen)
    elif wanted in seen:
        yield make(TRANSPORT, OK, f"traffic went over {wanted}", seen=seen)
    else:
        remedy = "run once with NCCL_DEBUG=INFO, or with NCCL_NET=IB and declare no transport"
        yield make(TRANSPORT, UNKNOWN, f"the log does not name the transport {wanted}", remedy, seen=seen)


def _contradiction(run: Run, wanted: str, seen: Sequence[str]) -> tuple[str, str] | None:
    """What the log says against the declared transport, and what to do; None when nothing."""
    fell_back = "socket" in seen or any(match.id == "net_socket_fallback" for match in run.matches)
    if wanted == "nvls" and "no-nvls" in seen:
        remedy = "look at the fabric's state and the fabric manager, and whether NCCL_NVLS_ENABLE is 0"
        return "NVLS is not available on at least one GPU", remedy
    over_network = wanted in ("ib", "infiniband", "roce") or not _is_on_one_host(run)
    if wanted != "socket" and fell_back and over_network:
        remedy = "set NCCL_NET=IB so that a fallback is an error, and look at NCCL_IB_HCA and the adapters"
        return "traffic went over TCP sockets", remedy
    for link, opposite in (("roce", "infiniband"), ("infiniband", "roce")):
        if wanted == link and opposite in seen:
            return f"adapters with link layer {opposite} are used", "correct NCCL_IB_HCA or the type of the ports"
    return None


def _diagnosis(
    make: _Maker, run: Run, groups: Mapping[str, Sequence[Block]], signatures: Mapping[str, Signature]
) -> Iterator[Finding]:
    """One finding: what best explains a failure, with the other signatures as evidence."""
    order = {identifier: index for index, identifier in enumerate(signatures)}
    known = [(match, signatures[match.id]) for match in run.matches if match.id in signatures]
    ranked = sorted(
        (item for item in known if item[1].level in _LEVELS and _matters(item[1], run)),
        key=lambda item: (-_LEVELS[item[1].level], item[0].line, order[item[0].id]),
    )
    if not ranked:
        return
    match, signature = ranked[0]
    last = [blocks[-1] for blocks in groups.values() if blocks]
    yield make(
        CAUSES[signature.kind],
        _status_of(match, signature, last, any(map(_is_wrong, run.blocks))),
        signature.cause,
        signature.remedy,
        signature=match.id,
        line=match.line,
        message=match.text,
        times=match.count,
        blames=signature.blames,
        further=[f"{other.id} in line {other.line}" for other, _signature in ranked[1:]],
    )


def _matters(signature: Signature, run: Run) -> bool:
    if signature.between_hosts and _is_on_one_host(run):
        return False
    products = {rank.product for block in run.blocks for rank in block.ranks}
    return not any(text in product for text in signature.not_on for product in products)


def _status_of(match: Match, signature: Signature, last: Sequence[Block], wrong: bool) -> str:
    """A failure, or a warning when everything came to its end all the same.

    What stopped an attempt that a later one made good, or disturbed one that ended well, is worth knowing and no more. A
    fatal line behind the end belongs to something else that was to run, and is a failure.
    """
    if signature.level == "slow":
        return WARN
    ended_well = bool(last) and all(block.complete for block in last) and not wrong
    behind = not last or match.line > max(block.last_line for block in last)
    if ended_well and (signature.level == "follow" or not behind):
        return WARN
    return FAIL
