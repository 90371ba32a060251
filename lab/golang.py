"""Programs that are built from Go modules, with the pinned toolchain of the virtual environment.

Each folder of `lab/go` is a small module of our own whose go.mod and go.sum pin the program and everything below it:
builds run with `-mod=readonly`, so a hash that differs from the committed one stops them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from lab.cache import Entry, Part
from lab.commands import PAUSES_S, persist, stream
from lab.progress import Activity
from lab.settings import CACHE, REPOSITORY
from lab.versions import number, version

SOURCES = REPOSITORY / "lab" / "go"

_KIND = "programs"
_FLAGS = "-mod=readonly -modcacherw"
_BUILD = ("build", "-v", "-trimpath")


@dataclass(frozen=True)
class Extra:
    """A file to keep from a module in the build list, for example a C source or a manifest that belongs to the program."""

    module: str
    path: str


@dataclass(frozen=True)
class Module:
    """One folder of `lab/go` and what is built there. `programs` maps a file name to a package.

    An `optional` module is built only when it is asked for by the name of its folder.
    """

    folder: str
    programs: Mapping[str, str]
    ldflags: str
    cgo: bool = False
    extras: Mapping[str, Extra] = field(default_factory=dict)
    tags: str = ""
    optional: bool = False

    @property
    def source(self) -> Path:
        """The folder with go.mod and go.sum."""
        return SOURCES / self.folder


def _stamps(values: Mapping[str, str]) -> str:
    """Linker flags: no symbol tables (a third of the size), and these string variables."""
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in values.items())])


# NVIDIA's programs call NVML functions that older libraries lack: bound only when called, as their own builds do.
_LAZY_BINDING = "-extldflags=-Wl,-z,lazy"

# Names and users are looked up by Go's own code: then it does not matter whether a program has C in it, and what two modules share (Kubernetes'
# client, at equal versions) is compiled once for both.
_WITHOUT_C_LIBRARY = "netgo,osusergo"

_NFD = "sigs.k8s.io/node-feature-discovery"
_PLUGIN = "github.com/NVIDIA/k8s-device-plugin"
_TOOLKIT = "github.com/NVIDIA/nvidia-container-toolkit"
_HELM = "helm.sh/helm/v3"
_MPI_OPERATOR = "github.com/kubeflow/mpi-operator"
_HEADSCALE = "github.com/juanfont/headscale"
_TAILSCALE = "tailscale.com"
_HELM_DIFF = "github.com/databus23/helm-diff/v3"


def _kubernetes_stamps(release: str) -> str:
    """Linker flags with which Kubernetes' programs say which release they are."""
    major, minor = release.removeprefix("v").split(".")[:2]
    return _stamps(
        {
            "k8s.io/component-base/version.gitVersion": release,
            "k8s.io/component-base/version.gitMajor": major,
            "k8s.io/component-base/version.gitMinor": minor,
            "k8s.io/client-go/pkg/version.gitVersion": release,
        }
    )


