"""Reads the JSON of ``dcgmi diag -j`` of DCGM 3 and 4. Pure; raises nothing but ``DcgmFormatError``.

DCGM 3 calls the document ``DCGM GPU Diagnostic`` and names GPUs by ``gpu_id`` or ``gpu_ids`` (text or number); DCGM 4 calls it
``DCGM Diagnostic``, names entities, and gives warnings as objects with numbers. Text may stand before the document, and lists
may hold ``null``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.plain_text import plain

ROOTS = ("DCGM Diagnostic", "DCGM GPU Diagnostic")
MAXIMUM_CHARACTERS = 16 * 1024 * 1024


class DcgmFormatError(ValueError):
    """The text is not a complete document of ``dcgmi diag -j``."""


@dataclass(frozen=True)
class Complaint:
    """What a test complains about. Numbers are DCGM's and ``None`` in DCGM 3 without them."""

    text: str
    error_id: Optional[int]
    category: Optional[int]
    severity: Optional[int]


@dataclass(frozen=True)
class Result:
    """One test on some GPUs. ``status`` is ``pass``, ``fail``, ``warn``, ``skip`` or what else DCGM says, in small letters."""

    category: str
    test: str
    gpus: Tuple[str, ...]
    status: str
    warnings: Tuple[Complaint, ...]


@dataclass(frozen=True)
class Diagnostic:
    """One run. ``runtime_error`` is DCGM's reason for not having tested at all."""

    version: Optional[str]
    driver_version: Optional[str]
    runtime_error: Optional[str]
    results: Tuple[Result, ...]
    device_ids: Tuple[str, ...]


def parse(text: str) -> Diagnostic:
    """Read one run. Raises ``DcgmFormatError`` when no complete document of a diagnostic is in ``text``."""
    document = _document(plain(text))
    root = next(document[name] for name in ROOTS if name in document)
    if not isinstance(root, dict):
        raise DcgmFormatError("the diagnostic is no object")
    metadata = _mapping(document.get("metadata"))
    return Diagnostic(
        version=_text(metadata.get("version") or root.get("version")),
        driver_version=_text(metadata.get("Driver Version Detected") or root.get("driver_version")),
        runtime_error=_text(root.get("runtime_error") or document.get("runtime_error")),
        results=tuple(
            result
            for category in _mappings(root.get("test_categories"))
            for test in _mappings(category.get("tests"))
            for result in _results(str(category.get("category") or "?"), test)
        ),
        device_ids=tuple(
            str(entity["device_id"])
            for group in _mappings(document.get("entity_groups"))
            for entity in _mappings(group.get("entities"))
            if entity.get("device_id") is not None
        ),
    )


def _document(text: str) -> Mapping[str, Any]:
    if len(text) > MAXIMUM_CHARACTERS:
        raise DcgmFormatError("the answer has more than {0} characters".format(MAXIMUM_CHARACTERS))
    decoder = json.JSONDecoder()
    # Warnings may stand before the document, also with a brace in them.
    for start in [match.start() for match in re.finditer(r"\{", text)][:50]:
        try:
            document, _end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict) and any(name in document for name in ROOTS):
            return document
    raise DcgmFormatError("the answer is no complete document of dcgmi diag -j")


def _results(category: str, test: Mapping[str, Any]) -> List[Result]:
    name = str(test.get("name") or "?")
    entries = _mappings(test.get("results"))
    summary = _mapping(test.get("test_summary"))
    if not entries:
        # A test that tells nothing about any GPU still has its own status.
        return [_result(category, name, summary)] if summary.get("status") is not None else []
    return [_result(category, name, entry) for entry in entries]


def _result(category: str, name: str, entry: Mapping[str, Any]) -> Result:
    status = str(entry.get("status") or "unknown").strip().lower()
    return Result(
        category=category,
        test=name,
        gpus=_gpus(entry),
        status={"passed": "pass", "failed": "fail", "skipped": "skip", "warning": "warn"}.get(status, status),
        warnings=tuple(_warning(item) for item in _listed(entry.get("warnings")) if item is not None),
    )


def _gpus(entry: Mapping[str, Any]) -> Tuple[str, ...]:
    for name in ("entity_id", "gpu_ids", "gpu_id"):
        value = entry.get(name)
        if value is not None:
            parts = value if isinstance(value, list) else str(value).split(",")
            return tuple(str(part).strip() for part in parts if str(part).strip())
    return ()


def _warning(item: Any) -> Complaint:
    if not isinstance(item, dict):
        return Complaint(str(item)[:500], None, None, None)
    return Complaint(
        text=str(item.get("warning") or item.get("error") or "")[:500],
        error_id=_number(item.get("error_id")),
        category=_number(item.get("error_category")),
        severity=_number(item.get("error_severity")),
    )


def _number(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> Optional[str]:
    return str(value) if value not in (None, "") else None


def _listed(value: Any) -> List[Any]:
    return value if isinstance(value, list) else ([] if value is None else [value])


def _mapping(value: Any) -> Dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> List[Dict[str, Any]]:
    return [item for item in _listed(value) if isinstance(item, dict)]
