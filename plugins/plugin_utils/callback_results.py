"""What callbacks of this collection ask of Ansible's results."""

from __future__ import annotations

from typing import Any


def delegate_of(result: Any) -> str | None:
    """The host that a task was delegated to, with templates filled in; nothing when it was not delegated."""
    fields = getattr(result, "task_fields", None) or getattr(result, "_task_fields", None) or {}
    name = fields.get("delegate_to")
    return str(name) if name else None
