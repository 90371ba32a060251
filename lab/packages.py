"""Packages and signed repositories as a vendor would publish them, around the binaries that the lab built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.cache import cached

TEMPLATES = Path(__file__).with_name("packaging")
SIGNER = "baremetal.gpu lab repository <lab@lab.internal>"

_EPOCH_S = "1700000000"
"""Modification time of every packaged file (2023-11-14): the same content gives the same package."""


@dataclass(frozen=True)
class Content:
    """One path of a package: a file copied from `source`, or a symbolic link to `target`."""

    source: Path | None = None
    target: str | None = None
    mode: int = 0o644
    config: bool = False
    """Belongs to the administrator after the installation: an upgrade keeps a changed file."""


def program(source: Path) -> Content:
    """An executable."""
    return Content(source=source, mode=0o755)


def template(name: str, *, config: bool = False) -> Content:
    """A file of `lab/packaging`."""
    return Content(source=TEMPLATES / name, config=config)


@dataclass(frozen=True)
class Package:
    """A binary package for x86_64. `requires` names packages of the same repository only: `name` or `name = version`."""

    name: str
    version: str
    release: str
    """Empty where the vendor gives its packages none."""
    summary: str
    license: str
    url: str
    difference: str
    """One sentence that completes "It is not the vendor's package:"."""
    content: Mapping[str, Content] = field(default_factory=dict)
    requires: tuple[str, ...] = ()

    @property
    def rpm_release(self) -> str:
        """The release as an RPM has it, which cannot be without one."""
        return self.release or "1"

    @property
    def rpm_file(self) -> str:
        """File name of the RPM."""
        return f"{self.name}-{self.version}-{self.rpm_release}.x86_64.rpm"

    @property
    def deb_version(self) -> str:
        """The version as a Debian package has it."""
        return f"{self.version}-{self.release}" if self.release else self.version

    @property
    def deb_file(self) -> str:
        """File name of the Debian package."""
        return f"{self.name}_{self.deb_version}_amd64.deb"


def render(text: str, values: Mapping[str, str]) -> str:
    """Fill the `@name@` places of a template. Raises KeyError for a place without a value."""
    return re.sub(r"@([a-z]+)@", lambda match: values[match[1]], text)


def control_file(package: Package) -> str:
    """The control file of a Debian package."""
    # An RPM requirement `name = version` is `name (= version)` here.
    requires = [re.sub(r"^(\S+) (\S+) (\S+)$", r"\1 (\2 \3)", requirement) for requirement in package.requires]
    depends = f"Depends: {', '.join(requires)}\n" if requires else ""
    size = sum(content.source.stat().st_size for content in package.content.values() if content.source is not None)
    values = {
        **_fields(package),
        "version": package.deb_version,
        "depends": depends,
        "kilobytes": str(-(-size // 1024)),
    }
    return render(_template_text("control.in"), values)


def spec_file(package: Package) -> str:
    """The spec file of an RPM; its content is expected in the folder that the macro `lab_content` names."""
    requires = "".join(f"Requires: {name}\n" for name in package.requires)
    files = "\n".join(_file_entry(path, content) for path, content in sorted(package.content.items()))
    return render(_template_text("package.spec.in"), {**_fields(package), "requires": requires, "files": files})


def _file_entry(path: str, content: Content) -> str:
    if content.target is not None:
        return path
    kept = "%config(noreplace) " if content.config else ""
    return f"{kept}%attr({content.mode:04o},root,root) {path}"


def _fields(package: Package) -> dict[str, str]:
    return {
        "name": package.name,
        "version": package.version,
        "release": package.rpm_release,
        "summary": package.summary,
        "license": package.license,
        "url": package.url,
        "difference": package.difference,
    }


def _template_text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def stage(package: Package, root: Path) -> None:
    """Put a package's files under `root` as they will lie on a host."""
    for path, content in package.content.items():
        destination = root / path.lstrip("/")
        destination.parent.mkdir(parents=True, exist_ok=True)
        if content.target is not None:
            destination.symlink_to(content.target)
        elif content.source is not None:
            shutil.copyfile(content.source, destination)
            destination.chmod(content.mode)
        else:
            raise ValueError(f"{package.name}: {path} has neither a source nor a target")
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o755)


def build_deb(package: Package, out: Path) -> Path:
    """Build the Debian package into the folder `out`; returns the file."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".deb-") as scratch:
        root = Path(scratch)
        stage(package, root)
        (root / "DEBIAN").mkdir(mode=0o755)
        (root / "DEBIAN/control").write_text(control_file(package), encoding="utf-8")
        kept = [path for path, content in sorted(package.content.items()) if content.config]
        if kept:
            (root / "DEBIAN/conffiles").write_text("".join(f"{path}\n" for path in kept), encoding="utf-8")
        _run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(root), str(out / package.deb_file))
    return out / package.deb_file


def build_rpm(package: Package, out: Path) -> Path:
    """Build the RPM into the folder `out`; returns the file. It is not signed yet."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".rpm-") as name:
        scratch = Path(name)
        content = scratch / "content"
        content.mkdir()
        stage(package, content)
        spec = scratch / "package.spec"
        spec.write_text(spec_file(package), encoding="utf-8")
        macros = {
            "_topdir": str(scratch / "top"),
            "_rpmdir": str(out),
            "_rpmfilename": "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
            "_dbpath": str(scratch / "db"),
            "lab_content": str(content),
            # The programs are finished: nothing is to be stripped, compressed or split off for debugging.
            "__os_install_post": "%{nil}",
            "debug_package": "%{nil}",
            "_build_id_links": "none",
            # Fast to write and to unpack; everything stays on one machine.
            "_binary_payload": "w1.zstdio",
            "_buildhost": "lab.internal",
            "use_source_date_epoch_as_buildtime": "1",
            "clamp_mtime_to_source_date_epoch": "1",
        }
        defines = [word for macro, value in macros.items() for word in ("--define", f"{macro} {value}")]
        _run("rpmbuild", "-bb", "--quiet", "--target", "x86_64-linux", *defines, str(spec))
    return out / package.rpm_file


