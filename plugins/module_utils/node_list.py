"""Reads nodes and pods from the Kubernetes API. Runs on the controller.

Lists are read in pages, and each object is reduced at once: memory does not grow with the size of the cluster's objects.
"""

from __future__ import annotations

import gc
import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, TypeVar

from ansible_collections.baremetal.gpu.plugins.module_utils import kube_connection
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_api import (
    Answer,
    ForeignAnswerError,
    KubeApi,
    NoAnswerError,
    TlsError,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.kube_connection import first_line, require_client

__all__ = ["require_client"]

T = TypeVar("T")

NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"
PAGE_SIZE = 250
"""Objects of one page. A node of real size is some 25 kB: a page is parsed in some 50 MB."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
"""Pauses before what got no answer, or one that may pass, is asked for again."""


class TransientError(GpuError):
    """An error that may pass: the API server does not answer or is overloaded. ``retry_after_s`` is what it asks for."""

    retry_after_s: Optional[float] = None


class NotServedError(GpuError):
    """The API server has no such path: it is of another release, or is none."""


class ExpiredError(Exception):
    """The API server has forgotten the version that was to be read on from; the list must be read from the start."""


def patiently(call: Callable[[], T], deadline: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> T:
    """Ask again while the API does not answer, with growing pauses. Raises the last ``TransientError`` at the deadline (on ``clock``)."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return call()
        except TransientError as error:
            left = deadline - clock()
            if left <= 0:
                raise
            sleep(min(left, max(pause_s, error.retry_after_s or 0.0)))
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)


@dataclass(frozen=True)
class Listed:
    """Where a list stands: its version, for a watch from there, and the server's clock (UTC) when it began."""

    resource_version: str
    date: datetime


def connect(kubeconfig: Optional[str], context: Optional[str]) -> Any:
    """An API client from a kubeconfig. Raises ``GpuError`` BG-CAP-103."""
    return kube_connection.connect({"kubeconfig": kubeconfig, "context": context})


class Cluster:
    """A connection with the collection's own errors. Methods raise ``GpuError`` (refused, no API) or ``TransientError``."""

    def __init__(self, client: Any, timeout_s: float) -> None:
        self.api = KubeApi(client, timeout_s)
        self._client = client

    def objects(
        self,
        path: str,
        take: Callable[[Dict[str, Any]], None],
        restart: Callable[[], None],
        query: Optional[Mapping[str, Any]] = None,
        page_size: int = PAGE_SIZE,
    ) -> Listed:
        """Give every object of a list to ``take``. When the list expires while it is paged, ``restart`` is called and it begins anew."""
        for _attempt in range(3):
            restart()
            try:
                with _without_collector():
                    return self._pages(path, take, dict(query or {}, limit=page_size))
            except ExpiredError:
                continue
        raise TransientError(
            "BG-CAP-106",
            "the list {0} expired three times while it was read".format(path),
            "nothing is known about what it holds",
            "run again; read the API server's log if it happens again",
        )

    def _pages(self, path: str, take: Callable[[Dict[str, Any]], None], query: Dict[str, Any]) -> Listed:
        first: Optional[Listed] = None
        while True:
            answer = self.answer("GET", path, query=query)
            items, metadata = answer.body.get("items"), answer.body.get("metadata")
            metadata = metadata if isinstance(metadata, dict) else {}
            # A list without objects is null to some servers.
            if items is None and str(answer.body.get("kind")).endswith("List"):
                items = []
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise self.no_list("an answer without items")
            for item in items:
                take(item)
            if first is None:
                first = Listed(str(metadata.get("resourceVersion") or ""), answer.date or datetime.now(timezone.utc))
            token = metadata.get("continue")
            if not token:
                return first
            query = dict(query, **{"continue": token})

    def answer(self, method: str, path: str, absent: int = 0, **more: Any) -> Answer:
        """One answer that is not an error; one with the HTTP status ``absent`` is no error. ``ExpiredError`` for 410."""
        try:
            answer = self.api.ask(method, path, **more)
        except NoAnswerError as error:
            raise self.from_transport(error) from error
        if answer.status >= 400 and answer.status != absent:
            raise self.from_status(answer.status, answer.body, answer.retry_after_s)
        return answer

    def events(
        self, path: str, resource_version: str, seconds: float, selector: Optional[Mapping[str, Any]] = None
    ) -> Iterator[Dict[str, Any]]:
        """What changes after a version, for at most ``seconds``. Raises ``ExpiredError`` when that version is forgotten."""
        query = {"resourceVersion": resource_version, "allowWatchBookmarks": "true", **(selector or {})}
        try:
            for status, event in self.api.events(path, query, seconds):
                if status >= 400:
                    raise self.from_status(status, event, None)
                if event.get("type") == "ERROR":
                    said = event.get("object")
                    body: Dict[str, Any] = said if isinstance(said, dict) else {}
                    code = body.get("code")
                    raise self.from_status(code if isinstance(code, int) else 500, body, None)
                yield event
        except NoAnswerError as error:
            raise self.from_transport(error) from error

    def no_list(self, what: str) -> GpuError:
        return GpuError(
            "BG-CAP-106",
            "the server at {0} gives {1}".format(self.api.host, what),
            "this is not a Kubernetes API",
            "check the server's address in the kubeconfig",
        )

    def from_status(self, status: int, body: Mapping[str, Any], retry_after_s: Optional[float]) -> Exception:
        """What an HTTP status means for whoever asked."""
        if status == 410:
            return ExpiredError()
        said = "HTTP {0}: {1}".format(status, first_line(body.get("message") or "no reason given"))
        if status in (401, 403):
            ended = kube_connection.expired(self._client) if status == 401 else ""
            if ended:
                return _certificate_ended("{0}, and the Kubernetes API refused it ({1})".format(ended, said))
            return GpuError(
                "BG-CAP-102",
                "the Kubernetes API refused the request ({0})".format(said),
                "the cluster cannot be read",
                "renew the credentials"
                if status == 401
                else "the user of the kubeconfig needs list and watch on nodes, list on pods, and patch on nodes to correct them",
            )
        if status == 429 or status >= 500:
            error = TransientError(
                "BG-CAP-106",
                "the Kubernetes API is overloaded or broken ({0})".format(said),
                "the cluster cannot be read",
                "read the API server's log, then run again",
            )
            error.retry_after_s = retry_after_s
            return error
        kind = NotServedError if status == 404 else GpuError
        return kind(
            "BG-CAP-106",
            "the Kubernetes API answered {0}".format(said),
            "the cluster cannot be read",
            "check the server's address in the kubeconfig, and what it says",
        )

    def from_transport(self, error: NoAnswerError) -> GpuError:
        """What no answer means for whoever asked. A certificate that is not accepted does not get better by waiting."""
        said = first_line(error)
        if isinstance(error, ForeignAnswerError):
            return self.no_list("an answer that is not its own ({0})".format(said))
        if isinstance(error, TlsError):
            if "expired" in said:
                return _certificate_ended("TLS with {0} failed ({1})".format(self.api.host, said))
            return GpuError(
                "BG-CAP-102",
                "TLS with {0} failed ({1})".format(self.api.host, said),
                "the server or this client is not who the other expects",
                "compare the kubeconfig's certificates with the cluster's and their dates with the clock",
            )
        return TransientError(
            "BG-CAP-101",
            "the Kubernetes API at {0} does not answer ({1})".format(self.api.host, said),
            "the cluster cannot be read",
            "check the server's address in the kubeconfig and that the API server runs",
        )


