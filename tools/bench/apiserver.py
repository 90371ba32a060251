"""A Kubernetes API server with its etcd and nothing else, from the programs that the lab builds, on this machine's loopback."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import yaml

from lab import artefacts, golang

_READY_S = 90.0


@dataclass(frozen=True)
class ApiServer:
    """Where it listens and how it is asked. `ca` is the file with its own certificate, `kubeconfig` names all of it."""

    port: int
    token: str
    ca: Path
    kubeconfig: Path

    def connection(self) -> HTTPSConnection:
        """A connection of one's own."""
        return HTTPSConnection(
            "127.0.0.1", self.port, context=ssl.create_default_context(cafile=str(self.ca)), timeout=60
        )

    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }


@contextmanager
def running(folder: Path, authorization: str = "AlwaysAllow") -> Iterator[ApiServer]:
    """Start both with empty data in `folder`, and end them with the block. Raises RuntimeError when they do not come up.

    The kubeconfig's user may do everything, also with `authorization` RBAC, where others may do what roles give them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    programs = lab_programs()
    clients, peers, port = (_free_port() for _ in range(3))
    server = ApiServer(port, secrets.token_hex(16), folder / "tls/apiserver.crt", folder / "kubeconfig.yaml")
    (folder / "tokens.csv").write_text(f"{server.token},bench,bench,system:masters\n", encoding="utf-8")
    subprocess.run(["openssl", "genrsa", "-out", str(folder / "accounts.key"), "2048"], check=True, capture_output=True)
    etcd = [
        str(programs["etcd"]),
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls=http://127.0.0.1:{clients}",
        f"--advertise-client-urls=http://127.0.0.1:{clients}",
        f"--listen-peer-urls=http://127.0.0.1:{peers}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
        f"--initial-cluster=default=http://127.0.0.1:{peers}",
        # What is measured is reading; the data is thrown away.
        "--unsafe-no-fsync",
        "--quota-backend-bytes=8589934592",
    ]
    api = [
        *(str(programs["hyperkube"]), "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{clients}",
        *("--bind-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={folder}/tls"),
        # As the clusters have it on which GPU operands run.
        "--allow-privileged=true",
        *(f"--token-auth-file={folder}/tokens.csv", f"--authorization-mode={authorization}"),
        "--service-account-issuer=https://bench.internal",
        f"--service-account-key-file={folder}/accounts.key",
        f"--service-account-signing-key-file={folder}/accounts.key",
        # There are no controllers that would make accounts and take the taint off nodes that are Ready.
        *(
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            "--service-cluster-ip-range=10.96.0.0/16",
        ),
        *("--max-requests-inflight=400", "--max-mutating-requests-inflight=400"),
    ]
    with in_background(etcd, folder / "etcd.log"), in_background(api, folder / "apiserver.log") as process:
        _await_ready(server, process, folder / "apiserver.log")
        server.kubeconfig.write_text(yaml.safe_dump(_kubeconfig(server)), encoding="utf-8")
        yield server


def lab_programs() -> dict[str, Path]:
    """The lab's own programs, built when they are not in the cache."""
    found = {}
    for module in golang.modules():
        if module.folder in ("kubernetes", "etcd"):
            entry = golang.programs(module)
            if not entry.finished():
                artefacts.build_all()
            found.update({name: entry.path / name for name in module.programs})
    return found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def in_background(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that ends with the block; what it says goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(os.environ)
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_ready(server: ApiServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = server.connection()
            connection.request("GET", "/readyz", headers=server.headers())
            if connection.getresponse().status == 200:
                return
        except (OSError, ssl.SSLError):
            pass
        time.sleep(0.3)
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
    raise RuntimeError(f"the API server did not become ready; the end of {log}:\n{tail}")


def _kubeconfig(server: ApiServer) -> dict[str, object]:
    cluster = {"server": f"https://127.0.0.1:{server.port}", "certificate-authority": str(server.ca)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": cluster}],
        "users": [{"name": "bench", "user": {"token": server.token}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    }
