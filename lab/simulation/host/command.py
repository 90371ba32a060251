"""The program `simulated-hardware` of a lab host.

    simulated-hardware                       at boot, and again at any time: brings everything to what the state says
    simulated-hardware set KEY=VALUE ...     change values of the state file
    simulated-hardware get KEY ...           print values of the state file
    simulated-hardware reset                 back to the profile: no fault, no setting
    simulated-hardware fault NAME [--gpu N | --hca NAME] [--link N]
    simulated-hardware undo NAME [--gpu N | --hca NAME]
    simulated-hardware faults [--json]       the faults of this machine, and where each is active
    simulated-hardware kernel-log LINE ...   lines in this host's kernel log
    simulated-hardware serve                 answer requests of nvidia-smi and libnvidia-ml on standard input (a socket)

Exit codes: 0 done, 1 refused (the message says why), 2 not understood.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from . import driver, faults, kernel_log
from .machine import DRIVER, PCI, kernel_driver, show
from .mounts import cover, cover_keeping_children, cover_linking_children
from .state import Change, Place, RefusedError, Values, changing, initial, read, read_ledger

HOST_KEYS = frozenset(
    {"init_error", "driver_version", "nvml_version", "cuda_version", "gpu_count", "kernel_driver_version"}
)
GPU_CONTROLS = faults.CONTROLS | {"xid_code", "xid_sequence"}


def require_lab_host(place: Place) -> None:
    """Only a lab host may be changed: it carries the marker, and it is a container."""
    for path in (place.marker, place.machine):
        if not path.exists():
            raise RefusedError(f"not a lab host: {path} is missing")
    container = (place.root / "run/.containerenv").exists() or b"container=" in Path("/proc/1/environ").read_bytes()
    if not container:
        raise RefusedError("not a container: simulated hardware would cover the hardware of this machine")


# ---- Boot ----


def show_dmi(values: dict[str, str]) -> None:
    """/sys/devices/virtual/dmi/id and /sys/class/dmi/id; a virtual machine may have neither."""
    folder = Path("/sys/devices/virtual/dmi/id")
    cover_keeping_children("simulated-dmi", Path("/sys/devices/virtual"), ("dmi",))
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        path = folder / name
        path.write_text(f"{value}\n", encoding="utf-8")
        path.chmod(0o400 if name.endswith(("_serial", "_uuid")) else 0o444)
    of_class = Path("/sys/class/dmi/id")
    if of_class.resolve() != folder:
        of_class.parent.mkdir(exist_ok=True)
        of_class.unlink(missing_ok=True)
        of_class.symlink_to("../../devices/virtual/dmi/id")


def boot(place: Place) -> None:
    require_lab_host(place)
    machine = place.read_machine()
    covered = place.root / "run/simulated-hardware/covered"
    first = not covered.exists()
    if not Path("/", PCI).is_dir():
        raise RefusedError(f"/{PCI} does not exist: this kernel has no PCI bus to show devices on")
    cover("simulated-pci", Path("/", PCI))
    cover_keeping_children("simulated-class", Path("/sys/class"), ("dmi", "infiniband"))
    cover_linking_children("simulated-module", Path("/sys/module"), ("nvidia",))
    if Path("/", DRIVER).is_dir():
        cover("simulated-proc-driver", Path("/", DRIVER))
    show_dmi(machine["dmi"])
    covered.parent.mkdir(parents=True, exist_ok=True)
    covered.touch()
    if first:
        driver.restart(place)
        _announce(place, read(place), machine["driver"]["module"])
    show(place)
    subprocess.run(["/sbin/ldconfig"], check=True)


def _announce(place: Place, values: Values, module: str) -> None:
    """What the loading driver writes into the kernel log. Without that log the hardware still works."""
    version = kernel_driver(values)
    try:
        kernel_log.write(place, [f"NVRM: loading NVIDIA UNIX {module}  {version}  (SIMULATED)"] if version else [])
    except RefusedError as error:
        print(f"simulated-hardware: {error}", file=sys.stderr)


# ---- Values ----


def require_known(place: Place, key: str) -> None:
    """A key that nobody reads would change nothing. Raises RefusedError for it."""
    names = place.read_machine()["value_names"]
    kind, _, rest = key.partition(".")
    number, _, name = rest.partition(".")
    if kind in ("gpu", "hca") and (number == "*" or number.isdigit()):
        others = {"gpu": GPU_CONTROLS, "hca": frozenset()}[kind]
        prefix = {"gpu": "nvlink_", "hca": "counter_"}[kind]
        known = name in others or name in names[kind] or name.startswith(prefix)
    else:
        known = key in HOST_KEYS
    if not known:
        raise RefusedError(f"no stand-in reads {key!r}")


def set_values(place: Place, assignments: list[str]) -> None:
    """Change values from outside any fault."""
    wanted = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key or key == "complete" or "\n" in assignment:
            raise RefusedError(f"KEY=VALUE is expected, not {assignment!r}")
        require_known(place, key)
        wanted[key] = value
    with changing(place) as change:
        for key, value in wanted.items():
            change.set(key, value)
    show(place)


def reset(place: Place) -> None:
    """Back to the profile. Only the number of Xids stays, because whoever waits for them would take a fall for a new one."""
    with changing(place) as change:
        counted = {key: value for key, value in change.values.items() if key.endswith(".xid_sequence")}
        change.values.clear()
        change.values.update({**initial(place), **counted})
        change.ledger.faults.clear()
        change.ledger.covered.clear()
    show(place)


# ---- Commands ----


def _fault(place: Place, options: argparse.Namespace) -> None:
    target = faults.apply(place, options.name, gpu=options.gpu, hca=options.hca, link=options.link)
    show(place)
    print(f"{options.name}: {target}")


def _undo(place: Place, options: argparse.Namespace) -> None:
    targets = faults.undo(place, options.name, gpu=options.gpu, hca=options.hca)
    show(place)
    print(f"{options.name}: undone on {', '.join(targets)}" if targets else f"{options.name}: was not active")


def _faults(place: Place, options: argparse.Namespace) -> None:
    listed = faults.listing(place, Change(read(place), read_ledger(place)))
    if options.json:
        print(json.dumps(listed, indent=1))
        return
    for fault in listed:
        active = f"  [active: {', '.join(fault['active'])}]" if fault["active"] else ""
        print(f"{fault['name']:<20} {fault['title']}{active}")


def _get(place: Place, options: argparse.Namespace) -> None:
    values = read(place)
    for key in options.keys:
        print(values.get(key, ""))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulated-hardware", description=__doc__, add_help=True)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command")

    def command(name: str, run: Callable[[Place, argparse.Namespace], None]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        return sub

    command("set", lambda place, options: set_values(place, options.assignments)).add_argument("assignments", nargs="+")
    command("get", _get).add_argument("keys", nargs="+")
    command("reset", lambda place, options: reset(place))
    command("faults", _faults).add_argument("--json", action="store_true")
    command("kernel-log", lambda place, options: kernel_log.write(place, options.lines)).add_argument(
        "lines", nargs="+"
    )
    command("serve", lambda place, options: driver.serve_standard_input(place))
    for name, run in (("fault", _fault), ("undo", _undo)):
        sub = command(name, run)
        sub.add_argument("name")
        sub.add_argument("--gpu", type=int)
        sub.add_argument("--hca")
        if name == "fault":
            sub.add_argument("--link", type=int, default=0)
    return parser


def main(arguments: list[str], place: Place | None = None) -> int:
    """Run one command on the host at `place`; return the exit code."""
    place = place or Place()
    options = _parser().parse_args(arguments)
    try:
        if options.command is None:
            boot(place)
        else:
            options.run(place, options)
    except (RefusedError, OSError) as error:
        print(f"simulated-hardware: {error}", file=sys.stderr)
        return 1
    return 0
