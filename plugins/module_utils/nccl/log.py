"""Reads what nccl-tests print, in any version since 2.0, in memory bounded by the number of tests and not by the log.

A log holds several blocks: one per collective, and again when a launcher retries. Rows are read by the names of the
header's columns, because versions add columns on both halves. What cannot be read is counted, never guessed.
Formats: git history of ``src/common.cu`` and ``src/util.cu`` of nccl-tests, versions 2.0 to 2.20.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping, Sequence

MAXIMUM_ROWS = 4096
"""Rows kept per block; a sweep by factor two has at most 64."""

MAXIMUM_BLOCKS = 1024

MAXIMUM_KEPT = 65536
"""Rows and lines of rank tables kept in all, whatever the number of blocks."""

MOST_DIGITS = 20
"""Of a whole number: more than 64 bits have."""

HALVES = ("out_of_place", "in_place")
MAXIMUM_LINE = 16384
"""Characters of one line that are looked at."""

TYPES = frozenset(
    [
        "int8",
        "uint8",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "half",
        "float",
        "double",
        "bfloat16",
        "fp8_e4m3",
        "fp8_e5m2",
        "f8e4m3",
        "f8e5m2",
    ]
)

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_PREFIXES = (
    # Time of kubectl or ts, and behind it what the files of a container runtime add (stream, and whether the line is whole).
    re.compile(
        r"\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?\]?:? ?(?:std(?:out|err) [FP] ?)?"
    ),
    # Pod and container of kubectl, job and rank of mpirun (Open MPI 4 and 5, with and without details), task of srun, rank of Hydra.
    re.compile(r"\[pod/[^\]]+\] ?"),
    re.compile(r"\[[^\]\s]{1,200}\](?:\[[^\]\s]{1,200}\])?(?:\(\d+\))?<std(?:out|err|diag)>: ?"),
    re.compile(r" {0,4}\d{1,5}: (?=[ #\dA-Za-z\[])"),
    re.compile(r"\[\d{1,5}\] (?=[ #\d])"),
    # Time of mpirun, and of syslog with host and program.
    re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}:? ?(?=[\[<# \d])"),
    re.compile(r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (?:\S+ \S+\[\d+\]: )?"),
)
_MOST_PREFIXES = 5
_PREFIX_STARTS = frozenset("[0123456789 MTWFSJAOND")
_WRAPPED = re.compile(r'\{"(?:log|message|msg|textPayload)" *: *"')
_WRAPPERS = ("log", "message", "msg", "textPayload")
_TYPE = "(?:" + "|".join(sorted(TYPES, key=len, reverse=True)) + ")"
# Behind a prefix that is not known, as log viewers put names of pods and containers there.
_EMBEDDED = re.compile(
    r"#\s+(?:nThread|nccl-tests version|Rank\s|Collective test|Using devices|Out of bounds values|Avg bus bandwidth|size\s+count|Reducing )"
    r"|(?<=[\s|])\d+\s+\d+\s+" + _TYPE + r"\s"
)
_RANK = re.compile(
    r"Rank +(\d{1,9}) +(?:Group +(\d{1,9}) +)?(?:Pid +(\d{1,9}) +)?on +(\S+) +device +(\d{1,9}) +\[(?:0x)?([0-9a-fA-F:.]+)\] *(.*)"
)
_VERSION = re.compile(r"nccl-tests version +(\S+)(?: +\(\w+\))?(?: +nccl-headers=(\d+))?(?: +nccl-library=(\d+))?")
_LIBRARY = re.compile(r"\bNCCL version (\d{1,4})\.(\d{1,4})\.(\d{1,4})")
_STARTING = re.compile(r"Collective test starting: *(\S+)")
_OUT_OF_BOUNDS = re.compile(r"Out of bounds values *: *(\d{1,20}) *(OK|FAILED)?")
_AVERAGE = re.compile(r"Avg bus bandwidth *: *(\S+)(?: +(OK|FAILED))?")
_REDUCED = re.compile(r"Reducing maxBytes to (\d{1,20})\b")
_OPTION = re.compile(
    r"(nThread|nGpus|minBytes|maxBytes|warmup iters|agg iters|iters|validation|graph|unalign):? *(\d{1,20})\b"
)
_STEP = re.compile(r"step: *(\d{1,20}) *\((factor|bytes)\)")
# Comments that versions up to 2.11 printed without a mark.
_UNMARKED = ("size ", "bytes ", "Rank ", "Out of bounds", "Avg bus", "nThread")
# A number at the end of a printed part, with a line of NCCL's own glued to it.
_GLUED = re.compile(r"(N/A|-1|0|[1-9]\d*)[A-Za-z][\w.-]*:\d+:\d+$")
_IN_PLACE_ONLY = re.compile(r"\S {30,}\S")
_COMMAND = re.compile(
    r"\b((?:all_reduce|all_gather|reduce_scatter|alltoall|alltoallv|broadcast|reduce|sendrecv|gather|scatter|hypercube)_perf)\b"
)


@dataclass(frozen=True)
class Half:
    """One half of a row. Bandwidths in GB/s (1e9); ``wrong`` is None where the test did not check, ``busbw`` where it is no number."""

    time_us: float | None
    algbw_gb_per_s: float | None
    busbw_gb_per_s: float | None
    wrong: int | None
    error: float | None = None


@dataclass(frozen=True)
class Row:
    """One message size in bytes, out of place and in place."""

    size_bytes: int
    count: int
    type: str
    out_of_place: Half | None
    in_place: Half | None
    redop: str | None = None

    @property
    def halves(self) -> tuple[Half, ...]:
        return tuple(half for half in (self.out_of_place, self.in_place) if half is not None)

    @property
    def busbw_gb_per_s(self) -> float | None:
        """The better half; None when no half has a finite figure."""
        known = [half.busbw_gb_per_s for half in self.halves if half.busbw_gb_per_s is not None]
        return max(known, default=None)

    @property
    def wrong(self) -> int:
        """Wrong elements over both halves, as far as they were checked."""
        return sum(half.wrong or 0 for half in self.halves)


@dataclass(frozen=True)
class Rank:
    """One line of the rank table. ``hcas`` names the network devices that NCCL said it uses for the rank, where it did."""

    rank: int
    group: int
    pid: int | None
    host: str
    device: int
    bdf: str
    product: str
    hcas: tuple[str, ...] = ()


@dataclass
class Block:
    """One run of one collective, as far as the log has it. Lines count from 1; 0 where there are no lines.

    ``nets`` are the numbers of the network devices that NCCL named for each rank.
    """

    first_line: int = 0
    last_line: int = 0
    collective: str | None = None
    version: str | None = None
    nccl_library: int | None = None
    options: dict[str, int] = field(default_factory=dict)
    reduced_to_bytes: int | None = None
    ranks: list[Rank] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    dropped_rows: int = 0
    out_of_bounds: int | None = None
    out_of_bounds_ok: bool | None = None
    average_gb_per_s: float | None = None
    average_ok: bool | None = None
    columns: tuple[str, ...] = ()
    concluded: bool = False
    nets: dict[int, list[int]] = field(default_factory=dict)

    @property
    def reaches_the_end(self) -> bool:
        """Whether the largest row is the last one that the options ask for. True where they do not say."""
        row, wanted = self.largest(), self.reduced_to_bytes or self.options.get("maxBytes")
        if row is None or not wanted:
            return True
        # Sizes are rounded down to whole elements of all ranks: far less than a hundredth of a size that is judged.
        size, options = row.size_bytes, self.options
        beyond = size * options["stepFactor"] if "stepFactor" in options else size + options.get("stepBytes", 0)
        return size * 1.01 >= wanted or beyond > wanted

    @property
    def missing(self) -> tuple[str, ...]:
        """What a block that came to its end has and this one lacks; empty when it is complete."""
        parts = {
            "the line of options": bool(self.options),
            "rows": bool(self.rows),
            "the row of the largest message": self.reaches_the_end,
            "the line of out of bounds values": self.out_of_bounds is not None,
            "the line of the average": self.concluded,
        }
        return tuple(name for name, there in parts.items() if not there)

    @property
    def complete(self) -> bool:
        return not self.missing

    def largest(self) -> Row | None:
        """The row of the largest message."""
        return max(self.rows, key=lambda row: row.size_bytes, default=None)


def block_from_dict(data: Mapping[str, Any]) -> Block:
    """The block of which ``data`` is ``dataclasses.asdict``, as it comes back from a host. Raises ``TypeError`` or ``KeyError``."""
    rows = [Row(**{**row, **{name: row[name] and Half(**row[name]) for name in HALVES}}) for row in data["rows"]]
    ranks = [Rank(**{**rank, "hcas": tuple(rank["hcas"])}) for rank in data["ranks"]]
    nets = {int(rank): list(devices) for rank, devices in data["nets"].items()}
    return Block(**{**data, "columns": tuple(data["columns"]), "rows": rows, "ranks": ranks, "nets": nets})


def version_code(major: int, minor: int, patch: int) -> int:
    """A release of NCCL as its headers write it from 2.9 on (``NCCL_VERSION`` in nccl.h)."""
    return major * 10000 + minor * 100 + patch


def clean(line: str) -> str:
    """A line without colours, carriage return and what kubectl, container runtimes, launchers and loggers put before it."""
    line = line[:MAXIMUM_LINE].rstrip("\r\n")
    if "\x1b" in line:
        line = _ANSI.sub("", line)
    if "\t" in line or "\xa0" in line:
        # As copying from a terminal or a web page leaves it.
        line = line.expandtabs().replace("\xa0", " ")
    if line[:1] == "{" and _WRAPPED.match(line):
        line = _unwrapped(line)
    for _prefix in range(_MOST_PREFIXES):
        if line[:1] not in _PREFIX_STARTS or (line[:1] == " " and ":" not in line[:12]):
            break
        length = max((match.end() for match in (prefix.match(line) for prefix in _PREFIXES) if match), default=0)
        if not length:
            break
        line = line[length:]
    if line[:1] not in "# 0123456789" and "NCCL " not in line:
        embedded = _EMBEDDED.search(line)
        line = line[embedded.start() :] if embedded else line
    # What a terminal would show of a line that was written over.
    return line.rpartition("\r")[2] if "\r" in line else line


def _unwrapped(line: str) -> str:
    """The text in a line of JSON, as container runtimes and log collectors keep it; the line itself when it was cut."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return line
    texts = [entry[name] for name in _WRAPPERS if isinstance(entry.get(name), str)]
    return texts[0].rstrip("\r\n").replace("\n", " ") if texts else line


