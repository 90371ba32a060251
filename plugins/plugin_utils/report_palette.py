"""Signs and colours of the report's page, and which of them meet: a test computes their contrast."""

from __future__ import annotations

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN, WARN
from ansible_collections.baremetal.gpu.plugins.plugin_utils.report_outcome import NONE, OUTCOMES, WAIVED

MARKS = {FAIL: "\u2715", UNKNOWN: "?", WARN: "!", WAIVED: "w", SKIPPED: "\u2013", OK: "\u2713", NONE: "\u00b7"}
"""One character per outcome, so that colour is never the only sign."""

LIGHT = {
    "page": "#ffffff",
    "panel": "#f4f5f7",
    "text": "#1b1f24",
    "quiet": "#545b64",
    "link": "#0a58b0",
    "edge": "#868e97",
    "grid": "#d5d9de",
    "curve": "#0a58b0",
    "threshold": "#b3261e",
    "fail": "#b3261e",
    "on-fail": "#ffffff",
    "unknown": "#6b3fa0",
    "on-unknown": "#ffffff",
    "warn": "#f2c14e",
    "on-warn": "#241a00",
    "waived": "#d9cfe8",
    "on-waived": "#2c1a47",
    "skipped": "#e1e4e8",
    "on-skipped": "#2f353c",
    "ok": "#1a7340",
    "on-ok": "#ffffff",
    "none": "#ffffff",
    "on-none": "#545b64",
    "grade-1": "#7fb2e5",
    "grade-2": "#4f8fd0",
    "grade-3": "#2a6db5",
    "grade-4": "#0a4a8f",
}
DARK = {
    "page": "#14171b",
    "panel": "#1f242a",
    "text": "#e8eaed",
    "quiet": "#a9b1ba",
    "link": "#8ab8f5",
    "edge": "#7b848e",
    "grid": "#363d45",
    "curve": "#8ab8f5",
    "threshold": "#ff8a80",
    "fail": "#ff8a80",
    "on-fail": "#330300",
    "unknown": "#c9a6f5",
    "on-unknown": "#22083f",
    "warn": "#f2c14e",
    "on-warn": "#241a00",
    "waived": "#4a3a63",
    "on-waived": "#efe6fb",
    "skipped": "#3a424b",
    "on-skipped": "#e8eaed",
    "ok": "#6fcf97",
    "on-ok": "#04240f",
    "none": "#14171b",
    "on-none": "#a9b1ba",
    "grade-1": "#2f5f93",
    "grade-2": "#4a80ba",
    "grade-3": "#71a5dd",
    "grade-4": "#a6cdf7",
}
"""Colours by what they are for; ``on-`` is what is written upon it. The dark scheme has the same names."""

TEXT_PAIRS = (
    *((text, ground) for text in ("text", "quiet", "link") for ground in ("page", "panel")),
    *((f"on-{name}", name) for name in (*OUTCOMES, NONE)),
)
"""What is written upon what: WCAG 2 AA asks for a contrast of 4.5."""

SHAPE_PAIRS = tuple(
    (shape, ground) for shape in ("edge", "curve", "threshold", "fail", "unknown") for ground in ("page", "panel")
)
"""Lines and shapes that mean something, upon what: a contrast of 3. Filled shapes have an edge, so their filling need not have it."""