def modules() -> tuple[Module, ...]:
    """Everything that the lab can build from Go modules, the longest build first, so that the compiler's cache fills for the others."""
    major, minor = number("kubernetes").split(".")[:2]
    return (
        Module(
            folder="kubernetes",
            programs={"hyperkube": "."},
            ldflags=_kubernetes_stamps(version("kubernetes")),
            extras={"pause.c": Extra("k8s.io/kubernetes", "build/pause/linux/pause.c")},
        ),
        Module(
            folder="etcd",
            programs={"etcd": "go.etcd.io/etcd/server/v3", "etcdctl": "go.etcd.io/etcd/etcdctl/v3"},
            ldflags=_stamps({}),
        ),
        Module(
            folder="node-feature-discovery",
            programs={name: f"{_NFD}/cmd/{name}" for name in ("nfd-master", "nfd-worker")},
            ldflags=_stamps(
                {
                    f"{_NFD}/pkg/version.version": version("node_feature_discovery"),
                    # In a pod the host's /sys is mounted as /host-sys; without this the worker reads the container's own.
                    f"{_NFD}/pkg/utils/hostpath.pathPrefix": "/host-",
                }
            ),
            extras={"nfd-api-crds.yaml": Extra(_NFD, "deployment/base/nfd-crds/nfd-api-crds.yaml")},
            tags=_WITHOUT_C_LIBRARY,
        ),
        Module(
            folder="device-plugin",
            programs={
                name: f"{_PLUGIN}/cmd/{name}"
                for name in ("config-manager", "gpu-feature-discovery", "mps-control-daemon", "nvidia-device-plugin")
            },
            ldflags=f"{_stamps({f'{_PLUGIN}/internal/info.version': version('nvidia_device_plugin')})} {_LAZY_BINDING}",
            cgo=True,
            extras={"nvml.h": Extra("github.com/NVIDIA/go-nvml", "pkg/nvml/nvml.h")},
            tags=_WITHOUT_C_LIBRARY,
        ),
        Module(
            folder="container-toolkit",
            programs={
                name: f"{_TOOLKIT}/cmd/{name}" for name in ("nvidia-cdi-hook", "nvidia-container-runtime", "nvidia-ctk")
            },
            ldflags=f"{_stamps({f'{_TOOLKIT}/internal/info.version': number('nvidia_container_toolkit')})} {_LAZY_BINDING}",
            cgo=True,
        ),
        Module(folder="coredns", programs={"coredns": "."}, ldflags=_stamps({})),
        Module(folder="flannel", programs={"flanneld": "."}, ldflags=_stamps({})),
        Module(
            folder="helm",
            programs={"helm": f"{_HELM}/cmd/helm", "diff": _HELM_DIFF},
            ldflags=_stamps(
                {
                    f"{_HELM}/internal/version.version": version("helm"),
                    f"{_HELM}/internal/version.gitTreeState": "clean",
                    f"{_HELM_DIFF}/cmd.Version": number("helm_diff"),
                    # The Kubernetes that charts are rendered for when no cluster is asked: the one whose libraries are linked.
                    **{
                        f"{_HELM}/pkg/{package}.k8sVersion{name}": value
                        for package in ("chartutil", "lint/rules")
                        for name, value in (("Major", major), ("Minor", minor))
                    },
                }
            ),
            extras={"plugin.yaml": Extra(_HELM_DIFF, "plugin.yaml")},
        ),
        Module(
            folder="kubernetes-before",
            programs={"hyperkube": "."},
            ldflags=_kubernetes_stamps(version("k3s_before").partition("+")[0]),
            optional=True,
        ),
        Module(
            folder="kwok",
            programs={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
            ldflags=_stamps({}),
            optional=True,
        ),
        Module(
            folder="mpi-operator",
            programs={"mpi-operator": f"{_MPI_OPERATOR}/cmd/mpi-operator"},
            ldflags=_stamps({}),
            extras={"mpijobs.yaml": Extra(_MPI_OPERATOR, "manifests/base/kubeflow.org_mpijobs.yaml")},
            tags=_WITHOUT_C_LIBRARY,
            optional=True,
        ),
        Module(
            folder="tailscale",
            programs={name: f"{_TAILSCALE}/cmd/{name}" for name in ("tailscale", "tailscaled")},
            ldflags=_stamps({f"{_TAILSCALE}/version.{stamp}Stamp": number("tailscale") for stamp in ("long", "short")}),
            extras={
                name: Extra(_TAILSCALE, f"cmd/tailscaled/{name}")
                for name in ("tailscaled.service", "tailscaled.defaults")
            },
            optional=True,
        ),
        Module(
            folder="headscale",
            programs={"headscale": f"{_HEADSCALE}/cmd/headscale"},
            ldflags=_stamps({f"{_HEADSCALE}/hscontrol/types.Version": version("headscale")}),
            optional=True,
        ),
    )


def toolchain() -> Path:
    """The `go` of the virtual environment. Raises RuntimeError when it is not there."""
    program = Path(sys.prefix) / "bin" / "go"
    if not program.exists():
        raise RuntimeError(
            f"no Go toolchain at {program}: run `make venv`, which installs the pinned one, and use its Python"
        )
    return program


def environment(cgo: bool) -> dict[str, str]:
    """The environment of a build: own caches, no switching of toolchains. Where modules come from is the machine's setting."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GOROOT", "GOBIN", "GOOS", "GOARCH", "GOEXPERIMENT")
    }
    return {
        **kept,
        "GOMODCACHE": str(CACHE / "go" / "mod"),
        "GOCACHE": str(CACHE / "go" / "build"),
        "GOPATH": str(CACHE / "go" / "path"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        # The committed go.sum pins every hash; asking the checksum database as well would need one more server.
        "GOSUMDB": "off",
        "GOFLAGS": _FLAGS,
        "CGO_ENABLED": "1" if cgo else "0",
    }


def cache_key(module: Module) -> tuple[Part, ...]:
    """Everything that decides what a module's programs are."""
    sources = sorted(
        path for path in module.source.iterdir() if path.name in ("go.mod", "go.sum") or path.suffix == ".go"
    )
    return (
        *(version("go"), _FLAGS, *_BUILD, module.ldflags, compiler() if module.cgo else "no C"),
        *([module.tags] if module.tags else []),
        *(f"{name}={package}" for name, package in sorted(module.programs.items())),
        *(f"{name}={extra.module}/{extra.path}" for name, extra in sorted(module.extras.items())),
        *sources,
    )


@cache
def compiler() -> str:
    """Which C compiler this machine has, for the keys of what it compiles; raises RuntimeError without one."""
    command = ["gcc", "-dumpmachine", "-dumpfullversion"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise RuntimeError(
            "gcc is missing; `make lab` installs it with the other packages that the lab needs"
        ) from None


def programs(module: Module) -> Entry:
    """An entry with a module's programs and extras. Its sources must have been fetched, or are fetched now without progress."""

    def build(out: Path, activity: Activity) -> None:
        compiled = _Counter(activity, "{} packages compiled")
        for name, package in module.programs.items():
            options = ["-tags", module.tags, "-ldflags", module.ldflags, "-o", str(out / name)]
            _go(module, [*_BUILD, *options, package], compiled)
        for name, extra in module.extras.items():
            printed: list[str] = []
            _go(module, ["list", "-m", "-f", "{{.Dir}}", extra.module], printed.append)
            shutil.copyfile(Path(printed[-1]) / extra.path, out / name)

    return Entry(_KIND, cache_key(module), build, f"Compile {', '.join(module.programs)}")


class _Counter:
    """Counts lines into an activity's detail."""

    def __init__(self, activity: Activity, text: str) -> None:
        self._activity, self._text, self._count = activity, text, 0

    def __call__(self, line: str) -> None:
        self._count += 1
        self._activity.tell(self._text.format(self._count))


def fetch(module: Module, activity: Activity, pauses_s: Sequence[float] = PAUSES_S) -> None:
    """Fetch the sources that this module's programs need, and no others, into the module cache.

    go keeps every module that it has whole, so another attempt, or another run, asks only for the others.
    """
    counter = _Counter(activity, "{} modules fetched")

    def count(line: str) -> None:
        if line.startswith("go: downloading "):
            counter(line)

    # Listing dependencies loads exactly the packages that a build would; `go mod download` fetches many more.
    command = ["list", "-deps", "-tags", module.tags, "-f", "", *dict.fromkeys(module.programs.values())]
    persist(f"fetching the Go modules of {module.folder}", lambda: _go(module, command, count), pauses_s)


def _go(module: Module, arguments: Sequence[str], on_line: Callable[[str], None]) -> None:
    """Run `go` in the module's folder. Raises RuntimeError with the end of its messages."""
    go = toolchain()
    mark = CACHE / "go" / ".used"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    stream([go, *arguments], on_line, cwd=module.source, env=environment(module.cgo))
