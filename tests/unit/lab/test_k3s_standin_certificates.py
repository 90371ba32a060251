"""Certificates and node passwords of the stand-in, which other code watches as it would k3s's."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from lab.k3s_standin import api, passwords, pki
from lab.k3s_standin.console import FatalError


def certificate(path: Path, days: int) -> Path:
    names = ["-subj", "/CN=x", "-days", str(days), "-keyout", str(path.with_suffix(".key")), "-out", str(path)]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*command, *names], check=True, capture_output=True)
    return path


@pytest.mark.parametrize(("days", "expected"), [(pki.RENEW_DAYS - 1, True), (pki.RENEW_DAYS + 1, False)])
def test_what_ends_soon_is_renewed_at_a_start(tmp_path: Path, days: int, expected: bool) -> None:
    assert pki.ends_soon(certificate(tmp_path / "x.crt", days)) is expected


def test_a_certificate_that_cannot_be_read_is_renewed(tmp_path: Path) -> None:
    (tmp_path / "x.crt").write_text("nothing", encoding="utf-8")
    assert pki.ends_soon(tmp_path / "x.crt")


def test_a_client_certificate_near_its_end_is_issued_anew_and_others_stay(tmp_path: Path) -> None:
    pki.ensure(tmp_path, ["calypso"])
    near, far = tmp_path / "client-admin.crt", tmp_path / "client-scheduler.crt"
    certificate(near, 10)
    before = {path: path.read_bytes() for path in (near, far)}
    pki.ensure(tmp_path, ["calypso"])
    assert (near.read_bytes() != before[near], far.read_bytes() == before[far]) == (True, True)


def test_only_certificates_are_copied_out_of_a_file_with_a_key(tmp_path: Path) -> None:
    path = certificate(tmp_path / "x.crt", 10)
    whole = path.read_text(encoding="utf-8") + path.with_suffix(".key").read_text(encoding="utf-8")
    assert pki.certificates_in(whole) == path.read_text(encoding="utf-8")


class Server:
    """The API's secrets, in a dictionary."""

    def __init__(self) -> None:
        self.secrets: dict[str, Any] = {}
        self.owners: dict[str, Any] = {}

    def get(self, url: str, _ca: str, _token: str) -> bytes:
        name = url.rpartition("/")[2]
        if name not in self.secrets:
            raise HTTPError(url, 404, "no", Message(), io.BytesIO())
        return json.dumps({"data": {"hash": base64.b64encode(self.secrets[name].encode()).decode()}}).encode()

    def send(self, method: str, url: str, body: Any, _ca: str, _token: str, _content_type: str = "") -> bytes:
        if method == "POST":
            self.secrets[body["metadata"]["name"]] = body["stringData"]["hash"]
        else:
            self.owners[url.rpartition("/")[2]] = body["metadata"]["ownerReferences"]
        return b"{}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr(api, "get", found.get)
    monkeypatch.setattr(api, "send", found.send)
    return found


def test_who_comes_first_keeps_the_node_s_name(server: Server) -> None:
    passwords.claim("https://s", "ca", "token", "spark-01", "one")
    passwords.claim("https://s", "ca", "token", "spark-01", "one")
    assert server.secrets == {"spark-01.node-password.k3s": hashlib.sha256(b"one").hexdigest()}
    with pytest.raises(FatalError, match="Node password rejected"):
        passwords.claim("https://s", "ca", "token", "spark-01", "two")


def test_a_password_goes_with_its_node(server: Server) -> None:
    passwords.tie_to_node("https://s", "ca", "token", "spark-01", "uid-1")
    assert server.owners["spark-01.node-password.k3s"][0]["uid"] == "uid-1"


def test_a_host_s_password_is_made_once_and_private(tmp_path: Path) -> None:
    file = tmp_path / "node" / "password"
    first = passwords.own(file)
    assert (passwords.own(file), len(first), file.stat().st_mode & 0o777) == (first, 32, 0o600)