@contextmanager
def _without_collector() -> Iterator[None]:
    """Parsed JSON has no cycles, and looking for some in each page takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _certificate_ended(what: str) -> GpuError:
    return GpuError(
        "BG-CAP-108",
        what,
        "nobody accepts a certificate after its end",
        "renew the certificate (or set the clock that is wrong) and take the new kubeconfig",
    )


def list_nodes(client: Any, timeout_s: float, reduce: Callable[[Dict[str, Any]], T]) -> List[T]:
    """All nodes of the cluster, each reduced at once. ``timeout_s`` bounds each request. Raises as ``Cluster`` does."""
    found: List[T] = []
    Cluster(client, timeout_s).objects(NODES, lambda item: found.append(reduce(item)), found.clear)
    return found


def get_node(client: Any, name: str, timeout_s: float) -> Optional[Dict[str, Any]]:
    """One node as the API has it, or None when there is none. Raises as ``Cluster`` does."""
    answer = Cluster(client, timeout_s).answer("GET", "{0}/{1}".format(NODES, name), absent=404)
    return None if answer.status == 404 else answer.body


def patch_node(client: Any, name: str, patch: Dict[str, Any], timeout_s: float) -> bool:
    """Apply a merge patch to a node. False when the node changed since the patch's ``resourceVersion`` was read."""
    answer = Cluster(client, timeout_s).answer(
        "PATCH",
        "{0}/{1}".format(NODES, name),
        absent=409,
        body=patch,
        content_type="application/merge-patch+json",
    )
    return answer.status != 409


def server_version(client: Any, timeout_s: float) -> str:
    """The API server's release, for example ``vX.Y.Z+k3s1``. Raises as ``Cluster`` does."""
    cluster = Cluster(client, timeout_s)
    version = cluster.answer("GET", "/version/").body.get("gitVersion")
    if not isinstance(version, str):
        raise cluster.no_list("no version")
    return version


def authority_sha256(client: Any) -> str:
    """SHA-256 of the one CA certificate that the kubeconfig trusts, over its PEM text; empty when there are none or several."""
    path = client.configuration.ssl_ca_cert
    try:
        with open(path or "", "rb") as file:
            content = file.read()
    except OSError:
        return ""
    return hashlib.sha256(content).hexdigest() if content.count(b"BEGIN CERTIFICATE") == 1 else ""
