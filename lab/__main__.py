"""`python -m lab`: build, boot, break, prove and remove the embedded lab."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable

from lab import artefacts, engine, faults, hosts, machine, network, power, supervisor, system, upkeep
from lab.model import SharedHostError, UnknownHostError, find_host, systems
from lab.podman import PodmanError


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and do one verb; the exit status of `lab` is the verdict."""
    chosen = _parser().parse_args(arguments)
    os.umask(0o022)
    if chosen.verb != "supervise":
        # As with Ctrl-C: what was begun is ended in order, and nothing goes on alone.
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return VERBS[chosen.verb](chosen)
    except (UnknownHostError, SharedHostError, faults.FaultError, hosts.HostError, PodmanError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("lab", help="boot the hosts, run the playbooks, print the verdict")
    verbs.add_parser("up", help="only boot the hosts and prepare the site")
    for verb in ("lab", "up"):
        verbs.choices[verb].add_argument(
            "--system", action="append", choices=sorted(systems()), help="one system only; repeatable"
        )
    verbs.choices["up"].add_argument(
        "--fleet", type=int, default=0, metavar="N", help="N small GPU hosts without a cluster, for measurements"
    )
    verbs.choices["lab"].add_argument(
        "--check", action="store_true", help="only predict what the playbooks would change"
    )
    boot = verbs.add_parser("boot", help="only boot the named hosts, with no site around them")
    boot.add_argument("host", nargs="+")
    verbs.add_parser("timings", help="show how long each step of the last run took")
    verbs.add_parser("cache-check", help="compare the artefact cache's contents with what was built")
    verbs.add_parser("cache-prune", help="remove from the artefact cache what was not used for long")
    verbs.choices["cache-prune"].add_argument("--days", type=float, default=30.0, help="default: %(default)s")
    verbs.choices["cache-prune"].add_argument(
        "--unpinned", action="store_true", help="also whatever the versions of this checkout do not ask for"
    )
    verbs.add_parser("clean", help="remove exactly what this lab made")
    shell = verbs.add_parser("shell", help="open a root shell on a lab host, or run a command there")
    shell.add_argument("host")
    shell.add_argument("--command", metavar="COMMAND", help="a shell command to run instead")
    fault = verbs.add_parser("fault", help="break something on a host by name")
    fault.add_argument("host")
    fault.add_argument("name")
    fault.add_argument("parameter", nargs="*", metavar="KEY=VALUE")
    unfault = verbs.add_parser("unfault", help="take a fault back")
    unfault.add_argument("host", nargs="?", help="without a name: all of this host's; without a host: all")
    unfault.add_argument("name", nargs="?")
    listing = verbs.add_parser("faults", help="list what can be broken, and what is")
    listing.add_argument("--json", action="store_true")
    verbs.add_parser("supervise")  # started by the lab itself: what it does is no command for people
    return parser


def _lab(chosen: argparse.Namespace) -> int:
    _prepare_machine()
    with network.alone():
        return engine.lab(chosen.system, check=chosen.check)


def _up(chosen: argparse.Namespace) -> int:
    _prepare_machine()
    with network.alone():
        engine.up(chosen.system, chosen.fleet)
    return 0


def _boot(chosen: argparse.Namespace) -> int:
    for name in chosen.host:
        find_host(name)
    _prepare_machine()
    with network.alone():
        engine.boot(chosen.host)
    return 0


def _prepare_machine() -> None:
    machine.refuse_unusable()
    system.ensure_packages()


def _clean(_chosen: argparse.Namespace) -> int:
    with network.alone():
        hosts.down()
    return 0


def _shell(chosen: argparse.Namespace) -> int:
    return hosts.shell(find_host(chosen.host), chosen.command)


def _fault(chosen: argparse.Namespace) -> int:
    faults.inject(chosen.host, chosen.name, chosen.parameter)
    return 0


def _unfault(chosen: argparse.Namespace) -> int:
    if chosen.name is None:
        faults.undo_all(chosen.host)
    else:
        faults.undo(chosen.host, chosen.name)
    return 0


def _faults(chosen: argparse.Namespace) -> int:
    print(faults.active_table(faults.listing(), as_json=chosen.json))
    return 0


def _timings(_chosen: argparse.Namespace) -> int:
    return engine.timings()


def _cache_check(_chosen: argparse.Namespace) -> int:
    return 1 if upkeep.check() else 0


def _cache_prune(chosen: argparse.Namespace) -> int:
    # What optional systems need is of this checkout's versions, too; each has a mirror of its own.
    chosen_modules = {frozenset(system.modules) for system in systems().values()}
    entries = [entry for modules in chosen_modules for entry in artefacts.plan(modules).entries.values()]
    upkeep.prune(entries, days=chosen.days, unpinned=chosen.unpinned)
    return 0


def _supervise(_chosen: argparse.Namespace) -> int:
    def restart(host: str) -> None:
        power.switch_on(host)
        faults.after_start(host)

    supervisor.supervise(restart, power.exit_status)
    return 0


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "boot": _boot,
    "cache-check": _cache_check,
    "cache-prune": _cache_prune,
    "clean": _clean,
    "fault": _fault,
    "faults": _faults,
    "lab": _lab,
    "shell": _shell,
    "supervise": _supervise,
    "timings": _timings,
    "unfault": _unfault,
    "up": _up,
}

if __name__ == "__main__":
    sys.exit(main())
