"""Which packages the lab's repositories offer: names, versions and files as the vendors' packages for these systems have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.debian import upstream_version
from lab.packages import Content, Package, program, template
from lab.versions import number

MULTICALL = "/usr/libexec/kubernetes/hyperkube"

_KUBERNETES_RELEASE = "150500.1.1"
"""The release that the Kubernetes project's own RPMs carry, whatever the system they are installed on."""

_CNI_PLUGINS = ("bandwidth", "bridge", "firewall", "host-local", "loopback", "portmap", "ptp", "tuning")
_TOOLKIT_PROGRAMS = ("nvidia-cdi-hook", "nvidia-container-runtime", "nvidia-ctk")
_APACHE = "Apache-2.0"


def deb_packages(programs: Mapping[str, Path]) -> list[Package]:
    """What the apt repository offers. `programs` has the folder of each Go module's programs."""
    return [_container_toolkit(programs)]


def tailscale(folder: Path) -> Package:
    """Tailscale's package, for its own repositories. `folder` has the programs of the Go module and the files beside them."""
    return Package(
        name="tailscale",
        version=number("tailscale"),
        release="",
        summary="The easiest, most secure, cross platform way to use WireGuard + oauth2 + 2FA/SSO",
        license="BSD-3-Clause",
        url="https://www.tailscale.com",
        difference="it neither enables nor starts its service.",
        content={
            "/usr/bin/tailscale": program(folder / "tailscale"),
            "/usr/sbin/tailscaled": program(folder / "tailscaled"),
            "/usr/lib/systemd/system/tailscaled.service": Content(source=folder / "tailscaled.service"),
            "/etc/default/tailscaled": Content(source=folder / "tailscaled.defaults", config=True),
        },
    )


def rpm_packages(programs: Mapping[str, Path], parts: Path) -> list[Package]:
    """What the dnf repository offers. `parts` has the extracted Debian packages."""
    return [_containerd(parts), *_kubernetes(programs), _cni_plugins(parts), _container_toolkit(programs)]


def _container_toolkit(programs: Mapping[str, Path]) -> Package:
    folder = programs["container-toolkit"]
    return Package(
        name="nvidia-container-toolkit",
        version=number("nvidia_container_toolkit"),
        release="1",
        summary="NVIDIA Container Toolkit",
        license=_APACHE,
        url="https://github.com/NVIDIA/nvidia-container-toolkit",
        difference="one package instead of several, without libnvidia-container, so the CDI mode only.",
        content={f"/usr/bin/{name}": program(folder / name) for name in _TOOLKIT_PROGRAMS},
    )


def _containerd(parts: Path) -> Package:
    names = ("containerd", "containerd-shim-runc-v2", "ctr")
    return Package(
        name="containerd.io",
        version=upstream_version(parts, "containerd"),
        release="3.1.el9",
        summary="An industry-standard container runtime",
        license=f"{_APACHE} and LGPL-2.1-only",
        url="https://containerd.io",
        difference="the programs and libseccomp are Debian's.",
        content={
            **{f"/usr/bin/{name}": program(parts / "usr/bin" / name) for name in names},
            "/usr/bin/runc": program(parts / "usr/sbin/runc"),
            "/usr/lib/systemd/system/containerd.service": template("containerd.service"),
            "/etc/containerd/config.toml": template("containerd-config.toml", config=True),
        },
    )


def _kubernetes(programs: Mapping[str, Path]) -> list[Package]:
    multicall = _kubernetes_package(
        "kubernetes-multicall",
        "All Kubernetes programs in one file that acts by the name it is called with",
        {MULTICALL: program(programs["kubernetes"] / "hyperkube")},
    )
    needs = (f"{multicall.name} = {multicall.version}",)
    units = "/usr/lib/systemd/system"
    kubelet = {
        **_multicall_link("kubelet"),
        f"{units}/kubelet.service": template("kubelet.service"),
        f"{units}/kubelet.service.d/10-kubeadm.conf": template("10-kubeadm.conf"),
        "/etc/sysconfig/kubelet": template("kubelet.sysconfig", config=True),
    }
    purpose = "Command-line utility for {} a Kubernetes cluster"
    return [
        multicall,
        _kubernetes_package("kubelet", "The node agent of Kubernetes", kubelet, (*needs, "kubernetes-cni")),
        _kubernetes_package("kubeadm", purpose.format("administering"), _multicall_link("kubeadm"), needs),
        _kubernetes_package("kubectl", purpose.format("interacting with"), _multicall_link("kubectl"), needs),
    ]


def _multicall_link(name: str) -> dict[str, Content]:
    return {f"/usr/bin/{name}": Content(target=f"..{MULTICALL.removeprefix('/usr')}")}


def _kubernetes_package(
    name: str, summary: str, content: Mapping[str, Content], requires: tuple[str, ...] = ()
) -> Package:
    return Package(
        name=name,
        version=number("kubernetes"),
        release=_KUBERNETES_RELEASE,
        summary=summary,
        license=_APACHE,
        url="https://kubernetes.io",
        difference="kubelet, kubeadm and kubectl share one program.",
        content=content,
        requires=requires,
    )


def _cni_plugins(parts: Path) -> Package:
    return Package(
        name="kubernetes-cni",
        version=upstream_version(parts, "containernetworking-plugins"),
        release=_KUBERNETES_RELEASE,
        summary="Binaries required to provision kubernetes container networking",
        license=_APACHE,
        url="https://www.cni.dev",
        difference="the programs are Debian's.",
        content={f"/opt/cni/bin/{name}": program(parts / "usr/lib/cni" / name) for name in _CNI_PLUGINS},
    )
