"""Reads the report that nccl-tests write with ``-J FILE`` (schemas 1 to 3).

Only rank 0 writes it, and a run that dies leaves it unfinished or absent: the text of the log stays the base. The report's
``env`` holds the whole environment of the job, secrets included, and is never kept. Format: ``src/util.cu`` of nccl-tests 2.17.
"""

from __future__ import annotations

import json
from typing import Any, Iterator, List, Mapping, Optional

from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.log import MAXIMUM_ROWS, Block, Half, Rank, Row

MAXIMUM_BYTES = 16 * 1024 * 1024

OPTIONS = {
    "nthreads": "nThread",
    "ngpus": "nGpus",
    "minimum_bytes": "minBytes",
    "maximum_bytes": "maxBytes",
    "step_factor": "stepFactor",
    "step_bytes": "stepBytes",
    "warmup_iters": "warmup iters",
    "iterations": "iters",
    "aggregated_iterations": "agg iters",
    "validation": "validation",
    "graph": "graph",
}
"""What the report calls the options of the line that begins with nThread."""

_KEYS = ("args", "nccl_version", "config", "results")


def block_from(text: str) -> Block:
    """The report as a block. Raises ``ValueError`` when it is none; one that was cut gives what was written, not concluded."""
    if len(text) > MAXIMUM_BYTES:
        raise ValueError("a report of nccl-tests is never larger than {0} bytes".format(MAXIMUM_BYTES))
    try:
        report = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError:
        report = _of_a_cut(text)
    if not isinstance(report, dict) or not isinstance(report.get("results"), list):
        raise ValueError("there is no list of results")
    config = _mapping(report.get("config"))
    block = Block(columns=("json",), options=_options(config))
    for item in report["results"]:
        row = _row(item)
        if row is None or len(block.rows) >= MAXIMUM_ROWS:
            block.dropped_rows += 1
        else:
            block.rows.append(row)
    if block.options.get("nThread", 1) * block.options.get("nGpus", 1) == 1:
        # With several GPUs per process the report names the first of each only.
        block.ranks = list(_ranks(config.get("devices")))
    version = _number(report.get("nccl_version"))
    block.nccl_library = None if version is None else int(version)
    bounds, average = _mapping(report.get("out_of_bounds")), _mapping(report.get("average_bus_bandwidth"))
    count = _number(bounds.get("count"))
    block.out_of_bounds = None if count is None else int(count)
    block.out_of_bounds_ok = _truth(bounds.get("okay"))
    block.average_gb_per_s, block.average_ok = _number(average.get("bandwidth")), _truth(average.get("okay"))
    # The end is written last.
    block.concluded = report.get("end_time") is not None and bool(average)
    arguments = report.get("args")
    if isinstance(arguments, list) and arguments:
        block.collective = str(arguments[0]).rpartition("/")[2].partition("_mpi")[0] or None
    return block


def _of_a_cut(text: str) -> Mapping[str, Any]:
    """What an unfinished report holds of the parts that are read here: whole values, and of the results those that are whole."""
    if not text.lstrip().startswith("{"):
        raise ValueError("it is no JSON")
    decoder, found = json.JSONDecoder(), {}
    for key in _KEYS:
        start = text.find('"{0}":'.format(key))
        if start < 0:
            continue
        at = start + len(key) + 3
        found[key] = _whole_items(decoder, text, at) if key == "results" else _whole_value(decoder, text, at)
    return found


def _whole_value(decoder: json.JSONDecoder, text: str, at: int) -> Any:
    try:
        return decoder.raw_decode(text, _blank(text, at))[0]
    except (ValueError, RecursionError):
        return None


def _whole_items(decoder: json.JSONDecoder, text: str, at: int) -> List[Any]:
    items: List[Any] = []
    at = _blank(text, at)
    while text[at : at + 1] in ("[", ","):
        try:
            item, at = decoder.raw_decode(text, _blank(text, at + 1))
        except (ValueError, RecursionError):
            break
        items.append(item)
        at = _blank(text, at)
    return items


def _blank(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _options(config: Mapping[str, Any]) -> dict[str, int]:
    return {
        OPTIONS[name]: value
        for name, value in config.items()
        if name in OPTIONS and isinstance(value, int) and not isinstance(value, bool)
    }


def _ranks(devices: Any) -> Iterator[Rank]:
    for item in devices if isinstance(devices, list) else ():
        data = _mapping(item)
        rank, group, pid, device = (data.get(name) for name in ("rank", "group", "pid", "device"))
        if isinstance(rank, int) and isinstance(device, int):
            yield Rank(
                rank=rank,
                group=group if isinstance(group, int) else 0,
                pid=pid if isinstance(pid, int) else None,
                host=str(data.get("hostname")),
                device=device,
                bdf=str(data.get("device_hex")).lower(),
                product=str(data.get("device_info")).strip(),
            )


def _row(item: Any) -> Optional[Row]:
    data = _mapping(item)
    size, count = _number(data.get("size")), _number(data.get("count"))
    first, second = _half(data.get("out_of_place")), _half(data.get("in_place"))
    if size is None or count is None or (first is None and second is None):
        return None
    redop = data.get("redop")
    return Row(int(size), int(count), str(data.get("type")), first, second, None if redop is None else str(redop))


def _half(item: Any) -> Optional[Half]:
    data = _mapping(item)
    if not data:
        return None
    wrong = _number(data.get("nwrong"))
    return Half(
        _number(data.get("time", data.get("cpu_time"))),
        _number(data.get("alg_bw")),
        _number(data.get("bus_bw")),
        None if wrong is None else int(wrong),
    )


def _mapping(item: Any) -> Mapping[str, Any]:
    return item if isinstance(item, dict) else {}


def _number(item: Any) -> Optional[float]:
    """A finite number; also one that was written as text, as ``"nan"`` is."""
    if isinstance(item, bool) or not isinstance(item, (int, float, str)):
        return None
    try:
        value = float(item)
    except (ValueError, OverflowError):
        return None
    return value if value - value == 0 else None


def _truth(item: Any) -> Optional[bool]:
    """``"true"`` and ``"false"`` are written as text; anything else, ``"unchecked"`` too, is unknown."""
    return {"true": True, "false": False}.get(str(item).lower())
