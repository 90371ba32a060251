"""Host images: Debian trixie with systemd and sshd, and the same with dnf for the Rocky look-alikes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.cache import cached, content_key
from lab.debian import trixie_sources
from lab.podman import podman
from lab.progress import step

# Every host: what a freshly installed server has. No container runtime, no Kubernetes: those are the plays' work.
COMMON = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "iproute2",
    "iputils-ping",
    "python3",
    "python3-yaml",
    "openssh-server",
    "procps",
    "kmod",
    "curl",
    "ca-certificates",
    "sudo",
    "less",
    "iptables",
    "nftables",
    "conntrack",
    "ipset",
    "socat",
    "ethtool",
    "mount",
    "util-linux",
    "openssl",
    "libseccomp2",
    "gnupg",
    "pciutils",
]
PACKAGES = {
    "debian": [*COMMON, "python3-apt", "python3-debian", "nginx-light"],
    "rocky": [*COMMON, "dnf", "python3-dnf", "rpm"],
}
NOT_ON_A_HOST = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")


def image_key(kind: str) -> str:
    """What decides a host image: its packages and this file."""
    return content_key([kind, *PACKAGES[kind], Path(__file__)])


def image(kind: str) -> str:
    """The reference of a host image in the lab's podman store, built when it is missing. `kind` is a key of PACKAGES."""
    sources, options = trixie_sources()
    archive = cached("rootfs", [image_key(kind)], lambda out: _bootstrap(kind, sources, options, out)) / "rootfs.tar"
    reference = f"localhost/baremetal-gpu-lab/{kind}:{archive.parent.name}"
    if podman("image", "exists", reference, check=False).returncode:
        with step(f"Import the {kind} host image"):
            podman("import", "--quiet", archive, reference)
    return reference


def _bootstrap(kind: str, sources: list[str], options: list[str], out: Path) -> None:
    # nginx and ssh must not start, nor machine-wide identities be shared, so the image keeps neither keys nor machine-id.
    hooks = [
        '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*_key* "$1"/etc/machine-id "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
        '--customize-hook=chroot "$1" systemctl disable --quiet ssh.socket nginx.service 2>/dev/null || true',
        '--customize-hook=chroot "$1" systemctl enable --quiet ssh.service',
    ]
    with step(f"Bootstrap the {kind} host image from Debian packages"):
        result = subprocess.run(
            [
                "mmdebstrap",
                "--variant=minbase",
                f"--include={','.join(PACKAGES[kind])}",
                *options,
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in NOT_ON_A_HOST),
                *hooks,
                "trixie",
                str(out / "rootfs.tar"),
                *sources,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode:
        raise RuntimeError(f"mmdebstrap failed for the {kind} host image:\n{result.stderr[-4000:]}")
