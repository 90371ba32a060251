"""The one exception that the collection's own code raises on purpose."""

from __future__ import annotations

from typing import Any


class GpuError(Exception):
    """An error with a stable code, what is wrong, why it matters and what to do.

    ``code`` is an entry of ``data/codes.yml`` (``BG-<AREA>-<NNN>``). Modules turn it into one
    ``fail_json(**error.as_result())``; nothing else of it reaches the user.
    """

    def __init__(self, code: str, what: str, why: str = "", remedy: str = "") -> None:
        self.code = code
        self.what = what
        self.why = why
        self.remedy = remedy
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """``BG-XXX-001: what; why; remedy`` with the empty parts left out."""
        parts = [part.strip().rstrip(".;") for part in (self.what, self.why, self.remedy)]
        return "{0}: {1}".format(self.code, "; ".join(part for part in parts if part))

    def as_result(self) -> dict[str, Any]:
        """Arguments for ``fail_json`` or a failed action result."""
        return {"msg": self.message, "code": self.code, "remedy": self.remedy}
