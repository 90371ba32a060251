"""Thresholds and signatures for NCCL, from ``data/thresholds.yml`` and ``data/signatures/nccl.yml``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files


@dataclass(frozen=True)
class Sign:
    """What a bus bandwidth from ``low`` to below ``high``, in GB/s, usually comes from."""

    low: float
    high: float
    cause: str
    remedy: str


@dataclass(frozen=True)
class Threshold:
    """What a collective over a topology must reach, in GB/s (1e9), at a message of at least so many bytes.

    ``largest_bytes``: messages above it are not run there; None where no such limit is known.
    """

    topology: str
    collective: str
    ranks: int
    at_least_bytes: int
    minimum_busbw_gb_per_s: float
    largest_bytes: int | None = None
    signs: tuple[Sign, ...] = ()

    def sign_of(self, busbw_gb_per_s: float) -> Sign | None:
        """What a figure usually comes from; None where none is known."""
        return next((sign for sign in self.signs if sign.low <= busbw_gb_per_s < sign.high), None)


@dataclass(frozen=True)
class Signature:
    """What a line of a log means; the expression itself is only needed where the log is read.

    ``between_hosts`` means nothing where all ranks ran on one host, nor anything on products that have a text of ``not_on`` in their name.
    """

    id: str
    kind: str
    level: str
    blames: str
    cause: str
    remedy: str
    between_hosts: bool = False
    not_on: tuple[str, ...] = ()


def thresholds(topology: str) -> dict[str, Threshold]:
    """The thresholds of a topology by collective. Raises ``GpuError`` BG-NCCL-101 for one that is not listed."""
    entries = data_files.load("data/thresholds.yml")["nccl"]
    found = {entry["collective"]: _threshold(entry) for entry in entries if entry["topology"] == topology}
    if not found:
        known = sorted({entry["topology"] for entry in entries})
        raise GpuError(
            "BG-NCCL-101",
            f"there are no thresholds for the topology {topology!r}",
            "without a threshold no bandwidth can be called healthy",
            data_files.suggestion(topology, known),
        )
    return found


def signatures() -> dict[str, Signature]:
    """All signatures by id."""
    return {
        str(entry["id"]): Signature(
            id=str(entry["id"]),
            kind=str(entry["class"]),
            level=str(entry["level"]),
            blames=str(entry["blames"]),
            cause=str(entry["cause"]),
            remedy=str(entry["remedy"]),
            between_hosts=bool(entry.get("between_hosts", False)),
            not_on=tuple(entry.get("not_on", ())),
        )
        for entry in raw_signatures()
    }


def raw_signatures() -> list[Mapping[str, Any]]:
    """The entries as the file has them, in its order."""
    entries: list[Mapping[str, Any]] = data_files.load("data/signatures/nccl.yml")["signatures"]
    return entries


def _threshold(entry: Mapping[str, Any]) -> Threshold:
    return Threshold(
        topology=str(entry["topology"]),
        collective=str(entry["collective"]),
        ranks=int(entry["ranks"]),
        at_least_bytes=int(entry["at_least_bytes"]),
        minimum_busbw_gb_per_s=float(entry["minimum_busbw_gb_per_s"]),
        largest_bytes=entry.get("largest_bytes"),
        signs=tuple(
            Sign(float(sign["from_gb_per_s"]), float(sign["to_gb_per_s"]), str(sign["cause"]), str(sign["remedy"]))
            for sign in entry.get("signs", ())
        ),
    )
