"""Puts the lab's k3s cluster back to what it was before a run, so that every repetition starts from the same state."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab import golang
from lab.settings import STATE

# Comes and goes by itself, or follows from what owns it.
TRANSIENT = frozenset(
    {
        "certificatesigningrequests.certificates.k8s.io",
        "controllerrevisions.apps",
        "csistoragecapacities.storage.k8s.io",
        "endpoints",
        "endpointslices.discovery.k8s.io",
        "events",
        "events.events.k8s.io",
        "leases.coordination.k8s.io",
        "pods",
        "replicasets.apps",
    }
)


@dataclass(frozen=True, order=True)
class Object:
    """One object of the cluster. `resource` is its kind as kubectl takes it; `namespace` is empty for one of the whole cluster."""

    resource: str
    namespace: str
    name: str


def kubectl_folder() -> Path:
    """A folder whose `kubectl` is the one that the lab built for itself."""
    folder = STATE / "bench/bin"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "kubectl"
    kubernetes = next(module for module in golang.modules() if module.folder == "kubernetes")
    program = golang.programs(kubernetes).path / "hyperkube"
    if not link.is_symlink() or link.readlink() != program:
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    return folder


@dataclass(frozen=True)
class Cluster:
    """A cluster behind a kubeconfig."""

    kubectl: Path
    kubeconfig: Path

    def path(self) -> str:
        """PATH with this kubectl first."""
        return f"{self.kubectl.parent}:{os.environ['PATH']}"

    def ask(self, *arguments: str) -> str:
        """The output of kubectl. Raises RuntimeError with its message when it fails."""
        result = subprocess.run(
            [str(self.kubectl), *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def objects(self) -> frozenset[Object]:
        """Everything that somebody declared: what is owned by another object or comes and goes by itself is left out."""
        known = set(self.ask("api-resources", "--verbs=list,delete", "--output=name").split()) - TRANSIENT
        columns = (
            "API:.apiVersion,KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name,"
            "OWNER:.metadata.ownerReferences[0].name"
        )
        # One call for all kinds: the program's start is most of what a call costs.
        listing = self.ask(
            "get", ",".join(sorted(known)), "--all-namespaces", "--no-headers", f"--output=custom-columns={columns}"
        )
        return frozenset(declared(listing))

    def restore(self, before: frozenset[Object], timeout_s: float = 120.0) -> None:
        """Delete what was not there before and wait until exactly the former objects are left.

        Raises RuntimeError when something else is missing or left after the time.
        """
        for resource, namespace, names in in_calls(self.objects() - before):
            scope = [f"--namespace={namespace}"] if namespace else []
            self.ask("delete", resource, *scope, "--ignore-not-found", "--wait=false", *names)
        deadline = time.monotonic() + timeout_s
        while (now := self.objects()) != before:
            if time.monotonic() > deadline:
                left, missing = sorted(now - before), sorted(before - now)
                raise RuntimeError(f"the cluster is not what it was: left {left}, missing {missing}")
            time.sleep(0.5)


def declared(listing: str) -> Iterable[Object]:
    """Objects without an owner, from lines of `version kind namespace name owner` in which kubectl writes `<none>` for nothing."""
    for line in listing.splitlines():
        api, kind, namespace, name, owner = line.split()
        group, _, version = api.rpartition("/")
        if owner == "<none>":
            resource = f"{kind}.{version}.{group}" if group else kind
            yield Object(resource, "" if namespace == "<none>" else namespace, name)


def in_calls(objects: Iterable[Object]) -> list[tuple[str, str, list[str]]]:
    """One call of kubectl for all objects of one kind in one namespace; namespaces last, since they take their content along."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in sorted(objects):
        groups.setdefault((each.resource, each.namespace), []).append(each.name)
    calls = [(resource, namespace, names) for (resource, namespace), names in groups.items()]
    return sorted(calls, key=lambda call: call[0] == "Namespace")
