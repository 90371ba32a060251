"""Values that could not be read. A missing value is ``None`` and has a kind and a reason; it is never 0 or ""."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Optional

NOT_SUPPORTED = "not_supported"  # the device says that it does not have this value
ABSENT = "absent"  # the tool, file or field is not there
UNREADABLE = "unreadable"  # it is there and cannot be read or understood
TIMEOUT = "timeout"  # the tool did not answer in time
FAILED = "failed"  # the tool answered with an error

# What nvidia-smi prints for a value that this device does not have: with and without brackets, in tables and in XML
# (captures of drivers 550 to 590), and the sentence it prints for removed fields.
_NOT_SUPPORTED = re.compile(
    r"^\[?\s*(n/?a|not supported|requested functionality has been deprecated)\s*\]?$", re.IGNORECASE
)
_UNREADABLE = re.compile(
    r"^\[?\s*(unknown error|unknown|err!|gpu is lost|gpu requires reset|insufficient permissions)\s*\]?$", re.IGNORECASE
)


@dataclass(frozen=True)
class Missing:
    """Why a value is missing."""

    kind: str
    reason: str


class MissingLog:
    """Collects why values are missing, by the path of the value (``gpus[0].memory_total_bytes``)."""

    def __init__(self) -> None:
        self.entries: Dict[str, Missing] = {}

    def add(self, path: str, missing: Missing) -> None:
        """Note why the value at ``path`` is ``None``."""
        self.entries[path] = missing


def no_field(source: str) -> Missing:
    """``source`` answers, and has no place for the value."""
    return Missing(ABSENT, "{0} has no such field".format(source))


def classify(text: Optional[str], source: str) -> Optional[Missing]:
    """Why ``text``, a value that ``source`` printed, is no value; ``None`` when it is one."""
    if text is None:
        return no_field(source)
    stripped = text.strip()
    if not stripped:
        return Missing(ABSENT, "{0} prints an empty value".format(source))
    if _NOT_SUPPORTED.match(stripped):
        return Missing(NOT_SUPPORTED, "{0} prints {1}".format(source, stripped))
    if _UNREADABLE.match(stripped):
        return Missing(UNREADABLE, "{0} prints {1}".format(source, stripped))
    return None
