"""Debian trixie for the lab: where it comes from on this machine, and the parts that images and packages are made of."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from lab import debs
from lab.cache import Entry
from lab.commands import persist, stream
from lab.progress import Activity

SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Debian 12's archive keyring; it also holds the keys that sign trixie."""

LIBRARY_FOLDER = "usr/lib/x86_64-linux-gnu"

PART_PACKAGES = (
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "iptables",
    "libc6",
    "libseccomp2",
    "runc",
)
"""Packages whose files are used outside a host image: in pod images and, repacked, in the lab's own packages."""

_ACQUIRE = {
    # A mirror may lag behind, or the machine's clock may be ahead: acceptable for a lab, never for a real host.
    "Acquire::Check-Valid-Until": "false",
}
_SHOWN = 60
"""How much of a message of mmdebstrap's is shown while it works."""
_INDEX_FORMAT = "$(IDENTIFIER) $(RELEASE) $(COMPONENT) $(REPO_URI)"


@cache
def trixie_sources() -> tuple[str, ...]:
    """apt sources for trixie on the mirror that this machine uses. Raises RuntimeError when the machine's own apt has no Debian `main`."""
    targets = _index_targets()
    if not targets.strip():
        # Container images are shipped without package lists, and apt then names no targets.
        subprocess.run(["apt-get", "update", "--quiet"], stdout=subprocess.DEVNULL, check=True)
        targets = _index_targets()
    return tuple(sources_from(targets, _codename()))


def bootstrap(
    variant: str, packages: Sequence[str], destination: Path, activity: Activity, options: Sequence[str] = ()
) -> None:
    """Make a trixie root file system with these packages: a folder, or a tar archive when the name ends with `.tar`.

    `variant` and `options` are mmdebstrap's. Downloads go on where an interrupted one stopped. Raises RuntimeError with
    mmdebstrap's last lines.
    """
    sources = trixie_sources()
    depot = debs.depot(SUITE, sources, KEYRING, [f"{name}={value}" for name, value in _ACQUIRE.items()])
    depot.download([*([] if variant == "extract" else [debs.ESSENTIAL]), *packages], activity)
    command = [
        "mmdebstrap",
        f"--variant={variant}",
        f"--include={','.join(packages)}",
        f"--keyring={KEYRING}",
        *(f'--aptopt={name} "{value}"' for name, value in _ACQUIRE.items()),
        *depot.hooks(),
        *options,
        SUITE,
        str(destination),
        *sources,
    ]

    def make() -> None:
        if destination.is_dir():
            shutil.rmtree(destination)  # mmdebstrap refuses a folder that is not empty
        stream(command, lambda line: activity.tell(line.removeprefix("I: ")[:_SHOWN]))

    persist(f"mmdebstrap for {destination.name}", make)


def sources_from(targets: str, codename: str) -> list[str]:
    """The `deb` lines for trixie, from apt's index targets (lines `Identifier Release Component URI`) of release `codename`.

    The security suite is left out when the machine has none. Raises RuntimeError without a `main` of the release itself.
    """
    mirrors: dict[str, str] = {}
    for line in targets.splitlines():
        identifier, release, component, uri = line.split(maxsplit=3)
        if identifier == "Packages" and component == "main":
            mirrors.setdefault(release, uri)
    names = (codename, "stable", "oldstable")
    main = next((mirrors[name] for name in names if name in mirrors), None)
    security = next((mirrors[f"{name}-security"] for name in names if f"{name}-security" in mirrors), None)
    if main is None:
        raise RuntimeError(
            f"apt on this machine has no Debian main for {codename}; the lab takes {SUITE} from the same mirror"
        )
    lines = [f"deb {main} {SUITE} main"]
    if security:
        lines.append(f"deb {security} {SUITE}-security main")
    return lines


def _index_targets() -> str:
    command = ["apt-get", "indextargets", "--format", _INDEX_FORMAT]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _codename() -> str:
    match = re.search(r"^VERSION_CODENAME=(\S+)$", Path("/etc/os-release").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise RuntimeError("/etc/os-release names no VERSION_CODENAME; the lab runs on Debian")
    return match[1]


def parts() -> Entry:
    """An entry with a folder `root`: the files of PART_PACKAGES and what they depend on; nothing in it was configured."""
    return Entry(
        "parts",
        ("1", SUITE, *PART_PACKAGES),
        lambda out, activity: bootstrap("extract", PART_PACKAGES, out / "root", activity),
        "Extract containerd, CNI plugins and tools from Debian packages",
    )


def upstream_version(root: Path, package: str) -> str:
    """The upstream version of an extracted package, for example `1.7.24`, from the changelog that it ships."""
    changelog = root / "usr/share/doc" / package / "changelog.Debian.gz"
    with gzip.open(changelog, "rt", encoding="utf-8") as lines:
        return upstream_of(lines.readline())


def upstream_of(changelog_line: str) -> str:
    """The upstream version in a changelog's first line: no epoch, no Debian revision, no repacking suffix."""
    match = re.match(r"\S+ \((?:\d+:)?([^)]+)\)", changelog_line)
    if match is None:
        raise RuntimeError(f"not the first line of a Debian changelog: {changelog_line!r}")
    return re.split(r"[~+-]", match[1])[0]


def shared_libraries(root: Path, program: Path) -> tuple[Path, ...]:
    """The shared libraries, inside `root`, that an ELF file loads; its dynamic loader last. Raises RuntimeError when one is missing.

    The loader of `root` is asked with the libraries of `root` only, so this machine's own libraries never get in.
    """
    folder = root / LIBRARY_FOLDER
    loader = folder / "ld-linux-x86-64.so.2"
    command = [str(loader), "--inhibit-cache", "--library-path", str(folder), "--list", str(program)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(
            f"{program} cannot be loaded with the libraries of {root}: {result.stderr.strip() or result.stdout.strip()}"
        )
    found = [Path(match[1]) for match in re.finditer(r"=> (\S+)", result.stdout)]
    outside = [str(path) for path in found if not path.is_relative_to(root)]
    if outside:
        raise RuntimeError(f"{program} needs libraries that are not in {root}: {' '.join(outside)}")
    return (*(path for path in found if path != loader), loader)
