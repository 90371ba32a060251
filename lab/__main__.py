"""`python -m lab`: build, boot, prove and remove the embedded lab."""

from __future__ import annotations

import argparse
import os
import sys

from lab import engine, hosts, machine, network, system
from lab.model import host_names, systems


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and do one verb; the exit status of `lab` is the verdict."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("lab", help="boot the hosts, run the playbooks, print the verdict")
    verbs.add_parser("up", help="only boot the hosts and prepare the site")
    for verb in ("lab", "up"):
        verbs.choices[verb].add_argument(
            "--system", action="append", choices=sorted(systems()), help="one system only; repeatable"
        )
    verbs.choices["lab"].add_argument(
        "--check", action="store_true", help="only predict what the playbooks would change"
    )
    verbs.add_parser("clean", help="remove exactly what this lab made")
    verbs.add_parser("shell", help="open a root shell on a lab host").add_argument("host", choices=host_names())
    chosen = parser.parse_args(arguments)

    os.umask(0o022)
    if chosen.verb in ("lab", "up"):
        machine.refuse_unusable()
        system.ensure_packages()
    if chosen.verb == "shell":
        return hosts.shell(chosen.host)
    with network.alone():
        if chosen.verb == "clean":
            hosts.down()
        elif chosen.verb == "up":
            engine.up(chosen.system)
        else:
            return engine.lab(chosen.system, check=chosen.check)
    return 0


if __name__ == "__main__":
    sys.exit(main())