def blocks(lines: Iterable[str]) -> list[Block]:
    """All blocks of a log whose lines were cleaned."""
    reader = Reader()
    for number, line in enumerate(lines, 1):
        reader.read(line, number)
    return reader.finished()


class Reader:
    """Assigns cleaned lines to blocks."""

    def __init__(self) -> None:
        self.found: list[Block] = []
        self.block: Block | None = None
        self.command: str | None = None
        self.line = 0
        self._broken: list[str] = []
        self._kept = 0

    def finished(self) -> list[Block]:
        self._give_up()
        return [block for block in self.found if block.options or block.rows or block.ranks or block.columns]

    def read(self, line: str, number: int = 0) -> bool:
        """Take a line; whether it is a whole row or a line of a rank table, so that nothing else can be in it."""
        self.line = number
        text = line.strip()
        if not text:
            return True
        if text[0].isdigit() or (text[0] in "-N" and self._broken):
            return self._row(text)
        if text[0] == "#" or text.startswith(_UNMARKED):
            return self._comment(text.lstrip("# "))
        if self.block is None or self.block.concluded:
            command = _COMMAND.search(text)
            if command:
                self.command = command.group(1)
        elif self.block.nccl_library is None and "NCCL version " in text:
            # What NCCL itself prints from level VERSION on; older tests do not name it.
            library = _LIBRARY.search(text)
            if library:
                self.block.nccl_library = version_code(*map(int, library.groups()))
        return False

    def uses_network_device(self, rank: int, device: int) -> None:
        """NCCL said that ``rank`` sends or receives over the network device of that number of its host."""
        if self.block is not None and self._kept < MAXIMUM_KEPT:
            devices = self.block.nets.setdefault(rank, [])
            if device not in devices:
                devices.append(device)
                self._kept += 1

    def _comment(self, text: str) -> bool:
        if text.startswith("Rank") and self._rank(text):
            return True
        if text[:1].isdigit():
            # Versions before 2.0 was final marked their rows too.
            return self._row(text)
        if not self._begin(text) and self.block is not None:
            self._detail(self.block, text)
        return not text

    def _rank(self, text: str) -> bool:
        rank = _RANK.match(text)
        if not rank:
            return False
        number, group, pid, host, device, bdf, product = rank.groups()
        block = self._start_unless(self._is_new("rows"))
        if self._kept < MAXIMUM_KEPT:
            self._kept += 1
            block.ranks.append(
                Rank(int(number), int(group or 0), _whole(pid), host, int(device), bdf.lower(), product.strip())
            )
        return True

    def _begin(self, text: str) -> bool:
        """Whether the comment is one of those with which a block, or its next part, begins."""
        version, starting = _VERSION.match(text), _STARTING.match(text)
        if version:
            block = self._start()
            block.version = version.group(1)
            block.nccl_library = _whole(version.group(3))
        elif starting:
            self._start_unless(self._is_new("collective")).collective = starting.group(1)
        elif text.startswith("nThread"):
            options = {name: int(value) for name, value in _OPTION.findall(text)}
            step = _STEP.search(text)
            if step:
                options["step" + step.group(2).capitalize()] = int(step.group(1))
            self._start_unless(self._is_new("options")).options = options
        elif text.split(None, 3)[:3] in (["size", "count", "type"], ["bytes", "N", "type"]):
            self._start_unless(self._is_new("rows")).columns = tuple(text.split())
        else:
            return False
        return True

    def _detail(self, block: Block, text: str) -> None:
        bounds = _OUT_OF_BOUNDS.match(text)
        if bounds:
            self._give_up()
            block.out_of_bounds = int(bounds.group(1))
            # Without a word the number itself says it.
            block.out_of_bounds_ok = bounds.group(2) == "OK" if bounds.group(2) else block.out_of_bounds == 0
            return
        average = _AVERAGE.match(text)
        if average:
            block.average_gb_per_s = _number(average.group(1))
            block.average_ok = None if average.group(2) is None else average.group(2) == "OK"
            block.concluded = True
            block.last_line = self.line
            return
        reduced = _REDUCED.search(text)
        if reduced:
            block.reduced_to_bytes = int(reduced.group(1))

    def _row(self, text: str) -> bool:
        block = self.block
        tokens = text.split()
        if block is None or block.concluded:
            return False
        if len(tokens) >= 3 and _whole(tokens[0]) is not None and tokens[2] in TYPES:
            self._give_up()
            if len(block.rows) >= MAXIMUM_ROWS or self._kept >= MAXIMUM_KEPT:
                block.dropped_rows += 1
                return False
            in_place_only = len(tokens) < 13 and bool(_IN_PLACE_ONLY.search(text))
            row = row_from(tokens, block.columns, in_place_only)
            if row is not None or not self._continue(block, tokens):
                self._keep(block, row)
            return row is not None
        if self._broken:
            self._continue(block, [*self._broken, *tokens])
        return False

    def _continue(self, block: Block, tokens: list[str]) -> bool:
        """Take a row as far as it was printed; whether it could be. Debug lines may stand between parts, and the rest follows."""
        parts, whole = _whole_parts(tokens, block.columns)
        if whole:
            self._keep(block, row_from(parts, block.columns))
        elif len(parts) > len(self._broken):
            self._broken = parts
        return bool(parts)

    def _keep(self, block: Block, row: Row | None) -> None:
        self._broken = []
        if row is None:
            block.dropped_rows += 1
        else:
            self._kept += 1
            block.rows.append(row)

    def _give_up(self) -> None:
        """A row of which the rest did not come is one that cannot be read."""
        if self._broken and self.block is not None:
            self.block.dropped_rows += 1
        self._broken = []

    def _is_new(self, part: str) -> bool:
        return self.block is None or self.block.concluded or bool(getattr(self.block, part))

    def _start_unless(self, new: bool) -> Block:
        if new or self.block is None:
            return self._start()
        return self.block

    def _start(self) -> Block:
        self._give_up()
        self.block = Block(first_line=self.line, collective=self.command)
        if len(self.found) < MAXIMUM_BLOCKS:
            self.found.append(self.block)
        return self.block


