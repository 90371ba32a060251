"""Everything the lab needs before its first host boots. `python -m lab.artefacts` builds it and prints the mirror's checksums."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab import catalogue, debian, golang, graph, images, mirror, packages, rootfs
from lab.cache import Entry, Part
from lab.graph import DOWNLOADS, SINGLE, Claim, Step
from lab.k3s_standin import build as k3s_standin
from lab.progress import Activity, say
from lab.settings import REPOSITORY
from lab.simulation import hardware, profile
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
    helm: Path
    """Folder with helm, and with its plugin diff as `plugins/diff`; for the controller."""
    containerd_version: str
    """Upstream version of the containerd that the repositories offer."""
    k3s_path: str
    """Path below the tree of the k3s file."""
    airgap_path: str
    """Path below the tree of the image archive that k3s imports when it starts."""
    operands_path: str
    """Path below the tree of the archive with NVIDIA's operands and NFD."""
    programs: Mapping[str, Path]
    """Folder with the programs of each Go module that was built, by the module's name."""


@dataclass(frozen=True)
class Plan:
    """How everything is made. Where each part will lie is known before it is built."""

    entries: Mapping[str, Entry]
    """What is made, by the name of its step."""
    steps: tuple[Step, ...]
    targets: tuple[str, ...]
    """Names of the steps whose results the lab uses; what only these need may be absent when they are there."""
    key: packages.SigningKey

    def result(self) -> Artefacts:
        """What was built, once the targets are there. Raises RuntimeError when Debian's packages are not the pinned ones."""
        parts = self.entries["parts"].path / "root"
        containerd_version = _require_pinned(parts, "containerd", "containerd")
        _require_pinned(parts, "kubernetes_cni", "containernetworking-plugins")
        opened = mirror.opened(self.entries["mirror"].path)
        names = images.archive_names()
        return Artefacts(
            tree=opened.tree,
            sha256=opened.sha256,
            key_fingerprint=self.key.fingerprint,
            parts=parts,
            simulation=self.entries["simulation"].path,
            helm=self.entries["helm"].path,
            containerd_version=containerd_version,
            k3s_path=_k3s_path(version("k3s")),
            airgap_path=names["k3s-airgap"],
            operands_path=names["gpu-operands"],
            programs={
                name.removeprefix("programs/"): entry.path
                for name, entry in self.entries.items()
                if name.startswith("programs/")
            },
        )


def plan(optional: Collection[str] = ()) -> Plan:
    """What has to be made for the lab, and in which order. `optional` names further Go modules. Raises ValueError for an unknown one."""
    draft = _Draft()
    modules = chosen_modules(optional)
    key = packages.signing_key()
    parts = draft.add("parts", debian.parts(), claim=_INSTALLS) / "root"
    programs = {module.folder: draft.module(module) for module in modules}
    for kind in rootfs.PACKAGES:
        draft.add(f"rootfs/{kind}", rootfs.archive(kind), claim=_INSTALLS)
    archives = {
        purpose: draft.add(
            f"images/{purpose}",
            images.archive(purpose, programs, parts),
            ("parts", *(f"programs/{folder}" for folder in images.archive_modules(purpose))),
        )
        / "archive.tar"
        for purpose in images.archive_names()
    }
    nfd_crds = programs["node-feature-discovery"] / "nfd-api-crds.yaml"
    # The one that hosts install, and the one that they can be upgraded to; where it is asked for, the minor release before.
    k3s_kubernetes = dict.fromkeys((version("k3s"), k3s_standin.next_release(version("k3s"))), "kubernetes")
    if "kubernetes-before" in programs:
        k3s_kubernetes[version("k3s_before")] = "kubernetes-before"
    sources = {
        "apt": draft.add("apt", _apt(programs, key), ("programs/container-toolkit",)),
        "rpm": draft.add(
            "rpm", _rpm(programs, parts, key), ("parts", "programs/kubernetes", "programs/container-toolkit")
        ),
        "keys/repository.asc": key.public,
        **{
            _k3s_path(release): draft.add(
                f"k3s/{release}",
                _k3s(programs, programs[kubernetes], parts, release),
                ("parts", *(f"programs/{name}" for name in (kubernetes, *_K3S_MODULES))),
            )
            / "k3s"
            for release, kubernetes in k3s_kubernetes.items()
        },
        **{path: archives[purpose] for purpose, path in images.archive_names().items()},
        f"manifests/nfd-api-crds-{version('node_feature_discovery')}.yaml": nfd_crds,
        f"manifests/{_FLANNEL}": draft.add("manifests", _flannel_manifest()) / _FLANNEL,
    }
    if "tailscale" in programs:
        # As its vendor has it: a repository of its own.
        sources |= {
            f"tailscale/{kind}": draft.add(f"tailscale/{kind}", entry, ("programs/tailscale",))
            for kind, entry in _tailscale(programs["tailscale"], key).items()
        }
    draft.add(
        "mirror",
        mirror.assembly(sources),
        (
            *("apt", "rpm", "manifests", "programs/node-feature-discovery"),
            *(name for name in draft.entries if name.startswith("tailscale/")),
            *(f"k3s/{release}" for release in k3s_kubernetes),
            *(f"images/{name}" for name in archives),
        ),
    )
    draft.add("simulation", _simulation(programs["device-plugin"] / "nvml.h"), ("programs/device-plugin",))
    draft.add("helm", _helm(programs["helm"]), ("programs/helm",))
    targets = (
        *("mirror", "simulation", "helm", "parts"),
        *(f"rootfs/{kind}" for kind in rootfs.PACKAGES),
        *(f"programs/{module.folder}" for module in modules if module.optional),
    )
    return Plan(draft.entries, tuple(draft.steps), targets, key)


