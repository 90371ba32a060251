"""The server's certificates, made with the host's `openssl`. One CA signs servers and clients; k3s has one for each."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from . import files
from .console import FatalError

CA_DAYS = 3650
CERTIFICATE_DAYS = 365
"""Lifetimes as in k3s: ten years and one."""

RENEW_DAYS = 120
"""What ends within this time is renewed at a start, as in k3s's releases since 2025."""

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)

# Python 3.13 refuses a certificate that does not name its issuer's key.
_COMMON = "keyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
_CLIENT = f"{_COMMON}extendedKeyUsage=clientAuth\n"
_SERVING = f"{_COMMON}extendedKeyUsage=serverAuth\nsubjectAltName={{names}}\n"

_CLIENTS = {
    "client-admin": "/O=system:masters/CN=system:admin",
    "client-controller": "/CN=system:kube-controller-manager",
    "client-scheduler": "/CN=system:kube-scheduler",
    "client-kube-apiserver": "/O=system:masters/CN=kube-apiserver",
}


def ensure(folder: Path, serving_names: Sequence[str]) -> None:
    """Make what is missing in `folder`; the API server's own certificate is issued anew, because its names may have changed."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "server-ca.crt").exists():
        _certificate_authority(folder)
    for name, subject in _CLIENTS.items():
        certificate = folder / f"{name}.crt"
        if not certificate.exists() or ends_soon(certificate):
            _certificate(folder, name, subject, _CLIENT)
    _certificate(
        folder, "serving-kube-apiserver", "/CN=kube-apiserver", _SERVING.format(names=alternative_names(serving_names))
    )
    chain = [(folder / name).read_text(encoding="utf-8") for name in ("serving-kube-apiserver.crt", "server-ca.crt")]
    # The CA goes along in the handshake: that is where a joining agent reads it.
    files.write(folder / "serving-chain.crt", "".join(chain))
    _key(folder, "service")


def ends_soon(certificate: Path) -> bool:
    """Whether a certificate is near its end, or past it, or cannot be read."""
    seconds = str(RENEW_DAYS * 24 * 3600)
    return bool(_run("x509", "-checkend", seconds, "-noout", "-in", str(certificate)).returncode)


def certificates_in(text: str) -> str:
    """The certificates of a PEM file, without the key that may stand beside them."""
    return "".join(f"{block.strip()}\n" for block in _PEM.findall(text))


def alternative_names(names: Sequence[str]) -> str:
    """openssl's `subjectAltName` for host names and addresses, each once."""
    return ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in dict.fromkeys(names))


def _certificate_authority(folder: Path) -> None:
    _key(folder, "server-ca")
    subject = f"/CN=k3s-server-ca@{int(time.time())}"
    usage = "keyUsage=critical,digitalSignature,keyCertSign"
    arguments = [
        "-key",
        "server-ca.key",
        "-days",
        str(CA_DAYS),
        "-subj",
        subject,
        "-addext",
        usage,
        "-out",
        "server-ca.crt.draft",
    ]
    _openssl(folder, "req", "-x509", "-new", *arguments)
    files.write(folder / "client-ca.crt", (folder / "server-ca.crt.draft").read_text(encoding="utf-8"))
    # Last, because its presence says that the CA is complete.
    (folder / "server-ca.crt.draft").replace(folder / "server-ca.crt")


def _certificate(folder: Path, name: str, subject: str, extensions: str) -> None:
    _key(folder, name)
    request, settings, draft = (folder / f"{name}.{ending}" for ending in ("csr", "ext", "crt.draft"))
    _openssl(folder, "req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", request.name)
    files.write(settings, extensions)
    authority = ["-CA", "server-ca.crt", "-CAkey", "server-ca.key", "-CAcreateserial"]
    arguments = [
        "-in",
        request.name,
        *authority,
        "-days",
        str(CERTIFICATE_DAYS),
        "-extfile",
        settings.name,
        "-out",
        draft.name,
    ]
    _openssl(folder, "x509", "-req", *arguments)
    draft.replace(folder / f"{name}.crt")
    request.unlink()
    settings.unlink()


def _key(folder: Path, name: str) -> None:
    """An EC key in the traditional form: the API server refuses service account keys in PKCS #8."""
    path = folder / f"{name}.key"
    if path.exists():
        return
    draft = folder / f"{name}.key.draft"
    draft.touch(mode=0o600)
    _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", draft.name)
    draft.replace(path)


def _openssl(folder: Path, *arguments: str) -> None:
    done = _run(*arguments, folder=folder)
    if done.returncode:
        raise FatalError(f"openssl {arguments[0]}: {done.stderr.strip()}")


def _run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise FatalError("the stand-in needs the program openssl on its host") from None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
