"""What the real driver does when a tool changes a GPU: modes that are kept, MIG instances, resets.

libnvidia-ml and nvidia-smi send one line to the UNIX socket of this stand-in and get one line back: NVML's return code
and what was made. The state file itself is mounted read-only into containers; this socket is what the container toolkit
mounts for the real driver's persistence daemon.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

from . import mig
from .machine import show
from .state import Change, Place, RefusedError, changing, gpus, initial, of_gpu

SUCCESS, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, GPU_IS_LOST = 0, 2, 3, 4, 15

COMPUTE_MODES = ("Default", "Prohibited", "Exclusive_Process")
SWITCH = ("Enabled", "Disabled")

VOLATILE = (
    "compute_mode",
    "persistence_mode",
    "mig_mode",
    "mig_mode_pending",
    "power_limit_w",
    "power_limit_requested_w",
)
"""What tools set is gone after a restart: Hopper keeps no MIG mode, and the others were never kept by any GPU."""

LINE_LIMIT = 512


def _set_reported(change: Change, gpu: int, name: str, value: str) -> None:
    """Set a value that the device reports; one that it does not have cannot be set."""
    if of_gpu(change.values, gpu, name) == "":
        raise mig.MigError(NOT_SUPPORTED, f"{name} is not supported")
    change.set(f"gpu.{gpu}.{name}", value)


def _choice(value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise mig.MigError(INVALID_ARGUMENT, f"{value} is not one of {', '.join(known)}")
    return value


def _compute_mode(change: Change, gpu: int, mode: str) -> str:
    _set_reported(change, gpu, "compute_mode", _choice(mode, COMPUTE_MODES))
    return ""


def _persistence_mode(change: Change, gpu: int, mode: str) -> str:
    _set_reported(change, gpu, "persistence_mode", _choice(mode, SWITCH))
    return ""


def _mig_mode(change: Change, gpu: int, mode: str) -> str:
    """From Hopper on MIG mode changes at once, without a reset. Switching it off takes its instances away."""
    if mode == "Disabled":
        mig.destroy_all(change, gpu)
    _set_reported(change, gpu, "mig_mode", _choice(mode, SWITCH))
    change.set(f"gpu.{gpu}.mig_mode_pending", mode)
    return ""


def _power_limit(change: Change, gpu: int, watts: str) -> str:
    lowest, highest = (of_gpu(change.values, gpu, f"power_limit_{end}_w") for end in ("min", "max"))
    if not lowest or not highest:
        raise mig.MigError(NOT_SUPPORTED, "the power limit cannot be set")
    if not float(lowest) <= float(watts) <= float(highest):
        raise mig.MigError(INVALID_ARGUMENT, f"the power limit must be between {lowest} and {highest} W")
    for name in ("power_limit_w", "power_limit_requested_w"):
        _set_reported(change, gpu, name, f"{float(watts):.2f}")
    return ""


def _clear_ecc(change: Change, gpu: int, which: str) -> str:
    prefix = f"ecc_{_choice(which, ('volatile', 'aggregate'))}_"
    if of_gpu(change.values, gpu, "ecc_mode") == "":
        raise mig.MigError(NOT_SUPPORTED, "this GPU has no ECC")
    names = {key.split(".", 2)[2] for key in change.values if key.startswith("gpu.") and key.count(".") >= 2}
    for name in names:
        if name.startswith(prefix) and of_gpu(change.values, gpu, name).isdigit():
            change.set(f"gpu.{gpu}.{name}", "0")
    return ""


def _reset(change: Change, gpu: int) -> str:
    """A reset clears volatile counters, makes pending row remappings and MIG modes real, and brings no lost GPU back."""
    if of_gpu(change.values, gpu, "ecc_mode") != "":
        _clear_ecc(change, gpu, "volatile")
    for name, value in (("remapped_rows_pending", "No"), ("recovery_action", "None")):
        if of_gpu(change.values, gpu, name) != "":
            change.set(f"gpu.{gpu}.{name}", value)
    pending = of_gpu(change.values, gpu, "mig_mode_pending")
    if pending and pending != of_gpu(change.values, gpu, "mig_mode"):
        _mig_mode(change, gpu, pending)
    return ""


def _create_gpu_instance(change: Change, gpu: int, profile: str, start: str = "") -> str:
    return str(mig.create_gpu_instance(change, gpu, int(profile), int(start) if start else None))


def _destroy_gpu_instance(change: Change, gpu: int, instance: str) -> str:
    mig.destroy_gpu_instance(change, gpu, int(instance))
    return ""


def _create_compute_instance(change: Change, gpu: int, instance: str, profile: str) -> str:
    return str(mig.create_compute_instance(change, gpu, int(instance), int(profile)))


def _destroy_compute_instance(change: Change, gpu: int, instance: str, compute: str) -> str:
    mig.destroy_compute_instance(change, gpu, int(instance), int(compute))
    return ""


REQUESTS: dict[str, Callable[..., str]] = {
    "compute-mode": _compute_mode,
    "persistence-mode": _persistence_mode,
    "mig-mode": _mig_mode,
    "power-limit": _power_limit,
    "clear-ecc": _clear_ecc,
    "reset": _reset,
    "create-gpu-instance": _create_gpu_instance,
    "destroy-gpu-instance": _destroy_gpu_instance,
    "create-compute-instance": _create_compute_instance,
    "destroy-compute-instance": _destroy_compute_instance,
}


def handle(place: Place, line: str, *, root: bool) -> tuple[int, str]:
    """Answer one request, `<what> <gpu> [argument ...]`: NVML's return code and a detail. Only root may change a GPU."""
    words = line.split()
    if len(words) < 2 or words[0] not in REQUESTS or not words[1].isdigit():
        return INVALID_ARGUMENT, "unknown request"
    if not root:
        return NO_PERMISSION, "only root may change a GPU"
    try:
        with changing(place) as change:
            gpu = int(words[1])
            if gpu not in gpus(change.values):
                return INVALID_ARGUMENT, f"there is no GPU {gpu}"
            if of_gpu(change.values, gpu, "lost") == "yes":
                return GPU_IS_LOST, f"GPU {gpu} is lost"
            detail = REQUESTS[words[0]](change, gpu, *words[2:])
    except mig.MigError as error:
        return error.code, str(error)
    except (TypeError, ValueError):
        return INVALID_ARGUMENT, "wrong arguments"
    show(place)
    return SUCCESS, detail


def restart(place: Place) -> None:
    """What the start of a machine does: settings of tools are gone. Active faults stay, as broken hardware does."""
    pristine = initial(place)
    with changing(place) as change:
        for gpu in gpus(change.values):
            mig.destroy_all(change, gpu)
            for name in VOLATILE:
                key = f"gpu.{gpu}.{name}"
                if any(key in fault.keys for fault in change.ledger.faults):
                    continue
                if key in pristine:
                    change.values[key] = pristine[key]
                else:
                    change.values.pop(key, None)


def serve(place: Place, connection: socket.socket) -> None:
    """Answer the requests of one connection, a line each."""
    _, user, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    with connection.makefile("r", encoding="utf-8", newline="\n") as lines:
        while line := lines.readline(LINE_LIMIT):
            try:
                code, detail = handle(place, line, root=user == 0)
            except (RefusedError, OSError) as error:
                code, detail = 999, str(error)
            connection.sendall(f"{code} {detail}\n".encode())


def serve_standard_input(place: Place) -> None:
    """systemd starts one of these for each connection and hands it over as standard input."""
    serve(place, socket.socket(fileno=os.dup(0)))
