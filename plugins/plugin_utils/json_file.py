"""Writing a file as a whole."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def as_json(document: Mapping[str, Any]) -> str:
    """A document as people can read it, too; what JSON has no form for is written as its text."""
    return json.dumps(document, indent=2, default=str) + "\n"


def replace_with(path: Path, document: Mapping[str, Any]) -> None:
    """Replace the file with a JSON document. Raises ``OSError``."""
    replace_text(path, as_json(document))


def replace_text(path: Path, text: str) -> None:
    """Replace the file as a whole: a reader sees the old text or the new one, never a part. Makes its folder. Raises ``OSError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Half a surrogate pair, which no encoding has, may come out of a file name.
        scratch.write_text(text, encoding="utf-8", errors="replace")
        scratch.replace(path)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()
