"""A small server that speaks the Kubernetes API's wire format for lists and watches, over HTTP or HTTPS."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TOKEN = "not-a-real-token"
GPU = "nvidia.com/gpu"


@dataclass
class FakeCluster:
    """Nodes and pods, and what happens to them; resource slices by the path that serves them.

    ``errors`` are answered first, one per request. ``on_watch`` are called one per watch, once it is open: what they change is its events.
    ``broken_after`` breaks the first watch in the event after so many. ``forgotten`` is the version before which a watch cannot start. ``refused`` maps a path to the status of every answer about it.
    """

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: list[dict[str, Any]] = field(default_factory=list)
    slices: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    errors: list[int | bytes] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    on_watch: list[Callable[[], None]] = field(default_factory=list)
    watch_errors: list[int] = field(default_factory=list)
    expire_once: bool = False
    broken_after: int | None = None
    forgotten: int = 0
    version: int = 100
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    _events: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, *nodes: dict[str, Any]) -> None:
        """Add or change nodes."""
        for node in nodes:
            name = node["metadata"]["name"]
            self._event("MODIFIED" if name in self.nodes else "ADDED", node)
            self.nodes[name] = node

    def remove(self, name: str) -> None:
        self._event("DELETED", self.nodes.pop(name))

    def _event(self, kind: str, node: dict[str, Any]) -> None:
        with self._changed:
            self.version += 1
            node["metadata"]["resourceVersion"] = str(self.version)
            # As it is now: a later change must not show in an earlier event.
            self._events.append((self.version, {"type": kind, "object": deepcopy(node)}))
            self._changed.notify_all()

    def lists(self, path: str = "/api/v1/nodes") -> list[dict[str, str]]:
        """The queries of lists of a path."""
        return [query for asked, query in self.requests if asked == path and "watch" not in query]

    def watches(self) -> list[dict[str, str]]:
        return [query for _path, query in self.requests if "watch" in query]

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        """Status and body of what is no watch."""
        if self.errors:
            error = self.errors.pop(0)
            return (200, error) if isinstance(error, bytes) else (error, status(error))
        if path in self.refused:
            return self.refused[path], status(self.refused[path])
        if path in self.slices:
            return 200, {"kind": "ResourceSliceList", "metadata": {}, "items": self.slices[path]}
        if path not in ("/api/v1/nodes", "/api/v1/pods"):
            return 404, status(404)
        items = list(self.nodes.values()) if path.endswith("nodes") else self._selected(query)
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 0)) or len(items)
        if start and self.expire_once:
            self.expire_once = False
            return 410, status(410)
        metadata = {"resourceVersion": str(self.version)}
        if start + limit < len(items):
            metadata["continue"] = str(start + limit)
        kind = "NodeList" if path.endswith("nodes") else "PodList"
        return 200, {"kind": kind, "metadata": metadata, "items": items[start : start + limit]}

    def _selected(self, query: dict[str, str]) -> list[dict[str, Any]]:
        selector = query.get("labelSelector")
        if not selector:
            return self.pods
        key, _in, values = selector.replace("=", " in ").replace("(", "").replace(")", "").partition(" in ")
        return [pod for pod in self.pods if pod["metadata"].get("labels", {}).get(key) in values.split(",")]

    def write(self, _method: str, path: str, _query: dict[str, str], _body: dict[str, Any]) -> tuple[int, Any]:
        """Status and body of what changes something; this cluster is only read."""
        return 405, status(405, path)

    def events(self, version: int, seconds: float, _path: str = "/api/v1/nodes") -> Iterator[dict[str, Any] | int]:
        """What a watch gives: events, or one HTTP status instead of them."""
        if self.watch_errors:
            yield self.watch_errors.pop(0)
            return
        if version < self.forgotten:
            yield {"type": "ERROR", "object": status(410)}
            return
        if self.on_watch:
            self.on_watch.pop(0)()
        begun = datetime.datetime.now(datetime.UTC)
        while (left := seconds - (datetime.datetime.now(datetime.UTC) - begun).total_seconds()) > 0:
            with self._changed:
                new = [(number, event) for number, event in self._events if number > version]
                if not new:
                    self._changed.wait(left)
                    continue
            for number, event in new:
                version = number
                yield event


def status(code: int, message: str = "no", **details: Any) -> dict[str, Any]:
    """The body of a refusal."""
    return {"kind": "Status", "code": code, "message": message, "details": details}


def _write_events(cluster: FakeCluster, file: Any, events: Iterator[dict[str, Any] | int]) -> bool:
    """Write a watch, each event as a chunk; False when the connection is of no more use."""
    try:
        for number, event in enumerate(events):
            data = json.dumps(event).encode() + b"\n"
            if number == cluster.broken_after:
                cluster.broken_after = None
                file.write(b"%x\r\n%s" % (len(data), data[:20]))
                return False
            file.write(b"%x\r\n%s\r\n" % (len(data), data))
        file.write(b"0\r\n\r\n")
    except OSError:  # who watched has seen enough
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    """Answers for the cluster that a subclass names."""

    cluster: FakeCluster
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.cluster.requests.append((url.path, query))
        self.cluster.headers.append({name: "|".join(self.headers.get_all(name) or []) for name in self.headers})
        if "watch" in query:
            limits = int(query["resourceVersion"]), float(query["timeoutSeconds"])
            self.stream(self.cluster.events(*limits, url.path))
        else:
            self.give(*self.cluster.answer(url.path, query))

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.cluster.requests.append((url.path, query))
        self.give(*self.cluster.write(self.command, url.path, query, body))

    def do_PATCH(self) -> None:
        self.do_POST()

    def give(self, code: int, body: Any) -> None:
        if code == 0:  # the connection is lost
            self.close_connection = True
            return
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if code == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(data)

    def stream(self, events: Iterator[dict[str, Any] | int]) -> None:
        first = next(events, None)
        if isinstance(first, int):
            if first == 0:  # the connection is lost
                self.close_connection = True
                return
            self.give(first, status(first))
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = not _write_events(self.cluster, self.wfile, chain([first] if first else [], events))

    def log_message(self, *_arguments: Any) -> None:
        pass


def _handler(cluster: FakeCluster) -> type[_Handler]:
    return type("Handler", (_Handler,), {"cluster": cluster})


@contextmanager
def serving(cluster: FakeCluster, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve a cluster; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(cluster))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def write_kubeconfig(directory: Path, server: str, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    """A kubeconfig with one context; ``cluster`` are further fields of the cluster, as certificate-authority."""
    path = directory / "kubeconfig.yaml"
    data = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": {"token": TOKEN} if user is None else user}],
        "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "main",
    }
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return str(path)


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority of its own, in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("test authority")
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._sign(self._name, self._key.public_key(), days=30, extensions=[(constraints, True)])
        self.certificate = directory / "ca.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, days: int = 30) -> Pair:
        """A certificate for 127.0.0.1 that ends in ``days``; it has ended when they are negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = self._sign(_named(name), key.public_key(), days, [(address, False)])
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return pair

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int, extensions: list[tuple[Any, bool]]
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def server_tls(pair: Pair, clients: Path | None = None) -> ssl.SSLContext:
    """TLS of a server; with ``clients``, those must have a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context