def chosen_modules(optional: Collection[str]) -> list[golang.Module]:
    """The Go modules that are always built, and these. Raises ValueError for an unknown one."""
    modules = [module for module in golang.modules() if not module.optional or module.folder in optional]
    unknown = set(optional) - {module.folder for module in modules if module.optional}
    if unknown:
        raise ValueError(f"no optional Go module {', '.join(sorted(unknown))}")
    return modules


# Half of the time it waits for the network and the disk, so two of these may run beside a compiler.
_INSTALLS = Claim(processors=0.5, memory_gb=0.5, downloads=True)


class _Draft:
    """Collects entries as steps."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.steps: list[Step] = []

    def add(self, name: str, entry: Entry, needs: tuple[str, ...] = (), claim: Claim = SINGLE) -> Path:
        """One more entry; returns where it will lie."""
        self.entries[name] = entry
        self.steps.append(Step(name, entry.title, entry.ensure, needs, claim, entry.finished))
        return entry.path

    def module(self, module: golang.Module) -> Path:
        """The programs of a Go module, whose sources are fetched ahead: compiling uses every processor, fetching hardly any."""
        sources = f"sources/{module.folder}"
        title = f"Fetch the Go modules of {module.folder}"
        self.steps.append(Step(sources, title, partial(golang.fetch, module), claim=DOWNLOADS))
        # Measured: compiling Kubernetes takes 4 GB at most.
        compiles = Claim(processors=float(graph.processors()), memory_gb=4.0)
        return self.add(f"programs/{module.folder}", golang.programs(module), (sources,), compiles)


def build_all(optional: Collection[str] = ()) -> Artefacts:
    """Build what is not in the cache; with a complete cache this takes well under a second or two.

    Raises RuntimeError with the failing tool's last messages; whatever was finished before stays in the cache.
    """
    made = plan(optional)
    graph.run(graph.missing(made.steps, made.targets))
    return made.result()


def _require_pinned(parts: Path, component: str, package: str) -> str:
    """What comes from Debian is installed by roles at a pinned version: RuntimeError when Debian has moved on."""
    found, pinned = debian.upstream_version(parts, package), version(component)
    if found != pinned:
        raise RuntimeError(
            f"Debian's {package} is {found}, data/versions.yml pins {component} {pinned}: correct the pin"
        )
    return found


_FLANNEL = "lab-flannel.yaml"


def _k3s_path(release: str) -> str:
    return f"k3s/{release}/k3s"


def _flannel_manifest() -> Entry:
    template = (LAB / "manifests" / _FLANNEL).read_text(encoding="utf-8")
    text = template.replace("{image}", f"{images.REGISTRY}/flannel:{version('flannel')}")

    def build(out: Path, _: Activity) -> None:
        (out / _FLANNEL).write_text(text, encoding="utf-8")

    return Entry("manifests", (text,), build, "Write the pod network's manifest")


def _apt(programs: Mapping[str, Path], key: packages.SigningKey) -> Entry:
    return Entry(
        "apt",
        (*_package_code(), programs["container-toolkit"], key.fingerprint),
        lambda out, _: packages.apt_repository(out, catalogue.deb_packages(programs), key),
        "Publish the apt repository",
    )


def _rpm(programs: Mapping[str, Path], parts: Path, key: packages.SigningKey) -> Entry:
    return Entry(
        "rpm",
        (*_package_code(), programs["kubernetes"], programs["container-toolkit"], parts, key.fingerprint),
        lambda out, _: packages.rpm_repository(out, catalogue.rpm_packages(programs, parts), key),
        "Publish the dnf repository",
    )


def _tailscale(folder: Path, key: packages.SigningKey) -> dict[str, Entry]:
    """Tailscale's package for both package managers."""
    makers = {"apt": packages.apt_repository, "rpm": packages.rpm_repository}

    def entry(kind: str) -> Entry:
        return Entry(
            "tailscale",
            (kind, *_package_code(), folder, key.fingerprint),
            lambda out, _: makers[kind](out, [catalogue.tailscale(folder)], key),
            f"Publish Tailscale's {kind} repository",
        )

    return {kind: entry(kind) for kind in makers}