@dataclass(frozen=True)
class SigningKey:
    """The key that signs both repositories: `secret` (mode 0600), `public` (armored) and the 40-digit fingerprint."""

    folder: Path

    @property
    def secret(self) -> Path:
        """The armored secret key, without passphrase."""
        return self.folder / "secret.asc"

    @property
    def public(self) -> Path:
        """The armored public key."""
        return self.folder / "repository.asc"

    @property
    def fingerprint(self) -> str:
        """The full fingerprint, 40 upper-case hexadecimal digits."""
        return (self.folder / "fingerprint").read_text(encoding="ascii").strip()


def signing_key() -> SigningKey:
    """The cache's own signing key, made once. It signs nothing but lab repositories."""
    title = "Make the signing key of the lab's repositories"
    return SigningKey(cached("keyring", ["1", SIGNER], _make_key, title=title))


def _make_key(out: Path) -> None:
    out.chmod(0o700)
    with _gpg_home() as home:
        _gpg(home, "--passphrase", "", "--quick-generate-key", SIGNER, "rsa3072", "sign", "never")
        listing = _gpg(home, "--with-colons", "--list-secret-keys")
        fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
        secret = _gpg(home, "--armor", "--export-secret-keys", fingerprint)
        public = _gpg(home, "--armor", "--export", fingerprint)
    descriptor = os.open(out / "secret.asc", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret)
    (out / "repository.asc").write_text(public, encoding="ascii")
    (out / "fingerprint").write_text(f"{fingerprint}\n", encoding="ascii")


@contextmanager
def _gpg_home(key: SigningKey | None = None) -> Iterator[Path]:
    """A throw-away GnuPG home, with a key in it when given; its agent ends with it.

    A short path under /tmp, because the agent's socket lies there and socket paths have 107 characters at most.
    """
    with tempfile.TemporaryDirectory(prefix="lab-gpg-", dir="/tmp") as name:
        home = Path(name)
        try:
            if key is not None:
                _gpg(home, "--import", str(key.secret))
            yield home
        finally:
            subprocess.run(["gpgconf", "--homedir", name, "--kill", "all"], check=False, stderr=subprocess.DEVNULL)


def _gpg(home: Path, *arguments: str) -> str:
    return _run("gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", *arguments)


def apt_repository(out: Path, packages: list[Package], key: SigningKey) -> None:
    """Build the packages into a signed apt repository at `out`: suite `stable`, component `main`."""
    pool, index = out / "pool/main", out / "dists/stable/main/binary-amd64"
    pool.mkdir(parents=True)
    index.mkdir(parents=True)
    for package in packages:
        build_deb(package, pool)
    listing = _run("apt-ftparchive", "packages", "pool/main", cwd=out)
    (index / "Packages").write_text(listing, encoding="utf-8")
    suite = out / "dists/stable"
    fields = ["Origin=lab", "Label=lab", "Suite=stable", "Codename=stable", "Architectures=amd64", "Components=main"]
    options = [word for field_ in fields for word in ("-o", f"APT::FTPArchive::Release::{field_}")]
    release = _run("apt-ftparchive", *options, "release", "dists/stable", cwd=out)
    (suite / "Release").write_text(release, encoding="utf-8")
    with _gpg_home(key) as home:
        _gpg(home, "--clearsign", "--output", str(suite / "InRelease"), str(suite / "Release"))
        _gpg(home, "--armor", "--detach-sign", "--output", str(suite / "Release.gpg"), str(suite / "Release"))


def rpm_repository(out: Path, packages: list[Package], key: SigningKey) -> None:
    """Build the packages, sign each, and make a dnf repository at `out` whose metadata is signed too."""
    out.mkdir(parents=True, exist_ok=True)
    files = [build_rpm(package, out) for package in packages]
    with _gpg_home(key) as home:
        macros = {"_gpg_name": key.fingerprint, "_gpg_path": str(home), "__gpg": shutil.which("gpg") or "gpg"}
        defines = [word for macro, value in macros.items() for word in ("--define", f"{macro} {value}")]
        _run("rpmsign", *defines, "--addsign", *(str(file) for file in files))
        _run("createrepo_c", "--quiet", "--no-database", str(out))
        metadata = out / "repodata/repomd.xml"
        _gpg(home, "--armor", "--detach-sign", "--output", f"{metadata}.asc", str(metadata))


def _run(*command: str, cwd: Path | None = None) -> str:
    """Run a tool; returns what it printed. Raises RuntimeError with the end of its messages."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH_S, "LC_ALL": "C.UTF-8"}
    result = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"{command[0]} failed with {result.returncode}:\n{(result.stderr or result.stdout)[-3000:]}")
    return result.stdout
