"""The deploy controller: what lies in `server/manifests` is applied, and applied again when it changes.

Components that come with the server lie there too. One that is disabled is not written; one that was written by a former run is taken out
of the cluster, and its file is removed.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from .console import log

INTERVAL_S = 2.0
"""k3s looks every 15 s; a lab is waited for."""

COMPONENTS = ("coredns",)
"""What the server brings along and deploys unless it is disabled."""

_ENDINGS = (".yaml", ".yml", ".json")
_CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane=true"

Kubectl = Callable[[Sequence[str]], "str | None"]
"""Runs kubectl with these arguments and returns what went wrong, or None."""


def manifests(folder: Path, disabled: Collection[str]) -> list[Path]:
    """The files to apply: not those with `<file>.skip` beside them, nor the components that `--disable` names."""
    if not folder.is_dir():
        return []
    candidates = sorted(path for path in folder.rglob("*") if path.suffix in _ENDINGS and path.is_file())
    return [
        path for path in candidates if path.stem not in disabled and not path.with_name(f"{path.name}.skip").exists()
    ]


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values into a component's `%{NAME}%` places. Raises KeyError for a place without a value."""
    return re.sub(r"%\{([A-Z_]+)\}%", lambda match: values[match[1]], template)


class DeployController(threading.Thread):
    """Applies manifests for as long as the server runs. It also gives the server's own node its role, which a kubelet may not do."""

    def __init__(self, folder: Path, disabled: Collection[str], kubectl: Kubectl, own_node: str | None) -> None:
        super().__init__(name="deploy", daemon=True)
        self._folder = folder
        self._disabled = disabled
        self._kubectl = kubectl
        self._own_node = own_node
        self._applied: dict[Path, tuple[int, int]] = {}

    def run(self) -> None:
        """Work until the process ends."""
        while True:
            self.pass_once()
            time.sleep(INTERVAL_S)

    def pass_once(self) -> None:
        """Apply what is new or changed since it was last applied successfully."""
        if (
            self._own_node
            and self._kubectl(["label", "node", self._own_node, "--overwrite", _CONTROL_PLANE_LABEL]) is None
        ):
            self._own_node = None
        for component in COMPONENTS:
            if component in self._disabled:
                self._remove(self._folder / f"{component}.yaml")
        for path in manifests(self._folder, self._disabled):
            try:
                status = path.stat()
            except FileNotFoundError:  # removed since it was listed
                continue
            state = (status.st_mtime_ns, status.st_size)
            if self._applied.get(path) == state:
                continue
            problem = self._kubectl(["apply", "--filename", str(path)])
            if problem is None:
                self._applied[path] = state
                log("info", f"Applied manifest {path}")
            else:
                log("error", f"Failed to process config: failed to process {path}: {problem}")

    def _remove(self, path: Path) -> None:
        """Take a component that is disabled now out of the cluster, then remove its file; tried again until it succeeds."""
        if not path.exists():
            return
        problem = self._kubectl(["delete", "--ignore-not-found", "--filename", str(path)])
        if problem is None:
            path.unlink(missing_ok=True)
            log("info", f"Removed disabled component {path.stem}")
        else:
            log("error", f"Failed to remove {path.stem}: {problem}")
