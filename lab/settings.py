"""Where the embedded lab keeps things, and the one place that says so."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
"""The checkout: the collection's root."""

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "baremetal-gpu"
"""Expensive artefacts, each under `<kind>/<content key>`; shared by every checkout of this user."""

STATE = Path(os.environ.get("BAREMETAL_GPU_LAB_DIR") or REPOSITORY / ".lab").resolve()
"""What one lab owns: keys, volumes, inventory, logs and report. Two labs differ only in this path."""

RUN = Path("/run/baremetal-gpu-lab")
"""What all labs of this machine share while they run: locks, the register of labs, sockets. Gone after a restart."""