def _package_code() -> list[Path]:
    """What decides a repository besides the programs: the code and templates that make it."""
    return [packages.TEMPLATES, LAB / "packages.py", LAB / "catalogue.py"]


_K3S_MODULES = ("etcd", "flannel")
"""Beside Kubernetes."""


def _k3s(programs: Mapping[str, Path], kubernetes: Path, parts: Path, release: str) -> Entry:
    """The k3s stand-in of one release, of the Kubernetes in that folder, as one file that carries the programs it supervises."""
    binaries = {
        "hyperkube": kubernetes / "hyperkube",
        **{name: programs["etcd"] / name for name in ("etcd", "etcdctl")},
        "flanneld": programs["flannel"] / "flanneld",
        **{name: parts / "usr/bin" / name for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        "runc": parts / "usr/sbin/runc",
        **{name: parts / "usr/lib/cni" / name for name in ("bridge", "host-local", "loopback", "portmap")},
    }
    key: list[Part] = [release, version("pause"), images.REGISTRY, images.coredns_reference()]
    for source in k3s_standin.sources():
        key += [source.name, source]
    return Entry(
        "k3s",
        (*key, *binaries.values()),
        lambda out, _: k3s_standin.build(out / "k3s", binaries, release),
        f"Pack the k3s stand-in {release}",
    )


def _simulation(nvml_header: Path) -> Entry:
    return Entry(
        "simulation",
        (golang.compiler(), Path(hardware.__file__).parent, profile.PROFILES, nvml_header),
        lambda out, _: hardware.build(out, nvml_header),
        "Compile the simulated hardware",
    )


def _helm(programs: Path) -> Entry:
    """helm as it is installed on a controller: the program, and the plugin in a folder that HELM_PLUGINS can name."""

    def build(out: Path, _: Activity) -> None:
        plugin = out / "plugins" / "diff"
        mirror.place(programs / "helm", out / "bin" / "helm")
        mirror.place(programs / "diff", plugin / "bin" / "diff")
        mirror.place(programs / "plugin.yaml", plugin / "plugin.yaml")

    return Entry("helm", ("1", programs), build, "Install helm for the controller")


def main() -> int:
    """Build everything and print the mirror's single files with their checksums."""
    parser = argparse.ArgumentParser(prog="python -m lab.artefacts", description=__doc__)
    optional = sorted(module.folder for module in golang.modules() if module.optional)
    parser.add_argument("--with", action="append", choices=optional, default=[], dest="optional", help="build this too")
    chosen = parser.parse_args()
    os.umask(0o022)
    artefacts = build_all(chosen.optional)
    for path, digest in artefacts.sha256.items():
        size_mb = (artefacts.tree / path).stat().st_size / 1e6
        print(f"{digest}  {size_mb:7.1f} MB  {path}")
    say(f"mirror {artefacts.tree}, signing key {artefacts.key_fingerprint}, containerd {artefacts.containerd_version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
