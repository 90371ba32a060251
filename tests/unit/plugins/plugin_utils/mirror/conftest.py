"""A server on the loopback with files, an apt repository and an RPM repository."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@dataclass
class Upstream:
    """What is served, where, and which paths are cut short after their headers."""

    root: Path
    url: str = ""
    cut: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    """Path to path: the first is answered by a redirection to the second."""
    tokens: list[tuple[str, str]] = field(default_factory=list)
    """Every path that was asked for with a token, and the token."""
    guarded: str = ""
    """Where it is set, whatever lies below this path needs the token that everybody may have."""
    asked: list[str] = field(default_factory=list)

    def put(self, path: str, data: bytes) -> str:
        """Serve a file. Returns its SHA-256."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def apt(self, base: str, packages: dict[str, tuple[str, bytes]], folder: str = "") -> None:
        """An apt repository: version and content by name. With a folder it is one with suite and component."""
        paragraphs = []
        for name, (version, data) in packages.items():
            path = f"pool/{name}_{version.rpartition(':')[2]}_arm64.deb"
            sha256 = self.put(f"{base}/{path}", data)
            fields = {"Package": name, "Version": version, "Architecture": "arm64"}
            fields |= {"Filename": ("" if folder else "./") + path, "Size": str(len(data)), "SHA256": sha256}
            paragraphs.append("".join(f"{key}: {value}\n" for key, value in fields.items()) + "Description: x\n more\n")
        index = gzip.compress("\n".join(paragraphs).encode())
        top, below = (f"{base}/dists/noble", f"{folder}/binary-arm64/") if folder else (base, "")
        sha256 = self.put(f"{top}/{below}Packages.gz", index)
        text = (
            f"Origin: test\nMD5Sum:\n 0 1 x\nSHA256:\n {sha256} {len(index)} {below}Packages.gz\nAcquire-By-Hash: no\n"
        )
        self.put(f"{top}/InRelease", text.encode())

    @property
    def host(self) -> str:
        """Name and port, as the registry in a reference."""
        return self.url.partition("://")[2]

    def image(
        self, repository: str, tag: str, layers: list[bytes], architectures: tuple[str, ...] = ("amd64", "arm64")
    ) -> None:
        """An image for several processors, which differ in their configuration."""
        entries = []
        for architecture in architectures:
            config = json.dumps({"architecture": architecture, "os": "linux"}).encode()
            kind = "application/vnd.oci.image.manifest.v1+json"
            parts = [{"digest": self.blob(repository, data), "size": len(data)} for data in (config, *layers)]
            manifest = {"schemaVersion": 2, "mediaType": kind, "config": parts[0], "layers": parts[1:]}
            data = json.dumps(manifest).encode()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            self.put(f"v2/{repository}/manifests/{digest}", data)
            platform = {"os": "linux", "architecture": architecture}
            entries.append({"mediaType": kind, "digest": digest, "size": len(data), "platform": platform})
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
        self.put(f"v2/{repository}/manifests/{tag}", json.dumps(index).encode())

    def blob(self, repository: str, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.put(f"v2/{repository}/blobs/{digest}", data)
        return digest

    def rpm(self, base: str, packages: dict[str, tuple[str, str, bytes]]) -> None:
        """An RPM repository: version, release and content by name."""
        entries = ""
        for name, (version, release, data) in packages.items():
            sha256 = self.put(f"{base}/{name}.rpm", data)
            entries += (
                f'<package type="rpm"><name>{name}</name><arch>x86_64</arch><version epoch="3" ver="{version}" rel="{release}"/>'
                f'<checksum type="sha256" pkgid="YES">{sha256}</checksum><size package="{len(data)}" installed="1"/>'
                f'<location href="{name}.rpm"/></package>'
            )
        primary = gzip.compress(
            f'<metadata xmlns="http://linux.duke.edu/metadata/common">{entries}</metadata>'.encode()
        )
        sha256 = self.put(f"{base}/repodata/primary.xml.gz", primary)
        repomd = (
            '<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary">'
            f'<checksum type="sha256">{sha256}</checksum><location href="repodata/primary.xml.gz"/></data></repomd>'
        )
        self.put(f"{base}/repodata/repomd.xml", repomd.encode())


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    served = Upstream(tmp_path / "upstream")
    served.root.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            served.asked.append(self.path)
            if "Authorization" in self.headers:
                served.tokens.append((self.path, self.headers["Authorization"]))
            guarded = served.guarded and self.path.startswith(served.guarded)
            if guarded and self.headers.get("Authorization") != "Bearer of-everybody":
                self.send_response(401)
                challenge = f'Bearer realm="{served.url}/token",service="test",scope="repository:x:pull"'
                self.send_header("WWW-Authenticate", challenge)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if self.path in served.moved:
                self.send_response(307)
                self.send_header("Location", served.url + served.moved[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if self.path.startswith("/token?"):
                self.path = "/token"
            if self.path.lstrip("/") in served.cut:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"only this")
                return
            super().do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(served.root)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
