"""Text as programs meant it: without colours, carriage returns and byte order marks. Pure."""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def plain(text: str) -> str:
    """``text`` without terminal escapes and byte order mark, its lines ended by ``\\n``."""
    return _ESCAPES.sub("", text).lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
