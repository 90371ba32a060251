"""Server-side apply of manifests, and what it changed, or in check mode would change. Runs on the controller."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import KubeApi, NoAnswerError

APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
CREATED, CHANGED, UNCHANGED = "created", "changed", "unchanged"

# Kept by the API server itself; an object that differs in nothing else is the same.
_BOOKKEEPING = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")
# A definition that was just created is served a moment later.
_DISCOVERY_WAIT_S = 30.0


@dataclass(frozen=True)
class Applied:
    """What became of one object. ``before`` and ``after`` are as the API has them, without its bookkeeping."""

    kind: str
    namespace: str
    name: str
    outcome: str
    before: Optional[Mapping[str, Any]]
    after: Optional[Mapping[str, Any]]

    def as_dict(self) -> Dict[str, str]:
        return {"kind": self.kind, "namespace": self.namespace, "name": self.name, "outcome": self.outcome}


@dataclass
class Cluster:
    """Applies objects one after the other. ``force`` takes fields from other owners; ``predict`` asks for dry runs."""

    api: KubeApi
    field_manager: str
    force: bool = False
    predict: bool = False
    sleep: Callable[[float], None] = time.sleep
    _resources: Dict[str, Dict[str, Tuple[str, bool]]] = field(default_factory=dict)

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> List[Applied]:
        """Every object in its order. Raises ``GpuError`` BG-APPLY-101 (refused), 102 (no answer), 103 (unknown kind)."""
        created: Set[str] = set()
        done = []
        for each in objects:
            try:
                applied = self._one(each, created)
            except NoAnswerError as error:
                raise GpuError(
                    "BG-APPLY-102",
                    "the Kubernetes API did not answer while {0} was applied ({1})".format(described(each), error),
                    "objects before it are applied, those after it are not",
                    "check that the API server runs and that the kubeconfig's certificates fit, then run again",
                ) from error
            done.append(applied)
            if applied.outcome == CREATED:
                created.add("{0}/{1}".format(applied.kind, applied.name))
        return done

    def _one(self, wanted: Mapping[str, Any], created: Set[str]) -> Applied:
        if self.predict and _belongs_to(wanted, created):
            return predicted(wanted)
        path = self._path(wanted, wait=not self.predict and any(made.startswith(_DEFINITION) for made in created))
        status, before = self.api.request("GET", path)
        if status == 404:
            before = {}
        elif status >= 400:
            raise _refused(wanted, "read", status, before)
        query = {"fieldManager": self.field_manager, "force": "true" if self.force else "false"}
        if self.predict:
            query["dryRun"] = "All"
        status, after = self.api.request("PATCH", path, wanted, query, APPLY_PATCH)
        if status >= 400:
            raise _refused(wanted, "apply", status, after)
        old, new = essence(before) if before else None, essence(after)
        outcome = CREATED if old is None else UNCHANGED if old == new else CHANGED
        metadata = wanted["metadata"]
        return Applied(
            str(wanted["kind"]), str(metadata.get("namespace") or ""), str(metadata["name"]), outcome, old, new
        )

    def _path(self, wanted: Mapping[str, Any], wait: bool) -> str:
        version, kind = str(wanted["apiVersion"]), str(wanted["kind"])
        root = "/apis/{0}".format(version) if "/" in version else "/api/{0}".format(version)
        deadline = time.monotonic() + (_DISCOVERY_WAIT_S if wait else 0.0)
        while kind not in self._resources.get(version, {}):
            status, listing = self.api.request("GET", root)
            if status < 400:
                self._resources[version] = {
                    str(resource["kind"]): (str(resource["name"]), bool(resource["namespaced"]))
                    for resource in listing.get("resources") or ()
                    if "/" not in resource["name"]
                }
            if kind not in self._resources.get(version, {}):
                if time.monotonic() >= deadline:
                    raise _unknown_kind(wanted)
                self.sleep(0.5)
        plural, namespaced = self._resources[version][kind]
        metadata = wanted["metadata"]
        place = "/namespaces/{0}".format(metadata.get("namespace") or "default") if namespaced else ""
        return "{0}{1}/{2}/{3}".format(root, place, plural, metadata["name"])


_DEFINITION = "CustomResourceDefinition/"


def essence(value: Mapping[str, Any]) -> Dict[str, Any]:
    """An object without its status and the API server's bookkeeping."""
    kept = {key: inner for key, inner in value.items() if key not in ("status", "metadata")}
    kept["metadata"] = {key: inner for key, inner in (value.get("metadata") or {}).items() if key not in _BOOKKEEPING}
    return kept


def predicted(wanted: Mapping[str, Any]) -> Applied:
    """What becomes of an object whose cluster, namespace or definition is itself only predicted."""
    metadata = wanted["metadata"]
    return Applied(
        str(wanted["kind"]), str(metadata.get("namespace") or ""), str(metadata["name"]), CREATED, None, essence(wanted)
    )


def described(wanted: Mapping[str, Any]) -> str:
    metadata = wanted.get("metadata") or {}
    return "{0} {1}".format(
        wanted.get("kind"), "/".join(filter(None, (metadata.get("namespace"), metadata.get("name"))))
    )


def _belongs_to(wanted: Mapping[str, Any], created: Set[str]) -> bool:
    """Whether an object needs a namespace, or a definition of its kind, that this run would create."""
    group = str(wanted["apiVersion"]).rpartition("/")[0]
    definitions = {made for made in created if made.startswith(_DEFINITION)}
    return "Namespace/{0}".format(wanted["metadata"].get("namespace")) in created or any(
        made.partition(".")[2] == group for made in definitions
    )


def _refused(wanted: Mapping[str, Any], what: str, status: int, answer: Mapping[str, Any]) -> GpuError:
    owned = "another program owns these fields; agree on one owner, or take them with force" if status == 409 else ""
    return GpuError(
        "BG-APPLY-101",
        "the Kubernetes API refused to {0} {1} (HTTP {2}: {3})".format(
            what, described(wanted), status, answer.get("message") or "no reason"
        ),
        "objects before it are applied, those after it are not",
        owned or "the kubeconfig's user needs get, create and patch on it; an admission policy may refuse it too",
    )


def _unknown_kind(wanted: Mapping[str, Any]) -> GpuError:
    return GpuError(
        "BG-APPLY-103",
        "the cluster does not know {0} of {1}".format(described(wanted), wanted.get("apiVersion")),
        "its definition is missing, or of another version",
        "apply the definition first, or take the manifest of the cluster's release",
    )
