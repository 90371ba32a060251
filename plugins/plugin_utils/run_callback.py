"""What callbacks share that write documents about one run: its name, its clock, and the files."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

UNWRITABLE = "BG-REPORT-001"


class RunCallback(CallbackBase):
    """Knows which playbook runs, since when, and where its document goes: the plugin's option ``path``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._playbook = "unnamed"
        self._started = utc_now()
        # Wall clocks jump; durations are measured on the monotonic one.
        self._begun = time.monotonic()

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbook = Path(playbook._file_name).name

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._begun

    def _path(self) -> Path | None:
        path = self.get_option("path")
        return Path(path) if path else None

    def _remove(self, path: Path) -> None:
        """Remove what an earlier run left, so that a run that is killed leaves nothing that looks like its own."""
        self._guarded(path, "removed", lambda: path.unlink(missing_ok=True))

    def _guarded(self, path: Path, what: str, act: Callable[[], None]) -> None:
        """Do something with a file. A failure is told and ends nothing: what the run did to hosts is done, and its table is still due."""
        try:
            act()
        except OSError as error:
            self._display.error(
                f"{UNWRITABLE}: {path} cannot be {what} ({error.strerror or error}); what is there is not this run's; "
                "make its folder writable, or set another path"
            )


def utc_now() -> str:
    """The present time, as documents write it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
