"""One pass over a log of nccl-tests: its blocks, the signatures in it, and the transports that NCCL named."""

from __future__ import annotations

import codecs
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.log import MAXIMUM_LINE, Block, Rank, Reader, clean
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import Match, Scanner

TRANSPORTS: Tuple[Tuple[str, Any], ...] = (
    # What NCCL writes at level INFO when it has chosen (source of NCCL 2.4 to 2.30: net.cc, transport/*.cc, nvls.cc, init.cc).
    ("no-nvls", re.compile(r"NVLS multicast support is not available|\b0 nvls channels")),
    ("nvls", re.compile(r"NVLS multicast support is available|\b[1-9]\d* nvls channels")),
    ("ib", re.compile(r"via NET/IB|Using network IB")),
    ("infiniband", re.compile(r"NET/IB ?: Using .*\[\d+\][\w.-]+:\d+/IB\b")),
    ("roce", re.compile(r"NET/IB ?: Using .*\[\d+\][\w.-]+:\d+/RoCE\b")),
    ("gdrdma", re.compile(r"via NET/\S*/GDRDMA")),
    ("plugin", re.compile(r"via NET/(?!IB|Socket)|Using network (?!IB|Socket)")),
    ("socket", re.compile(r"via NET/Socket|Using network Socket")),
    ("p2p", re.compile(r"via P2P")),
    ("shm", re.compile(r"via SHM")),
)

_HINTS = ("via ", "NVLS", "nvls", "NET/IB", "network ")
"""One of these is in each line that names a transport."""

_DIGITS = b"0123456789"
_HEXADECIMAL = re.compile(rb"\b(?:0x)?[0-9a-f]*[0-9][0-9a-f]*\b|[0-9]+")
_MAXIMUM_SHAPES = 20000
_MAXIMUM_HOSTS = 65536

_USING = re.compile(r"([A-Za-z0-9][\w.-]*):\d+:\d+ .*NET/IB ?: Using (.*)")
_DEVICE = re.compile(r"\[(\d{1,4})\]([\w.-]+:\d+)/(?:IB|RoCE)")
_CHANNEL = re.compile(
    rb": (\d{1,9})(?:\[\w+\])? -> (\d{1,9})(?:\[\w+\])? (?:\[(send|receive)\] )?via NET/IB\w*/(\d{1,9})\b"
)


@dataclass
class Reading:
    """What one log holds. ``transports`` counts the kinds of lines that name a transport, not every line of them."""

    lines: int = 0
    blocks: List[Block] = field(default_factory=list)
    matches: List[Match] = field(default_factory=list)
    transports: Dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> Dict[str, Any]:
        """The plain form in which a host returns it."""
        return asdict(self)


def read(chunks: Iterable[bytes], scanner: Scanner) -> Reading:
    """Read pieces of a log of any size.

    Ordinary lines of NCCL's own repeat a million times with other numbers; each shape of them (the line without its
    digits, or without its hexadecimal numbers) is looked at once. Rows and comments are never skipped.
    """
    reading, reader, named = Reading(), Reader(), _Named()
    ordinary: Set[bytes] = set()
    shapes = _Shapes(scanner)
    for raw in _lines(_in_utf8(chunks)):
        reading.lines += 1
        if b"via NET/IB" in raw:
            _note_channel(raw, reader)
        plain = raw.translate(None, _DIGITS)
        if plain in ordinary:
            continue
        shape = _HEXADECIMAL.sub(b"", raw) if b"NCCL INFO" in raw else plain
        if shape in ordinary:
            continue
        line = clean(raw.decode("utf-8", "replace"))
        if reader.read(line, reading.lines):
            continue
        wanted = shapes.wanted(plain, line)
        if wanted:
            scanner.feed(reading.lines, line, wanted)
        is_ordinary = "NCCL INFO" in line and not named.look(line) and not wanted and line[:1].isalpha()
        if is_ordinary and len(ordinary) < _MAXIMUM_SHAPES:
            ordinary.update((shape, plain))
    reading.transports = named.transports
    reading.blocks = reader.finished()
    for block in reading.blocks:
        block.ranks = [named.with_adapters(rank, block.nets.get(rank.rank, [])) for rank in block.ranks]
    reading.matches = scanner.matches()
    return reading


class _Shapes:
    """Which signatures lines of a shape are tried against. Needles have no digits, so all lines of one shape have the same."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._known: Dict[bytes, Tuple[int, ...]] = {}

    def wanted(self, shape: bytes, line: str) -> Tuple[int, ...]:
        found = self._known.get(shape)
        if found is None:
            found = self._scanner.wanted(line)
            if len(self._known) < _MAXIMUM_SHAPES:
                self._known[shape] = found
        return found


class _Named:
    """What lines of NCCL's own name: transports, and by host the network devices that their numbers stand for."""

    def __init__(self) -> None:
        self.transports: Dict[str, int] = {}
        self._adapters: Dict[str, Dict[int, str]] = {}

    def look(self, line: str) -> bool:
        """Look at a cleaned line; whether lines that differ from it in digits alone say something else."""
        for name, expression in TRANSPORTS if any(text in line for text in _HINTS) else ():
            if expression.search(line):
                self.transports[name] = self.transports.get(name, 0) + 1
        using = _USING.search(line) if "NET/IB" in line else None
        if using and len(self._adapters) < _MAXIMUM_HOSTS:
            self._adapters[using.group(1)] = {int(index): name for index, name in _DEVICE.findall(using.group(2))}
        return bool(using) or "nvls channels" in line

    def with_adapters(self, rank: Rank, devices: List[int]) -> Rank:
        names = self._adapters.get(rank.host, {})
        return replace(rank, hcas=tuple(names.get(index, "net {0}".format(index)) for index in devices))


def _note_channel(raw: bytes, reader: Reader) -> None:
    """Which network device a rank uses; of two ranks in the line the one that wrote it."""
    channel = _CHANNEL.search(raw)
    if channel:
        sender, receiver, direction, device = channel.groups()
        reader.uses_network_device(int(receiver if direction == b"receive" else sender), int(device))


def _in_utf8(chunks: Iterable[bytes]) -> Iterable[bytes]:
    """The pieces as they are, or from UTF-16, in which the shell of Windows redirects output; without a mark at the beginning."""
    decoder: Optional[codecs.IncrementalDecoder] = None
    for number, chunk in enumerate(chunks):
        if not number and chunk[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            decoder = codecs.getincrementaldecoder("utf-16")("replace")
        elif not number and chunk.startswith(codecs.BOM_UTF8):
            chunk = chunk[len(codecs.BOM_UTF8) :]
        yield decoder.decode(chunk).encode("utf-8", "replace") if decoder else chunk


def _lines(chunks: Iterable[bytes]) -> Iterable[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        # A line without an end must not grow without bound; its beginning is what counts.
        rest = rest[:MAXIMUM_LINE] if len(rest) > 8 * MAXIMUM_LINE else rest
    if rest:
        yield rest
