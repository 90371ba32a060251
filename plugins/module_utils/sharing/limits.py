"""The limits that a CUDA program sets itself under MPS, as its environment holds them. Pure.

The names and forms are those of NVIDIA's MPS documentation ("Appendix: Environment Variables"). It does not say what CUDA makes of any
other form, and a program may then run without its limit; so a form that is not certain is refused here.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Dict, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

THREADS = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
MEMORY = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"

MIB = 1024**2
GIB = 1024**3

_PERCENTAGE = re.compile(r"\A[0-9]{1,3}(?:\.[0-9]{1,6})?\Z")
# An integer and one of two units; the documentation's own example also writes MB.
_AMOUNT = re.compile(r"\A([0-9]{1,9})(?:(G)|(M))B?\Z")
_INDEX = re.compile(r"\A(?:0|[1-9][0-9]{0,2})\Z")
_UUID = re.compile(r"\AGPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def parse_thread_percentage(value: Any) -> Decimal:
    """The percentage of a GPU's threads, above 0 and at most 100. Raises ``GpuError`` BG-SHARE-001."""
    text = _text(value)
    if not _PERCENTAGE.match(text) or not 0 < Decimal(text) <= 100:
        raise GpuError(
            "BG-SHARE-001",
            "{0} is {1!r}".format(THREADS, _shown(value)),
            "what CUDA makes of anything else is not documented, and the program may run without the limit",
            "write one number above 0 and up to 100 without a sign or unit, for example 10",
        )
    return Decimal(text)


def parse_memory(value: Any) -> int:
    """An amount of memory such as ``16G``, ``512M`` or ``512MB`` in bytes. G are GiB, M are MiB. Raises ``GpuError`` BG-SHARE-002.

    The units are powers of 1024: a limit of 4G left 4,270,714,864 bytes free in a public capture, more than 4 x 10^9; and NVIDIA's
    device plugin divides bytes by 1024 twice for its M.
    """
    found = _AMOUNT.match(_text(value))
    if found is None or int(found.group(1)) == 0:
        raise _bad_memory(
            "the amount {0!r}".format(_shown(value)), "write a whole number above 0 with G or M, for example 16G"
        )
    return int(found.group(1)) * (GIB if found.group(2) else MIB)


def parse_memory_limits(value: Any) -> Dict[str, int]:
    """Bytes by device: ``0=16G``, ``0=16G,1=512M`` or ``GPU-<uuid>=16G``. Raises ``GpuError`` BG-SHARE-002."""
    found: Dict[str, int] = {}
    for part in _text(value).split(","):
        device, equals, amount = part.partition("=")
        if not equals:
            raise _bad_memory(
                "{0!r} in {1!r}".format(_shown(part), _shown(value)), "write device=amount, for example 0=16G"
            )
        if device.startswith("MIG-"):
            raise _bad_memory(
                "the MIG device {0!r}".format(_shown(device)), "name a whole GPU: MIG devices are not shared by MPS"
            )
        if not _INDEX.match(device) and not _UUID.match(device):
            hint = "name a device by its index in the container, from 0 on, or by its whole UUID"
            raise _bad_memory("the device {0!r}".format(_shown(device)), hint)
        if device in found:
            raise _bad_memory("the device {0} twice".format(device), "give each device one limit")
        found[device] = parse_memory(amount)
    return found


def render_memory(size: int) -> str:
    """The largest amount that MPS can be told and that is not above ``size`` bytes: ``16G``, ``12207M``. Raises ``ValueError`` below 1 MiB."""
    if size < MIB:
        raise ValueError("{0} bytes are less than the 1 MiB that MPS can be told".format(size))
    return "{0}G".format(size // GIB) if size % GIB == 0 else "{0}M".format(size // MIB)


def render_memory_limits(limits: Mapping[str, int]) -> str:
    """The value of the variable for bytes by device, in the order given."""
    return ",".join("{0}={1}".format(device, render_memory(size)) for device, size in limits.items())


def _text(value: Any) -> str:
    # true is a number to Python and a mistake here. Templates make numbers of texts, and texts of numbers.
    return "" if isinstance(value, bool) or value is None else str(value)


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _bad_memory(what: str, remedy: str) -> GpuError:
    return GpuError(
        "BG-SHARE-002",
        "{0} has {1}".format(MEMORY, what),
        "what CUDA makes of anything else is not documented, and the program may run without the limit",
        remedy,
    )
