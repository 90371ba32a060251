"""Where the lab's software comes from: Debian packages, Go modules and this machine's own packages."""

from __future__ import annotations

import re

import pytest

from lab import artefacts, debian, golang, system
from lab.versions import number, version

TARGETS = """\
Packages bookworm main http://mirror.test/debian/
DEP-11 bookworm main http://mirror.test/debian/
Packages bookworm contrib http://other.test/debian/
Packages bookworm-updates main http://mirror.test/debian/
Packages bookworm-security main http://security.test/debian-security/
Packages stable main http://vendor.test/apt/
"""


def test_trixie_comes_from_the_mirrors_of_this_machine() -> None:
    assert debian.sources_from(TARGETS, "bookworm") == [
        "deb http://mirror.test/debian/ trixie main",
        "deb http://security.test/debian-security/ trixie-security main",
    ]


def test_security_is_left_out_when_the_machine_has_none() -> None:
    assert debian.sources_from("Packages stable main http://mirror.test/debian/\n", "bookworm") == [
        "deb http://mirror.test/debian/ trixie main"
    ]


def test_a_machine_without_debian_main_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no Debian main for bookworm"):
        debian.sources_from("Packages noble main http://mirror.test/ubuntu/\n", "bookworm")


@pytest.mark.parametrize(
    ("line", "upstream"),
    [
        ("containerd (1.7.24~ds1-6+deb13u1) trixie-security; urgency=medium", "1.7.24"),
        ("golang-github-containernetworking-plugins (1.1.1+ds1-3) unstable; urgency=medium", "1.1.1"),
        ("package (2:5.6-7) unstable; urgency=low", "5.6"),
    ],
)
def test_the_upstream_version_has_no_debian_parts(line: str, upstream: str) -> None:
    assert debian.upstream_of(line) == upstream


def test_something_else_than_a_changelog_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not the first line"):
        debian.upstream_of("hello")


def test_only_packages_that_dpkg_calls_installed_count() -> None:
    listing = "installed gcc\nconfig-files podman\n"
    assert system.missing_packages(["gcc", "podman", "rpm"], listing) == ("podman", "rpm")


def test_the_package_list_has_one_plain_name_a_line() -> None:
    names = system.wanted_packages(system.PACKAGE_LIST.read_text(encoding="utf-8"))
    assert len(set(names)) == len(names) > 10
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name) for name in names)


PINS = {
    "kubernetes": ("k8s.io/kubernetes", "kubernetes"),
    "etcd": ("go.etcd.io/etcd/server/v3", "etcd"),
    "device-plugin": ("github.com/NVIDIA/k8s-device-plugin", "nvidia_device_plugin"),
    "node-feature-discovery": ("sigs.k8s.io/node-feature-discovery", "node_feature_discovery"),
    "container-toolkit": ("github.com/NVIDIA/nvidia-container-toolkit", "nvidia_container_toolkit"),
    "flannel": ("github.com/flannel-io/flannel", "flannel"),
    "coredns": ("github.com/coredns/coredns", "coredns"),
    "helm": ("helm.sh/helm/v3", "helm"),
    "kubernetes-before": ("k8s.io/kubernetes", "k3s_before"),
    "kwok": ("sigs.k8s.io/kwok", "kwok"),
    "mpi-operator": ("github.com/kubeflow/mpi-operator", "mpi_operator"),
    "tailscale": ("tailscale.com", "tailscale"),
    "headscale": ("github.com/juanfont/headscale", "headscale"),
}


@pytest.mark.parametrize("folder", PINS)
def test_go_modules_pin_the_versions_of_the_table(folder: str) -> None:
    module, component = PINS[folder]
    text = (golang.SOURCES / folder / "go.mod").read_text(encoding="utf-8")
    # k3s adds its own number to that of Kubernetes.
    pinned = re.escape(number(component).partition("+")[0])
    assert re.search(rf"^(?:require)?\s*{re.escape(module)} v{pinned}$", text, re.MULTILINE)


def test_helm_s_plugin_is_pinned_beside_it() -> None:
    text = (golang.SOURCES / "helm/go.mod").read_text(encoding="utf-8")
    assert f"github.com/databus23/helm-diff/v3 v{number('helm_diff')}\n" in text


def requirements(folder: str) -> dict[str, str]:
    """Every module that a go.mod requires, with its version."""
    text = (golang.SOURCES / folder / "go.mod").read_text(encoding="utf-8")
    return dict(re.findall(r"^\s*(?:require )?(\S+\.\S+/\S+) (v\S+)", text, re.MULTILINE))


@pytest.mark.parametrize(("one", "other"), [("helm", "flannel"), ("device-plugin", "node-feature-discovery")])
def test_modules_that_share_libraries_share_what_the_compiler_makes(one: str, other: str) -> None:
    """Another version of one library means that all of Kubernetes' client is compiled twice: minutes of a cold build."""
    first, second = requirements(one), requirements(other)
    shared = {
        name
        for name in set(first) & set(second)
        if name.startswith(
            ("k8s.io/", "golang.org/", "google.golang.org/", "github.com/emicklei/", "github.com/go-openapi/")
        )
    }
    assert "k8s.io/client-go" in shared
    assert {name: first[name] for name in shared} == {name: second[name] for name in shared}
    tags = {module.folder: module.tags for module in golang.modules()}
    assert tags[one] == tags[other]


def test_helm_has_the_libraries_of_the_kubernetes_release_of_the_table() -> None:
    _, minor, _ = number("kubernetes").split(".")
    assert requirements("helm")["k8s.io/client-go"].startswith(f"v0.{minor}.")


def test_what_is_optional_is_built_only_when_it_is_asked_for() -> None:
    def folders(*optional: str) -> set[str]:
        return {module.folder for module in artefacts.chosen_modules(optional)}

    assert folders("kwok") - folders() == {"kwok"}
    with pytest.raises(ValueError, match="no optional Go module etcd"):
        artefacts.chosen_modules(["etcd"])


def test_every_go_module_has_committed_hashes() -> None:
    folders = {module.folder for module in golang.modules()}
    assert folders == set(PINS)
    assert all((golang.SOURCES / folder / "go.sum").stat().st_size for folder in folders)


def test_builds_cannot_change_pins_or_switch_the_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOROOT", "/somewhere/else")
    monkeypatch.setenv("GOPROXY", "http://proxy.test")
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    environment = golang.environment(cgo=False)
    assert "-mod=readonly" in environment["GOFLAGS"].split()
    assert environment["GOTOOLCHAIN"] == "local"
    assert environment["CGO_ENABLED"] == "0"
    assert "GOROOT" not in environment
    assert environment["GOPROXY"] == "http://proxy.test"


def test_programs_carry_the_version_of_the_table() -> None:
    stamped = {module.folder: module.ldflags for module in golang.modules()}
    assert f"gitVersion={version('kubernetes')}" in stamped["kubernetes"]
    assert f"version.version={version('node_feature_discovery')}" in stamped["node-feature-discovery"]
    assert f"info.version={version('nvidia_device_plugin')}" in stamped["device-plugin"]
