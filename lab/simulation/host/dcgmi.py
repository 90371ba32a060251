"""Stand-in for dcgmi: `dcgmi diag -r 1 -j` and `dcgmi discovery -l` from the state file.

    dcgmi diag -r LEVEL -j [--dcgm-format 3|4]
    dcgmi discovery -l

Only what level 1 reads from the driver is judged. Higher levels run programs on GPUs, which there are none of: refused.
"""

from __future__ import annotations

import argparse
import json
import sys

from .dcgm import diagnostic, diagnostic_v3, present
from .state import Place, RefusedError, of_gpu, read


def _diag(place: Place, options: argparse.Namespace) -> int:
    if options.run not in ("1", "short", "software"):
        print(f"SIMULATED dcgmi: level {options.run} would run programs on GPUs; only level 1 is simulated")
        return 1
    if not options.json:
        print("SIMULATED dcgmi: only the JSON document (-j) is simulated")
        return 1
    document, code = (diagnostic_v3 if options.dcgm_format == 3 else diagnostic)(read(place))
    print(json.dumps(document, indent=2))
    return code


def _discovery(place: Place) -> int:
    values = read(place)
    found = present(values)
    print(f"{len(found)} GPUs found.")
    for index, gpu in enumerate(found):
        print(f"  GPU {index}: {of_gpu(values, gpu, 'name')}  {of_gpu(values, gpu, 'uuid')}")
    return 0


def main(arguments: list[str], place: Place | None = None) -> int:
    """Run one command; return dcgmi's exit code."""
    parser = argparse.ArgumentParser(prog="dcgmi", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    diag = commands.add_parser("diag")
    diag.add_argument("-r", "--run", required=True)
    diag.add_argument("-j", "--json", action="store_true")
    diag.add_argument("--dcgm-format", type=int, choices=(3, 4), default=4)
    commands.add_parser("discovery").add_argument("-l", "--list", action="store_true", required=True)
    options = parser.parse_args(arguments)
    try:
        return _diag(place or Place(), options) if options.command == "diag" else _discovery(place or Place())
    except (RefusedError, OSError) as error:
        print(f"dcgmi: {error}", file=sys.stderr)
        return 1
