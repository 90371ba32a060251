#!/usr/bin/env python3
"""What a site without internet needs: `manifest` lists it, `fill` brings it into a folder, `compare` holds a mirror against it.

python -m tools.mirror manifest --target dgx-os-7/arm64 --system spark > manifest.json
python -m tools.mirror fill manifest.json bundle/ --site checksums.yml
python -m tools.mirror compare bundle/manifest.json https://mirror.example.org/ --read
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror import bundle
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.drift import HARMFUL, drift
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.manifest import Artefact, document, manifest, target

SYSTEMS = ("spark", "onyx", "controller")


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tools.mirror", description=(__doc__ or "").partition("\n")[0])
    verbs = found.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("manifest", help="print the manifest for kinds of hosts")
    listing.add_argument("--target", action="append", required=True, metavar="PLATFORM/ARCHITECTURE")
    listing.add_argument("--system", action="append", required=True, choices=SYSTEMS)
    listing.add_argument("--site", type=Path, help="YAML file with the site's checksums by path")
    filling = verbs.add_parser("fill", help="download what a manifest lists")
    filling.add_argument("manifest", type=Path)
    filling.add_argument("folder", type=Path)
    filling.add_argument(
        "--establish", action="store_true", help="trust what nobody knows a checksum of, and record it"
    )
    comparing = verbs.add_parser(
        "compare", help="tell what a mirror or a folder serves otherwise; exit status 1 when it matters"
    )
    comparing.add_argument("manifest", type=Path)
    comparing.add_argument("mirror", help="address of a mirror, or a folder")
    comparing.add_argument("--read", action="store_true", help="download every file of the mirror to hash it")
    return found


def list_artefacts(options: argparse.Namespace) -> int:
    site = bundle.site_checksums(yaml.safe_load(options.site.read_text(encoding="utf-8"))) if options.site else {}
    known = data_files.load("data/compat.yml")["attributes"]
    targets = [target(known, *text.partition("/")[::2]) for text in options.target]
    found = manifest(data_files.load("data/versions.yml"), targets, options.system, site)
    print(json.dumps(document(found), indent=2))
    return 0


def fill(options: argparse.Namespace) -> int:
    wanted, known, failed = bundle.read_manifest(options.manifest), [], 0
    for filled in bundle.fill(wanted, options.folder, options.establish):
        known.append(filled.artefact)
        failed += filled.error is not None
        state = filled.error or ("downloaded" if filled.downloaded else "already there")
        print(f"{_told(filled.artefact)}: {state}")
    bundle.record(options.folder, known)
    print(f"{len(known) - failed} of {len(known)} artefacts are in {options.folder}")
    return 1 if failed else 0


def compare(options: argparse.Namespace) -> int:
    wanted = bundle.read_manifest(options.manifest)
    if options.mirror.startswith(("http://", "https://")):
        served = bundle.served_by_mirror(options.mirror, wanted, options.read)
    else:
        served = bundle.served_by_folder(Path(options.mirror))
    differences = drift(wanted, served)
    for each in differences:
        print(f"{each.code} {each.kind} {each.path}: {each.told}")
    harmful = sum(each.kind in HARMFUL for each in differences)
    print(f"{len(wanted)} artefacts, {len(differences)} differences, {harmful} of which matter")
    return 1 if harmful else 0


def _told(artefact: Artefact) -> str:
    return f"{artefact.kind} {artefact.name} {artefact.version} {artefact.architecture}"


def main(arguments: Sequence[str]) -> int:
    """0 when all is as it should be, 1 when something is missing or differs, 2 when the question cannot be used."""
    options = parser().parse_args(arguments)
    try:
        return {"manifest": list_artefacts, "fill": fill, "compare": compare}[options.verb](options)
    except (OSError, ValueError, yaml.YAMLError) as error:
        print(error, file=sys.stderr)
        return 2
    except GpuError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
