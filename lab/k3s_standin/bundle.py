"""The programs inside the `k3s` file, and how they come onto the host: as in k3s, below `<data-dir>/data/<content hash>/bin`."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import files
from .console import FatalError

DEFAULT_DATA_DIR = Path("/var/lib/rancher/k3s")
USER_DATA_DIR = Path("~/.rancher/k3s")

MANIFEST = "bundle.json"
PROGRAMS_FOLDER = "bin"
COMPONENTS_FOLDER = "k3s_standin/components"

CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
PROGRAMS = (
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "etcd",
    "etcdctl",
    "flanneld",
    "hyperkube",
    "runc",
    *CNI_PLUGINS,
)
"""What the file carries."""

MULTICALL = "hyperkube"
MULTICALL_NAMES = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")
"""One file with all of Kubernetes: it acts by the name it is called with."""


@dataclass(frozen=True)
class Bundle:
    """An archive with programs; the running `k3s` file is one."""

    archive: Path

    @classmethod
    def running(cls) -> Bundle:
        """The file that this module was loaded from. Raises FatalError when it runs from a source folder."""
        for path in Path(__file__).parents:
            if path.is_file():
                return cls(path)
        raise FatalError("this is not the k3s file: it carries no programs")

    @cached_property
    def manifest(self) -> Mapping[str, str]:
        """`hash` over the programs' content, `version` of the stand-in, references `pause_image` and `coredns_image`."""
        with zipfile.ZipFile(self.archive) as archive:
            manifest: dict[str, str] = json.loads(archive.read(MANIFEST))
        return manifest

    @property
    def version(self) -> str:
        """What the stand-in calls itself."""
        return self.manifest["version"]

    def component(self, name: str) -> str:
        """The manifest of a component that comes with the stand-in; its `%{NAME}%` places are not filled yet."""
        with zipfile.ZipFile(self.archive) as archive:
            return archive.read(f"{COMPONENTS_FOLDER}/{name}.yaml").decode()

    def extract(self, data_dir: Path) -> Path:
        """Return the folder of extracted programs, extracting them first unless it is there.

        Two processes may do this at once: one extracts, the other waits for it.
        """
        data = data_dir / "data"
        folder = data / self.manifest["hash"]
        if not folder.is_dir():
            data.mkdir(parents=True, exist_ok=True)
            with (data / ".lock").open("w", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not folder.is_dir():
                    self._unpack(folder)
        self._select(data, folder)
        return folder / PROGRAMS_FOLDER

    def _unpack(self, folder: Path) -> None:
        draft = folder.with_name(f"{folder.name}-tmp")
        shutil.rmtree(draft, ignore_errors=True)  # left by an extraction that was cut short
        programs = draft / PROGRAMS_FOLDER
        programs.mkdir(parents=True)
        with zipfile.ZipFile(self.archive) as archive:
            for name in PROGRAMS:
                with archive.open(f"{PROGRAMS_FOLDER}/{name}") as source, (programs / name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                    os.fchmod(target.fileno(), stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        for name in MULTICALL_NAMES:
            (programs / name).symlink_to(MULTICALL)
        draft.rename(folder)

    @staticmethod
    def _select(data: Path, folder: Path) -> None:
        """Point `current` and the CNI plugins at this content; `previous` keeps the one before, as in k3s."""
        current = data / "current"
        before = str(current.readlink()) if current.is_symlink() else ""
        if before != folder.name:
            if before:
                files.link(data / "previous", before)
            files.link(current, folder.name)
        for name in CNI_PLUGINS:
            plugin = data / "cni" / name
            target = f"../{folder.name}/{PROGRAMS_FOLDER}/{name}"
            if not plugin.is_symlink() or str(plugin.readlink()) != target:
                files.link(plugin, target)


def data_dir(environment: Mapping[str, str], effective_user: int) -> Path:
    """Where a client command such as `k3s kubectl` finds or puts the programs: only root may write the system's folder."""
    if environment.get("K3S_DATA_DIR"):
        return Path(environment["K3S_DATA_DIR"])
    return DEFAULT_DATA_DIR if effective_user == 0 else USER_DATA_DIR.expanduser()
