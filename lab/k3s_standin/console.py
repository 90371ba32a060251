"""Messages as k3s writes them, and how the program ends."""

from __future__ import annotations

import json
import sys
import time


class FatalError(Exception):
    """The program cannot go on; the text is logged with level `fatal` and the exit status is 1."""


def log(level: str, message: str) -> None:
    """Write one line to standard error in the form of k3s's logger."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f'time="{now}" level={level} msg={json.dumps(message, ensure_ascii=False)}', file=sys.stderr, flush=True)
