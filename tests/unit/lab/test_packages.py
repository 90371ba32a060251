"""Package metadata and content, and the repositories' signatures where the tools are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lab import packages
from lab.packages import Content, Package, SigningKey, program, template


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A small package with a program, a link and a configuration file."""
    source = tmp_path / "tool"
    source.write_text("#!/bin/sh\necho tool\n", encoding="utf-8")
    return Package(
        name="tool",
        version="1.2.3",
        release="4.el9",
        summary="A tool",
        license="MIT",
        url="https://example.test",
        difference="it is a test.",
        content={
            "/usr/bin/tool": program(source),
            "/usr/bin/alias": Content(target="tool"),
            "/etc/sysconfig/tool": template("kubelet.sysconfig", config=True),
        },
        requires=("other", "base = 1.2.3"),
    )


def test_a_template_place_without_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        packages.render("@unknown@", {})


def test_the_spec_lists_exactly_the_content_with_modes(package: Package) -> None:
    spec = packages.spec_file(package)
    assert spec.partition("%files\n")[2].splitlines() == [
        "%config(noreplace) %attr(0644,root,root) /etc/sysconfig/tool",
        "/usr/bin/alias",
        "%attr(0755,root,root) /usr/bin/tool",
    ]


def test_the_spec_requires_only_what_the_package_names(package: Package) -> None:
    lines = packages.spec_file(package).splitlines()
    assert [line for line in lines if line.startswith("Requires:")] == ["Requires: other", "Requires: base = 1.2.3"]
    assert "AutoReqProv: no" in lines
    assert "Version: 1.2.3" in lines
    assert "Release: 4.el9" in lines


def test_a_package_says_that_it_is_not_the_vendors(package: Package) -> None:
    assert "not the vendor's package: it is a test." in packages.spec_file(package)
    assert "not the vendor's package: it is a test." in packages.control_file(package)


def test_the_control_file_has_version_dependencies_and_size(package: Package) -> None:
    lines = packages.control_file(package).splitlines()
    assert "Version: 1.2.3-4.el9" in lines
    assert "Depends: other, base (= 1.2.3)" in lines
    assert "Installed-Size: 1" in lines


def test_staged_files_have_the_modes_of_the_package(package: Package, tmp_path: Path) -> None:
    root = tmp_path / "root"
    packages.stage(package, root)
    assert (root / "usr/bin/tool").stat().st_mode & 0o777 == 0o755
    assert (root / "etc/sysconfig/tool").stat().st_mode & 0o777 == 0o644
    assert (root / "usr/bin/alias").readlink() == Path("tool")


def test_content_without_source_and_target_is_refused(tmp_path: Path) -> None:
    empty = Package("n", "1", "1", "s", "MIT", "u", "d", content={"/file": Content()})
    with pytest.raises(ValueError, match="/file has neither"):
        packages.stage(empty, tmp_path / "root")


@pytest.mark.parametrize(
    "setting",
    ["KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=", "KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"],
)
def test_the_kubelet_drop_in_reads_what_kubeadm_writes(setting: str) -> None:
    text = (packages.TEMPLATES / "10-kubeadm.conf").read_text(encoding="utf-8")
    assert setting in text
    assert "EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env" in text
    assert "EnvironmentFile=-/etc/sysconfig/kubelet" in text


def _missing(*tools: str) -> bool:
    return any(shutil.which(tool) is None for tool in tools)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    """A signing key of this test run."""
    folder = tmp_path_factory.mktemp("key")
    packages._make_key(folder)
    return SigningKey(folder)


needs_deb = pytest.mark.skipif(_missing("gpg", "dpkg-deb", "apt-ftparchive"), reason="the apt tools are not installed")
needs_rpm = pytest.mark.skipif(
    _missing("gpg", "rpmbuild", "rpmsign", "createrepo_c"), reason="the rpm tools are not installed"
)


@needs_deb
def test_the_secret_key_is_private(key: SigningKey) -> None:
    assert key.secret.stat().st_mode & 0o777 == 0o600
    assert key.folder.stat().st_mode & 0o777 == 0o700
    assert len(key.fingerprint) == 40
    assert "PRIVATE" not in key.public.read_text(encoding="ascii")


@needs_deb
def test_the_apt_repository_is_signed_by_the_key(package: Package, key: SigningKey, tmp_path: Path) -> None:
    repository = tmp_path / "apt"
    repository.mkdir()
    packages.apt_repository(repository, [package], key)
    assert "Package: tool" in (repository / "dists/stable/main/binary-amd64/Packages").read_text(encoding="utf-8")
    assert sorted(path.name for path in (repository / "pool/main").iterdir()) == ["tool_1.2.3-4.el9_amd64.deb"]
    suite = repository / "dists/stable"
    assert key.fingerprint in _signers(key, suite / "InRelease")
    assert key.fingerprint in _signers(key, suite / "Release.gpg", suite / "Release")


@needs_rpm
def test_the_dnf_repository_and_its_packages_are_signed(package: Package, key: SigningKey, tmp_path: Path) -> None:
    repository = tmp_path / "rpm"
    packages.rpm_repository(repository, [package], key)
    metadata = repository / "repodata/repomd.xml"
    assert key.fingerprint in _signers(key, Path(f"{metadata}.asc"), metadata)
    database = ["--dbpath", str(tmp_path / "rpmdb")]
    file = repository / "tool-1.2.3-4.el9.x86_64.rpm"
    unknown = subprocess.run(["rpm", *database, "--checksig", file], capture_output=True, text=True, check=False)
    assert unknown.returncode != 0, "an unsigned package passes this check, a signed one needs the key"
    subprocess.run(["rpm", *database, "--import", key.public], check=True)
    known = subprocess.run(["rpm", *database, "--checksig", file], capture_output=True, text=True, check=True)
    assert "digests signatures OK" in known.stdout


def _signers(key: SigningKey, *files: Path) -> str:
    """gpg's status lines of a good signature; the test fails when it is not good."""
    with packages._gpg_home() as home:
        packages._gpg(home, "--import", str(key.public))
        return packages._gpg(home, "--status-fd", "1", "--verify", *(str(file) for file in files))