def _starts(tokens: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Where the halves of a row begin: by the header, or by the tokens themselves where the log lacks it."""
    starts = [index for index, name in enumerate(columns) if name in ("time", "cputime")]
    if starts:
        return starts
    if len(tokens) >= 21:
        return [5, 13]
    first = 4 if tokens[3:4] and not _value(tokens[3])[0] else 3
    # The root, which old versions print for some collectives only.
    if (len(tokens) - first) % 4 == 1 or len(tokens) - first > 8:
        first += 1
    return [first, first + 4] if len(tokens) - first != 4 else [first]


def row_from(tokens: list[str], columns: Sequence[str], in_place_only: bool = False) -> Row | None:
    """A row by the names of its columns, or by the usual ones where the log lacks the header. None when it is no row."""
    starts = _starts(tokens, columns)
    uses_error = not {"error", "res"}.isdisjoint(columns)
    size, count = _whole(tokens[0]), _whole(tokens[1])
    if size is None or count is None:
        return None
    redop = tokens[3] if tokens[3:4] and not _value(tokens[3])[0] else None
    if in_place_only and len(starts) > 1 and len(tokens) == starts[0] + 4:
        half = _half(tokens[starts[0] :], uses_error)
        return None if half is None else Row(size, count, tokens[2], None, half, redop)
    if len(tokens) < starts[-1] + 4:
        return None
    first, *rest = [_half(tokens[start : start + 4], uses_error) for start in starts]
    if first is None or None in rest:
        return None
    return Row(size, count, tokens[2], first, rest[0] if rest else None, redop)


def _whole_parts(tokens: Sequence[str], columns: Sequence[str]) -> tuple[list[str], bool]:
    """The tokens up to where the program had printed a whole part of a row, and whether that is all of it.

    A row is printed in parts (what is measured, then each half), so a debug line can only stand between them. No tokens
    when the row was broken elsewhere.
    """
    starts = _starts(tokens, columns)
    ends = [starts[0], *(start + 4 for start in starts)]
    for end in reversed(ends):
        if len(tokens) < end:
            continue
        kept = list(tokens[:end])
        glued = _GLUED.match(kept[-1])
        if glued:
            kept[-1] = glued.group(1)
        # Newer versions add columns behind the last half.
        ends_here = end == ends[-1] or len(tokens) == end or glued is not None or _is_debug(tokens[end:])
        if ends_here and _whole(kept[1]) is not None and all(_value(token)[0] for token in _figures(kept, starts)):
            return kept, end == ends[-1]
    return [], False


def _figures(tokens: Sequence[str], starts: Sequence[int]) -> Iterator[str]:
    for start in starts:
        yield from tokens[start : start + 4]


def _is_debug(tokens: Sequence[str]) -> bool:
    """Whether a line of NCCL's own begins: the process, the device, its name."""
    return "NCCL" in tokens[:4] and ":" in tokens[0]


def _half(tokens: list[str], uses_error: bool) -> Half | None:
    """Four tokens: time, algbw, busbw, and what was wrong. None when one of them is neither a number nor a known word."""
    values = [_value(token) for token in tokens]
    if any(not known for known, _value_ in values):
        return None
    time_us, algbw, busbw, last = (value for _known, value in values)
    if uses_error:
        return Half(time_us, algbw, busbw, None, last)
    return Half(time_us, algbw, busbw, None if last is None else int(last))


def _value(token: str) -> tuple[bool, float | None]:
    """Whether a token is a value at all, and the number, None for N/A and for what is not finite."""
    if token in ("N/A", "[N/A]"):
        return True, None
    try:
        value = float(token)
    except ValueError:
        return False, None
    return True, value if value - value == 0 else None


def _number(token: str) -> float | None:
    return _value(token)[1]


def _whole(token: str | None) -> int | None:
    """A whole number of a size that a count of bytes, elements or a version has; other characters are digits too, and no numbers."""
    if token is None or not token.isascii() or not token.isdigit() or len(token) > MOST_DIGITS:
        return None
    return int(token)
