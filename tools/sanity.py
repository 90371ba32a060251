#!/usr/bin/env python3
"""Run `ansible-test sanity` over what a release of the collection would hold. Run by `make test-sanity`.

ansible-test wants the collection at .../ansible_collections/<namespace>/<name>, makes environments and caches in the home
directory, and leaves reports in the collection. Therefore it gets a copy of the collection and a home of its own, both below
.venv/cache/sanity; nothing else is written. Arguments go to `ansible-test sanity`, for example `--test validate-modules`.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv/cache/sanity"
HOME = PLACE / "home"
COPY = PLACE / "ansible_collections/baremetal/gpu"

# ansible-test downloads a script that installs pip from a server of its own and from nowhere else. It takes this one instead
# where it finds it in its cache; ensurepip brings pip, and the package index the rest.
GET_PIP = """\
import subprocess, sys

wanted = [argument for argument in sys.argv[1:] if not argument.startswith("--no-")]
subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=True)
"""


def released(names: Iterable[str], ignored: Iterable[str]) -> list[str]:
    """Those of the repository's files that a release holds, and the lists of findings that sanity is to ignore."""
    patterns = list(ignored)
    return [
        name
        for name in names
        if fnmatch.fnmatch(name, "tests/sanity/ignore-*.txt")
        or not any(fnmatch.fnmatch(name, pattern) or name.startswith(f"{pattern}/") for pattern in patterns)
    ]


def copy(names: Iterable[str], source: Path, target: Path) -> None:
    """Make `target` hold exactly these files of `source`, without touching what is the same already."""
    wanted = set(names)
    for path in sorted(target.rglob("*"), reverse=True):
        inside = path.relative_to(target)
        if inside.parts[0] == ".git":
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif inside.as_posix() not in wanted:
            path.unlink()
    for name in wanted:
        path, original = target / name, source / name
        if not path.exists() or path.read_bytes() != original.read_bytes():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(original, path)


def pip_configuration(listed: str, cache: str) -> str:
    """A configuration file for pip that says what `pip config list` prints; the home that it is read from is another one."""
    settings = {"cache-dir": cache}
    for line in listed.splitlines():
        # For example: global.index-url='https://…'; also :env:.index-url='…'.
        match = re.fullmatch(r"(?:global|install|:env:)\.([\w-]+)=(['\"])(.*)\2", line)
        if match:
            settings[match.group(1)] = match.group(3).replace("\\n", "\n    ")
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def prepare_home() -> None:
    """Give ansible-test its home: pip's configuration, pip's cache, and the script that installs pip."""
    source = Path(sysconfig.get_paths()["purelib"]) / "ansible_test/_internal/python_requirements.py"
    version = re.search(r"\bpip='([\d.]+)'", source.read_text(encoding="utf-8"))
    if version is None:
        raise SystemExit(
            "this release of ansible-test does not say which pip it wants; tools/sanity.py must learn how it does"
        )
    script = HOME / ".ansible/test/cache" / f"get_pip_{version.group(1).replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(GET_PIP, encoding="utf-8")
    configuration = HOME / ".config/pip/pip.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    # Addresses of an index may hold credentials.
    configuration.touch(mode=0o600)
    configuration.write_text(pip_configuration(pip("config", "list"), pip("cache", "dir")), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Renew the copy, then run. Returns ansible-test's exit status."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    present = [name for name in names if name and (ROOT / name).is_file()]
    ignored = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["build_ignore"]
    COPY.mkdir(parents=True, exist_ok=True)
    copy(released(present, ignored), ROOT, COPY)
    prepare_home()
    # ansible-test asks git for the list of files, and would ask the checkout that this copy lies in.
    subprocess.run(["git", "init", "--quiet", str(COPY)], check=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PIP_"))}
    environment |= {"HOME": str(HOME), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = ["ansible-test", "sanity", "--color=no", "--python", version, "--requirements", *arguments]
    return subprocess.run(command, cwd=COPY, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
