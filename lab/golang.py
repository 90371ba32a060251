"""Programs that are built from Go modules, with the pinned toolchain of the virtual environment.

Each folder of `lab/go` is a small module of our own whose go.mod and go.sum pin the program and everything below it:
builds run with `-mod=readonly`, so a hash that differs from the committed one stops them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lab.cache import Part, cached, finished
from lab.progress import say, step
from lab.settings import CACHE, REPOSITORY
from lab.versions import number, version

SOURCES = REPOSITORY / "lab" / "go"

_KIND = "programs"
_DOWNLOAD_ATTEMPTS = 4
_DOWNLOAD_PAUSE_S = 10.0


@dataclass(frozen=True)
class Extra:
    """A file to keep from a module in the build list, for example a C source or a manifest that belongs to the program."""

    module: str
    path: str


@dataclass(frozen=True)
class Module:
    """One folder of `lab/go` and what is built there. `programs` maps a file name to a package."""

    folder: str
    programs: Mapping[str, str]
    ldflags: str
    cgo: bool = False
    extras: Mapping[str, Extra] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        """The folder with go.mod and go.sum."""
        return SOURCES / self.folder


def _stamps(values: Mapping[str, str]) -> str:
    """Linker flags: no symbol tables (a third of the size), and these string variables."""
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in values.items())])


# NVIDIA's programs call NVML functions that older libraries lack: bound only when called, as their own builds do.
_LAZY_BINDING = "-extldflags=-Wl,-z,lazy"

_NFD = "sigs.k8s.io/node-feature-discovery"
_PLUGIN = "github.com/NVIDIA/k8s-device-plugin"
_TOOLKIT = "github.com/NVIDIA/nvidia-container-toolkit"


def modules() -> tuple[Module, ...]:
    """Everything that the lab builds from Go modules, the longest build first."""
    kubernetes = version("kubernetes")
    major, minor = number("kubernetes").split(".")[:2]
    return (
        Module(
            folder="kubernetes",
            programs={"hyperkube": "."},
            ldflags=_stamps(
                {
                    "k8s.io/component-base/version.gitVersion": kubernetes,
                    "k8s.io/component-base/version.gitMajor": major,
                    "k8s.io/component-base/version.gitMinor": minor,
                    "k8s.io/client-go/pkg/version.gitVersion": kubernetes,
                }
            ),
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
        ),
        Module(
            folder="container-toolkit",
            programs={
                name: f"{_TOOLKIT}/cmd/{name}" for name in ("nvidia-cdi-hook", "nvidia-container-runtime", "nvidia-ctk")
            },
            ldflags=f"{_stamps({f'{_TOOLKIT}/internal/info.version': number('nvidia_container_toolkit')})} {_LAZY_BINDING}",
            cgo=True,
        ),
        Module(folder="flannel", programs={"flanneld": "."}, ldflags=_stamps({})),
    )


def build_modules() -> dict[str, Path]:
    """Build whatever is not in the cache; returns the folder of each module's programs and extras by the module's name.

    Sources of the next modules are fetched while one is compiled: compiling uses every core, fetching hardly any.
    """
    wanted = modules()
    missing = [module for module in wanted if finished(_KIND, cache_key(module)) is None]
    if missing:
        toolchain()  # its absence is better said at once than after retried downloads
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="go-download") as pool:
        downloads = {module.folder: pool.submit(_download, module) for module in missing}
        try:
            return {module.folder: _build(module, downloads.get(module.folder)) for module in wanted}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


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
        "GOFLAGS": "-mod=readonly -modcacherw",
        "CGO_ENABLED": "1" if cgo else "0",
    }


def cache_key(module: Module) -> list[Part]:
    """Everything that decides what a module's programs are."""
    sources = sorted(
        path for path in module.source.iterdir() if path.name in ("go.mod", "go.sum") or path.suffix == ".go"
    )
    return [
        *("1", version("go"), module.ldflags, str(module.cgo)),
        *(f"{name}={package}" for name, package in sorted(module.programs.items())),
        *(f"{name}={extra.module}/{extra.path}" for name, extra in sorted(module.extras.items())),
        *sources,
    ]


def _build(module: Module, download: Future[None] | None) -> Path:
    def fill(out: Path) -> None:
        for name, package in module.programs.items():
            _go(module, "build", "-trimpath", "-ldflags", module.ldflags, "-o", str(out / name), package)
        for name, extra in module.extras.items():
            folder = Path(_go(module, "list", "-m", "-f", "{{.Dir}}", extra.module).strip())
            shutil.copyfile(folder / extra.path, out / name)

    if download is not None:
        download.result()
    return cached(_KIND, cache_key(module), fill, title=f"Compile {', '.join(module.programs)}")


def _download(module: Module) -> None:
    """Fetch the sources that this module's programs need, and no others, into the module cache; retried."""
    with step(f"Fetch the Go modules of {module.folder}"):
        for attempt in range(1, _DOWNLOAD_ATTEMPTS + 1):
            try:
                # Listing dependencies loads exactly the packages that a build would; `go mod download` fetches many more.
                _go(module, "list", "-deps", "-f", "", *dict.fromkeys(module.programs.values()))
                return
            except RuntimeError as error:
                if attempt == _DOWNLOAD_ATTEMPTS:
                    raise
                reason = str(error).strip().splitlines()[-1]
                say(f"fetching for {module.folder} failed ({reason}), trying again in {_DOWNLOAD_PAUSE_S:.0f} s")
                time.sleep(_DOWNLOAD_PAUSE_S)


def _go(module: Module, *arguments: str) -> str:
    """Run `go` in the module's folder; returns what it printed. Raises RuntimeError with the end of its messages."""
    result = subprocess.run(
        [str(toolchain()), *arguments],
        cwd=module.source,
        env=environment(module.cgo),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"`go {arguments[0]}` failed in {module.source}:\n{result.stderr[-3000:]}")
    return result.stdout
