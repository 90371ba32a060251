"""`python -m lab`: build, boot, prove and remove the embedded lab."""

from __future__ import annotations

import argparse
import os
import sys

from lab import machine, system


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and do one verb; the exit status of `lab` is the verdict."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, help_text in (
        ("lab", "boot the hosts, run the playbooks, print the verdict"),
        ("up", "only boot the hosts and prepare the site"),
    ):
        command = verbs.add_parser(verb, help=help_text)
        command.add_argument("--system", action="append", choices=["spark", "onyx"], help="one system only; repeatable")
    verbs.add_parser("clean", help="remove exactly what this lab made")
    shell = verbs.add_parser("shell", help="open a root shell on a lab host")
    shell.add_argument("host")
    chosen = parser.parse_args(arguments)

    machine.refuse_unusable()
    system.ensure_packages()
    # Imported late: these need what ensure_packages installs.
    from lab import engine, hosts

    os.umask(0o022)
    if chosen.verb == "clean":
        hosts.down()
        return 0
    if chosen.verb == "shell":
        return hosts.shell(chosen.host)
    if chosen.verb == "up":
        engine.up(chosen.system)
        return 0
    return engine.lab(chosen.system)


if __name__ == "__main__":
    sys.exit(main())
