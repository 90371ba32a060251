#!/usr/bin/env python3
"""Put the collections this one needs, and a link to the checkout, into a virtual environment.

The collections come out of the `ansible` wheel that the environment pins (the file `collections.txt` that is the argument,
checked against its hash), because package indexes serve that wheel where no Galaxy server is reached. Which ones:
collections/requirements.yml. Run by tools/bootstrap.sh with the environment's own Python.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def needed(requirements: Path) -> list[str]:
    """Names, `namespace.name`, of the collections that `requirements` lists."""
    listed = yaml.safe_load(requirements.read_text(encoding="utf-8"))["collections"]
    return sorted(entry["name"] for entry in listed)


def fetch(pin: Path, into: Path) -> Path:
    """Download the pinned wheel with pip, which refuses a file whose hash differs. Returns its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*command, "--dest", str(into), "--requirement", str(pin)], check=True)
    return next(into.glob("ansible-*.whl"))


def unpack(wheel: Path, names: list[str], into: Path) -> None:
    """Replace `names` under `into`/ansible_collections by what `wheel` holds. KeyError names what it does not hold."""
    with zipfile.ZipFile(wheel) as archive:
        for name in names:
            folder = "ansible_collections/" + name.replace(".", "/")
            members = [member for member in archive.namelist() if member.startswith(folder + "/")]
            if not members:
                raise KeyError(f"{wheel.name} does not hold {name}")
            shutil.rmtree(into / folder, ignore_errors=True)
            archive.extractall(into, members)


def link(checkout: Path, into: Path) -> None:
    """Make `ansible_collections.baremetal.gpu` mean the checkout itself, so no copy of it can grow stale."""
    place = into / "ansible_collections" / "baremetal" / "gpu"
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() and str(place.readlink()) == str(checkout):
        return
    place.unlink(missing_ok=True)
    place.symlink_to(checkout)


def main(pin: Path) -> None:
    """Unpack what the wheel pinned in `pin` holds, and link, into the running interpreter's site-packages."""
    site_packages = Path(sysconfig.get_paths()["purelib"])
    with tempfile.TemporaryDirectory() as scratch:
        unpack(fetch(pin, Path(scratch)), needed(ROOT / "collections" / "requirements.yml"), site_packages)
    link(ROOT, site_packages)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
