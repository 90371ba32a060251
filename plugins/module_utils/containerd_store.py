"""Images in containerd: what is there, what must be imported. Talks to containerd through its client ``ctr``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Sequence, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.image_archive import ArchivedImage

Observed = Dict[str, FrozenSet[str]]
"""Config digests by reference; several where the reference is an index of platforms."""

Run = Callable[[List[str], float], Completed]

_QUERY_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Plan:
    """Archives to import, and the images that are absent or different because of which."""

    archives: Tuple[str, ...]
    differing: Tuple[ArchivedImage, ...]


def compare(desired: Sequence[ArchivedImage], observed: Mapping[str, FrozenSet[str]]) -> Plan:
    """What must be imported. Raises ``GpuError`` BG-IMG-005 when two archives disagree about one reference."""
    digests: Dict[str, ArchivedImage] = {}
    for image in desired:
        other = digests.setdefault(image.reference, image)
        if other.config_digest != image.config_digest:
            raise GpuError(
                "BG-IMG-005",
                "{0} and {1} hold different images named {2}".format(other.archive, image.archive, image.reference),
                "every run would replace one by the other",
                "remove one of the archives, or name its image differently",
            )
    differing = tuple(image for image in desired if image.config_digest not in observed.get(image.reference, ()))
    return Plan(archives=tuple(dict.fromkeys(image.archive for image in differing)), differing=differing)


def parse_list(text: str) -> Dict[str, str]:
    """Target digest by reference from ``ctr images ls``; its header and unnamed lines are left out."""
    found = {}
    for line in text.splitlines():
        columns = line.split()
        if len(columns) >= 3 and columns[2].startswith("sha256:"):
            found[columns[0]] = columns[2]
    return found


class Containerd:
    """containerd's image store in one namespace. Every method raises ``GpuError`` when containerd does not answer."""

    def __init__(self, command: Sequence[str], address: str, namespace: str, run: Run) -> None:
        self._command = [*list(command), "--address", address, "--namespace", namespace]
        self._address = address
        self._run = run

    def observe(self, references: Iterable[str]) -> Observed:
        """Config digests of those references that are there."""
        targets = parse_list(self._ctr(["images", "ls"], _QUERY_TIMEOUT_S, "BG-IMG-002", "images cannot be listed"))
        return {name: frozenset(self._configs(targets[name])) for name in set(references) if name in targets}

    def import_archive(self, path: str, timeout_s: float) -> None:
        """Import all images of an archive. Raises ``GpuError`` BG-IMG-003."""
        self._ctr(["images", "import", path], timeout_s, "BG-IMG-003", "{0} cannot be imported".format(path))

    def _configs(self, digest: str) -> List[str]:
        """Config digests behind a target: of a manifest, or of those manifests of an index that are there."""
        target = self._content(digest)
        if "manifests" not in target:
            return _config_of(target)
        return [
            config for child in target["manifests"] for config in _config_of(self._content(str(child.get("digest"))))
        ]

    def _content(self, digest: str) -> Dict[str, Any]:
        """A manifest from the content store; empty when it is not there (an image of another platform)."""
        completed = self._run([*self._command, "content", "get", digest], _QUERY_TIMEOUT_S)
        if completed.return_code != 0:
            return {}
        try:
            content = json.loads(completed.output)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def _ctr(self, arguments: List[str], timeout_s: float, code: str, what: str) -> str:
        try:
            completed = self._run(self._command + arguments, timeout_s)
        except OSError as error:
            raise _no_answer(self._command[0], "it cannot be started: {0}".format(error.strerror)) from error
        if completed.return_code == 0:
            return completed.output
        said = " ".join((completed.errors or completed.output).split())[:500]
        if completed.timed_out:
            said = "no answer within {0:g} s".format(timeout_s)
        remedy = "see that containerd runs and answers at {0}".format(self._address)
        if code == "BG-IMG-003":
            remedy = "check free space and the archive's checksum"
        raise GpuError(code, "{0} ({1})".format(what, said), "pods would lack their images", remedy)


def no_client(name: str) -> GpuError:
    """The error for a host without ``ctr``."""
    return _no_answer(name, "it is not installed")


def _no_answer(name: str, why: str) -> GpuError:
    return GpuError(
        "BG-IMG-002",
        "containerd's client {0} cannot be used: {1}".format(name, why),
        "images cannot be imported without it",
        "install containerd first, or name its client in the option ctr",
    )


def _config_of(manifest: Mapping[str, Any]) -> List[str]:
    config = manifest.get("config")
    return [str(config["digest"])] if isinstance(config, dict) and "digest" in config else []
