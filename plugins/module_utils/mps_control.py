"""Finds CUDA MPS control daemons and asks whether they live. Read-only: it connects and says nothing."""

from __future__ import annotations

import glob
import os
import socket
import stat
from dataclasses import dataclass
from typing import List, Optional, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.missing import FAILED, UNREADABLE, Missing, MissingLog

# The device plugin keeps one daemon per resource below its MPS root; a daemon started by hand uses CUDA's default.
PIPE_DIRECTORIES = ("run/nvidia/mps/*/*/pipe", "run/nvidia/mps/pipe", "run/nvidia/mps", "tmp/nvidia-mps")

_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class MpsDaemon:
    """One pipe directory. ``responding`` is ``None`` when that could not be found out."""

    pipe_directory: str
    responding: Optional[bool]


def read_mps_daemons(root: str, log: MissingLog) -> Tuple[MpsDaemon, ...]:
    """Every MPS control daemon whose ``control`` pipe exists.

    The pipe outlives a killed daemon, and nothing else tells that it is dead: so the pipe is asked.
    """
    daemons: List[MpsDaemon] = []
    for pattern in PIPE_DIRECTORIES:
        for directory in sorted(glob.glob(os.path.join(glob.escape(root), pattern))):
            control = os.path.join(directory, "control")
            if os.path.lexists(control):
                responding, missing = _ask(control)
                if missing is not None:
                    log.add("mps_daemons[{0}].responding".format(len(daemons)), missing)
                daemons.append(MpsDaemon("/" + os.path.relpath(directory, root), responding))
    return tuple(daemons)


def _ask(control: str) -> Tuple[Optional[bool], Optional[Missing]]:
    try:
        if not stat.S_ISSOCK(os.stat(control).st_mode):
            return None, Missing(UNREADABLE, "the control pipe is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_TIMEOUT_S)
            client.connect(control)
        return True, None
    except ConnectionRefusedError:
        return False, None
    except OSError as error:
        return None, Missing(FAILED, "the control pipe cannot be asked: {0}".format(error))
