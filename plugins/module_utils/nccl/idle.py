"""Whether the GPUs of a host are free for a run: as many as declared, not shared, and used by nobody.

``QUERIES`` are asked on each host over the launcher that the run will use, so that a host it cannot reach is known before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

GPUS = ("nvidia-smi", "--query-gpu=uuid,compute_mode,mig.mode.current", "--format=csv,noheader")
APPLICATIONS = ("nvidia-smi", "--query-compute-apps=gpu_uuid,pid,process_name", "--format=csv,noheader")
QUERIES: Dict[str, Tuple[str, ...]] = {"gpus": GPUS, "applications": APPLICATIONS}

IN_USE, SHARED, UNREADABLE = "BG-NCCL-110", "BG-NCCL-109", "BG-NCCL-111"


@dataclass(frozen=True)
class Obstacle:
    """Why a run may not start on a host: the code of the refusal, and what was seen."""

    code: str
    node: str
    what: str


def obstacle(node: str, gpus: Optional[str], applications: Optional[str], wanted: int) -> Optional[Obstacle]:
    """What keeps a run from a host by the answers to ``QUERIES``; None in an answer means that there was none."""
    if gpus is None or applications is None:
        return Obstacle(UNREADABLE, node, "nvidia-smi gives no answer there")
    found = [line for line in _rows(gpus) if line[0].startswith("GPU-")]
    if len(found) != wanted or any(len(line) != 3 for line in found):
        return Obstacle(
            UNREADABLE, node, "nvidia-smi shows {0} GPUs there, declared are {1}".format(len(found), wanted)
        )
    if any(mig == "Enabled" for _uuid, _mode, mig in found):
        return Obstacle(SHARED, node, "its GPUs are divided by MIG")
    modes = sorted({mode for _uuid, mode, _mig in found if mode != "Default"})
    if modes:
        return Obstacle(SHARED, node, "the compute mode of its GPUs is {0}, as for MPS".format(", ".join(modes)))
    users = [line for line in _rows(applications) if line[0].startswith("GPU-")]
    if any("nvidia-cuda-mps-server" in line[-1] for line in users):
        return Obstacle(SHARED, node, "an MPS server holds its GPUs")
    if users:
        named = ", ".join("{0} (pid {1})".format(line[-1], line[1]) for line in users[:3] if len(line) >= 3)
        return Obstacle(IN_USE, node, "{0} processes use its GPUs{1}".format(len(users), ": " + named if named else ""))
    return None


def _rows(text: str) -> List[List[str]]:
    return [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]
