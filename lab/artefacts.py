"""Everything the lab needs before its first host boots. `python -m lab.artefacts` builds it and prints the mirror's checksums."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import catalogue, debian, golang, images, mirror, packages
from lab.cache import Part, cached
from lab.k3s_standin import build as k3s_standin
from lab.progress import say
from lab.settings import REPOSITORY
from lab.simulation import hardware
from lab.versions import version

LAB = REPOSITORY / "lab"


@dataclass(frozen=True)
class Artefacts:
    """What was built. All folders are cache entries and must not be changed."""

    tree: Path
    """The complete static tree of the mirror."""
    sha256: Mapping[str, str]
    """SHA-256 of each file of the tree outside the signed repositories, by its path."""
    key_fingerprint: str
    """Fingerprint of the key that signs the repositories."""
    parts: Path
    """Root folder with extracted Debian packages."""
    simulation: Path
    """Compiled stand-ins of the GPU hardware: NVML library, tools."""
    containerd_version: str
    """Upstream version of the containerd that the repositories offer."""
    k3s_path: str
    """Path below the tree of the k3s file."""
    airgap_path: str
    """Path below the tree of the image archive that k3s imports when it starts."""
    operands_path: str
    """Path below the tree of the archive with NVIDIA's operands and NFD."""


def build_all() -> Artefacts:
    """Build what is not in the cache; with a complete cache this takes well under a second or two.

    Raises RuntimeError with the failing tool's last messages; whatever was finished before stays in the cache.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="debian-parts") as pool:
        extraction = pool.submit(debian.parts)  # waits for the network while programs are compiled
        programs = golang.build_modules()
        parts = extraction.result()
    containerd_version = _require_pinned(parts, "containerd", "containerd")
    _require_pinned(parts, "kubernetes_cni", "containernetworking-plugins")
    key = packages.signing_key()
    archives = images.archives(programs, parts)
    names = images.archive_names()
    crds_path = f"manifests/nfd-api-crds-{version('node_feature_discovery')}.yaml"
    k3s_path = f"k3s/{version('k3s')}/k3s"
    tree = mirror.assemble(
        {
            "apt": _apt(programs, key),
            "rpm": _rpm(programs, parts, key),
            "keys/repository.asc": key.public,
            k3s_path: _k3s(programs, parts),
            **{path: archives / path for path in names.values()},
            crds_path: programs["node-feature-discovery"] / "nfd-api-crds.yaml",
            "manifests/lab-flannel.yaml": _flannel_manifest(),
        }
    )
    return Artefacts(
        tree=tree.tree,
        sha256=tree.sha256,
        key_fingerprint=key.fingerprint,
        parts=parts,
        simulation=_simulation(programs["device-plugin"] / "nvml.h"),
        containerd_version=containerd_version,
        k3s_path=k3s_path,
        airgap_path=names["k3s-airgap"],
        operands_path=names["gpu-operands"],
    )


def _require_pinned(parts: Path, component: str, package: str) -> str:
    """What comes from Debian is installed by roles at a pinned version: RuntimeError when Debian has moved on."""
    found, pinned = debian.upstream_version(parts, package), version(component)
    if found != pinned:
        raise RuntimeError(
            f"Debian's {package} is {found}, data/versions.yml pins {component} {pinned}: correct the pin"
        )
    return found


def _flannel_manifest() -> Path:
    template = LAB / "manifests" / "lab-flannel.yaml"
    text = template.read_text(encoding="utf-8").replace("{image}", f"{images.REGISTRY}/flannel:{version('flannel')}")
    return cached("manifests", [text], lambda out: _write(out / template.name, text)) / template.name


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _apt(programs: Mapping[str, Path], key: packages.SigningKey) -> Path:
    return cached(
        "apt",
        [*_package_code(), programs["container-toolkit"], key.fingerprint],
        lambda out: packages.apt_repository(out, catalogue.deb_packages(programs), key),
        title="Publish the apt repository",
    )


def _rpm(programs: Mapping[str, Path], parts: Path, key: packages.SigningKey) -> Path:
    return cached(
        "rpm",
        [*_package_code(), programs["kubernetes"], programs["container-toolkit"], parts, key.fingerprint],
        lambda out: packages.rpm_repository(out, catalogue.rpm_packages(programs, parts), key),
        title="Publish the dnf repository",
    )


def _package_code() -> list[Path]:
    """What decides a repository besides the programs: the code and templates that make it."""
    return [packages.TEMPLATES, LAB / "packages.py", LAB / "catalogue.py"]


def _k3s(programs: Mapping[str, Path], parts: Path) -> Path:
    """The k3s stand-in as one file that carries the programs it supervises."""
    binaries = {
        "hyperkube": programs["kubernetes"] / "hyperkube",
        **{name: programs["etcd"] / name for name in ("etcd", "etcdctl")},
        "flanneld": programs["flannel"] / "flanneld",
        **{name: parts / "usr/bin" / name for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        "runc": parts / "usr/sbin/runc",
        **{name: parts / "usr/lib/cni" / name for name in ("bridge", "host-local", "loopback", "portmap")},
    }
    sources = Path(k3s_standin.__file__).parent
    key: list[Part] = [version("k3s"), version("pause"), sources, *binaries.values()]
    entry = cached("k3s", key, lambda out: k3s_standin.build(out / "k3s", binaries), title="Pack the k3s stand-in")
    return entry / "k3s"


def _simulation(nvml_header: Path) -> Path:
    sources = Path(hardware.__file__).parent
    key: list[Part] = [sources, nvml_header]
    title = "Compile the simulated hardware"
    return cached("simulation", key, lambda out: hardware.build(out, nvml_header), title=title)


def main() -> int:
    """Build everything and print the mirror's single files with their checksums."""
    os.umask(0o022)
    artefacts = build_all()
    for path, digest in artefacts.sha256.items():
        size_mb = (artefacts.tree / path).stat().st_size / 1e6
        print(f"{digest}  {size_mb:7.1f} MB  {path}")
    say(f"mirror {artefacts.tree}, signing key {artefacts.key_fingerprint}, containerd {artefacts.containerd_version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
